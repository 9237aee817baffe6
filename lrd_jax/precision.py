"""Matrix products in the number format that `ModelConfig.precision` names; their sums are float32 always."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from lrd_jax.config import Precision

_ON_ACCELERATORS = {
    "float32": jax.lax.Precision.HIGHEST,
    "tf32": jax.lax.Precision.HIGH,  # TensorFloat-32 on NVIDIA GPUs, three bfloat16 products on TPUs
    "bfloat16": jax.lax.Precision.DEFAULT,
}
_MANTISSA_BITS = {"tf32": 10, "bfloat16": 7}


def in_float32(function: Callable) -> Callable:
    """Decorates what is jitted: products are float32 where nothing else is asked for; jax lets accelerators round."""

    @functools.wraps(function)
    def traced(*args):
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

    Differentiated by hand: gradients are float32 too, which jax would round to the format of the operands, and XLA on
    CPU takes up to 20 times longer for products of transposed matrices than for transposing them first.
    """
    return matmul_of_rounded(rounded(a, precision), rounded(b, precision), precision)


def _forward(a: jax.Array, b: jax.Array, precision: Precision):
    return matmul(a, b, precision), (a, b)


def _backward(precision: Precision, operands: tuple[jax.Array, jax.Array], gradient: jax.Array):
    a, b = operands
    return matmul(gradient, transposed(b), precision), matmul(transposed(a), gradient, precision)


matmul.defvjp(_forward, _backward)


def transposed(x: jax.Array) -> jax.Array:
    """Swaps the last two axes, on a CPU in memory: the barrier keeps XLA from folding it into a product."""
    swapped = jnp.swapaxes(x, -1, -2)
    return jax.lax.optimization_barrier(swapped) if jax.default_backend() == "cpu" else swapped


def matmul_of_rounded(a: jax.Array, b: jax.Array, precision: Precision) -> jax.Array:
    """As `matmul`, of operands that `rounded` has been given."""
    return jnp.matmul(a, b, precision=_ON_ACCELERATORS[precision], preferred_element_type=jnp.float32)
