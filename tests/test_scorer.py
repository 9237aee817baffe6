"""The relational scorer (RCF, KDA) against the loops of tests/reference.py, and what must not change its scores."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrd_jax.data.batch import History
from lrd_jax.data.intervals import dft_decay, flat_decay
from lrd_jax.models.relational import RelationalModel, aggregate_history, masked_softmax, temporal_decay
from tests import reference

USERS, ITEMS, ENTITIES, ITEM_RELATIONS, ATTRIBUTES, LATENT = 4, 10, 18, 2, 2, 2
B, C, H = 5, 3, 6
UNOPTIMISED = {"xla_backend_optimization_level": 0}  # compiles in half the time
NAMES = {
    "user": "user_embeddings",
    "entity": "entity_embeddings",
    "relation": "relation_embeddings",
    "item_bias": "item_bias",
    "decay_real": "decay_real",
    "decay_imag": "decay_imag",
    "query": "block/query_kernel",
    "key": "block/key_kernel",
    "value": "block/value_kernel",
    "w1": "block/w1_kernel",
    "b1": "block/w1_bias",
    "w2": "block/w2_kernel",
    "b2": "block/w2_bias",
    "norm_scale": "block/layer_norm_scale",
    "norm_bias": "block/layer_norm_bias",
    "pool_kernel": "pool/pool_kernel",
    "pool_bias": "pool/pool_bias",
    "pool_out": "pool/pool_out_kernel",
}


def build(**changes):
    settings = {
        "temporal": True,
        "num_layers": 2,
        "pooling": "mean",
        "include_value": True,
        "num_latent_relations": LATENT,
    }
    return RelationalModel(
        num_users=USERS,
        num_items=ITEMS,
        num_entities=ENTITIES,
        num_item_relations=ITEM_RELATIONS,
        num_attributes=ATTRIBUTES,
        num_frequencies=9,
        embedding_dim=8,
        num_heads=2,
        dropout=0.0,
        attention_dim=3,
        **(settings | changes),
    )


def inputs(seed=0):
    """users, candidates, history, item_values; the last row's history is empty, items hold 0 to 3 values."""
    rng = np.random.default_rng(seed)
    lengths = np.array([6, 1, 3, 4, 0])[:, None]
    items = np.where(np.arange(H) < lengths, rng.integers(1, ITEMS + 1, (B, H)), 0).astype(np.int32)
    intervals = np.where(items > 0, rng.uniform(0, 20, (B, H)), 0).astype(np.float32)
    values = np.zeros((ITEMS + 1, ATTRIBUTES, 3), np.int32)
    for item, a in np.ndindex(ITEMS, ATTRIBUTES):
        held = rng.integers(0, 4)
        values[item + 1, a, :held] = rng.choice(np.arange(11, 14) if a == 0 else np.arange(14, 18), held, replace=False)
    users = rng.integers(1, USERS + 1, B).astype(np.int32)
    candidates = rng.integers(1, ITEMS + 1, (B, C)).astype(np.int32)
    return users, candidates, History(items, intervals, items, users), values


@functools.partial(jax.jit, static_argnums=0, compiler_options=UNOPTIMISED)
def score(model, params, users, candidates, history, values):
    """The model's scores, as one program: compiling operation by operation takes ten times as long."""
    return model.apply(params, users, candidates, history, values)


