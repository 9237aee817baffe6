"""Popularity and ItemKNN, which count training interactions instead of learning."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from lrd_jax.data.batch import Batch, History, Tables
from lrd_jax.data.corpus import Corpus
from lrd_jax.models.lazy_rows import Rows
from lrd_jax.models.system import Params, Terms

_ENTRIES_PER_BLOCK = 1 << 24  # maximum size of the dense block of similarities


def item_counts(corpus: Corpus) -> np.ndarray:
    """Number of training interactions of each item, int64 [I + 1]; 0 for padding."""
    return np.bincount(corpus.sequence_items[corpus.train_rows], minlength=corpus.num_items + 1)


def cosine_neighbours(corpus: Corpus, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The most similar items of each item, by the cosine of their sets of users.

    cos(i, j) = |U_i ∩ U_j| / √(|U_i| · |U_j|), where U_i is the set of users with a training interaction with i.

    Args:
      corpus: the dataset.
      number: k, number of neighbours per item.

    Returns:
      int32 [I + 1, k], the items by descending similarity, padded with 0, and float32 [I + 1, k], the cosines.

    Source: Sarwar et al., "Item-based collaborative filtering recommendation algorithms" (WWW 2001).
    """
    size = corpus.num_items + 1
    number = min(number, corpus.num_items)
    users, items = corpus.sequence_users[corpus.train_rows], corpus.sequence_items[corpus.train_rows]
    matrix = scipy.sparse.csr_array((np.ones(len(users), np.float32), (users, items)), (corpus.num_users + 1, size))
    matrix.data[:] = 1  # a repeated interaction counts once
    lengths = np.sqrt(np.maximum(matrix.sum(axis=0), 1))
    matrix = (matrix / lengths).tocsr()
    neighbours, similarities = np.zeros((size, number), np.int32), np.zeros((size, number), np.float32)
    transposed = matrix.T.tocsr()
    rows_per_block = max(1, _ENTRIES_PER_BLOCK // size)
    for start in range(0, size, rows_per_block):
        block = (transposed[start : start + rows_per_block] @ matrix).toarray()  # [rows, I + 1]
        rows = np.arange(len(block))
        block[rows, start + rows] = 0  # an item is not its own neighbour
        nearest = np.argpartition(-block, number - 1, axis=1)[:, :number]
        cosines = np.take_along_axis(block, nearest, axis=1)
        order = np.lexsort((nearest, -cosines))
        nearest, cosines = (np.take_along_axis(x, order, axis=1) for x in (nearest, cosines))
        similarities[start + rows] = cosines
        neighbours[start + rows] = np.where(cosines > 0, nearest, 0)
    return neighbours, similarities


@dataclasses.dataclass(frozen=True)
class CountedSystem:
    """Base of Popularity and ItemKNN: parameters that are counted once, and no losses.

    Attributes:
      counted: the parameters.
    """

    counted: Params
    users_at_once: ClassVar[Mapping[str, int]] = MappingProxyType({"cpu": 64, "accelerator": 64})
    users_per_block = 64
    candidates_per_block = 512
    items_per_block = 8192

    @property
    def loss_weights(self) -> dict[str, float]:
        """Empty, because nothing is trained."""
        return {}

    def init(self, key: jax.Array, tables: Tables) -> Params:
        """The counted parameters, without randomness."""
        del key, tables
        counted: Params = jax.tree.map(jnp.asarray, self.counted)
        return counted

    def losses(self, params: Params, batch: Batch, tables: Tables, key: jax.Array) -> Terms:
        """Empty, because nothing is trained."""
        return {}

    def compact(self, batch: Batch, tables: Tables) -> tuple[Batch, Tables, Rows]:
        """Everything unchanged, because nothing is trained."""
        return batch, tables, {}


class PopularitySystem(CountedSystem):
    """An item's score is the number of its training interactions."""

    def encode(self, params: Params, users: jax.Array, history: History, tables: Tables) -> None:
        """Nothing, because scores do not depend on users."""

    def score(self, params: Params, encoded: None, candidates: jax.Array, tables: Tables) -> jax.Array:
        """Scores candidates [B, C]; float32 [B, C]."""
        counts: jax.Array = params["counts"]
        return counts[candidates]

    def score_items(self, params: Params, encoded: None, items: jax.Array, tables: Tables) -> jax.Array:
        """Scores items [C], float32 [1, C]: the same for all users."""
        counts: jax.Array = params["counts"]
        return counts[items][None]


class ItemKNNSystem(CountedSystem):
    """An item's score is the sum of its cosines with the history items that have it as a neighbour."""

    def encode(self, params: Params, users: jax.Array, history: History, tables: Tables) -> jax.Array:
        """The scores of all items, float32 [B, I + 1]."""
        neighbours, similarities = params["neighbours"][history.items], params["similarities"][history.items]
        zeros = jnp.zeros((users.shape[0], len(params["neighbours"])), jnp.float32)

        def add(scores: jax.Array, items: jax.Array, values: jax.Array) -> jax.Array:
            return scores.at[items.ravel()].add(values.ravel())

        return jax.vmap(add)(zeros, neighbours, similarities)

    def score(self, params: Params, encoded: jax.Array, candidates: jax.Array, tables: Tables) -> jax.Array:
        """Scores candidates [B, C]; float32 [B, C]."""
        return jnp.take_along_axis(encoded, candidates, axis=1)

    def score_items(self, params: Params, encoded: jax.Array, items: jax.Array, tables: Tables) -> jax.Array:
        """Scores items [C] for all users of `encode`; float32 [B, C]."""
        return encoded[:, items]


def popularity(corpus: Corpus) -> PopularitySystem:
    """Popularity, counted in the training interactions."""
    return PopularitySystem({"counts": item_counts(corpus).astype(np.float32)})


def item_knn(corpus: Corpus, num_neighbours: int) -> ItemKNNSystem:
    """ItemKNN with the cosines of the training interactions."""
    neighbours, similarities = cosine_neighbours(corpus, num_neighbours)
    return ItemKNNSystem({"neighbours": neighbours, "similarities": similarities})
