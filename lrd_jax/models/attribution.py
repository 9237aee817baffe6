"""Reasons of a relational model's score: integrated gradients over what each relation lets through of the history."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SEGMENTS = 64
"""Of the path; one gradient for each."""


class Explanation(NamedTuple):
    """Why candidates have their scores: score ≈ baseline + the sum of contributions over history and relations.

    Attributes:
      scores: float32 [B, C].
      baselines: float32 [B, C], the scores without any history: the user's own taste and the item's bias.
      contributions: float32 [B, C, H, R], what each history item adds through each relation; 0 for padding.
    """

    scores: jax.Array
    baselines: jax.Array
    contributions: jax.Array


def attribute(
    score: Callable[[jax.Array], jax.Array], weights: jax.Array, history_emb: jax.Array, segments: int = SEGMENTS
) -> Explanation:
    """Integrated gradients from an empty history, s = 0, to the tokens s_{c,r} = Σ_i w(i, c, r) · v_i.

    The contribution of history item i through relation r is w(i, c, r) · v_i · ∫₀¹ ∂score/∂s_{c,r}(t·s) dt. The path is
    cut into segments, which are short near s = 0, where layer normalisation changes fastest. What the gradient in the
    middle of a segment misses of the segment's change of score, since rectifiers switch on and off there, is shared
    among its contributions by their absolute size. So they add up to score − baseline, whatever the number of segments.

    Args:
      score: tokens [B, C, R, D] to scores [B, C].
      weights: [B, C, H, R].
      history_emb: [B, H, D].
      segments: of the path.

    Source: Sundararajan et al., "Axiomatic attribution for deep networks" (ICML 2017).
    """
    tokens = jnp.einsum("bchr,bhd->bcrd", weights, history_emb)
    ends = np.linspace(0, 1, segments + 1) ** 4
    gradient = jax.grad(lambda s: jnp.sum(score(s)))
    baselines = score(jnp.zeros_like(tokens))

    def add(
        carry: tuple[jax.Array, jax.Array], segment: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        total, before = carry
        start, end = segment
        after = score(end * tokens)
        slope = jnp.einsum("bhd,bcrd->bchr", history_emb, gradient((start + end) / 2 * tokens))
        parts = (end - start) * weights * slope
        missed = (after - before - jnp.sum(parts, axis=(2, 3)))[..., None, None]
        sizes = jnp.abs(parts)
        shares = sizes / jnp.maximum(jnp.sum(sizes, axis=(2, 3), keepdims=True), jnp.finfo(sizes.dtype).tiny)
        return (total + parts + missed * shares, after), None

    along = (jnp.asarray(ends[:-1], jnp.float32), jnp.asarray(ends[1:], jnp.float32))
    (contributions, scores), _ = jax.lax.scan(add, (jnp.zeros_like(weights), baselines), along)
    return Explanation(scores, baselines, contributions)
