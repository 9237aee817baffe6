"""Candidates that no dataset folder lists: all items that a user could still come to, or some of them at random."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrd_jax.arrays import Arrays

_PLACES_PER_STEP = 256  # of the histories that are read at a time, so that the longest one sets no array's size


def other_items(arrays: Arrays, rows: jax.Array, num_items: int, *, keep_seen: bool = False) -> jax.Array:
    """All items but each row's target and, unless they are kept, those of its user's rows before it.

    Args:
      arrays: the dataset.
      rows: int32 [B], of the sequence arrays.
      num_items: I.
      keep_seen: leave out the target only.

    Returns:
      int32 [B, I]: the ids 1..I in order, 0 in the place of those left out.
    """
    start = rows if keep_seen else arrays.sequence_offsets[arrays.sequence_users[rows]]
    batch = jnp.arange(len(rows))[:, None]

    def leave_out(step: jax.Array, items: jax.Array) -> jax.Array:
        places = start[:, None] + step * _PLACES_PER_STEP + jnp.arange(_PLACES_PER_STEP)
        taken = jnp.where(places <= rows[:, None], arrays.sequence_items[places], 0)  # the row itself: the target
        return items.at[batch, taken].set(0)

    steps = jnp.max(rows - start) // _PLACES_PER_STEP + 1
    items = jnp.broadcast_to(jnp.arange(num_items + 1, dtype=jnp.int32), (len(rows), num_items + 1))
    return jax.lax.fori_loop(0, steps, leave_out, items)[:, 1:]


def draw_negatives(
    key: jax.Array, arrays: Arrays, rows: jax.Array, log_weights: jax.Array, num_negatives: int
) -> jax.Array:
    """Draws negatives for each row among `other_items`, one after the other without replacement, p(i) ∝ weight_i.

    What a row gets depends on the key and the row alone, so that all models are given the same.

    Args:
      key: random key.
      arrays: the dataset.
      rows: int32 [B], of the sequence arrays.
      log_weights: float32 [I], −∞ for items that are never drawn; enough others must be left for each row.
      num_negatives: n.

    Returns:
      int32 [B, n], distinct within a row.

    Source: the Gumbel-top-k trick (Kool et al., ICML 2019).
    """
    items = other_items(arrays, rows, len(log_weights))
    # mode="high": float32's coarse steps below 1 would make ties among the largest of millions of draws.
    draw = jax.vmap(lambda row: jax.random.gumbel(jax.random.fold_in(key, row), log_weights.shape, mode="high"))
    _, places = jax.lax.top_k(jnp.where(items > 0, draw(rows) + log_weights, -jnp.inf), num_negatives)
    return jnp.take_along_axis(items, places, axis=1)
