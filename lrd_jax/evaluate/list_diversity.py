"""Diversity of top-K lists: within each list, by attributes and by text, and between lists. Pure functions of arrays.

Lists are as in `list_metrics`: rows of int [N, K], 0 after the last item.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_ENTRIES_PER_BLOCK = 4_000_000
"""Values or coordinates of items that are looked up at a time: 32 MB."""


def diversity_by_values(items: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Intra-list diversity by attributes: how many values only one of two items of a list has, mean over its pairs.

    ILD = Σ_{i<j} |Vᵢ Δ Vⱼ| / (n(n − 1)/2), which is the Hamming distance of vectors with a place for each value.

    Args:
      items: int [N, K].
      values: int [I + 1, W], ids of the values that each item has, each at most once, 0 for padding.

    Returns:
      float64 [N], a number of values, from 0; 0 for a list of one item, NaN for an empty one.

    Source: RecTools `IntraListDiversity` with `PairwiseHammingDistanceCalculator`, a column of 0 and 1 for each value.
    RecBole has none.
    """
    num_values = int(values.max(initial=0)) + 1

    def of_pairs(items: np.ndarray) -> np.ndarray:
        # A value that c of n items have tells c(n − c) pairs apart.
        rows = np.arange(len(items))[:, None, None]
        found = values[items]  # [N, K, W]
        keys, counts = np.unique((rows * num_values + found)[found > 0], return_counts=True)
        lengths = (items > 0).sum(axis=1)
        rows = keys // num_values
        return np.bincount(rows, weights=counts * (lengths[rows] - counts), minlength=len(items))

    return _mean_over_pairs(items, of_pairs, values.shape[1])


def diversity_by_vectors(items: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Intra-list diversity by text: the cosine distance of the embeddings of two items of a list, mean over its pairs.

    ILD = Σ_{i<j} (1 − cos(xᵢ, xⱼ)) / (n(n − 1)/2).

    Args:
      items: int [N, K].
      vectors: float [I + 1, T], text embeddings; a vector of zeros has cosine 0 with all others.

    Returns:
      float64 [N], in [0, 2]; 0 for a list of one item, NaN for an empty one.

    Source: RecTools `IntraListDiversity` with a distance of one's own. RecBole has none.
    """
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    units = np.divide(vectors, lengths, out=np.zeros(vectors.shape), where=lengths > 0)

    def of_pairs(items: np.ndarray) -> np.ndarray:
        # Σ_{i<j} cos = (‖Σ xᵢ‖² − Σ ‖xᵢ‖²) / 2 of unit vectors.
        found = units[items] * (items > 0)[:, :, None]  # [N, K, T]
        numbers = (items > 0).sum(axis=1)
        cosines = ((found.sum(axis=1) ** 2).sum(axis=1) - (found**2).sum(axis=(1, 2))) / 2
        return np.asarray(numbers * (numbers - 1) / 2 - cosines)

    return _mean_over_pairs(items, of_pairs, vectors.shape[1])


def personalisation(items: np.ndarray, num_items: int) -> float:
    """How different the lists are from each other: 1 − the mean over pairs of lists of |L ∩ M| / √(|L|·|M|).

    Of two lists of K items that is the share of places they do not have in common.

    Args:
      items: int [N, K].
      num_items: I.

    Returns:
      In [0, 1]: 0 where all lists hold the same items, 1 where no two share one; NaN with fewer than two lists.
      Empty lists are left out.

    Source: recmetrics `personalization`, the cosine of vectors with a place for each item. Neither RecTools nor RecBole
    has it.
    """
    lengths = (items > 0).sum(axis=1)
    number = int(np.count_nonzero(lengths))
    if number < 2:
        return np.nan
    # As in `diversity_by_vectors`: the sum over all pairs follows from the sum of the unit vectors of lists.
    weights = np.broadcast_to(1 / np.sqrt(np.maximum(lengths, 1))[:, None], items.shape)
    listed = items > 0
    total = np.bincount(items[listed], weights=weights[listed], minlength=num_items + 1)
    share = ((total**2).sum() - number) / (number * (number - 1))
    return float(np.clip(1 - share, 0, 1))  # the sums round


def _mean_over_pairs(items: np.ndarray, of_pairs: Callable[[np.ndarray], np.ndarray], width: int) -> np.ndarray:
    """Divides sums over the pairs of each list, computed in blocks of lists, by their number."""
    block = max(1, _ENTRIES_PER_BLOCK // max(1, items.shape[1] * width))
    sums = [of_pairs(items[start : start + block]) for start in range(0, len(items), block)]
    lengths = (items > 0).sum(axis=1)
    means = np.concatenate([np.zeros(0), *sums]) / np.maximum(lengths * (lengths - 1) / 2, 1)
    return np.where(lengths > 0, means, np.nan)
