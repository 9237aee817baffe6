"""Ranking metrics from the target's rank."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def target_rank(target_score: jax.Array, candidate_scores: jax.Array, valid: jax.Array) -> jax.Array:
    """Rank of the target among itself and the other candidates, from 1; ties get the average rank.

    Args:
      target_score: [].
      candidate_scores: [C], scores of the other candidates.
      valid: [C] bool, False for padding.

    Returns:
      float32 [], a multiple of one half.
    """
    # Not "greater", so that a NaN on either side counts against the target.
    greater = jnp.sum(valid & ~(candidate_scores <= target_score))
    equal = jnp.sum(valid & (candidate_scores == target_score))
    return 1.0 + greater + 0.5 * equal


def ranking_metrics(ranks: np.ndarray, cutoffs: tuple[int, ...] = (5, 10)) -> dict[str, float]:
    """HR@K and NDCG@K with one relevant item per row.

    HR@K = mean[rank ≤ K],  NDCG@K = mean[rank ≤ K] / log2(rank + 1).

    Args:
      ranks: [N], the target's rank in each row, from 1.
      cutoffs: the values of K.

    Returns:
      {"HR@K": ..., "NDCG@K": ...} for each K, in [0, 1].

    Raises:
      ValueError: no rows, or a rank below 1 or NaN.

    Source: section 4.1.3 of the paper; ReChorus's evaluate_method.
    """
    return {name: float(values.mean()) for name, values in row_metrics(ranks, cutoffs).items()}


def row_metrics(ranks: np.ndarray, cutoffs: tuple[int, ...] = (5, 10)) -> dict[str, np.ndarray]:
    """HR@K and NDCG@K of each row, whose means are `ranking_metrics`; arguments and errors are its.

    Returns:
      {"HR@K": float64 [N], "NDCG@K": float64 [N]} for each K.
    """
    ranks = np.asarray(ranks, np.float64)
    if ranks.size == 0 or not np.all(ranks >= 1):
        raise ValueError("ranks must be a non-empty array of numbers of at least 1")
    metrics = {}
    for cutoff in cutoffs:
        hit = (ranks <= cutoff).astype(np.float64)
        metrics[f"HR@{cutoff}"] = hit
        metrics[f"NDCG@{cutoff}"] = hit / np.log2(ranks + 1)
    return metrics
