"""Paired comparisons over users: pure functions of per-user values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.stats

_BLOCK = 4_000_000
"""Number of users that the bootstrap draws at once: 32 MB."""


def mean_by_user(users: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of each user's values.

    Args:
      users: int [N], ids, in any order, possibly repeated.
      values: float [N].

    Returns:
      (ids int [U] ascending, means float64 [U])
    """
    ids, places, counts = np.unique(users, return_inverse=True, return_counts=True)
    return ids, np.bincount(places, weights=values, minlength=len(ids)) / counts


def mean_over_runs(runs: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The mean over several runs of each user's mean, with users matched by id.

    Args:
      runs: for each run, users and values as for `mean_by_user`.

    Returns:
      (ids int [U] ascending, means float64 [U])

    Raises:
      ValueError: the runs have different users.
    """
    by_run = [mean_by_user(users, values) for users, values in runs]
    ids = by_run[0][0]
    if not all(np.array_equal(ids, other) for other, _ in by_run):
        raise ValueError("the runs have different users")
    return ids, np.mean([means for _, means in by_run], axis=0)


def t_test(differences: np.ndarray) -> float:
    """p-value of the paired t-test, two-sided: whether the mean difference is zero.

    Args:
      differences: float [U], one per user.

    Returns:
      p in [0, 1]; 1 if no user differs or there are fewer than two.
    """
    if len(differences) < 2 or not np.any(differences):
        return 1.0
    if np.ptp(differences) == 0:  # no spread: t is infinite
        return 0.0
    return float(scipy.stats.ttest_1samp(differences, 0.0).pvalue)


def wilcoxon_test(differences: np.ndarray) -> float:
    """p-value of Wilcoxon's signed-rank test, two-sided; users without a difference are left out, as in the original.

    Args:
      differences: float [U], one per user.

    Returns:
      p in [0, 1]; 1 if no user differs.
    """
    if not np.any(differences):
        return 1.0
    return float(scipy.stats.wilcoxon(differences).pvalue)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's correction for several tests: p₍ᵢ₎ ← max_{j ≤ i} min(1, (m − j + 1)·p₍ⱼ₎), p₍₁₎ ≤ p₍₂₎ ≤ ...

    Args:
      p_values: [m], in any order.

    Returns:
      float64 [m], in the same order.

    Source: Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values, kind="stable")
    scaled = np.minimum(1.0, values[order] * np.arange(len(values), 0, -1))
    corrected: np.ndarray = np.empty_like(scaled)
    corrected[order] = np.maximum.accumulate(scaled)
    return corrected


def bootstrap_intervals(
    differences: np.ndarray, *, seed: int, resamples: int = 2000, level: float = 0.95
) -> np.ndarray:
    """Percentile bootstrap interval of each mean difference, users drawn with replacement.

    Args:
      differences: float [U, M], one per user and metric; all metrics use the same draws of users.
      seed: random seed.
      resamples: how many times to draw U users.
      level: confidence level.

    Returns:
      float64 [M, 2], lower and upper bounds.
    """
    rng = np.random.default_rng(seed)
    num_users = len(differences)
    means = []
    block = max(1, _BLOCK // num_users)
    for start in range(0, resamples, block):
        number = min(block, resamples - start)
        drawn = rng.integers(0, num_users, (number, num_users), dtype=np.int64)
        drawn += np.arange(number)[:, None] * num_users
        times = np.bincount(drawn.ravel(), minlength=number * num_users).reshape(number, num_users)
        means.append(times @ differences / num_users)
    tail = 100 * (1 - level) / 2
    bounds: np.ndarray = np.percentile(np.concatenate(means), [tail, 100 - tail], axis=0)
    return bounds.T
