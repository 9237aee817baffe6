"""Shared layers, the attention block that refines each candidate's relation tokens, and their pooling."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from lrd_jax.config.schema import Precision
from lrd_jax.models.precision import matmul
from lrd_jax.models.threefry import random_bits

LAYER_NORM_EPSILON = 1e-5
NORMAL_INIT = nn.initializers.normal(0.01, jnp.float32)  # explicit, because JAX_ENABLE_X64 would make it float64
ONES_INIT = functools.partial(nn.initializers.ones, dtype=jnp.float32)
ZEROS_INIT = functools.partial(nn.initializers.zeros, dtype=jnp.float32)


def uniform_init(fan_in: int) -> Callable[..., jax.Array]:
    """Uniform in ± 1 / √fan_in, the initialisation of PyTorch's convolutions and recurrent layers."""
    bound = fan_in**-0.5
    return lambda key, shape: jax.random.uniform(key, shape, jnp.float32, minval=-bound, maxval=bound)


def transposed(x: jax.Array) -> jax.Array:
    """Swaps the last two axes; on a CPU, also in memory, because XLA is up to 20 times slower on transposed stacks.

    The barrier prevents XLA from folding the transposition into the product.
    """
    swapped = jnp.swapaxes(x, -1, -2)
    return jax.lax.optimization_barrier(swapped) if jax.default_backend() == "cpu" else swapped


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def project(x: jax.Array, kernel: jax.Array, precision: Precision) -> jax.Array:
    """[M, i] times [i, j] to [M, j].

    Has a custom gradient for the kernel, a product over M of two narrow matrices: on a CPU it takes half the time if x
    is transposed in memory first.
    """
    return matmul(x, kernel, precision)


def _project_forward(x: jax.Array, kernel: jax.Array, precision: Precision):
    return matmul(x, kernel, precision), (x, kernel)


def _project_backward(precision: Precision, saved: tuple, gradient: jax.Array):
    x, kernel = saved
    return matmul(gradient, kernel.T, precision), matmul(transposed(x), gradient, precision)


project.defvjp(_project_forward, _project_backward)


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
    return function(table)[ids] if len(table) < ids.size else function(table[ids])


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


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def attend(queries: jax.Array, keys: jax.Array, values: jax.Array, precision: Precision) -> jax.Array:
    """softmax(q kᵀ / √width) v for many small matrices, all [N, R, width].

    Has a custom gradient, because on a CPU XLA needs more time for the sum over R numbers in the softmax's gradient
    than for the products. That sum equals the sum over width of gradient times result, which is a product with ones.
    """
    return _attend_forward(queries, keys, values, precision)[0]


def _attend_forward(queries: jax.Array, keys: jax.Array, values: jax.Array, precision: Precision):
    logits = matmul(queries, transposed(keys), precision) * (queries.shape[-1] ** -0.5)
    weights = jax.nn.softmax(logits, axis=-1)  # [N, R, R]
    mixed = matmul(weights, values, precision)
    return mixed, (queries, keys, values, weights, mixed)


def _attend_backward(precision: Precision, saved: tuple, gradient: jax.Array):
    queries, keys, values, weights, mixed = saved
    weights_gradient = matmul(gradient, transposed(values), precision)  # [N, R, R]
    expected = (gradient * mixed) @ jnp.ones((mixed.shape[-1], 1), mixed.dtype)  # [N, R, 1]: Σ weights · gradient
    logits_gradient = weights * (weights_gradient - expected) * (queries.shape[-1] ** -0.5)
    return (
        matmul(logits_gradient, keys, precision),
        matmul(transposed(logits_gradient), queries, precision),
        matmul(transposed(weights), gradient, precision),
    )


attend.defvjp(_attend_forward, _attend_backward)


@jax.named_scope("layer_norm")
def layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    """Layer normalisation of [..., D] over the last axis, eps 1e-5."""
    return _normalised(x) * as_last_axis(scale, x.ndim) + as_last_axis(bias, x.ndim)


@jax.custom_vjp
def _normalised(x: jax.Array) -> jax.Array:
    """(x - mean) / √(variance + eps), with a custom gradient so that the sums in the gradient use `_mean` too."""
    return _normalised_forward(x)[0]


def _normalised_forward(x: jax.Array):
    centred = x - _mean(x)
    inverse = jax.lax.rsqrt(_mean(jnp.square(centred)) + LAYER_NORM_EPSILON)
    return centred * inverse, (centred * inverse, inverse)


