"""DistMult, the triple score used by the scorer, the LRD decoder and the knowledge-graph loss."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrd_jax.config.schema import Precision
from lrd_jax.models.precision import matmul


def distmult(heads: jax.Array, relations: jax.Array, tail: jax.Array, precision: Precision = "float32") -> jax.Array:
    """Scores many heads and relations against one tail: φ(i, j, r) = Σ_d head_id · relation_rd · tail_jd.

    It multiplies the tail into the relations first, so that vmapping over tails gives a batched matrix product and
    never stores the product over [H, R, D].

    Args:
      heads: [H, D].
      relations: [R, D].
      tail: [D].
      precision: precision of the products.

    Returns:
      [H, R].

    Source: Eq. 6; Yang et al., "Embedding Entities and Relations for Learning and Inference in Knowledge Bases".
    """
    return matmul(relations * tail[None], heads.T, precision).T


def triple_score(head: jax.Array, relation: jax.Array, tail: jax.Array) -> jax.Array:
    """Scores one triple; all arguments are [D], the result is []."""
    return distmult(head[jnp.newaxis], relation[jnp.newaxis], tail)[0, 0]
