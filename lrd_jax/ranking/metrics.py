"""Ranking metrics from the target's rank."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrd_jax.config.schema import CUTOFFS
from lrd_jax.ranking.protocols import TieRule


class Counts(NamedTuple):
    """How the other candidates of targets compare with them; `target_ranks` makes ranks of it.

    Attributes:
      greater: int32, candidates with a higher score.
      equal: int32, other candidates with the target's score.
      finite: bool, whether every score was finite; if not, the other two tell nothing.
    """

    greater: jax.Array
    equal: jax.Array
    finite: jax.Array


def target_counts(target_score: jax.Array, candidate_scores: jax.Array, valid: jax.Array) -> Counts:
    """How many of the other candidates score higher than the target, and how many the same.

    Args:
      target_score: [].
      candidate_scores: [C], scores of the other candidates.
      valid: [C] bool, False for padding.

    Returns:
      Counts of scalars.
    """
    # One reduction, since XLA's CPU code would write out what each of three sums up. Not "greater", so that a NaN on
    # either side counts against the target.
    counted = (~(candidate_scores <= target_score), candidate_scores == target_score, ~jnp.isfinite(candidate_scores))
    numbers = tuple((valid & x).astype(jnp.int32) for x in counted)
    add = lambda x, y: tuple(a + b for a, b in zip(x, y, strict=True))  # noqa: E731
    greater, equal, not_finite = jax.lax.reduce(numbers, (jnp.int32(0),) * 3, add, (0,))
    return Counts(greater, equal, jnp.isfinite(target_score) & (not_finite == 0))


def target_ranks(
    greater: np.ndarray | jax.Array, equal: np.ndarray | jax.Array, ties: TieRule = "average"
) -> np.ndarray:
    """Ranks of the targets among themselves and their candidates, from 1.

    average: 1 + greater + equal / 2,  pessimistic: 1 + greater + equal.

    Args:
      greater, equal: of `target_counts`, int [N].
      ties: which of the two.

    Returns:
      float64 [N], multiples of one half.
    """
    share = {"average": 0.5, "pessimistic": 1.0}[ties]
    ranks: np.ndarray = 1.0 + np.asarray(greater) + share * np.asarray(equal)
    return ranks


def ranking_metrics(ranks: np.ndarray, cutoffs: tuple[int, ...] = CUTOFFS) -> dict[str, float]:
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


def row_metrics(ranks: np.ndarray, cutoffs: tuple[int, ...] = CUTOFFS) -> dict[str, np.ndarray]:
    """HR@K and NDCG@K of each row, whose means are `ranking_metrics`; arguments and errors are its.

    Returns:
      {"HR@K": float64 [N], "NDCG@K": float64 [N]} for each K.
    """
    ranks, metrics = _checked(ranks), {}
    for cutoff in cutoffs:
        hit = (ranks <= cutoff).astype(np.float64)
        metrics[f"HR@{cutoff}"] = hit
        metrics[f"NDCG@{cutoff}"] = hit / np.log2(ranks + 1)
    return metrics


def reciprocal_rank_metrics(ranks: np.ndarray, cutoffs: tuple[int, ...] = CUTOFFS) -> dict[str, float]:
    """MRR@K and MRR with one relevant item per row; arguments and errors are those of `ranking_metrics`.

    MRR@K = mean[rank ≤ K] / rank,  MRR = mean 1 / rank.

    Returns:
      {"MRR@K": ..., "MRR": ...}, in [0, 1].
    """
    ranks = _checked(ranks)
    metrics = {f"MRR@{cutoff}": float(((ranks <= cutoff) / ranks).mean()) for cutoff in cutoffs}
    return {**metrics, "MRR": float((1 / ranks).mean())}


def _checked(ranks: np.ndarray) -> np.ndarray:
    ranks = np.asarray(ranks, np.float64)
    if ranks.size == 0 or not np.all(ranks >= 1):
        raise ValueError("ranks must be a non-empty array of numbers of at least 1")
    return ranks
