"""The paper's Figure 6: NDCG@5 by one option, averaged over the values of the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

METRIC = "NDCG@5"


def averages(
    cells: Sequence[dict[str, Any]], latent: Sequence[int], weights: Sequence[float]
) -> dict[str, list[dict[str, Any]]]:
    """Mean NDCG@5 for each value of an option over all values of the other, as in section 4.5 of the paper.

    Args:
      cells: cells of a report, in the order of `sensitivity_variants`.
      latent, weights: the values of the two options.

    Returns:
      {"num_latent_relations": [{"value", "dev", "test"}, ...], "lrd_weight": the same}; dev and test are None if
      a cell has no finished run, because a mean over the others would be biased.
    """
    means = {
        split: np.reshape(
            [cell[split][METRIC]["mean"] if cell[split] else np.nan for cell in cells], (len(latent), len(weights))
        )
        for split in ("dev", "test")
    }
    return {
        option: [
            {"value": value, **{split: _number(grid.mean(axis=axis)[place]) for split, grid in means.items()}}
            for place, value in enumerate(values)
        ]
        for option, values, axis in (("num_latent_relations", latent, 1), ("lrd_weight", weights, 0))
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
