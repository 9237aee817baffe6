"""What a model sees: arrays, already drawn and padded."""

from __future__ import annotations

from typing import NamedTuple, cast

import jax
import numpy as np


def from_host(array: np.ndarray) -> jax.Array:
    """The same NumPy array by the type of what it becomes: wherever jax takes its own arrays it takes NumPy's."""
    return cast(jax.Array, array)


class History(NamedTuple):
    """What users did before the moment of prediction, oldest first, padded at the end.

    Attributes:
      items: int32 [B, H], 0 for padding.
      intervals: float32 [B, H], Δt = max(log2(seconds / 60 + 1e-6), 0) from each item to the prediction.
      seconds: int32 [B, H], from each item to the prediction; 0 for padding.
      shortest: int32 [B], the user's shortest time between two interactions at different moments, in seconds; 2³¹ − 1
        where there are none.
    """

    items: jax.Array
    intervals: jax.Array
    seconds: jax.Array
    shortest: jax.Array


class Triples(NamedTuple):
    """Knowledge-graph triples, each with its corruptions.

    Attributes:
      heads, tails: int32 [B, 1 + n], the stored triple's items first.
      relations: int32 [B].
      values: int32 [B], the attribute value's entity, 0 for item-item relations.
    """

    heads: jax.Array
    tails: jax.Array
    relations: jax.Array
    values: jax.Array


class Batch(NamedTuple):
    """Training examples.

    Attributes:
      users: int32 [B].
      candidates: int32 [B, 1 + n], the positive item first, then its negatives.
      history: of the users before the positive item.
      triples: one per example, or None when the dataset holds none.
      negative_history: int32 [B, H], an item the user has not touched for each place of the history; None without LRD.
      weights: float32 [B], 1 for an example and 0 for padding of the last batch.
    """

    users: jax.Array
    candidates: jax.Array
    history: History
    triples: Triples | None
    negative_history: jax.Array | None
    weights: jax.Array


class Tables(NamedTuple):
    """Frozen facts about items that models look up.

    Attributes:
      item_values: int32 [I + 1, A, V], entities of each item's attribute values, padded with 0 (`Corpus`).
      text: float32 [I + 1, T], text embeddings, row 0 is padding; None without LRD.
    """

    item_values: jax.Array
    text: jax.Array | None
