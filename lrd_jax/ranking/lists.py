"""Top-K lists: the candidates with the highest scores for every row of a split, in one jitted call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from lrd_jax.data.device import Arrays
from lrd_jax.models.system import Params, System
from lrd_jax.ranking.metrics import Counts, target_counts
from lrd_jax.ranking.on_device import count_catalogue, over_candidates, score_catalogue, score_listed
from lrd_jax.ranking.protocols import Candidates, Catalogue

_ROWS_PER_BLOCK = 256
"""Where nothing is scored."""


class TopItems(NamedTuple):
    """Lists of N rows, best first.

    Attributes:
      items: int32 [N, K], each item at most once in a row; 0 at the end where a row has fewer than K candidates.
      scores: float32 [N, K], −∞ there.
    """

    items: jax.Array
    scores: jax.Array


def top_items(items: jax.Array, scores: jax.Array, valid: jax.Array, length: int) -> TopItems:
    """The items with the highest scores; of items with the same score, the one with the lower number comes first.

    Args:
      items: int32 [C], ascending; of equal ones the first counts.
      scores: float32 [C], finite where valid.
      valid: bool [C], False for what is no candidate.
      length: K.

    Returns:
      Lists of one row: [K].
    """
    again = jnp.concatenate([jnp.zeros(1, bool), items[1:] == items[:-1]])
    valid &= ~again
    scores = jnp.where(scores == 0, 0.0, scores)  # -0.0 is no less than 0.0
    best, places = jax.lax.top_k(jnp.where(valid, scores, -jnp.inf), min(length, len(items)))  # stable
    missing = (0, length - len(places))
    found = jnp.where(valid[places], items[places], 0)
    return TopItems(jnp.pad(found, missing), jnp.pad(best, missing, constant_values=-jnp.inf))


def build_lists(
    system: System, mesh: Mesh, candidates: Candidates, *, history_length: int, length: int
) -> Callable[..., tuple[Counts, TopItems]]:
    """Compiles to (params, arrays, *by_row, *shared) → counts and lists of the rows, of the same scores.

    Args:
      system: the model.
      mesh: the devices.
      candidates: of a protocol; the arguments are parts of its `by_row`, and its `shared`.
      history_length: H.
      length: K.
    """

    def of_catalogue(params: Params, arrays: Arrays, rows: jax.Array, out: jax.Array) -> tuple[Counts, TopItems]:
        targets, num_items = arrays.sequence_items[rows], out.shape[1]
        scores = score_catalogue(system, params, arrays, rows, num_items, history_length)
        items = jnp.arange(1, num_items + 1, dtype=jnp.int32)
        valid = (out == 0) | (items[None] == targets[:, None])
        found = jax.vmap(lambda scores, valid: top_items(items, scores, valid, length))(scores, valid)
        return count_catalogue(scores, targets, out), found

    def of_listed(params: Params, arrays: Arrays, rows: jax.Array, negatives: jax.Array) -> tuple[Counts, TopItems]:
        items, scores = score_listed(system, params, arrays, rows, negatives, history_length)
        others = (items > 0).at[:, 0].set(False)
        counts = jax.vmap(target_counts)(scores[:, 0], scores, others)
        items, scores = jax.lax.sort((items, scores), num_keys=1)
        return counts, jax.vmap(lambda items, scores: top_items(items, scores, items > 0, length))(items, scores)

    block = of_catalogue if isinstance(candidates, Catalogue) else of_listed
    return over_candidates(block, mesh, candidates, system.users_per_block)


def with_items(candidates: Candidates, items: np.ndarray) -> Candidates:
    """The candidates beside items int32 [N, K] of each row: `of_rows` gives both."""
    number = len(candidates.by_row)

    def of_rows(arrays: Arrays, *inputs: jax.Array) -> tuple[Any, jax.Array]:
        return candidates.of_rows(arrays, *inputs[:number], *inputs[number + 1 :]), inputs[number]

    return dataclasses.replace(candidates, of_rows=of_rows, by_row=(*candidates.by_row, items))


def build_membership(mesh: Mesh, candidates: Candidates) -> Callable[..., jax.Array]:
    """Compiles to ((), arrays, *by_row, *shared) → bool [N, K]: which items are candidates of their row.

    Args:
      mesh: the devices.
      candidates: of `with_items`.
    """
    listed = not isinstance(candidates, Catalogue)

    def block(params: tuple[()], arrays: Arrays, rows: jax.Array, found: tuple[jax.Array, jax.Array]) -> jax.Array:
        given, items = found
        targets = arrays.sequence_items[rows][:, None]
        if listed:
            flags = jnp.zeros((len(rows), len(arrays.tables.item_values)), bool)
            is_there = jax.vmap(lambda flags, given: flags.at[given].set(True))(flags, given)
            member = jnp.take_along_axis(is_there, items, axis=1)
        else:
            member = jnp.take_along_axis(given, jnp.maximum(items - 1, 0), axis=1) == 0
        return (items > 0) & (member | (items == targets))

    return over_candidates(block, mesh, candidates, _ROWS_PER_BLOCK)
