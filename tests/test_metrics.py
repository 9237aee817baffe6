"""Ranks and ranking metrics: the golden file, worked fractions, ties, NaN."""

import jax
import numpy as np
import pytest

from lrd_jax.ranking.metrics import ranking_metrics, reciprocal_rank_metrics, target_counts, target_ranks
from tests import golden_files, reference


def rank(scores, valid=None, ties="average"):
    scores = np.asarray(scores, np.float32)
    valid = np.ones(len(scores) - 1, bool) if valid is None else np.asarray(valid)
    counts = target_counts(scores[0], scores[1:], valid)
    return float(target_ranks(counts.greater, counts.equal, ties))


def test_golden():
    with np.load(golden_files.FOLDER / "ranking_metrics.npz") as file:
        golden = {key: file[key] for key in file.files}
    scores = golden["scores"].astype(np.float32)
    counts = jax.vmap(target_counts)(scores[:, 0], scores[:, 1:], np.ones_like(scores[:, 1:], bool))
    ranks = target_ranks(counts.greater, counts.equal)
    metrics = ranking_metrics(ranks, cutoffs=(1, 5, 10, 20))
    assert len(metrics) == 8
    for name, value in metrics.items():
        assert value == pytest.approx(float(golden[f"out/{name}"]), abs=1e-9), name


def test_worked_fractions():
    # ranks 1, 3, 7: HR@5 = 2/3; NDCG@5 = (1/log2(2) + 1/log2(4)) / 3 = (1 + 1/2) / 3; rank 7 adds 1/log2(8) = 1/3
    metrics = ranking_metrics(np.array([1, 3, 7]))
    expected = {"HR@5": 2 / 3, "NDCG@5": 1.5 / 3, "HR@10": 1.0, "NDCG@10": (1.5 + 1 / 3) / 3}
    assert metrics == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([3, 1, 2], 1),
        ([0, 1, 2], 3),
        ([1, 1, 1], 2),  # the mean of 1, 2, 3
        ([1, 2, 1], 2.5),  # the mean of 2, 3
        ([0] * 100, 50.5),  # a constant model ranks in the middle, not first
        ([np.inf, 1, np.inf], 1.5),
        ([-np.inf, 1, -np.inf], 2.5),
        ([1e30, -1e30, 3e38], 2),
        ([1], 1),
    ],
)
def test_rank(scores, expected):
    assert rank(scores) == expected == reference.rank_of_first(scores)


def test_nan_target_ranks_last():
    """A model that has diverged must not be reported as perfect."""
    assert rank([np.nan, 1, 2, 3]) == 4


def test_nan_everywhere_is_not_a_hit():
    assert rank([np.nan] * 100) > 10


def test_nan_candidate_does_not_lift_the_target():
    assert rank([1, np.nan, 0]) == 2


def test_padding_does_not_count():
    scores = np.random.default_rng(0).normal(size=21)
    padded = np.concatenate([scores, [1e9, scores[0], -1e9]])
    assert rank(padded, np.arange(23) < 20) == rank(scores)


def test_duplicates_count_as_they_stand():
    assert rank([1, 2, 2, 2]) == 4


def test_order_of_candidates_is_irrelevant():
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 5, 30).astype(float)
    for _ in range(5):
        assert rank(np.concatenate([scores[:1], rng.permutation(scores[1:])])) == reference.rank_of_first(scores)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([3, 1, 2], 1),
        ([1, 1, 1], 3),
        ([1, 2, 1], 3),
        ([0] * 100, 100),  # a constant model ranks last
        ([np.inf, 1, np.inf], 2),
    ],
)
def test_pessimistic_rank(scores, expected):
    assert rank(scores, ties="pessimistic") == expected


def test_reciprocal_ranks():
    # ranks 1, 3, 7: MRR@5 = (1 + 1/3) / 3; MRR adds 1/7
    expected = {"MRR@5": (1 + 1 / 3) / 3, "MRR@10": (1 + 1 / 3 + 1 / 7) / 3, "MRR": (1 + 1 / 3 + 1 / 7) / 3}
    assert reciprocal_rank_metrics(np.array([1, 3, 7])) == pytest.approx(expected)
    assert reciprocal_rank_metrics(np.array([1.5, 40]), cutoffs=(1, 2)) == pytest.approx(
        {"MRR@1": 0, "MRR@2": 1 / 3, "MRR": (2 / 3 + 1 / 40) / 2}
    )


@pytest.mark.parametrize("metrics", [ranking_metrics, reciprocal_rank_metrics])
@pytest.mark.parametrize("ranks", [[], [0.5], [1, np.nan], [-3]])
def test_impossible_ranks_are_refused(ranks, metrics):
    with pytest.raises(ValueError):
        metrics(np.array(ranks))


def test_half_ranks_at_the_cutoff():
    # a tie of ranks 5 and 6 averages to 5.5, no hit at 5
    assert ranking_metrics(np.array([5.5]), cutoffs=(5, 6))["HR@5"] == 0
    assert ranking_metrics(np.array([5.5]), cutoffs=(5, 6))["HR@6"] == 1
