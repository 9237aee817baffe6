"""The rules of early stopping."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from lrd_jax.config.schema import RunConfig


def stops(scores: Sequence[float], best_epoch: int, run: RunConfig) -> bool:
    """Whether training stops.

    Args:
      scores: NDCG@5 on dev of every epoch so far.
      best_epoch: the first one with the highest score, counted from 1.
      run: gives the rule (`RunConfig.early_stopping`), the patience and the maximum number of epochs.

    Source of the rule "published": `eval_termination` of ReChorus's runner, with its early_stop of 5.
    """
    epochs = len(scores)
    if epochs >= run.epochs:
        return True
    if run.early_stopping == "patience":
        return epochs - best_epoch >= run.patience
    falling = all(before >= after for before, after in itertools.pairwise(scores[-5:]))
    return epochs > 20 and (falling or epochs - best_epoch >= 20)
