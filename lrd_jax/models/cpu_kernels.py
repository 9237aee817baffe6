"""What XLA's CPU compiler needs help with, each trick with its measured gain; on other devices nothing changes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def transposed(x: jax.Array) -> jax.Array:
    """Swaps the last two axes, on a CPU in memory: the barrier keeps XLA from folding the swap into a product."""
    swapped = jnp.swapaxes(x, -1, -2)
    return jax.lax.optimization_barrier(swapped) if jax.default_backend() == "cpu" else swapped


def random_bits(key: jax.Array, number: int) -> jax.Array:
    """uint32 [number], equal to `jax.random.bits(key, (number,))`, its rounds written out.

    On a CPU jax loops over the rounds, and each pass goes through memory.

    Args:
      key: of any kind; of another than threefry's the bits come from jax.
      number: at most 2³².

    Source: Threefry-2x32 with 20 rounds (Salmon et al., SC 2011), counters as jax_threefry_partitionable has them.
    """
    if str(jax.random.key_impl(key)) != "threefry2x32":
        return jax.random.bits(key, (number,), jnp.uint32)
    first, second = jax.random.key_data(key)
    schedule = (first, second, first ^ second ^ np.uint32(0x1BD11BDA))
    x = jnp.broadcast_to(first, (number,))  # the counter's upper half is 0
    y: jax.Array = jnp.arange(number, dtype=jnp.uint32) + second
    for group in range(5):
        for bits in _ROTATIONS[group % 2]:
            x = x + y
            y = (y << bits | y >> (32 - bits)) ^ x
        x = x + schedule[(group + 1) % 3]
        y = y + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return x ^ y
