"""Ranking metrics with bootstrap intervals over users, for the tables of measurements."""

from __future__ import annotations

import numpy as np

from lrd_jax.ranking.metrics import row_metrics
from lrd_jax.ranking.statistics import bootstrap_intervals, mean_by_user

METRICS = ("HR@10", "NDCG@10")


def with_intervals(users: np.ndarray, ranks: np.ndarray) -> list[str]:
    """HR@10 and NDCG@10, means over users of their rows' means, each as "0.4515 [0.43, 0.47]", a 95 % interval.

    Args:
      users: int [N], whose rows these are.
      ranks: float64 [N], from 1.
    """
    return [_cell(mean_by_user(users, row_metrics(ranks)[name])[1]) for name in METRICS]


def difference(users: np.ndarray, ranks: np.ndarray, others: np.ndarray) -> str:
    """NDCG@10 minus that of other ranks of the same rows, paired by user, as `with_intervals`; "" for these ranks."""
    ours, theirs = (row_metrics(values)["NDCG@10"] for values in (ranks, others))
    return "" if ranks is others else _cell(mean_by_user(users, ours - theirs)[1], sign="+")


def _cell(values: np.ndarray, sign: str = "") -> str:
    """The mean of the users' values [U] and its interval."""
    low, high = bootstrap_intervals(values[:, None], seed=0)[0]
    return f"{values.mean():{sign}.4f} [{low:{sign}.3f}, {high:{sign}.3f}]"
