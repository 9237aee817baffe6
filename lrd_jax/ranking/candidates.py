"""Candidates that no dataset folder lists: all items that a user could still come to, or some of them at random."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from lrd_jax.data.device import Arrays

_PLACES_PER_STEP = 256  # of the histories that are read at a time, so that the longest one sets no array's size


def left_out(arrays: Arrays, rows: jax.Array, num_items: int, *, keep_seen: bool = False) -> jax.Array:
    """Which items are no candidates of a row: its target and, unless they are kept, those of its user's rows before it.

    Args:
      arrays: the dataset.
      rows: int32 [B], of the sequence arrays.
      num_items: I.
      keep_seen: leave out the target only.

    Returns:
      int8 [B, I], of the items 1..I: 1 for those left out, 0 for the others. Not bool, which XLA's CPU code counts at
      half the speed.
    """
    start = rows if keep_seen else arrays.sequence_offsets[arrays.sequence_users[rows]]
    # Of each row in a flat array, where item 0 takes padding.
    first = jnp.arange(len(rows), dtype=jnp.int32)[:, None] * (num_items + 1)

    def leave_out(step: jax.Array, flags: jax.Array) -> jax.Array:
        places = start[:, None] + step * _PLACES_PER_STEP + jnp.arange(_PLACES_PER_STEP, dtype=jnp.int32)[None]
        taken = jnp.where(places <= rows[:, None], arrays.sequence_items[places], 0)  # the row itself: the target
        return flags.at[(first + taken).ravel()].set(1)

    steps = jnp.max(rows - start) // _PLACES_PER_STEP + 1
    flags = jnp.zeros(len(rows) * (num_items + 1), jnp.int8)
    left: jax.Array = jax.lax.fori_loop(0, steps, leave_out, flags)
    return left.reshape(len(rows), -1)[:, 1:]


def draw_negatives(
    key: jax.Array, arrays: Arrays, rows: jax.Array, log_weights: jax.Array, num_negatives: int
) -> jax.Array:
    """Draws negatives for each row of what is not `left_out`, one by one without replacement, p(i) ∝ weight_i.

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
    is_out = left_out(arrays, rows, len(log_weights)) == 1
    # mode="high": float32's coarse steps below 1 would make ties among the largest of millions of draws.
    gumbel = functools.partial(jax.random.gumbel, shape=log_weights.shape, dtype=jnp.float32, mode="high")

    def draw(row: jax.Array) -> jax.Array:
        return gumbel(jax.random.fold_in(key, row))

    drawn = jax.vmap(draw)(rows) + log_weights[None]
    return jax.lax.top_k(jnp.where(is_out, -jnp.inf, drawn), num_negatives)[1] + 1
