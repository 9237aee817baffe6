"""The losses against the loops of tests/reference.py, at their extremes, and their gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from lrd_jax.models import losses
from tests import reference

# As one program each: compiling operation by operation takes ten times as long.
bpr_loss, sequence_bpr_loss, softmax_loss = map(
    jax.jit, (losses.bpr_loss, losses.sequence_bpr_loss, losses.softmax_loss)
)
entropy, gbce_loss, lrd_paper_loss = map(jax.jit, (losses.entropy, losses.gbce_loss, losses.lrd_paper_loss))
lrd_released_loss = jax.jit(losses.lrd_released_loss, static_argnames="drop_virtual")

log_softmax = jax.jit(jax.nn.log_softmax)

H, R, D, T = 6, 4, 5, 3
RELEASED = [pytest.param(True, id="drop_virtual"), pytest.param(False, id="all_relations")]


def example(seed=0, scale=1.0, length=4):
    """Arguments of the LRD losses for one (history, target), float32; positions from `length` on are padding."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: (scale * rng.normal(size=shape)).astype(np.float32)  # noqa: E731
    log_q = np.asarray(log_softmax(rng.normal(size=(H, R)).astype(np.float32)))
    return log_q, draw(H, D), draw(H, D), draw(D), draw(R, D), np.arange(H) < length


LOSSES = [
    pytest.param(functools.partial(lrd_paper_loss, entropy_weight=0.1), id="paper"),
    pytest.param(
        functools.partial(lrd_released_loss, entropy_weight=0.1, drop_virtual=True), id="released-drop_virtual"
    ),
    pytest.param(functools.partial(lrd_released_loss, entropy_weight=0.1, drop_virtual=False), id="released"),
]


def corpus(seed=0):
    """Parameters, texts, histories, mask, targets and negatives as the reference takes them."""
    rng = np.random.default_rng(seed)
    params = {
        "entity": rng.normal(size=(9, D)),
        "relation": rng.normal(size=(R, D)),
        "text_kernel": rng.normal(size=(T, D)),
        "text_bias": rng.normal(size=D),
        "class_kernel": rng.normal(size=(2 * D, R)),
        "class_bias": rng.normal(size=R),
    }
    lengths = np.array([6, 1, 3])
    mask = np.arange(H) < lengths[:, None]
    history = np.where(mask, rng.integers(1, 9, (3, H)), 0)
    text = rng.normal(size=(9, T))
    text[0] = 0
    return params, text, history, mask, rng.integers(1, 9, 3), rng.integers(1, 9, (3, H))


def batch_loss(loss, data, **settings):
    """Σ sums / Σ numbers of a one-example loss over a batch of `corpus`."""
    params, text, history, mask, targets, negatives = data
    q = [[reference.posterior(params, text, i, t) for i in row] for row, t in zip(history, targets, strict=True)]
    entity = params["entity"].astype(np.float32)
    sums, numbers = jax.vmap(functools.partial(loss, **settings), in_axes=(0, 0, 0, 0, None, 0))(
        np.log(q).astype(np.float32),
        entity[history],
        entity[negatives],
        entity[targets],
        params["relation"].astype(np.float32),
        mask,
    )
    return np.sum(sums) / np.sum(numbers)


# BPR


@pytest.mark.parametrize("num_negatives", [1, 2, 7])
def test_bpr_against_reference(num_negatives):
    scores = 3 * np.random.default_rng(0).normal(size=(20, 1 + num_negatives)).astype(np.float32)
    expected = reference.bpr_loss(scores[:, 0], scores[:, 1:])
    np.testing.assert_allclose(np.mean(jax.vmap(bpr_loss)(scores)), expected, rtol=1e-5)


def test_bpr_by_hand():
    assert float(bpr_loss(np.float32([0.0, 0.0]))) == pytest.approx(np.log(2))
    # two equal negatives weigh ½ each: the same as one of them
    assert float(bpr_loss(np.float32([1.0, 0.0, 0.0]))) == pytest.approx(np.log1p(np.exp(-1)), rel=1e-6)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([1e4, -1e4], 0.0), ([-1e4, 1e4], 2e4), ([0.0, 1e4, -1e4], 1e4), ([1e30, 0.0, 0.0], 0.0), ([0.0, 1e30], 1e30)],
)
def test_bpr_of_very_large_scores(scores, expected):
    value, gradient = jax.value_and_grad(bpr_loss)(np.float32(scores))
    assert float(value) == pytest.approx(expected, abs=1e-6, rel=1e-6)
    assert np.isfinite(gradient).all()


