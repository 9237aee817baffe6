"""Statistics against scipy, hand-worked values and slow loops."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from lrd_jax.ranking.statistics import (
    bootstrap_intervals,
    holm,
    mean_by_user,
    mean_over_runs,
    t_test,
    wilcoxon_test,
)


def test_mean_by_user():
    ids, means = mean_by_user(np.array([7, 3, 7, 5]), np.array([1.0, 0.5, 0.0, 0.25]))
    assert ids.tolist() == [3, 5, 7]
    assert means.tolist() == [0.5, 0.25, 0.5]


def test_runs_are_paired_by_user_whatever_their_order():
    one = (np.array([1, 2, 3]), np.array([1.0, 0.0, 0.5]))
    other = (np.array([3, 1, 2]), np.array([0.0, 0.0, 1.0]))
    ids, means = mean_over_runs([one, other])
    assert ids.tolist() == [1, 2, 3]
    assert means.tolist() == [0.5, 0.5, 0.25]


def test_runs_of_different_users_are_refused():
    with pytest.raises(ValueError, match="different users"):
        mean_over_runs([(np.array([1, 2]), np.zeros(2)), (np.array([1, 3]), np.zeros(2))])


def test_t_test():
    a, b = np.random.default_rng(0).normal(size=(2, 40)) + [[0.3], [0.0]]
    assert t_test(a - b) == pytest.approx(scipy.stats.ttest_rel(a, b).pvalue)
    # differences 1, 2, 3: t = 2 / (1 / sqrt(3)) = 3.4641 with 2 degrees of freedom, p = 1 - t / sqrt(t^2 + 2)
    assert t_test(np.array([1.0, 2.0, 3.0])) == pytest.approx(1 - np.sqrt(12 / 14))


def test_wilcoxon():
    a, b = np.random.default_rng(1).normal(size=(2, 60)) + [[0.3], [0.0]]
    assert wilcoxon_test(a - b) == pytest.approx(scipy.stats.wilcoxon(a, b).pvalue)
    # all five positive: of the 32 assignments of signs 1 is as extreme on each side
    assert wilcoxon_test(np.array([1.0, 2.0, 3.0, 4.0, 5.0])) == pytest.approx(2 / 32)


@pytest.mark.parametrize("test", [t_test, wilcoxon_test])
def test_p_values_of_extremes(test):
    assert test(np.zeros(30)) == 1.0
    assert test(np.zeros(1)) == 1.0
    differences = np.zeros(200)
    differences[:40] = 0.5
    assert 0 <= test(differences) < 1e-6
    assert test(differences) == pytest.approx(test(-differences))


def test_t_test_without_spread():
    assert t_test(np.full(5, 0.25)) == 0.0
    assert t_test(np.array([0.25])) == 1.0


def test_holm_by_hand():
    # sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04, the last raised to the one before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])
    assert holm([]).shape == (0,)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(1e-9, 1), min_size=1, max_size=8))
def test_holm_against_its_definition(p_values):
    """The corrected p-value is the smallest level at which Holm's steps reject."""
    corrected = holm(p_values)
    for position, level in enumerate(corrected):
        for tried, rejects in ((level * (1 + 1e-9), True), (level * (1 - 1e-6), False)):
            rejected = set()
            for step, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
                if p_values[index] > tried / (len(p_values) - step):
                    break
                rejected.add(index)
            if 0 < level < 1:
                assert (position in rejected) == rejects


def test_bootstrap_against_a_loop():
    differences = np.random.default_rng(2).normal(size=(30, 2))
    rng = np.random.default_rng(5)
    means = [differences[rng.integers(0, 30, 30)].mean(axis=0) for _ in range(500)]
    expected = np.percentile(means, [5, 95], axis=0).T
    found = bootstrap_intervals(differences, seed=5, resamples=500, level=0.9)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_bootstrap_in_blocks(monkeypatch):
    differences = np.random.default_rng(2).normal(size=(30, 2))
    whole = bootstrap_intervals(differences, seed=5, resamples=100)
    monkeypatch.setattr("lrd_jax.ranking.statistics._BLOCK", 30 * 7)
    np.testing.assert_allclose(bootstrap_intervals(differences, seed=5, resamples=100), whole, rtol=1e-12)


def test_bootstrap_covers():
    """Of 200 samples with mean 0.2, about 95% of the intervals hold it."""
    rng = np.random.default_rng(3)
    samples = rng.exponential(size=(80, 200)) - 0.8
    covered = [low <= 0.2 <= high for low, high in bootstrap_intervals(samples, seed=0, resamples=400)]
    assert 0.88 < np.mean(covered) < 0.98
