"""What this machine can do, measured beside every benchmark, since machines differ and drift."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

MATMUL_SIZE = 2048


def best_seconds(call: Callable[[], Any], repeat: int) -> float:
    """Least wall time of a call over `repeat` runs after a warm-up, results awaited."""
    jax.block_until_ready(call())
    seconds = []
    for _ in range(repeat):
        started = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def matmul_seconds(repeat: int = 5) -> float:
    """Least wall time of one 2048³ float32 matrix product, 17.2 GFLOP, on one device of this process."""
    a = jax.random.normal(jax.random.key(0), (MATMUL_SIZE, MATMUL_SIZE))
    product = jax.jit(jnp.matmul)
    return best_seconds(lambda: product(a, a), repeat)
