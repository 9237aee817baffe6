"""The causal attention block of SASRec and TiSASRec, and what goes with histories that are padded at the end."""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from lrd_jax.config.schema import Precision
from lrd_jax.models.layers import NORMAL_INIT, ONES_INIT, ZEROS_INIT, dropped, layer_norm, linear
from lrd_jax.models.precision import matmul


class Offsets(NamedTuple):
    """What is added to keys and values before they are attended to.

    Attributes:
      keys, values: [B, H, D], of each item attended to.
      pair_keys, pair_values: [B, Q, H, D], of each pair of an item that attends and one that is attended to.
    """

    keys: jax.Array
    values: jax.Array
    pair_keys: jax.Array
    pair_values: jax.Array


def positions(valid: jax.Array) -> jax.Array:
    """Places counted back from the newest item, which is 1; 0 for padding; int32 [B, H] from bool [B, H]."""
    length = jnp.sum(valid, axis=1, keepdims=True, dtype=jnp.int32)
    return jnp.where(valid, length - jnp.arange(valid.shape[1], dtype=jnp.int32)[None], 0)


def newest(x: jax.Array, valid: jax.Array) -> jax.Array:
    """What x [B, H, ...] holds for the newest item, [B, 1, ...]; the first place where a history is empty."""
    last = jnp.maximum(jnp.sum(valid, axis=1, dtype=jnp.int32) - 1, 0).reshape(-1, *[1] * (x.ndim - 1))
    return jnp.take_along_axis(x, last, axis=1)


def causal(valid: jax.Array) -> jax.Array:
    """Which items each one sees, itself and those before it, bool [1, H, H]; padding comes after all of them."""
    return jnp.tri(valid.shape[1], dtype=bool)[None]


