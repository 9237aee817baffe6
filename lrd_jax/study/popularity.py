"""A study's outcomes by how often the target was interacted with in training; LRD is to help with rare items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lrd_jax.data.pipeline import dataset_folder
from lrd_jax.data.rechorus import read_corpus
from lrd_jax.errors import UserError
from lrd_jax.models.simple import item_counts
from lrd_jax.ranking.metrics import ranking_metrics
from lrd_jax.ranking.slices import POPULARITY_STARTS, slice_rows
from lrd_jax.study.outcomes import Outcome, compare, correct, spread

COMPARED = ("NDCG@5", "HR@10")
"""The metrics of the comparisons: each more is one more p-value per slice to correct for."""


def target_popularity(outcomes: Sequence[Outcome]) -> np.ndarray:
    """Training interactions of the target in each row of the test split, int64 [N].

    Args:
      outcomes: of one dataset, finished runs among them.

    Raises:
      UserError: the dataset is not where the cells say, cannot be read, or is not the one of all runs.
    """
    config = next(outcome.cell.config for outcome in outcomes if outcome.results)
    folder = dataset_folder(config.data.path)
    corpus = read_corpus(folder)
    users = corpus.sequence_users[corpus.test.rows]
    for outcome in outcomes:
        for seed, results in outcome.results.items():
            same = results["dataset"]["hash"] == corpus.content_hash
            if not (same and np.array_equal(outcome.ranks[seed][0], users)):
                problem = f"it is not the dataset of {outcome.cell.variant}'s run with seed {seed}"
                raise UserError(problem, file=folder, remedy="Name the folder that was trained on with --data")
    counts: np.ndarray = item_counts(corpus)[corpus.sequence_items[corpus.test.rows]]
    return counts


def by_popularity(
    outcomes: Sequence[Outcome], popularity_of: Callable[[Sequence[Outcome]], np.ndarray] = target_popularity
) -> dict[str, Any]:
    """Rows of the test split by the training interactions of their target: the figures and comparisons of each slice.

    Args:
      outcomes: of one or several datasets.
      popularity_of: as `target_popularity`, which reads the dataset.

    Returns:
      {"slices": [{"dataset", "variant", "title", "seeds", "bin", "rows", "test"}], cold items first, test being None
      without rows or runs; "comparisons": as of `compare`, each with its "bin", p-values corrected over all of these;
      "skipped": {dataset: why it has no slices}}
    """
    slices, comparisons, skipped = [], [], {}
    for dataset in dict.fromkeys(outcome.cell.dataset for outcome in outcomes if outcome.results):
        of_dataset = [outcome for outcome in outcomes if outcome.cell.dataset == dataset]
        try:
            popularity = popularity_of(of_dataset)
        except UserError as error:
            skipped[dataset] = str(error)
            continue
        for label, rows in slice_rows(popularity, POPULARITY_STARTS):
            chosen = [_restrict(outcome, rows) for outcome in of_dataset]
            slices += [_figures(outcome, label, int(rows.sum())) for outcome in chosen]
            if rows.any():
                found, _ = compare(chosen, COMPARED)  # nothing fails: every run has the rows of one corpus
                comparisons += [{"bin": label, **comparison} for comparison in found]
    correct(comparisons)
    return {"slices": slices, "comparisons": comparisons, "skipped": skipped}


def _restrict(outcome: Outcome, rows: np.ndarray) -> Outcome:
    """The outcome as if the test split had these rows only, bool [N]; results.json stays as it is."""
    ranks = {seed: (users[rows], ranks[rows]) for seed, (users, ranks) in outcome.ranks.items()}
    return outcome._replace(ranks=ranks)


def _figures(outcome: Outcome, label: str, number: int) -> dict[str, Any]:
    """A cell's metrics over the rows of a slice."""
    cell = outcome.cell
    of_cell = {"dataset": cell.dataset, "variant": cell.variant, "title": cell.title, "seeds": list(outcome.results)}
    runs = [ranking_metrics(ranks) for _, ranks in outcome.ranks.values()] if number else []
    return {**of_cell, "bin": label, "rows": number, "test": spread(runs)}