def test_bpr_ignores_the_order_of_negatives():
    scores = np.random.default_rng(1).normal(size=8).astype(np.float32)
    np.testing.assert_allclose(bpr_loss(scores), bpr_loss(scores[[0, 5, 3, 1, 7, 2, 4, 6]]), rtol=1e-6)


def test_bpr_gradients():
    scores = np.random.default_rng(2).normal(size=5).astype(np.float32)
    check_grads(bpr_loss, (scores,), order=2, modes=("rev",), rtol=1e-2, atol=1e-2)


def test_bpr_gradient_flows_through_the_softmax():
    """d/d neg of −log Σ w·σ with the weights held fixed is another number."""
    scores = np.float32([0.3, 1.0, -1.0])

    def fixed(s):
        weights = jax.lax.stop_gradient(jax.nn.log_softmax(s[1:]))
        return -jax.nn.logsumexp(weights + jax.nn.log_sigmoid(s[0] - s[1:]))

    assert np.abs(jax.grad(bpr_loss)(scores) - jax.jit(jax.grad(fixed))(scores)).max() > 1e-2


# Entropy


# Sequence models


@pytest.mark.parametrize("num_negatives", [1, 2, 7])
def test_sequence_losses_against_reference(num_negatives):
    rows = np.random.default_rng(0).normal(size=(6, 1 + num_negatives)).astype(np.float32)
    expected = reference.sequence_loss(rows[:, 0], rows[:, 1:])
    assert np.mean(jax.vmap(sequence_bpr_loss)(rows)) == pytest.approx(expected, abs=1e-6)
    for row in rows:
        assert softmax_loss(row) == pytest.approx(reference.softmax_loss(row), abs=1e-6)
        assert softmax_loss(row, num_negatives) == pytest.approx(reference.softmax_loss(row, num_negatives), abs=1e-6)
        for options in ({"sampling_rate": 0.1, "calibration": 0.75}, {"sampling_rate": 0.6, "calibration": 0.2}):
            assert gbce_loss(row, **options) == pytest.approx(reference.gbce_loss(row, **options), abs=1e-6)


def test_losses_by_hand():
    scores = np.float32([0.0, 0.0, 0.0])
    assert sequence_bpr_loss(scores) == pytest.approx(np.log(2))
    assert softmax_loss(scores) == pytest.approx(np.log(3))
    # Without calibration the plain mean of three log 2; with all of it the positive counts α.
    assert gbce_loss(scores, sampling_rate=0.25, calibration=0.0) == pytest.approx(np.log(2))
    assert gbce_loss(scores, sampling_rate=0.25, calibration=1.0) == pytest.approx(2.25 / 3 * np.log(2))


def test_one_negative_makes_both_kinds_of_bpr_equal():
    for scores in np.random.default_rng(1).normal(size=(4, 2)).astype(np.float32):
        assert sequence_bpr_loss(scores) == pytest.approx(float(bpr_loss(scores)), abs=1e-6)


def test_gbce_takes_overconfidence_back():
    """The expected loss over many negatives of an item that follows with probability p is least at that p, if t is 1.

    One positive with probability p and, whatever happens, one of `others` negatives drawn for certain with rate α.
    """
    p, rate = 0.3, 0.05
    logits = np.linspace(-8, 8, 20_001, dtype=np.float32)

    def expected(logit):  # as positive, or, with probability α, drawn as a negative
        as_positive = gbce_loss(jnp.array([logit, -1e4]), sampling_rate=rate, calibration=1.0)
        as_negative = gbce_loss(jnp.array([1e4, logit]), sampling_rate=rate, calibration=1.0)
        return p * as_positive + (1 - p) * rate * as_negative

    best = logits[np.argmin(jax.jit(jax.vmap(expected))(logits))]
    assert 1 / (1 + np.exp(-best)) == pytest.approx(p, abs=1e-3)


