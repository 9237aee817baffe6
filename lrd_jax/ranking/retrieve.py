"""Candidates for large catalogues: a fast model picks N items, which the run's own model then ranks exactly."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lrd_jax.data.batch import History, Tables
from lrd_jax.data.corpus import Corpus
from lrd_jax.models.simple import CountedSystem, ItemKNNSystem, item_knn
from lrd_jax.ranking.ranker import Ranker

NUM_NEIGHBOURS = 100
"""Neighbours of each item that `item_knn` keeps."""


class TextSystem(CountedSystem):
    """An item's score is the mean cosine between its text embedding and those of the history."""

    users_per_block = 256

    def encode(self, params: Any, users: jax.Array, history: History, tables: Tables) -> jax.Array:
        """The sum of the history's text embeddings, each of length 1; float32 [B, T]."""
        return jnp.sum(params["text"][history.items], axis=1)

    def score(self, params: Any, encoded: jax.Array, candidates: jax.Array, tables: Tables) -> jax.Array:
        """Scores candidates [B, C]; float32 [B, C]."""
        return jnp.sum(params["text"][candidates] * encoded[:, None], axis=-1)

    def score_items(self, params: Any, encoded: jax.Array, items: jax.Array, tables: Tables) -> jax.Array:
        """Scores items [C] for all users of `encode`; float32 [B, C]."""
        scores: jax.Array = encoded @ params["text"][items].T
        return scores


def knn_ranker(corpus: Corpus, history_length: int) -> Ranker:
    """Ranks by the cosines of items in the training interactions."""
    return _counted(item_knn(corpus, NUM_NEIGHBOURS), corpus, history_length)


def text_ranker(corpus: Corpus, text: np.ndarray, history_length: int) -> Ranker:
    """Ranks by text embeddings float32 [I + 1, T]."""
    return _counted(TextSystem({"text": unit_length(text)}), corpus, history_length)


def unit_length(rows: np.ndarray) -> np.ndarray:
    """Rows [N, D] divided by their lengths; rows of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def _counted(system: ItemKNNSystem | TextSystem, corpus: Corpus, history_length: int) -> Ranker:
    tables = Tables(jnp.zeros((1, 0, 0), jnp.int32), None)
    params = system.init(jax.random.key(0), tables)
    return Ranker(system, params, tables, history_length=history_length, num_items=corpus.num_items)
