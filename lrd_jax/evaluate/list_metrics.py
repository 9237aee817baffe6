"""Metrics of top-K lists: accuracy, the catalogue, popularity and novelty. Pure functions of arrays.

A list is a row of `items`, int [N, K]: ids from 1, best first, each at most once, and 0 after the last where it is
short. A row has one target. "Training" is what systems learn from, neither dev nor test. Where RecTools and RecBole
define a metric differently, the docstring says whose definition it is, and how the other differs.
"""

from __future__ import annotations

import numpy as np


def precision(items: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Precision@K of each list: hits / K, in [0, 1]; with one target 1 / K at most.

    Args:
      items: int [N, K].
      targets: int [N].

    Returns:
      float64 [N]; 0 for an empty list. K counts where a list is shorter.

    Source: RecTools `Precision`; the same in RecBole.
    """
    return np.asarray(_hits(items, targets).mean(axis=1), np.float64)


def recall(items: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Recall@K of each list: hits / targets, which with one target is whether it is in the list; in [0, 1].

    Args and returns as `precision`.

    Source: RecTools `Recall`; the same in RecBole.
    """
    return np.asarray(_hits(items, targets).sum(axis=1), np.float64)


def average_precision(items: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """AP@K of each list, whose mean is MAP@K: Σ_k precision@k · hit(k) / targets, in [0, 1]; here 1 / rank.

    Args and returns as `precision`.

    Source: RecTools `MAP` (divide_by_k=False). RecBole divides by min(K, targets); with one target that is the same.
    """
    return _hits(items, targets) @ (1 / np.arange(1, items.shape[1] + 1))


def coverage(items: np.ndarray, num_items: int) -> float:
    """Share of the catalogue that is in some list, in [0, 1].

    Args:
      items: int [N, K].
      num_items: I.

    Source: RecTools `CatalogCoverage` (normalize=True). RecBole `ItemCoverage` counts its padding item in I.
    """
    return float(np.count_nonzero(_times_listed(items, num_items)) / num_items)


def gini(items: np.ndarray, num_items: int) -> float:
    """Gini index of how often items are listed: Σᵢ (2i − I − 1)·cᵢ / (I·Σᵢ cᵢ), counts c ascending.

    0: all items equally often; towards 1: always the same few. Items in no list count.

    Args:
      items: int [N, K].
      num_items: I.

    Returns:
      In [0, 1); NaN where all lists are empty.

    Source: RecBole `GiniIndex`, which counts its padding item in I. RecTools has none.
    """
    counts = np.sort(_times_listed(items, num_items)).astype(np.float64)
    weights = 2 * np.arange(1, num_items + 1) - num_items - 1
    return float(weights @ counts / (num_items * counts.sum())) if counts.any() else np.nan


def entropy(items: np.ndarray) -> float:
    """Shannon entropy of what is listed, in nats: −Σᵢ pᵢ·ln pᵢ, pᵢ the share of item i among all places of all lists.

    Args:
      items: int [N, K].

    Returns:
      From 0 (one item in all lists) to ln I; NaN where all lists are empty.

    Source: the equation in RecBole's `ShannonEntropy`. Its code divides this by the number of different items listed.
    RecTools has none.
    """
    counts = np.unique(items[items > 0], return_counts=True)[1]
    shares = counts / counts.sum() if len(counts) else np.array([np.nan])
    return float(np.abs(shares @ np.log(shares)))


def average_popularity(items: np.ndarray, interactions: np.ndarray) -> np.ndarray:
    """Mean popularity of each list: how many training interactions its items have.

    Args:
      items: int [N, K].
      interactions: int [I + 1], of each item in training; 0 for items without.

    Returns:
      float64 [N]; NaN for an empty list.

    Source: RecTools `AvgRecPopularity`; the same in RecBole's `AveragePopularity`, for lists of K items.
    """
    return _mean_in_list(items, interactions)


def popularity_lift(popularity: np.ndarray, profile_popularity: np.ndarray) -> float:
    """How much more popular the lists are than what users had before: (P_lists − P_profiles) / P_profiles.

    P is the mean over rows of the mean popularity, of the list and of the user's interactions before the row. 0: as
    popular as what users take; 1: twice as popular.

    Args:
      popularity: float [N], of `average_popularity`.
      profile_popularity: float [N], the same of the user's interactions before each row.

    Returns:
      From −1; NaN where no row has a list, or profiles have popularity 0. Rows without a list are left out.

    Source: Abdollahpouri et al., "The connection between popularity bias, calibration, and fairness in recommendation"
    (RecSys 2020). Neither RecTools nor RecBole has it.
    """
    has_list = ~np.isnan(popularity)
    profiles = profile_popularity[has_list].mean() if has_list.any() else 0.0
    return float(popularity[has_list].mean() / profiles - 1) if profiles > 0 else np.nan


def novelty(items: np.ndarray, users_of_item: np.ndarray, num_users: int) -> np.ndarray:
    """Mean inverse user frequency of each list, in bits: the mean of −log₂(users of the item / users).

    Args:
      items: int [N, K].
      users_of_item: int [I + 1], how many users had each item in training; an item without counts as one with one user.
      num_users: with training interactions.

    Returns:
      float64 [N], from 0 (items that everybody had); NaN for an empty list.

    Source: RecTools `MeanInvUserFreq`. RecBole has none.
    """
    return _mean_in_list(items, np.log2(num_users) - np.log2(np.maximum(users_of_item, 1)))


def _hits(items: np.ndarray, targets: np.ndarray) -> np.ndarray:
    hits: np.ndarray = items == targets[:, None]
    return hits


def _times_listed(items: np.ndarray, num_items: int) -> np.ndarray:
    """How often each of the items 1..I is in a list, int [I]."""
    return np.bincount(items.ravel(), minlength=num_items + 1)[1:]


def _mean_in_list(items: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Means of a value of items, [I + 1], over each list; float64 [N], NaN for an empty one."""
    listed = items > 0
    lengths = listed.sum(axis=1)
    means = np.where(listed, values[items], 0).sum(axis=1) / np.maximum(lengths, 1)
    return np.where(lengths > 0, means, np.nan)