@jax.named_scope("attention")
def masked_attention(
    queries: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    seen: jax.Array,
    num_heads: int,
    precision: Precision,
    offsets: Offsets | None = None,
) -> jax.Array:
    """softmax((q kᵀ) / √(D / heads)) v over what is seen, with q·pair_key and pair_value added where there are offsets.

    Args:
      queries: [B, Q, D].
      keys, values: [B, H, D].
      seen: bool, to be broadcast to [B, Q, H].
      num_heads: heads; divides D.
      precision: of the products.
      offsets: see `Offsets`.

    Returns:
      [B, Q, D].
    """
    b, q, d = queries.shape

    def split(x: jax.Array) -> jax.Array:
        return x.reshape(b, -1, num_heads, d // num_heads).swapaxes(1, 2)

    if offsets is not None:
        keys, values = keys + offsets.keys, values + offsets.values
    logits = matmul(split(queries), jnp.swapaxes(split(keys), -1, -2), precision)  # [B, heads, Q, H]
    if offsets is not None:
        products = queries[:, :, None] * offsets.pair_keys  # [B, Q, H, D]
        logits += jnp.sum(products.reshape(b, q, -1, num_heads, d // num_heads), axis=-1).transpose(0, 3, 1, 2)
    logits = jnp.where(seen[:, None], logits * (d // num_heads) ** -0.5, jnp.finfo(logits.dtype).min)
    weights = jax.nn.softmax(logits, axis=-1)
    mixed = matmul(weights, split(values), precision).swapaxes(1, 2).reshape(b, q, d)
    if offsets is not None:
        per_number = jnp.repeat(weights.transpose(0, 2, 3, 1), d // num_heads, axis=-1)  # [B, Q, H, D]
        mixed += jnp.sum(per_number * offsets.pair_values, axis=2)
    return mixed


@jax.named_scope("attention")
def newest_attention(
    query: jax.Array,
    x: jax.Array,
    valid: jax.Array,
    key_kernel: jax.Array,
    value_kernel: jax.Array,
    num_heads: int,
    precision: Precision,
    offsets: Offsets | None = None,
) -> jax.Array:
    """`masked_attention` of one query per history to keys x W_k and values x W_v, which are never made.

    q·(W_kᵀ x) = (W_k q)·x, and the sum over the history is taken before its product with W_v, so that only vectors of
    the query are multiplied with the kernels. A bias of the keys adds the same to all of a query's logits, which the
    softmax takes away; one of the values is to be added to the result.

    Args:
      query: [B, 1, D].
      x: [B, H, D].
      valid: bool [B, H].
      key_kernel, value_kernel: [D, D].
      num_heads: heads; divides D.
      precision: of the products.
      offsets: see `masked_attention`; Q is 1.

    Returns:
      [B, 1, D].
    """
    d = x.shape[-1]
    own = jnp.repeat(jnp.eye(num_heads, dtype=x.dtype), d // num_heads, axis=1)  # [heads, D]: whose a number is
    queries = query * own[None]  # [B, heads, D], zero outside the head
    logits = matmul(linear(queries, key_kernel.T, precision), jnp.swapaxes(x, -1, -2), precision)  # [B, heads, H]
    if offsets is not None:
        key_offsets = offsets.keys + offsets.pair_keys[:, 0]  # [B, H, D]
        logits += matmul(queries, jnp.swapaxes(key_offsets, -1, -2), precision)
    logits = jnp.where(valid[:, None], logits * (d // num_heads) ** -0.5, jnp.finfo(logits.dtype).min)
    weights = jax.nn.softmax(logits, axis=-1)
    mixed = linear(matmul(weights, x, precision), value_kernel, precision)  # [B, heads, D]
    if offsets is not None:
        mixed += matmul(weights, offsets.values + offsets.pair_values[:, 0], precision)
    return jnp.sum(mixed * own[None], axis=1, keepdims=True)


class TransformerBlock(nn.Module):
    """x ← LayerNorm(x + A(x)), x ← LayerNorm(x + W2·relu(W1·x + b1) + b2), A attention without an output projection.

    Attributes:
      num_heads: attention heads.
      dropout: rate after A and after W2, used when `deterministic` is False.
      precision: of the matrix products.

    Source: SASRec (Kang and McAuley, ICDM 2018) as ReChorus has it.
    """

    num_heads: int
    dropout: float = 0.0
    precision: Precision = "float32"

    @nn.compact
    def __call__(
        self,
        queries: jax.Array,
        x: jax.Array,
        seen: jax.Array,
        offsets: Offsets | None = None,
        *,
        deterministic: bool = True,
    ) -> jax.Array:
        """The next state of some places.

        Args:
          queries: [B, Q, D], the state of the places that are asked for.
          x: [B, H, D], the state of all.
          seen: bool, to be broadcast to [B, Q, H], which of them each query attends to.
          offsets: see `masked_attention`.
          deterministic: False draws dropout from the stream "dropout".

        Returns:
          [B, Q, D].
        """
        d = x.shape[-1]

        def kernel(name: str) -> jax.Array:
            return self.param(f"{name}_kernel", NORMAL_INIT, (d, d))

        def bias(name: str) -> jax.Array:
            return self.param(f"{name}_bias", NORMAL_INIT, (d,))

        def normalised(name: str, x: jax.Array) -> jax.Array:
            scale = self.param(f"{name}_scale", ONES_INIT, (d,))
            return layer_norm(x, scale, self.param(f"{name}_bias", ZEROS_INIT, (d,)))

        def maybe_dropped(x: jax.Array) -> jax.Array:
            return x if deterministic or self.dropout == 0 else dropped(x, self.dropout, self.make_rng("dropout"))

        query = linear(queries, kernel("query"), self.precision, bias("query"))
        kernels, biases = (kernel("key"), kernel("value")), (bias("key"), bias("value"))
        if queries.shape[1] == 1:
            attended = newest_attention(query, x, seen[:, 0], *kernels, self.num_heads, self.precision, offsets)
            attended += biases[1][None, None]
        else:
            keys, values = (
                linear(x, kernel, self.precision, bias) for kernel, bias in zip(kernels, biases, strict=True)
            )
            attended = masked_attention(query, keys, values, seen, self.num_heads, self.precision, offsets)
        x = normalised("attention_norm", queries + maybe_dropped(attended))
        hidden = jax.nn.relu(linear(x, kernel("w1"), self.precision, bias("w1")))
        hidden = linear(hidden, kernel("w2"), self.precision, bias("w2"))
        return normalised("output_norm", x + maybe_dropped(hidden))
