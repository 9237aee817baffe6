"""Matrix products in the number format that `ModelConfig.precision` names; their sums are float32 always."""

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
    """Decorates what is jitted: products are float32 where nothing else is asked for; jax lets accelerators round."""

    @functools.wraps(function)
    def traced(*args: *Arguments) -> Result:
        with jax.default_matmul_precision("highest"):
            return function(*args)

    return traced


def rounded(x: jax.Array, precision: Precision) -> jax.Array:
    """An operand as the products of that precision see it: bfloat16 as such, TF32 as rounded float32.

    A GPU rounds to TF32 by itself. A CPU has no TF32: rounded here, a run on it shows what TF32 does to quality.
    """
    if precision == "float32" or (precision == "tf32" and jax.default_backend() != "cpu"):
        return x
    # Rounded apart from the conversion, which XLA leaves out where it converts back for want of a bfloat16 product.
    x = jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=_MANTISSA_BITS[precision])
    return x.astype(jnp.bfloat16) if precision == "bfloat16" else x


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def matmul(a: jax.Array, b: jax.Array, precision: Precision) -> jax.Array:
    """[..., i, k] times [..., k, j] to float32 [..., i, j], operands rounded as `precision` says.

    Differentiated by hand, since jax would round the gradients to the format of the operands.
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
    """As `matmul`, of operands that `rounded` has been given."""
    return jnp.matmul(a, b, precision=_ON_ACCELERATORS[precision], preferred_element_type=jnp.float32)