def random_params(model, seed=0):
    """Every parameter from N(0, 0.5), the real parts of the decay larger, so that it moves through [0, 1]."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs())
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda x: (0.5 * rng.normal(size=x.shape)).astype(np.float32), shapes)
    if model.temporal:
        params["params"]["decay_real"] *= 10
    return params


def ours(params):
    """A model's parameters under the reference's names, float64."""
    result = {}
    for name, path in NAMES.items():
        at = params["params"]
        for key in path.split("/"):
            at = at.get(key) if at is not None else None
        if at is not None:
            result[name] = np.asarray(at, np.float64)
    return result


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"temporal": False},
        {"pooling": "max"},
        {"pooling": "attention"},
        {"include_value": False},
        {"num_layers": 0},
        {"num_latent_relations": 0},
    ],
    ids=str,
)
def test_against_reference(changes):
    model = build(**changes)
    params, (users, candidates, history, values) = random_params(model), inputs()
    expected = reference.relational_scores(
        ours(params),
        users,
        candidates,
        history.items,
        history.items > 0,
        values,
        intervals=history.intervals.astype(np.float64) if model.temporal else None,
        first_attribute=1 + ITEM_RELATIONS,
        num_heads=2,
        num_layers=model.num_layers,
        pooling=model.pooling,
        include_value=model.include_value,
    )
    actual = score(model, params, users, candidates, history, values)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_more_padding_changes_nothing():
    model = build()
    params, (users, candidates, history, values) = random_params(model), inputs()
    pad = lambda x, value: np.pad(x, ((0, 0), (0, 5)), constant_values=value)  # noqa: E731
    # whatever stands at the padded positions
    longer = history._replace(items=pad(history.items, 0), intervals=pad(history.intervals, 7))
    scores = [score(model, params, users, candidates, h, values) for h in (history, longer)]
    np.testing.assert_allclose(*scores, rtol=1e-5, atol=1e-6)


def test_candidates_are_scored_apart():
    model = build(pooling="attention")
    params, (users, candidates, history, values) = random_params(model), inputs()
    order = [2, 0, 1]
    scores = score(model, params, users, candidates, history, values)
    moved = score(model, params, users, candidates[:, order], history, values)
    np.testing.assert_allclose(moved, scores[:, order], rtol=1e-5, atol=1e-6)
    alone = score(model, params, users, candidates[:, :1], history, values)
    np.testing.assert_allclose(alone, scores[:, :1], rtol=1e-5, atol=1e-6)


def test_order_of_the_history_is_irrelevant():
    """Only its times order a history: the scorer is a sum over its items."""
    model = build()
    params, (users, candidates, history, values) = random_params(model), inputs()
    order = np.random.default_rng(0).permutation(H)
    moved = history._replace(items=history.items[:, order], intervals=history.intervals[:, order])
    scores = [score(model, params, users, candidates, h, values) for h in (history, moved)]
    np.testing.assert_allclose(*scores, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("temporal", [True, False])
def test_empty_history_has_finite_gradients(temporal):
    model = build(temporal=temporal)
    params, (users, candidates, history, values) = random_params(model), inputs()
    loss = lambda p: jnp.square(model.apply(p, users, candidates, history, values)).sum()  # noqa: E731
    gradients = jax.jit(jax.grad(loss), compiler_options=UNOPTIMISED)(params)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))


def test_masked_softmax():
    logits = np.array([[1.0, 1e30], [2.0, -1e30], [3.0, 5.0]], np.float32)  # [H, R]
    valid = np.array([True, True, False])
    expected = [[1 / (1 + np.e), 1], [np.e / (1 + np.e), 0], [0, 0]]
    np.testing.assert_allclose(masked_softmax(logits, valid), expected, rtol=1e-6)
    assert not masked_softmax(logits, np.zeros(3, bool)).any()


@pytest.mark.parametrize("length", [0, 1, 3])
def test_masked_softmax_gradients_are_finite(length):
    valid = np.arange(3) < length
    weigh = np.arange(6.0, dtype=np.float32).reshape(3, 2)
    gradient = jax.jit(jax.grad(lambda x: (masked_softmax(x, valid) * weigh).sum()))(weigh)
    assert np.isfinite(gradient).all() and not gradient[length:].any()


def test_temporal_decay_against_reference():
    rng = np.random.default_rng(0)
    real, imag = (5 * rng.normal(size=(2, 3, 9))).astype(np.float32)
    intervals = rng.uniform(0, 25, 40).astype(np.float32)
    expected = [[reference.clipped_decay(real[r], imag[r], dt) for r in range(3)] for dt in intervals]
    assert 0.1 < np.mean([0 < x < 1 for row in expected for x in row]) < 1  # both clipped and not
    np.testing.assert_allclose(temporal_decay(intervals, real, imag), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_points", [2, 16, 64])
def test_dft_start_is_the_histogram(num_points):
    histograms = np.random.default_rng(0).integers(0, 50, (3, num_points)).astype(float)
    histograms[0, 0] += 1
    histograms[2] = 0  # never observed: starts as the virtual relation's
    real, imag = dft_decay(histograms)
    for ours, theirs in zip((real, imag), reference.dft_decay(histograms, 3), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    started = temporal_decay(np.arange(num_points, dtype=np.float32), real, imag)  # [N, R]
    expected = (histograms / np.maximum(histograms.max(axis=1, keepdims=True), 1))[[0, 1, 0]]
    np.testing.assert_allclose(started.T, expected, atol=1e-4)


def test_flat_start_is_the_same_everywhere():
    started = temporal_decay(np.linspace(0, 30, 50, dtype=np.float32), *flat_decay(3, 33))
    np.testing.assert_allclose(started, 0.9, rtol=1e-5)


def test_decay_passes_no_gradient_where_it_is_clipped():
    real, imag = np.zeros((2, 3, 9), np.float32)
    real[:, 0] = [-5, 5, 50]  # ½·mean = −5/18, 5/18, 50/18
    gradient = jax.jit(jax.grad(lambda x: temporal_decay(np.float32([3.0]), x, imag).sum()))(real)
    assert np.abs(gradient).max(axis=1).astype(bool).tolist() == [False, True, False]


def test_no_valid_item_gives_no_history():
    emb = np.ones((3, 4), np.float32)
    assert not aggregate_history(emb, np.zeros(3, bool), None, emb, emb[0]).any()