EXTREMES = [
    pytest.param(sequence_bpr_loss, [0.0, 2e4], id="bpr"),
    pytest.param(softmax_loss, [0.0, 2e4], id="softmax"),
    pytest.param(lambda s: gbce_loss(s, sampling_rate=0.1, calibration=0.75), [0.0, (0.325 + 1) * 5e3], id="gbce"),
]


@pytest.mark.parametrize(("loss", "expected"), EXTREMES)
def test_sequence_losses_of_very_large_scores(loss, expected):
    for scores, value in zip(([1e4, -1e4], [-1e4, 1e4]), expected, strict=True):
        assert loss(np.float32(scores)) == pytest.approx(value, rel=1e-5)
        assert np.isfinite(jax.grad(loss)(np.float32(scores))).all()


@pytest.mark.parametrize(("loss", "_"), EXTREMES)
def test_sequence_loss_gradients(loss, _):
    check_grads(loss, (np.array([0.3, -0.7, 1.1, 0.2], np.float32),), order=1, modes=["rev"], atol=1e-2, rtol=1e-2)


def test_entropy_by_hand():
    assert float(entropy(np.log(np.full(8, 1 / 8, np.float32)))) == pytest.approx(np.log(8), rel=1e-6)
    assert float(entropy(np.float32([0.0, -np.inf, -np.inf]))) == 0


@pytest.mark.parametrize("logits", [[0.0, 0.0, 0.0], [200.0, 0.0, -200.0], [1e4, 0.0, 0.0], [1e30, -1e30, 0.0]])
def test_entropy_is_finite_where_q_is_zero(logits):
    """Through log_softmax and at q = 0 exactly, value and gradient are finite; q·log q is not."""
    value, gradient = jax.jit(jax.value_and_grad(lambda x: entropy(jax.nn.log_softmax(x))))(np.float32(logits))
    assert 0 <= float(value) <= np.log(3) + 1e-6 and np.isfinite(gradient).all()


def test_entropy_gradient_at_minus_infinity():
    assert np.isfinite(jax.grad(entropy)(np.float32([0.0, -np.inf]))).all()


# LRD


def test_paper_loss_against_reference():
    data = corpus()
    expected = reference.lrd_paper_loss(*data, 0.1)
    np.testing.assert_allclose(batch_loss(lrd_paper_loss, data, entropy_weight=0.1), expected, rtol=1e-5)


@pytest.mark.parametrize("drop_virtual", RELEASED)
def test_released_loss_against_reference(drop_virtual):
    data = corpus(1)
    expected = reference.lrd_released_loss(*data, 0.1, drop_virtual)
    actual = batch_loss(lrd_released_loss, data, entropy_weight=0.1, drop_virtual=drop_virtual)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_paper_objective_is_a_lower_bound_that_the_posterior_attains():
    """With α = 1, Σ_r q·log p_r + H[q] ≤ log Σ_r p_r, with equality at q ∝ p (Eq. 1, 2, the uniform prior aside)."""
    log_q, history, negative, target, relations, valid = example(3)
    phi = np.einsum("hd,rd,d->hr", history, relations, target)
    phi_negative = np.einsum("hd,rd,d->hr", negative, relations, target)
    log_p = jax.nn.log_sigmoid(phi) + jax.nn.log_sigmoid(-phi_negative)
    bound = float(np.sum(jax.nn.logsumexp(log_p, axis=1)[valid]))
    rest = (history, negative, target, relations, valid)
    best, _ = lrd_paper_loss(log_softmax(log_p), *rest, entropy_weight=1.0)
    assert -float(best) == pytest.approx(bound, rel=1e-5)
    for seed in range(5):
        other, _ = lrd_paper_loss(example(seed)[0], *rest, entropy_weight=1.0)
        assert -float(other) < bound


def test_sign_of_the_entropy():
    """`paper` rewards a spread posterior, `released` a peaked one."""
    _, history, _, target, relations, valid = example(4)
    rest = (history, history, target, relations, valid)  # history as its own negative: q does not enter z
    flat, peaked = np.full((H, R), -np.log(R), np.float32), np.tile(log_softmax(np.float32([9.0, 0, 0, 0])), (H, 1))

    def released(log_q):
        return lrd_released_loss(log_q, *rest, entropy_weight=1.0, drop_virtual=False)[0]

    zero = (0 * history, 0 * history, target, relations, valid)
    assert lrd_paper_loss(flat, *zero, entropy_weight=1.0)[0] < lrd_paper_loss(peaked, *zero, entropy_weight=1.0)[0]
    assert released(flat) > released(peaked)


