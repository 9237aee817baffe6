"""What this machine can do, measured beside every benchmark, since machines differ and drift."""

from __future__ import annotations

import functools
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from lrd_jax.config.schema import Precision
from lrd_jax.devices import data_mesh
from lrd_jax.models.precision import matmul_of_rounded, rounded

REPEAT = 10


class Peak(NamedTuple):
    """What the machine reaches.

    Attributes:
      matmul_flops: floating-point operations per second of a large matrix product.
      matmul: which product that was.
      copy_bytes_per_second: bytes read and written per second by a large copy, all devices at once.
    """

    matmul_flops: float
    matmul: str
    copy_bytes_per_second: float


def timed(call: Callable[[], Any], repeat: int) -> list[float]:
    """Wall seconds of a call, `repeat` times after a warm-up, results awaited."""
    jax.block_until_ready(call())
    seconds = []
    for _ in range(repeat):
        started = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - started)
    return seconds


def measure_peak(precision: Precision) -> Peak:
    """Measures the matrix product and the copy on the devices of this process, in a few seconds.

    The product is one of the model's: operands of that precision, sums in float32.

    A product on one CPU device uses all cores, whatever the devices are set up for; one product on every device at
    once is the other way to use them. The faster of the two is the peak. Arrays are larger on accelerators, which a
    2048³ product does not fill.
    """
    on_cpu = jax.default_backend() == "cpu"
    size, copied = (2048, 2**26) if on_cpu else (8192, 2**28)
    mesh = data_mesh()
    split = NamedSharding(mesh, P("data"))
    name = f"{size}³ {precision}"

    one = rounded(jax.random.normal(jax.random.key(0), (size, size)), precision)
    multiply = functools.partial(matmul_of_rounded, precision=precision)
    product = jax.jit(multiply)
    rates = {f"{name} on 1 of {mesh.size} devices": 2 * size**3 / min(timed(lambda: product(one, one), REPEAT))}
    if mesh.size > 1:
        each = jax.device_put(jnp.broadcast_to(one, (mesh.size, size, size)), split)
        products = jax.jit(
            jax.shard_map(lambda a: multiply(a[0], a[0])[None], mesh=mesh, in_specs=P("data"), out_specs=P("data"))
        )
        seconds = min(timed(lambda: products(each), REPEAT))
        rates[f"{name} on each of {mesh.size} devices"] = mesh.size * 2 * size**3 / seconds
    matmul = max(rates, key=rates.get)

    source = jax.device_put(jnp.ones((mesh.size, copied // mesh.size)), split)
    into = [jnp.zeros_like(source)]
    # Into memory that is already there: the system would take longer to provide new pages than the copy takes.
    copy = jax.jit(lambda into, source: jnp.copy(source), donate_argnums=0, keep_unused=True)

    def copy_again() -> jax.Array:
        into[0] = copy(into[0], source)
        return into[0]

    return Peak(rates[matmul], matmul, 2 * source.nbytes / min(timed(copy_again, REPEAT)))


def peak_bytes() -> tuple[int, str]:
    """Most memory in use so far, and of what: the fullest device, or this process where devices do not tell."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    if all("peak_bytes_in_use" in device for device in stats):
        return max(device["peak_bytes_in_use"] for device in stats), "device"
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "process"
