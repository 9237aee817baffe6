"""Shared layers, the attention block that refines each candidate's relation tokens, and their pooling."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.export import is_symbolic_dim

from lrd_jax.config.schema import Precision
from lrd_jax.models.cpu_kernels import random_bits, transposed
from lrd_jax.models.precision import matmul

LAYER_NORM_EPSILON = 1e-5
NORMAL_INIT = nn.initializers.normal(0.01, jnp.float32)  # explicit, because JAX_ENABLE_X64 would make it float64
ONES_INIT = functools.partial(nn.initializers.ones, dtype=jnp.float32)
ZEROS_INIT = functools.partial(nn.initializers.zeros, dtype=jnp.float32)


def uniform_init(fan_in: int) -> Callable[..., jax.Array]:
    """Uniform in ± 1 / √fan_in, the initialisation of PyTorch's convolutions and recurrent layers."""
    bound = fan_in**-0.5
    return lambda key, shape: jax.random.uniform(key, shape, jnp.float32, minval=-bound, maxval=bound)


def linear(x: jax.Array, kernel: jax.Array, precision: Precision, bias: jax.Array | None = None) -> jax.Array:
    """[..., i] times [i, j] to [..., j], plus an optional bias [j]."""
    y = matmul(x.reshape(-1, x.shape[-1]), kernel, precision).reshape(*x.shape[:-1], kernel.shape[1])
    return y if bias is None else y + as_last_axis(bias, y.ndim)


def as_last_axis(vector: jax.Array, ndim: int) -> jax.Array:
    """Reshapes [D] to [1, ..., 1, D] with `ndim` axes: explicit broadcasting, because rank promotion is an error."""
    return jax.lax.expand_dims(vector, range(ndim - 1))


def of_rows(function: Callable[[jax.Array], jax.Array], table: jax.Array, ids: jax.Array) -> jax.Array:
    """function(table[ids]) for a function of rows [..., i] → [..., j], a table [N, i] and any ids.

    If the table has fewer rows than there are ids, it applies the function to the whole table, so no row twice.
    """
    return function(table)[ids] if is_less(len(table), ids.size) else function(table[ids])


def is_less(number: int, size: int) -> bool:
    """number < size; False where the size is symbolic, that of a batch of any size in a program to export."""
    return not is_symbolic_dim(size) and number < size


def largest(x: jax.Array, axis: int) -> jax.Array:
    """The maximum over an axis; the gradient goes to one position only.

    The gradient of jnp.max finds the maximum by equality. If XLA computes x twice with different rounding, it finds no
    maximum and divides by zero.
    """
    place = jnp.expand_dims(jax.lax.argmax(x, axis, jnp.int32), axis)
    is_largest = jax.lax.broadcasted_iota(place.dtype, x.shape, axis) == place
    return jnp.sum(jnp.where(is_largest, x, 0.0), axis=axis)


