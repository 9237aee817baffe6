"""The rules of early stopping against plain loops."""

import numpy as np
import pytest

from lrd_jax.config.schema import RunConfig
from lrd_jax.training.stopping import stops


def published(scores):
    """The published code's `eval_termination` in words: more than 20 epochs whose last five never rise, or no new best
    for 20."""
    never_rise = True
    for place in range(len(scores) - 4, len(scores)):
        if len(scores) >= 5 and scores[place] > scores[place - 1]:
            never_rise = False
    waited = len(scores) - scores.index(max(scores))  # the best epoch counts
    return (len(scores) > 20 and never_rise) or waited > 20


def epochs_trained(scores, run):
    """How many epochs a run makes of dev scores that are known beforehand."""
    for epoch in range(1, len(scores) + 1):
        seen = scores[:epoch]
        if stops(seen, int(np.argmax(seen)) + 1, run):
            return epoch
    return None


@pytest.mark.parametrize("seed", range(20))
def test_published_rule(seed):
    rng = np.random.default_rng(seed)
    # Rounded, so that equal scores come; a slow rise and fall, so that both halves of the rule end some runs.
    scores = np.round(np.sin(np.arange(120) / rng.uniform(8, 40)) + rng.normal(0, rng.uniform(0, 0.5), 120), 1).tolist()
    run = RunConfig(early_stopping="published", epochs=200, patience=1)
    expected = next((epoch for epoch in range(1, 121) if published(scores[:epoch])), None)
    assert epochs_trained(scores, run) == expected


def test_published_rule_by_hand():
    run = RunConfig(early_stopping="published")
    assert epochs_trained([0.5] * 30, run) == 21  # never below 21 epochs
    assert epochs_trained([0.1, 0.9, *([0.2, 0.3] * 20)], run) == 22  # best at 2: twenty epochs without a new one
    assert epochs_trained(list(np.linspace(0, 1, 25)) + [0.9, 0.8, 0.7, 0.6], run) == 29  # five that never rise
    assert epochs_trained(list(np.linspace(0, 1, 40)), RunConfig(early_stopping="published", epochs=30)) == 30


def test_patience():
    assert epochs_trained([0.1, 0.3, 0.3, 0.2, 0.4], RunConfig(patience=2)) == 4  # an equal score is no improvement
    assert epochs_trained([0.1, 0.2, 0.3], RunConfig(patience=1, epochs=2)) == 2
