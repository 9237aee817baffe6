"""Who wins: the first of several evaluations on a dataset against each other one, user by user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from lrd_jax.ranking.metrics import row_metrics
from lrd_jax.ranking.statistics import holm, mean_by_user, t_test, wilcoxon_test


def compare(frames: Sequence[pl.DataFrame], cutoffs: Sequence[int]) -> list[dict[str, Any]]:
    """Each evaluation against the first in NDCG@K, over users.

    A user's value is the mean over the user's rows. Holm's correction is over everything that is returned, for each of
    the two tests by itself.

    Args:
      frames: of `ranks_frame`, on one dataset and split.
      cutoffs: the values of K.

    Returns:
      For each but the first and each K: {"dataset", "run", "base", "metric", "users", "wins", "losses", "ties" (users
      for whom the run is better, worse, the same), "difference" (of the means, run − base), "t_test_p",
      "t_test_p_holm", "wilcoxon_p", "wilcoxon_p_holm"}.

    Source: the tests of `study`, see `lrd_jax.ranking.statistics`.
    """
    found = [
        {"dataset": frame["dataset"][0], "run": frame["run"][0], "base": frames[0]["run"][0], **of_metric}
        for frame in frames[1:]
        for of_metric in _against(frame, frames[0], cutoffs)
    ]
    for test in ("t_test", "wilcoxon"):
        for comparison, corrected in zip(found, holm([one[f"{test}_p"] for one in found]), strict=True):
            comparison[f"{test}_p_holm"] = float(corrected)
    return found


def _against(frame: pl.DataFrame, base: pl.DataFrame, cutoffs: Sequence[int]) -> list[dict[str, Any]]:
    compared = []
    values, base_values = (row_metrics(x["rank"].to_numpy(), tuple(cutoffs)) for x in (frame, base))
    for cutoff in cutoffs:
        name = f"NDCG@{cutoff}"
        users, mine = mean_by_user(frame["user"].to_numpy(), values[name])
        _, other = mean_by_user(base["user"].to_numpy(), base_values[name])
        # Rounded, so that a sum's last bit is no win.
        differences = np.round(mine - other, 12)
        wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
        compared.append(
            {
                "metric": name,
                "users": len(users),
                "wins": wins,
                "losses": losses,
                "ties": len(users) - wins - losses,
                "difference": float(differences.mean()),
                "t_test_p": t_test(differences),
                "wilcoxon_p": wilcoxon_test(differences),
            }
        )
    return compared