def kept(key: jax.Array, rate: float, shape: tuple[int, ...]) -> jax.Array:
    """The dropout mask: independently True (keep) with probability 1 − rate, to within 2⁻¹⁷.

    Two numbers share 32 random bits, because generating bits takes time on a CPU.
    """
    number = math.prod(shape)
    words = random_bits(key, -(-number // 2))
    halves = jnp.concatenate([words & 0xFFFF, words >> 16])[:number].reshape(shape)
    return halves >= min(round(rate * 2**16), 2**16 - 1)


def dropped(x: jax.Array, rate: float, key: jax.Array) -> jax.Array:
    """Dropout: each number is 0 with probability `rate`; the rest are scaled by 1/(1 − rate)."""
    return jnp.where(kept(key, rate, x.shape), x / (1 - rate), 0.0)


@jax.named_scope("layer_norm")
def layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    """Layer normalisation of [..., D] over the last axis, eps 1e-5."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    normalised = centred * jax.lax.rsqrt(variance + LAYER_NORM_EPSILON)
    return normalised * as_last_axis(scale, x.ndim) + as_last_axis(bias, x.ndim)


@jax.named_scope("attention")
def self_attention(tokens: jax.Array, kernels: Sequence[jax.Array], num_heads: int, precision: Precision) -> jax.Array:
    """Multi-head self-attention without biases and without an output projection, scores over √(D / heads).

    Args:
      tokens: [N, R, D].
      kernels: [D, D] each, of queries, keys and values.
      num_heads: heads; divides D.
      precision: of the products.

    Returns:
      [N, R, D].
    """
    n, r, d = tokens.shape
    width = d // num_heads

    def split(x: jax.Array) -> jax.Array:
        return x.reshape(n, r, num_heads, width).swapaxes(1, 2)

    queries, keys, values = (split(linear(tokens, kernel, precision)) for kernel in kernels)  # [N, heads, R, width]
    weights = jax.nn.softmax(matmul(queries, transposed(keys), precision) * width**-0.5, axis=-1)  # [N, heads, R, R]
    return matmul(weights, values, precision).swapaxes(1, 2).reshape(n, r, d)


class RelationBlock(nn.Module):
    """x ← LayerNorm(x + dropout(W2·relu(W1·A(x)))), `num_layers` times with the same weights in each pass.

    Attributes:
      num_heads: attention heads.
      num_layers: passes.
      dropout: rate, used when `deterministic` is False.
      precision: of the matrix products.
    """

    num_heads: int
    num_layers: int
    dropout: float = 0.0
    precision: Precision = "float32"

    @nn.compact
    def __call__(self, tokens: jax.Array, *, deterministic: bool = True) -> jax.Array:
        """Refines tokens [N, R, D] into [N, R, D]."""
        d = tokens.shape[-1]

        def kernel(name: str, shape: tuple[int, ...] = (d, d)) -> jax.Array:
            return self.param(name, NORMAL_INIT, shape)

        attention_kernels = [kernel(f"{name}_kernel") for name in ("query", "key", "value")]
        w1, w1_bias = kernel("w1_kernel"), kernel("w1_bias", (d,))
        w2, w2_bias = kernel("w2_kernel"), kernel("w2_bias", (d,))
        scale = self.param("layer_norm_scale", ONES_INIT, (d,))
        bias = self.param("layer_norm_bias", ZEROS_INIT, (d,))
        for _ in range(self.num_layers):
            hidden = self_attention(tokens, attention_kernels, self.num_heads, self.precision)
            with jax.named_scope("feed_forward"):
                hidden = linear(jax.nn.relu(linear(hidden, w1, self.precision, w1_bias)), w2, self.precision, w2_bias)
            if self.dropout > 0 and not deterministic:
                hidden = dropped(hidden, self.dropout, self.make_rng("dropout"))  # a mask of each pass's own
            tokens = layer_norm(tokens + hidden, scale, bias)
        return tokens


class RelationPooling(nn.Module):
    """Pools a candidate's relation tokens into one vector: mean, max, or attention (Eq. 10).

    Attention: Σ_r softmax_r(a_out · tanh(A·(x_r ⊙ u) + b)) · x_r, the first level of RCF's two-level attention.
    """

    pooling: Literal["mean", "max", "attention"]
    attention_dim: int

    @nn.compact
    def __call__(self, tokens: jax.Array, user_emb: jax.Array) -> jax.Array:
        """Pools tokens [B, C, R, D] with users [B, D] into [B, C, D]."""
        if self.pooling == "mean":
            return jnp.mean(tokens, axis=2)
        if self.pooling == "max":
            return largest(tokens, axis=2)
        kernel = self.param("pool_kernel", NORMAL_INIT, (tokens.shape[-1], self.attention_dim))
        bias = self.param("pool_bias", NORMAL_INIT, (self.attention_dim,))
        out_kernel = self.param("pool_out_kernel", NORMAL_INIT, (self.attention_dim,))
        hidden = jnp.tanh(
            (tokens * user_emb[:, None, None, :]) @ kernel + as_last_axis(bias, 4)
        )  # [B, C, R, attention_dim]
        weights = jax.nn.softmax(hidden @ out_kernel, axis=-1)  # [B, C, R]
        return jnp.einsum("bcr,bcrd->bcd", weights, tokens)
