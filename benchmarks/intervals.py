"""Ranking metrics with bootstrap intervals over users, for the tables of measurements."""

from __future__ import annotations

import numpy as np

from lrd_jax.ranking.metrics import row_metrics
from lrd_jax.study.statistics import bootstrap_intervals, mean_by_user

METRICS = ("HR@10", "NDCG@10")


def with_intervals(users: np.ndarray, ranks: np.ndarray) -> list[str]:
    """HR@10 and NDCG@10, means over users of their rows' means, each as "0.4515 [0.43, 0.47]", a 95 % interval.

    Args:
      users: int [N], whose rows these are.
      ranks: float64 [N], from 1.
    """
    values = np.stack([mean_by_user(users, row_metrics(ranks)[name])[1] for name in METRICS], axis=1)  # [U, M]
    bounds = bootstrap_intervals(values, seed=0)
    return [
        f"{mean:.4f} [{low:.3f}, {high:.3f}]" for mean, (low, high) in zip(values.mean(axis=0), bounds, strict=True)
    ]
