"""The rank of every target: one row per target in a frame, from which every table and file is made."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from lrd_jax.data.corpus import Corpus
from lrd_jax.data.id_maps import raw_ids
from lrd_jax.data.pipeline import dataset_folder
from lrd_jax.data.splits import repeated
from lrd_jax.models.simple import item_counts
from lrd_jax.ranking.metrics import Counts
from lrd_jax.ranking.protocols import Protocol, SplitName, TieRule
from lrd_jax.training.load import Trained
from lrd_jax.training.setup import checked_ranks


class Subject(NamedTuple):
    """What is evaluated: a run, or lists of anybody.

    Attributes:
      run: the run folder or the file, as the user names it.
      model: its title.
      seed: of the run; None: not known.
      corpus: the dataset.
      data: its folder.
    """

    run: str
    model: str
    seed: int | None
    corpus: Corpus
    data: Path

    @classmethod
    def of_run(cls, folder: Path, trained: Trained) -> Subject:
        """A run in the folder that the user names."""
        config = trained.config
        data = dataset_folder(config.data.path)
        return cls(str(folder), config.model_title, config.run.seed, trained.run.corpus, data)


def results_frame(
    folder: Path, trained: Trained, split_name: SplitName, protocol: Protocol, ties: TieRule, counts: Counts
) -> pl.DataFrame:
    """The `ranks_frame` of a run.

    Args:
      folder: the run folder, as the user names it.
      trained: the run.
      split_name, protocol, ties: of the evaluation.
      counts: what it found.

    Raises:
      UserError: a score was not finite, or the folder's map of ids cannot be read.
    """
    subject = Subject.of_run(folder, trained)
    users = subject.corpus.sequence_users[getattr(subject.corpus, split_name).rows]
    ranks = checked_ranks(counts, users, split_name, ties=ties, folder=folder)
    frame = pl.DataFrame({"rank": ranks, "greater": np.asarray(counts.greater), "equal": np.asarray(counts.equal)})
    return ranks_frame(subject, split_name, protocol, ties, frame)


def ranks_frame(
    subject: Subject, split_name: SplitName, protocol: Protocol, ties: TieRule, ranks: pl.DataFrame
) -> pl.DataFrame:
    """One row for each row of the split, with everything that tells which evaluation it is of.

    Columns: run, model, seed, dataset, split, protocol, ties; user, item (the target), raw_user and raw_item (the ids
    of the source, null where the dataset folder does not tell them: see `raw_ids`), rank, greater, equal (see
    `Counts`), candidates (how many the target was ranked among, itself included), history_length (of the user's
    interactions before), target_popularity (training interactions), target_repeated (whether the user had the target
    before).

    Args:
      subject: what was evaluated.
      split_name, protocol, ties: of the evaluation.
      ranks: rank, greater, equal of each row. Where a list lacks the target the rank is infinite, and the others null.

    Raises:
      UserError: the folder's map of ids cannot be read.
    """
    corpus = subject.corpus
    rows = getattr(corpus, split_name).rows
    users, items = corpus.sequence_users[rows], corpus.sequence_items[rows]
    of_the_run = {"run": subject.run, "model": subject.model, "seed": subject.seed, "dataset": corpus.name}
    of_the_evaluation = {"split": split_name, "protocol": protocol.name, "ties": ties}
    by_row = {
        "user": users,
        "item": items,
        "raw_user": raw_ids(subject.data, "user", users),
        "raw_item": raw_ids(subject.data, "item", items),
        **ranks.to_dict(),
        "candidates": protocol.num_candidates(corpus, split_name).astype(np.int32),
        "history_length": rows - corpus.sequence_offsets[users],
        "target_popularity": item_counts(corpus)[items].astype(np.int32),
        "target_repeated": repeated(corpus.sequence_users, corpus.sequence_items)[rows],
    }
    constants = [pl.lit(value).alias(name) for name, value in {**of_the_run, **of_the_evaluation}.items()]
    return pl.DataFrame(by_row).select(*constants, *by_row)
