"""Matrix products in the number format of `ModelConfig.precision`; their sums are always float32."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import jax
import jax.numpy as jnp

from lrd_jax.config.schema import Precision

_ON_ACCELERATORS = {
    "float32": jax.lax.Precision.HIGHEST,
    "tf32": jax.lax.Precision.HIGH,  # TensorFloat-32 on NVIDIA GPUs, three bfloat16 products on TPUs
    "bfloat16": jax.lax.Precision.DEFAULT,
}
_MANTISSA_BITS = {"tf32": 10, "bfloat16": 7}

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


def in_float32(function: Callable[[*Arguments], Result]) -> Callable[[*Arguments], Result]:
    """Decorator for jitted functions: products default to float32, because jax lets accelerators round."""

    @functools.wraps(function)
    def traced(*args: *Arguments) -> Result:
        with jax.default_matmul_precision("highest"):
            return function(*args)

    return traced


def rounded(x: jax.Array, precision: Precision) -> jax.Array:
    """Rounds an operand for products of this precision: bfloat16 by type, TF32 as rounded float32.

    A GPU rounds to TF32 by itself. A CPU has no TF32; rounding here lets a CPU run show how TF32 affects quality.
    """
    if precision == "float32" or (precision == "tf32" and jax.default_backend() != "cpu"):
        return x
    # Round explicitly: without a bfloat16 product, XLA converts back and leaves the conversion out.
    x = jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=_MANTISSA_BITS[precision])
    return x.astype(jnp.bfloat16) if precision == "bfloat16" else x


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def matmul(a: jax.Array, b: jax.Array, precision: Precision) -> jax.Array:
    """[..., i, k] times [..., k, j] to float32 [..., i, j], operands rounded as `precision` says.

    Has a custom gradient, because jax would round the gradients to the format of the operands.
    """
    return matmul_of_rounded(rounded(a, precision), rounded(b, precision), precision)


def _forward(a: jax.Array, b: jax.Array, precision: Precision) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return matmul(a, b, precision), (a, b)


def _backward(
    precision: Precision, operands: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    a, b = operands
    return matmul(gradient, jnp.swapaxes(b, -1, -2), precision), matmul(jnp.swapaxes(a, -1, -2), gradient, precision)


matmul.defvjp(_forward, _backward)


def matmul_of_rounded(a: jax.Array, b: jax.Array, precision: Precision) -> jax.Array:
    """As `matmul`, for operands that are already rounded by `rounded`."""
    return jnp.matmul(a, b, precision=_ON_ACCELERATORS[precision], preferred_element_type=jnp.float32)
