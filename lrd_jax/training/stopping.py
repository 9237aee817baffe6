"""Which epoch of a run is its best, and when training stops by itself."""

from __future__ import annotations

import abc
import dataclasses
import itertools
from collections.abc import Mapping, Sequence

from lrd_jax.config.schema import RunConfig

STOPPING_METRIC = "NDCG@5"


@dataclasses.dataclass(frozen=True)
class Stopping(abc.ABC):
    """A rule.

    Attributes:
      run: the options, such as the most epochs.
    """

    run: RunConfig

    @abc.abstractmethod
    def score(self, epoch: int, dev: Mapping[str, float] | None) -> float:
        """What an epoch, counted from 1, is judged by, given its metrics on dev; the first of the highest is best."""

    @abc.abstractmethod
    def stops(self, scores: Sequence[float], best_epoch: int) -> bool:
        """Whether no further epoch is trained, given the scores of every epoch so far and the best epoch."""


class EarlyStopping(Stopping):
    """The epoch with the highest NDCG@5 on dev is the best; training ends when none has been better for long enough."""

    def score(self, epoch: int, dev: Mapping[str, float] | None) -> float:
        """NDCG@5 on dev."""
        assert dev is not None
        return dev[STOPPING_METRIC]

    def stops(self, scores: Sequence[float], best_epoch: int) -> bool:
        """See `RunConfig.early_stopping`."""
        return stops(scores, best_epoch, self.run)


class FixedEpochs(Stopping):
    """All of run.epochs are trained and the last one is the best: nothing is evaluated."""

    def score(self, epoch: int, dev: Mapping[str, float] | None) -> float:
        """The epoch's number."""
        return float(epoch)

    def stops(self, scores: Sequence[float], best_epoch: int) -> bool:
        """After run.epochs."""
        return len(scores) >= self.run.epochs


def stopping_of(run: RunConfig) -> Stopping:
    """The rule of a run: a refit, which has no dev, trains as long as it is told."""
    return EarlyStopping(run) if run.refit_of is None else FixedEpochs(run)


def stops(scores: Sequence[float], best_epoch: int, run: RunConfig) -> bool:
    """Whether early stopping trains no further epoch.

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
