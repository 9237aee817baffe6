"""Dataset folders from Python: read one, or make one of frames."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from lrd_jax.api import evaluation
from lrd_jax.api.evaluation import ListEvaluation
from lrd_jax.api.frames import frames_named, to_parquet
from lrd_jax.data.cache import cache_dir
from lrd_jax.data.corpus import Corpus
from lrd_jax.data.find_items import ItemFinder
from lrd_jax.data.id_maps import source_ids
from lrd_jax.data.item_facts import read_item_facts
from lrd_jax.data.options import PrepareOptions
from lrd_jax.data.pipeline import prepare_folder
from lrd_jax.data.rechorus import read_corpus
from lrd_jax.data.sources.interaction_table import InteractionColumns, ItemColumns, read_interaction_table
from lrd_jax.errors import UserError
from lrd_jax.ranking.protocols import SplitName


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A dataset folder.

    Attributes:
      folder: its path; docs/datasets.md describes its contents.
    """

    folder: Path

    @functools.cached_property
    def corpus(self) -> Corpus:
        """The arrays of the dataset, read once."""
        return read_corpus(self.folder)

    @functools.cached_property
    def facts(self) -> pl.DataFrame:
        """One row per item, in the order of the own ids: title and fields, as `read_item_facts` gives."""
        return read_item_facts(self.folder, self.corpus.num_items)

    @functools.cached_property
    def item_ids(self) -> pl.Series:
        """The source's ids of the items 1..I, String [I]."""
        return self.ids_of("item", np.arange(1, self.corpus.num_items + 1, dtype=np.int32))

    @functools.cached_property
    def user_ids(self) -> pl.Series:
        """The source's ids of the users 1..U, String [U]."""
        return self.ids_of("user", np.arange(1, self.corpus.num_users + 1, dtype=np.int32))

    @functools.cached_property
    def finder(self) -> ItemFinder:
        """Finds items by id or title."""
        return ItemFinder(self.item_ids, self.facts["title"])

    def ids_of(self, kind: Literal["user", "item"], ids: np.ndarray) -> pl.Series:
        """Translates the folder's own ids [N] of users or items to the source's ids, String [N]. Without an id map, the
        two are the same."""
        return source_ids(self.folder, kind, ids)

    def own_ids(self, kind: Literal["user", "item"], raw: Sequence[Any] | pl.Series) -> np.ndarray:
        """Translates the source's ids of users or items to the folder's own ids, int32 [N].

        Raises:
          UserError: an id is unknown.
        """
        known = self.user_ids if kind == "user" else self.item_ids
        wanted = as_ids(raw).alias("id")
        table = pl.DataFrame({"id": known, "own": pl.int_range(1, len(known) + 1, dtype=pl.Int32, eager=True)})
        own = pl.DataFrame({"id": wanted}).join(table, on="id", how="left", maintain_order="left")["own"]
        if own.null_count():
            unknown = wanted.filter(own.is_null())[0]
            remedy = f"Use ids as they are in the source, such as {', '.join(known.head(3))}"
            raise UserError(f"there is no {kind} {unknown}", file=self.folder, remedy=remedy)
        return own.to_numpy()

    def evaluate_lists(
        self,
        lists: Any,
        protocol: str = "full",
        *,
        split: SplitName = "test",
        at: Sequence[int] = (5, 10),
        **options: Any,
    ) -> ListEvaluation:
        """Evaluates lists that any system made, as `python -m lrd_jax.evaluate --lists-from` does.

        Args:
          lists: a frame of polars or pandas, or a file: the columns user, item, and rank or score, ids of the source.
          protocol, split, at, options: as in `Run.evaluate`. Items that are no candidates are taken out of the lists.

        Raises:
          UserError: a column is missing, or a row is wrong: an unknown id, an item that a list has twice, ...
        """
        return evaluation.evaluate_anybodys_lists(self.corpus, self.folder, lists, protocol, split, at, options)


def as_ids(raw: Sequence[Any] | pl.Series) -> pl.Series:
    """Ids as strings, String [N], from a series, an array or a list that may mix types."""
    return raw.cast(pl.String) if isinstance(raw, pl.Series) else pl.Series([str(one) for one in raw], dtype=pl.String)


def load_dataset(folder: str | Path) -> Dataset:
    """Reads and checks a dataset folder.

    Raises:
      UserError: something in its files is missing or wrong; the message gives file, line, field and a fix.
    """
    dataset = Dataset(Path(folder).absolute())
    _ = dataset.corpus  # read now, so that a mistake in the files raises here
    return dataset


def dataset_from_frame(
    interactions: Any,
    *,
    user: str = "user_id",
    item: str = "item_id",
    time: str | None = None,
    items: Any = None,
    item_id: str | None = None,
    attributes: Sequence[str] = (),
    relations: Sequence[str] = (),
    template: str | None = None,
    folder: str | Path | None = None,
    core: int = 5,
    negatives: int = 99,
    seed: int = 0,
) -> Dataset:
    """Makes a dataset from a frame of interactions and perhaps one of items, as `python -m lrd_jax.prepare table` does.

    Args:
      interactions: polars or pandas frame, one row per interaction.
      user, item: its columns of user and item ids, in any format.
      time: its column of times: seconds, milliseconds, dates, ... None: the rows are in order of time.
      items: polars or pandas frame, one row per item; its columns can fill the template.
      item_id: its column of item ids. None: the same name as in the interactions.
      attributes: columns of items that become attributes; a cell holds one value or a list of values.
      relations: columns of items with lists of other items' ids.
      template: template of the item texts, as in "{title:32} {category}". None: all columns of items.
      folder: where to write the dataset folder. None: in the cache, under a name derived from the content.
      core: users and items with fewer interactions are removed.
      negatives: number of negatives per row of dev and test.
      seed: seed of the negatives.

    Raises:
      UserError: a column is missing, a cell cannot be understood, or nothing is left after the filter.
    """
    options = PrepareOptions(core=core, negatives=negatives, seed=seed, template=template)
    with tempfile.TemporaryDirectory() as temporary:
        files = {"interactions": to_parquet(interactions, Path(temporary), "interactions")}
        if items is not None:
            files["items"] = to_parquet(items, Path(temporary), "items")
        if folder is None:
            contents = [file.read_bytes() for file in files.values()]
            chosen = repr((user, item, time, item_id, tuple(attributes), tuple(relations), options))
            digest = hashlib.sha256(b"".join([*contents, chosen.encode()])).hexdigest()[:16]
            folder = cache_dir() / "datasets" / f"frame-{digest}"
        about = None
        if items is not None:
            about = ItemColumns(files["items"], item_id or item, tuple(attributes), tuple(relations))
        with frames_named(Path(temporary)):
            raw, _ = read_interaction_table(files["interactions"], InteractionColumns(user, item, time), about)
        prepare_folder(raw, Path(folder), options)
    return load_dataset(folder)