def _normalised_backward(saved: tuple[jax.Array, jax.Array], gradient: jax.Array):
    y, inverse = saved
    return ((gradient - _mean(gradient) - y * _mean(gradient * y)) * inverse,)


_normalised.defvjp(_normalised_forward, _normalised_backward)


def _mean(x: jax.Array) -> jax.Array:
    """The mean, [..., D] to [..., 1], as a product, because XLA may not reorder a sum and is slow at it on a CPU."""
    return x @ jnp.full((x.shape[-1], 1), 1 / x.shape[-1], x.dtype)


@jax.named_scope("attention")
def self_attention(tokens: jax.Array, qkv_kernel: jax.Array, num_heads: int, precision: Precision) -> jax.Array:
    """Multi-head self-attention without biases and without an output projection; scores are divided by √(D / heads).

    One fused projection, then a product of small matrices per (pair, head): on a CPU, half the time of an einsum over a
    heads axis.

    Args:
      tokens: [N, R, D].
      qkv_kernel: [D, 3 D], the concatenated query, key and value kernels.
      num_heads: number of heads; divides D.
      precision: precision of the products.

    Returns:
      [N, R, D].
    """
    n, r, d = tokens.shape
    width = d // num_heads
    projected = project(tokens.reshape(n * r, d), qkv_kernel, precision)  # [N R, 3 D]
    projected = projected.reshape(n, r, 3, num_heads, width).transpose(2, 0, 3, 1, 4)
    queries, keys, values = projected.reshape(3, n * num_heads, r, width)
    mixed = attend(queries, keys, values, precision)  # [N heads, R, width]
    return mixed.reshape(n, num_heads, r, width).transpose(0, 2, 1, 3).reshape(n, r, d)


class RelationBlock(nn.Module):
    """x ← LayerNorm(x + dropout(W2·relu(W1·A(x)))), `num_layers` times with the same weights in each pass.

    Attributes:
      num_heads: number of attention heads.
      num_layers: number of passes.
      dropout: dropout rate, used if `deterministic` is False.
      pairs_per_block: number of (user, candidate) pairs that go through all passes together, so that they stay in
        cache; None for all at once. Changes speed, never results.
      precision: precision of the matrix products.
    """

    num_heads: int
    num_layers: int
    dropout: float = 0.0
    pairs_per_block: int | None = None
    precision: Precision = "float32"

    @nn.compact
    def __call__(self, tokens: jax.Array, *, deterministic: bool = True) -> jax.Array:
        """Refines tokens [N, R, D] into [N, R, D]."""
        n, r, d = tokens.shape
        kernel = lambda name, shape=(d, d): self.param(name, NORMAL_INIT, shape)  # noqa: E731
        qkv_kernel = jnp.concatenate([kernel("query_kernel"), kernel("key_kernel"), kernel("value_kernel")], axis=1)
        w1, w1_bias = kernel("w1_kernel"), kernel("w1_bias", (d,))
        w2, w2_bias = kernel("w2_kernel"), kernel("w2_bias", (d,))
        scale = self.param("layer_norm_scale", ONES_INIT, (d,))
        bias = self.param("layer_norm_bias", ZEROS_INIT, (d,))

        drops = self.dropout > 0 and not deterministic
        # Each pass has its own mask; a shared mask would correlate the passes.
        keep = kept(self.make_rng("dropout"), self.dropout, (n, self.num_layers, r, d)) if drops else None

        def passes(x: jax.Array, keep: jax.Array | None) -> jax.Array:
            for layer in range(self.num_layers):
                hidden = self_attention(x, qkv_kernel, self.num_heads, self.precision)
                with jax.named_scope("feed_forward"):
                    hidden = jax.nn.relu(project(hidden.reshape(-1, d), w1, self.precision) + w1_bias[None])
                    hidden = (project(hidden, w2, self.precision) + w2_bias[None]).reshape(x.shape)
                if keep is not None:
                    hidden = jnp.where(keep[:, layer], hidden / (1 - self.dropout), 0.0)
                x = layer_norm(x + hidden, scale, bias)
            return x

        block = self.pairs_per_block
        if block is None or n <= block or self.num_layers == 0:
            return passes(tokens, keep)
        split = lambda x: jnp.pad(x, [(0, -n % block)] + [(0, 0)] * (x.ndim - 1)).reshape(-1, block, *x.shape[1:])  # noqa: E731
        if keep is None:
            refined = jax.lax.map(lambda x: passes(x, None), split(tokens))
        else:
            refined = jax.lax.map(lambda pair: passes(*pair), (split(tokens), split(keep)))
        return refined.reshape(-1, r, d)[:n]


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
