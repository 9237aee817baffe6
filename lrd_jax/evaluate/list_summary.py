"""All metrics of lists at every cutoff, and what they need to know of a dataset."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lrd_jax.config.schema import TextConfig
from lrd_jax.data.corpus import Corpus
from lrd_jax.data.texts import ITEM_TEXT
from lrd_jax.errors import UserError
from lrd_jax.evaluate import list_diversity, list_metrics
from lrd_jax.files import is_there
from lrd_jax.models.simple import item_counts
from lrd_jax.terminal.lines import warn
from lrd_jax.text.store import load_or_embed

METRICS = {
    "Precision": "share of the list that is relevant; with one target at most 1 / K",
    "Recall": "share of targets in the list",
    "MAP": "mean average precision; with one target 1 / rank within the list",
    "Coverage": "share of the catalogue in some list",
    "Gini": "0: all items listed equally often, towards 1: always the same",
    "Entropy": "of what is listed, nats",
    "Popularity": "mean training interactions of the listed items",
    "Lift": "how much more popular the lists are than the users' histories: 0 as popular, 1 twice as popular",
    "Novelty": "mean of -log2(share of users who had the item in training), bits",
    "ILD attributes": "attribute values that only one of two items of a list has, mean over pairs",
    "ILD text": "cosine distance of the texts of two items of a list, mean over pairs",
    "Personalisation": "1 - mean share of items that two lists have in common",
}
"""The metrics in the order of tables, and what each says."""


@dataclasses.dataclass(frozen=True)
class ListFacts:
    """What the metrics need to know of a dataset and the rows of a split.

    Attributes:
      targets: int32 [N].
      num_items: I.
      interactions: int64 [I + 1], of each item in training.
      users_of_item: int64 [I + 1], different users of each item in training.
      num_users: with training interactions.
      profile_popularity: float64 [N], mean `interactions` of what the row's user had before it.
      values: int32 [I + 1, W], ids of each item's attribute values, 0 for padding; None without attributes.
      vectors: float32 [I + 1, T], text embeddings; None without texts.
    """

    targets: np.ndarray
    num_items: int
    interactions: np.ndarray
    users_of_item: np.ndarray
    num_users: int
    profile_popularity: np.ndarray
    values: np.ndarray | None
    vectors: np.ndarray | None


def list_facts(corpus: Corpus, rows: np.ndarray, vectors: np.ndarray | None) -> ListFacts:
    """The facts of a dataset and of rows int32 [N] of its sequence arrays; vectors are of `text_vectors`."""
    users, items = corpus.sequence_users, corpus.sequence_items
    interactions = item_counts(corpus)
    pairs = np.unique(np.stack([items[corpus.train_rows], users[corpus.train_rows]]), axis=1)
    until = np.concatenate([[0], np.cumsum(interactions[items])])
    start = corpus.sequence_offsets[users[rows]]
    values = np.where(corpus.holds_value, corpus.item_values, 0).reshape(corpus.num_items + 1, -1)
    return ListFacts(
        targets=items[rows],
        num_items=corpus.num_items,
        interactions=interactions,
        users_of_item=np.bincount(pairs[0], minlength=corpus.num_items + 1),
        num_users=len(np.unique(pairs[1])),
        profile_popularity=(until[rows] - until[start]) / (rows - start),
        values=values if values.any() else None,
        vectors=vectors,
    )


def text_vectors(corpus: Corpus, folder: Path) -> np.ndarray | None:
    """Embeddings of the item texts with the default encoder, the same for all systems; float32 [I + 1, T].

    None where the dataset folder has no texts, or some items have none, which is warned about.
    """
    if not is_there(folder / ITEM_TEXT) and not any(folder.glob("*.text")):
        return None
    try:
        return load_or_embed(folder, corpus.num_items, TextConfig.model_validate({}))
    except UserError as error:
        warn(f"there is no diversity by text: {error}")
        return None


def summarise_lists(items: np.ndarray, facts: ListFacts, cutoffs: Sequence[int]) -> dict[str, float | None]:
    """Every metric at every cutoff: {"Precision@5": ..., ...}.

    Per-list metrics are means over rows. An empty list counts 0 in Precision, Recall and MAP, and is left out of the
    others. None: not defined, such as diversity by text without texts.

    Args:
      items: int [N, K], lists; K is at least the largest cutoff, or all that there is.
      facts: of the dataset and the rows.
      cutoffs: the values of K.
    """
    found: dict[str, float | None] = {}
    for cutoff in cutoffs:
        padding = ((0, 0), (0, max(0, cutoff - items.shape[1])))
        for name, value in _at(np.pad(items[:, :cutoff], padding), facts).items():
            found[f"{name}@{cutoff}"] = None if np.isnan(value) else value
    return found


def _at(items: np.ndarray, facts: ListFacts) -> dict[str, float]:
    popularity = list_metrics.average_popularity(items, facts.interactions)
    novelty = list_metrics.novelty(items, facts.users_of_item, facts.num_users)
    nothing = np.full(1, np.nan)
    by_values = nothing if facts.values is None else list_diversity.diversity_by_values(items, facts.values)
    by_vectors = nothing if facts.vectors is None else list_diversity.diversity_by_vectors(items, facts.vectors)
    return {
        "Precision": float(list_metrics.precision(items, facts.targets).mean()),
        "Recall": float(list_metrics.recall(items, facts.targets).mean()),
        "MAP": float(list_metrics.average_precision(items, facts.targets).mean()),
        "Coverage": list_metrics.coverage(items, facts.num_items),
        "Gini": list_metrics.gini(items, facts.num_items),
        "Entropy": list_metrics.entropy(items),
        "Popularity": _mean(popularity),
        "Lift": list_metrics.popularity_lift(popularity, facts.profile_popularity),
        "Novelty": _mean(novelty),
        "ILD attributes": _mean(by_values),
        "ILD text": _mean(by_vectors),
        "Personalisation": list_diversity.personalisation(items, facts.num_items),
    }


def _mean(values: np.ndarray) -> float:
    """The mean of what is not NaN; NaN where nothing is left."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else np.nan
