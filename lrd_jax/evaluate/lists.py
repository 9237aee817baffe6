"""Lists of a split's rows as a frame, and what their targets' ranks in them are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from lrd_jax.data.corpus import Corpus
from lrd_jax.data.id_maps import raw_ids
from lrd_jax.evaluate.ranks import Subject


class Lists(NamedTuple):
    """Lists of the rows of a split, on the host: `TopItems`; a score is NaN where none is known.

    Attributes:
      items: int32 [N, K], 0 after the last item.
      scores: float32 [N, K].
    """

    items: np.ndarray
    scores: np.ndarray


class Evaluated(NamedTuple):
    """An evaluation that is done.

    Attributes:
      subject: of what.
      ranks: of `lrd_jax.evaluate.ranks.ranks_frame`.
      lists: of the same rows, on the host; None where none were asked for.
    """

    subject: Subject
    ranks: pl.DataFrame
    lists: Lists | None

    @property
    def corpus(self) -> Corpus:
        """The dataset."""
        return self.subject.corpus


def lists_frame(subject: Subject, ranks: pl.DataFrame, lists: Lists) -> pl.DataFrame:
    """One row for each item of each list.

    Columns: run, model, seed, dataset, split, protocol; row (of dev.csv or test.csv, from 1), user, raw_user; rank
    (from 1), item, raw_item, score (null where the lists came without), is_target. user and item are the dataset
    folder's own ids, raw_user and raw_item those of the source, null where the folder does not tell them.

    Args:
      subject: what was evaluated.
      ranks: of `ranks_frame`, N rows.
      lists: [N, K], on the host.

    Raises:
      UserError: the folder's map of ids cannot be read.
    """
    rows, places = np.nonzero(lists.items)
    items = lists.items[rows, places]
    scores = pl.Series(lists.scores[rows, places]).fill_nan(None)
    of_row = ranks.select("run", "model", "seed", "dataset", "split", "protocol", "user", "raw_user", target="item")
    columns = {
        "row": (rows + 1).astype(np.int32),
        "rank": (places + 1).astype(np.int32),
        "item": items,
        "raw_item": raw_ids(subject.data, "item", items),
        "score": scores,
    }
    frame = pl.concat([of_row[rows], pl.DataFrame(columns)], how="horizontal")
    about = ("run", "model", "seed", "dataset", "split", "protocol", "row", "user", "raw_user")
    return frame.select(
        *about, "rank", "item", "raw_item", "score", is_target=pl.col("item") == pl.col("target").cast(pl.Int32)
    )


def ranks_in_lists(items: np.ndarray, targets: np.ndarray) -> pl.DataFrame:
    """The rank of each target in its list, as `ranks_frame` takes it: rank, greater, equal.

    Args:
      items: int32 [N, K].
      targets: int32 [N].
    """
    hits = items == targets[:, None]
    found, places = hits.any(axis=1), hits.argmax(axis=1).astype(np.int32)
    known = pl.Series(found)
    frame = pl.DataFrame({"rank": np.where(found, 1.0 + places, np.inf), "greater": places})
    return frame.with_columns(
        greater=pl.when(known).then("greater"), equal=pl.when(known).then(pl.lit(0, dtype=pl.Int32))
    )