def test_paper_loss_does_not_see_padding():
    log_q, history, negative, target, relations, valid = example(5)
    pad = ~valid[:, None]
    changed = (np.where(pad, log_q[::-1], log_q), np.where(pad, 7, history), np.where(pad, -9, negative))
    same = lrd_paper_loss(*changed, target, relations, valid, entropy_weight=0.1)
    assert same == lrd_paper_loss(log_q, history, negative, target, relations, valid, entropy_weight=0.1)
    short = [x[:4] for x in (log_q, history, negative)]
    cut = lrd_paper_loss(*short, target, relations, valid[:4], entropy_weight=0.1)
    np.testing.assert_allclose(cut, same, rtol=1e-6)


@pytest.mark.parametrize("drop_virtual", RELEASED)
def test_released_loss_sees_padding_in_the_entropy_alone(drop_virtual):
    log_q, history, negative, target, relations, valid = example(6)
    changed = np.where(valid[:, None], history, 7)

    def loss(history, weight, log_q=log_q):
        settings = {"entropy_weight": weight, "drop_virtual": drop_virtual}
        return float(lrd_released_loss(log_q, history, negative, target, relations, valid, **settings)[0])

    other_q = np.where(valid[:, None], log_q, np.log(1 / R)).astype(np.float32)
    assert loss(changed, 0.1) == loss(history, 0.1)
    assert loss(history, 0.0, other_q) == loss(history, 0.0)
    assert loss(history, 0.1, other_q) != loss(history, 0.1)


@pytest.mark.parametrize("loss", LOSSES)
def test_order_of_the_history_is_irrelevant(loss):
    log_q, history, negative, target, relations, valid = example(7)
    order = np.random.default_rng(0).permutation(H)
    moved = loss(log_q[order], history[order], negative[order], target, relations, valid[order])
    np.testing.assert_allclose(moved, loss(*example(7)), rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_lrd_gradients(loss):
    *arrays, valid = example(8)
    check_grads(lambda *a: loss(*a, valid)[0], arrays, order=1, modes=("rev",), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("loss", LOSSES)
def test_empty_history_has_finite_gradients(loss):
    *arrays, valid = example(9, length=0)
    value, gradients = jax.value_and_grad(lambda *a: loss(*a, valid)[0], argnums=range(5))(*arrays)
    assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradients)


def test_empty_history_adds_nothing_to_the_paper_loss():
    assert lrd_paper_loss(*example(9, length=0), entropy_weight=0.1) == (0, 0)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("scale", [10.0, 100.0])
def test_very_large_embeddings(loss, scale):
    """Triple scores of about scale³: σ underflows in float32, the loss must not."""
    *arrays, valid = example(10, scale=scale)
    value, gradients = jax.value_and_grad(lambda *a: loss(*a, valid)[0], argnums=range(5))(*arrays)
    assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_position_badly_wrong(loss):
    """Every σ(z) of a relation is 0 in float32; its logarithm is still about z, with a gradient that mends it."""
    log_q = np.full((H, R), np.log(1 / R), np.float32)
    history, negative = np.full((H, D), -20, np.float32), np.full((H, D), 20, np.float32)
    target, relations, valid = np.ones(D, np.float32), np.ones((R, D), np.float32), np.arange(H) < 2
    arrays = (log_q, history, negative, target, relations)
    value, gradients = jax.value_and_grad(lambda *a: loss(*a, valid)[0], argnums=range(5))(*arrays)
    assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradients)
    assert np.all(gradients[1][valid] < 0)  # raise the history's score


@pytest.mark.parametrize("loss", LOSSES)
def test_certain_posterior_has_finite_gradients(loss):
    """Some q are exactly 0 in float32."""
    _, *arrays, valid = example(11)
    logits = np.tile(np.array([500.0, 0.0, -500.0, 1.0], np.float32), (H, 1))
    value, gradient = jax.value_and_grad(lambda x: loss(jax.nn.log_softmax(x), *arrays, valid)[0])(logits)
    assert np.isfinite(value) and np.isfinite(gradient).all()
