"""The compiled epoch and evaluation against loops, and what must hold of them wherever they run."""

import dataclasses
import logging
import math
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from lrd_jax.config.schema import Config, DataConfig, LossConfig, ModelConfig, OptimConfig
from lrd_jax.data.corpus import Split
from lrd_jax.data.device import Arrays, gather_history, put_corpus, put_split
from lrd_jax.errors import UserError
from lrd_jax.models import build_system
from lrd_jax.models.system import RelationalSystem
from lrd_jax.ranking.metrics import target_ranks
from lrd_jax.ranking.on_device import build_evaluation
from lrd_jax.training.epoch import (
    TrainState,
    build_epoch,
    build_optimizer,
    draw_batch,
    draw_edges,
    init_state,
    loss_and_gradients,
    stream_key,
)
from tests import reference
from tests.conftest import arrays as arrays_of
from tests.conftest import equations
from tests.test_scorer import NAMES

UNOPTIMISED = {"xla_backend_optimization_level": 0}  # compiles in half the time
BATCH = 15  # two devices pad it to 16
HISTORY = 5
NEGATIVES = 2
CLASSIFIER_NAMES = {
    "text_kernel": "text_projection_kernel",
    "text_bias": "text_projection_bias",
    "class_kernel": "classifier_kernel",
    "class_bias": "classifier_bias",
}
CONFIG = Config(
    data=DataConfig(history_length=HISTORY),
    model=ModelConfig(embedding_dim=8, num_heads=2, num_layers=1, num_latent_relations=2, num_dft_points=8),
    loss=LossConfig(num_negatives=NEGATIVES, lrd_objective="paper", lrd_weight=1.0),
    optim=OptimConfig(batch_size=BATCH, l2=1e-3),
)


def make_mesh(num_devices):
    if jax.device_count() < num_devices:
        pytest.skip(f"needs {num_devices} devices")
    kinds = (jax.sharding.AxisType.Auto,)
    return jax.make_mesh((num_devices,), ("data",), axis_types=kinds, devices=jax.devices()[:num_devices])


def step_options(system, corpus):
    return {
        "num_items": corpus.num_items,
        "num_negatives": NEGATIVES,
        "history_length": HISTORY,
        "uses_triples": "kg" in system.loss_weights,
        "uses_text": "lrd" in system.loss_weights,
    }


class Setup(NamedTuple):
    """Everything of one run, on a mesh of its own; `params` are on the host."""

    corpus: Any
    mesh: Any
    system: RelationalSystem
    arrays: Arrays
    optimizer: Any
    run_epoch: Any
    draw: Any
    gradients_of: Any
    evaluate: Any
    params: Any

    def put(self, tree):
        return jax.device_put(tree, NamedSharding(self.mesh, PartitionSpec()))

    def state(self):
        return self.put(TrainState(self.params, self.optimizer.init(self.params)))

    def train(self, state, seed, epoch):
        return self.run_epoch(state, self.arrays, self.put(seed), self.put(epoch))


def random_params(shapes, seed=0):
    """N(0, 0.3), far from the tiny initial ones; the decay's real parts larger, so that it moves through [0, 1]."""
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda x: (0.3 * rng.normal(size=x.shape)).astype(np.float32), shapes)
    params["scorer"]["decay_real"] *= 10
    params["scorer"]["block"]["layer_norm_scale"] += 1
    return params


@pytest.fixture(scope="module")
def setup(corpus, text):
    """setup(num_devices), each built and compiled once."""

    @cache
    def build(num_devices):
        mesh = make_mesh(num_devices)
        arrays = put_corpus(corpus, text, mesh)
        system = build_system(CONFIG, corpus, has_triples=True)
        optimizer = build_optimizer(CONFIG.optim)
        run_epoch = build_epoch(
            system,
            optimizer,
            mesh,
            batch_size=BATCH,
            num_negatives=NEGATIVES,
            history_length=HISTORY,
            num_items=corpus.num_items,
        )
        if num_devices == 1:  # what is asked of the program itself is asked of the one for two devices
            run_epoch = jax.jit(run_epoch, compiler_options=UNOPTIMISED)
        return Setup(
            corpus=corpus,
            mesh=mesh,
            system=system,
            arrays=arrays,
            optimizer=optimizer,
            run_epoch=run_epoch,
            draw=jax.jit(
                lambda *inputs: draw_batch(*inputs, **step_options(system, corpus)), compiler_options=UNOPTIMISED
            ),
            gradients_of=jax.jit(loss_and_gradients(system, mesh), compiler_options=UNOPTIMISED),
            evaluate=build_evaluation(system, mesh, history_length=HISTORY),
            params=random_params(jax.eval_shape(system.init, jax.random.key(0), arrays.tables)),
        )

    return build


@pytest.fixture(scope="module")
def epochs(setup):
    """epochs(num_devices): the state and losses on the host after epochs 1 and 2 with seed 7, run once."""

    @cache
    def run(num_devices):
        s = setup(num_devices)
        state, results = s.state(), []
        for epoch in (1, 2):
            state, losses = s.train(state, 7, epoch)
            results.append(jax.device_get((state, losses)))
        return results

    return run


def batches(s, seed, epoch):
    """The batches of an epoch one after the other, with the key of each one's dropout."""
    keys = {name: stream_key(seed, name, epoch) for name in ("shuffle", "triples", "negatives", "dropout")}
    examples = np.asarray(s.arrays.examples)
    order = np.asarray(jax.random.permutation(keys["shuffle"], len(examples)))
    num_steps = math.ceil(len(examples) / BATCH)
    assert 0 < len(examples) % BATCH < BATCH  # the last batch is short
    edges = draw_edges(keys["triples"], s.arrays.sampler, num_steps * BATCH).reshape(num_steps, BATCH)
    negatives, dropout = (jax.random.split(keys[name], num_steps) for name in ("negatives", "dropout"))
    for step in range(num_steps):
        rows = examples[order[step * BATCH : (step + 1) * BATCH]]
        weights = np.ones(len(rows), np.float32)
        rows, weights = (np.pad(x, (0, BATCH - len(x)), mode=m) for x, m in ((rows, "edge"), (weights, "constant")))
        yield s.draw(s.arrays, rows, edges[step], weights, negatives[step]), dropout[step]


def assert_trees_close(actual, expected, tolerance):
    """Within `tolerance` of each array's largest entry."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(np.abs(b).max(), 1e-3), err_msg=name)


def reference_params(params):
    """Ours under the reference's names, float64."""
    flat = {"/".join(p.key for p in path): x for path, x in jax.tree_util.tree_leaves_with_path(params["scorer"])}
    ours = {name: np.asarray(flat[path], np.float64) for name, path in NAMES.items() if path in flat}
    for name, path in CLASSIFIER_NAMES.items():
        ours[name] = np.asarray(params["classifier"][path], np.float64)
    return ours


def slow_scores(s, params, users, candidates, items, intervals):
    return reference.relational_scores(
        reference_params(params),
        np.asarray(users),
        np.asarray(candidates),
        np.asarray(items),
        np.asarray(items) > 0,
        s.corpus.item_values,
        intervals=np.asarray(intervals, np.float64),
        first_attribute=1 + len(s.corpus.item_relations),
        num_heads=CONFIG.model.num_heads,
        num_layers=CONFIG.model.num_layers,
    )


# Histories


def slow_history(corpus, row, length):
    """Items and Δt of the interactions of a row's user before it, oldest first."""
    user = corpus.sequence_users[row]
    before = range(max(corpus.sequence_offsets[user], row - length), row)
    items = [int(corpus.sequence_items[r]) for r in before]
    times = corpus.sequence_times.astype(np.int64)
    return items, [reference.log_interval(int(times[row] - times[r])) for r in before]


@pytest.mark.parametrize("length", [1, 4, 20])
def test_history(corpus, length):
    # Seconds apart at the end of 32 bits, where float32 cannot tell minutes apart.
    gaps = np.array([0, 1, 30, 59, 61, 90, 600, 86_400])[np.arange(len(corpus.sequence_items)) % 8]
    times = np.cumsum(gaps)
    times = (times - times.max() + 2**31 - 1).astype(np.int32)
    corpus = dataclasses.replace(corpus, sequence_times=times)
    arrays = put_corpus(corpus, None, make_mesh(1))
    rows = np.arange(len(times), dtype=np.int32)
    history = jax.jit(gather_history, static_argnums=2)(arrays, rows, length)
    assert history.items.dtype == jnp.int32 and history.intervals.dtype == jnp.float32
    assert history.items.shape == history.intervals.shape == (len(rows), length)
    for row in rows:
        items, intervals = slow_history(corpus, row, length)
        padding = [0] * (length - len(items))
        assert history.items[row].tolist() == items + padding
        np.testing.assert_allclose(history.intervals[row], intervals + padding, rtol=1e-5, atol=1e-5)


def test_every_training_row_with_a_history_is_an_example(corpus, setup):
    expected = [row for row in corpus.train_rows if slow_history(corpus, row, 1)[0]]
    assert len(expected) == len(corpus.train_rows) - corpus.num_users
    assert setup(1).arrays.examples.tolist() == expected


def test_batches_hold_what_they_should(setup, corpus):
    s = setup(1)
    touched = {user: set() for user in range(1, corpus.num_users + 1)}
    for row in corpus.train_rows:
        touched[int(corpus.sequence_users[row])].add(int(corpus.sequence_items[row]))
    positives, numbers = [], []
    for batch, _ in batches(s, 0, 1):
        assert batch.candidates.shape == (BATCH, 1 + NEGATIVES) and batch.negative_history.shape == (BATCH, HISTORY)
        for b in range(BATCH):
            user = int(batch.users[b])
            drawn = {*batch.candidates[b, 1:].tolist(), *batch.negative_history[b].tolist()}
            assert not drawn & touched[user] and drawn <= set(range(1, corpus.num_items + 1))
        valid = np.asarray(batch.weights) > 0
        positives += zip(batch.users[valid].tolist(), batch.candidates[valid, 0].tolist(), strict=True)
        numbers.append(valid.sum())
    rows = np.asarray(s.arrays.examples)
    expected = zip(corpus.sequence_users[rows].tolist(), corpus.sequence_items[rows].tolist(), strict=True)
    assert sorted(positives) == sorted(expected)  # every example, once
    assert numbers[:-1] == [BATCH] * (len(numbers) - 1) and 0 < numbers[-1] < BATCH


# Training


@pytest.mark.slow
def test_scanned_epoch_is_a_loop(setup, epochs):
    s = setup(1)
    update = jax.jit(s.optimizer.update)
    state = s.state()
    for epoch, (expected, expected_losses) in enumerate(epochs(1), start=1):
        sums, counts = [], []
        for batch, dropout_key in batches(s, 7, epoch):
            gradients, step_sums, step_counts = s.gradients_of(state.params, batch, s.arrays.tables, dropout_key)
            updates, opt_state = update(gradients, state.opt_state, state.params)
            state = TrainState(optax.apply_updates(state.params, updates), opt_state)
            sums.append(step_sums)
            counts.append(step_counts)
        for name in s.system.loss_weights:
            mean = sum(float(x[name]) for x in sums) / sum(float(x[name]) for x in counts)
            assert float(expected_losses[name]) == pytest.approx(mean, rel=1e-5), name
        assert_trees_close(jax.device_get(state), expected, 1e-5)


def test_losses_of_a_batch(setup):
    """Each batch's sums and counts by slow loops over its examples; those added to fill the last one do not count."""
    s = setup(2)
    params, text = reference_params(s.params), np.asarray(s.arrays.tables.text, np.float64)
    first, *_, last = batches(s, 3, 1)
    for batch, key in (first, last):
        _, sums, counts = jax.device_get(s.gradients_of(s.params, batch, s.arrays.tables, key))
        number = int(batch.weights.sum())
        batch = jax.tree.map(lambda x: np.asarray(x)[:number], batch)  # noqa: B023
        scores = slow_scores(s, s.params, batch.users, batch.candidates, *batch.history[:2])
        triples = batch.triples
        kg = np.zeros(triples.heads.shape)
        for b, c in np.ndindex(kg.shape):
            at = triples.heads[b, c], triples.relations[b], triples.values[b], triples.tails[b, c]
            kg[b, c] = reference.triple_score(params, *at, include_value=True)
        mask = batch.history.items > 0
        pairs = batch.history.items, mask, batch.candidates[:, 0], batch.negative_history
        assert number < mask.sum() < mask.size  # the mean over pairs is not that over examples
        expected = {
            "rec": (number, reference.bpr_loss(scores[:, 0], scores[:, 1:])),
            "kg": (number, reference.bpr_loss(kg[:, 0], kg[:, 1:])),
            "lrd": (mask.sum(), reference.lrd_paper_loss(params, text, *pairs, CONFIG.loss.entropy_weight)),
        }
        assert set(expected) == set(sums) == set(counts)
        for name, (count, mean) in expected.items():
            assert counts[name] == count
            assert float(sums[name]) == pytest.approx(count * mean, rel=1e-5), name
    assert number < BATCH


def test_gradients_of_a_short_batch(setup):
    """Examples of weight 0 change nothing, whatever they hold."""
    s = setup(2)
    *_, (last, key) = batches(s, 0, 1)
    number = int(last.weights.sum())
    others = jax.tree.map(lambda x: jnp.concatenate([x[:number], x[: BATCH - number]]), last)
    others = others._replace(weights=last.weights)
    both = [jax.device_get(s.gradients_of(s.params, batch, s.arrays.tables, key)) for batch in (last, others)]
    assert_trees_close(*both, 1e-6)
    gradients, _, counts = both[0]
    assert counts["rec"] == counts["kg"] == number
    assert counts["lrd"] == np.count_nonzero(last.history.items[:number])
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(gradients))


@pytest.mark.slow
def test_number_of_devices_does_not_matter(setup, epochs):
    one, two = setup(1), setup(2)
    batch, key = next(batches(one, 0, 1))
    batch = jax.device_get(batch)._replace(weights=(np.arange(BATCH) < 6).astype(np.float32))  # nothing for the second
    both = [jax.device_get(s.gradients_of(s.params, batch, s.arrays.tables, key)) for s in (one, two)]
    assert_trees_close(*both, 1e-5)
    for (state, losses), (expected, expected_losses) in zip(epochs(2), epochs(1), strict=True):
        assert_trees_close(losses, expected_losses, 1e-5)
        assert_trees_close(state.params, expected.params, 1e-4)


def test_epochs_learn(setup, epochs):
    s = setup(2)
    (first, losses), (second, _) = epochs(2)
    assert set(losses) == {"rec", "kg", "lrd"} and all(np.isfinite(x) for x in losses.values())
    moved = jax.tree.map(lambda a, b: np.any(a != b), first.params, second.params)
    assert all(jax.tree.leaves(moved))
    _, later = s.train(s.put(second), 7, 1)  # the same examples and negatives once more
    weights = s.system.loss_weights
    assert sum(weights[n] * later[n] for n in weights) < sum(weights[n] * losses[n] for n in weights)


def test_same_seed_and_epoch_same_result(setup, epochs):
    s = setup(2)
    (expected, expected_losses), _ = epochs(2)
    state, losses = jax.device_get(s.train(s.state(), 7, 1))
    assert losses == expected_losses
    jax.tree.map(np.testing.assert_array_equal, state, expected)
    for seed, epoch in ((7, 2), (8, 1)):
        _, losses = jax.device_get(s.train(s.state(), seed, epoch))
        assert all(losses[name] != expected_losses[name] for name in losses), (seed, epoch)


def test_streams_differ_by_name_seed_and_epoch():
    names = ("init", "shuffle", "triples", "negatives", "dropout")
    streams = [(seed, name, epoch) for seed in (0, 1, 2**31 - 1) for name in names for epoch in (0, 1, 2)]
    keys = {tuple(jax.random.key_data(stream_key(*stream)).tolist()) for stream in streams}
    assert len(keys) == len(streams)
    # traced or not, the same
    traced = jax.jit(lambda seed, epoch: jax.random.key_data(stream_key(seed, "shuffle", epoch)))(5, 3)
    assert traced.tolist() == jax.random.key_data(stream_key(5, "shuffle", 3)).tolist()


def test_initial_state_comes_from_the_seed(setup):
    s = setup(2)
    system = dataclasses.replace(s.system, decay=None)
    init = jax.jit(
        lambda seed: init_state(system, s.optimizer, s.arrays, seed, s.mesh).params,
        compiler_options=UNOPTIMISED,
    )
    first, again, other = (jax.device_get(init(seed)) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    for path, leaf in jax.tree_util.tree_leaves_with_path(first):
        name = jax.tree_util.keystr(path)
        if "layer_norm" in name:
            assert np.all(leaf == float("scale" in name)), name
        else:
            assert 0.0 < np.std(leaf) < 0.02 and np.abs(leaf).max() < 0.05, name
    user = [params["scorer"]["user_embeddings"] for params in (first, other)]
    assert not np.any(user[0] == user[1])


# The optimiser


def test_adam_with_coupled_l2(setup):
    """Five steps with gradients from 1e-9 to 10, against plain loops; biases take no L2."""
    params = setup(1).params
    optim = OptimConfig(learning_rate=0.01, l2=0.1)
    optimizer = build_optimizer(optim)
    rng = np.random.default_rng(0)
    scales = (10.0 ** np.arange(-9.0, 2.0)).tolist()
    draw = lambda x: (rng.choice(scales, x.shape) * rng.normal(size=x.shape)).astype(np.float32)  # noqa: E731
    gradients = [jax.tree.map(draw, params) for _ in range(5)]

    update = jax.jit(optimizer.update)
    actual, state = params, optimizer.init(params)
    for gradient in gradients:
        updates, state = update(gradient, state, actual)
        actual = optax.apply_updates(actual, updates)

    flat = lambda tree: {jax.tree_util.keystr(p): x for p, x in jax.tree_util.tree_leaves_with_path(tree)}  # noqa: E731
    biases = {name for name in flat(params) if "bias" in name}
    assert {name.split("'")[-2] for name in biases} == {
        *("item_bias", "w1_bias", "w2_bias", "layer_norm_bias", "text_projection_bias", "classifier_bias")
    }
    expected = reference.adam(flat(params), [flat(g) for g in gradients], learning_rate=0.01, l2=0.1, no_decay=biases)
    for name, value in flat(actual).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_texts_are_not_learned(setup, epochs, text):
    state, _ = epochs(2)[-1]
    for leaf in jax.tree.leaves((state, setup(2).state())):
        assert leaf.shape[:1] != text.shape[:1] or leaf.ndim == 1  # item_bias has a number per item
    np.testing.assert_array_equal(setup(2).arrays.tables.text, text)


# Evaluation


@pytest.fixture(scope="module")
def slow_ranks(setup):
    """Ranks of dev with the scores' smallest distance to the target's, [N] each."""
    s = setup(1)
    rows, negatives = s.corpus.dev.rows, s.corpus.dev.negatives
    histories = [slow_history(s.corpus, row, HISTORY) for row in rows]
    pad = lambda x: x + [0] * (HISTORY - len(x))  # noqa: E731
    items, intervals = (np.array([pad(h[n]) for h in histories]) for n in (0, 1))
    candidates = np.concatenate([s.corpus.sequence_items[rows][:, None], negatives], axis=1)
    scores = slow_scores(s, s.params, s.corpus.sequence_users[rows], candidates, items, intervals)
    distances = np.where(candidates == candidates[:, :1], np.inf, np.abs(scores - scores[:, :1]))
    return np.array([reference.rank_of_first(row) for row in scores]), distances.min(axis=1)


def ranks_of(s, params, split):
    counts = jax.device_get(s.evaluate(params, s.arrays, *put_split(split, s.mesh)))
    return target_ranks(counts.greater, counts.equal), counts.finite


@pytest.mark.parametrize("num_devices", [1, 2])
def test_ranks(setup, slow_ranks, num_devices):
    s = setup(num_devices)
    expected, distances = slow_ranks
    ranks, finite = ranks_of(s, s.params, s.corpus.dev)
    assert ranks.shape == finite.shape == s.corpus.dev.rows.shape and finite.all()
    clear = distances > 1e-5
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(ranks[clear], expected[clear])
    assert len(set(ranks)) > 10


def test_ranks_of_each_row_alone(setup):
    """Neither the other rows of a block, nor their number, nor the order of candidates change a rank."""
    s = setup(2)
    split, order = s.corpus.test, np.random.default_rng(0)
    ranks, _ = ranks_of(s, s.params, split)
    some = order.permutation(len(split.rows))[:3]
    fewer = Split(split.rows[some], order.permuted(split.negatives[some], axis=1))
    alone, finite = ranks_of(s, s.params, fewer)
    assert finite.all() and alone.tolist() == ranks[some].tolist()


def test_equal_scores_rank_in_the_middle(setup):
    s = setup(2)
    nothing = jax.tree.map(np.zeros_like, s.params)
    ranks, finite = ranks_of(s, nothing, s.corpus.dev)
    # Of 31 candidates; padding of the second chunk would move it.
    assert finite.all() and set(ranks) == {16.0}


def test_scores_that_are_not_finite_are_reported(setup):
    s = setup(2)
    split = s.corpus.dev
    users = s.corpus.sequence_users[split.rows]
    for broken in (np.nan, np.inf):
        params = jax.tree.map(np.copy, s.params)
        params["scorer"]["user_embeddings"][users[5], 0] = broken
        _, finite = ranks_of(s, params, split)
        assert finite.tolist() == [n != 5 for n in range(len(users))]
    ranks, finite = ranks_of(s, jax.tree.map(lambda x: np.nan * x, s.params), split)
    assert not finite.any() and np.all(ranks > 10)
    # an item nobody was offered harms nobody: padding reads row 0
    params = jax.tree.map(np.copy, s.params)
    params["scorer"]["item_bias"][0] = np.nan
    assert ranks_of(s, params, split)[1].all()


# What the compiled programs do


def test_the_state_is_donated(setup):
    s = setup(2)
    before = s.state()
    after, _ = s.train(before, 7, 1)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((after, s.arrays)))


def test_an_epoch_stays_on_the_device(setup):
    s = setup(2)
    split = put_split(s.corpus.dev, s.mesh)
    state = s.state()
    seed, epoch = s.put(7), s.put(1)
    s.run_epoch(s.state(), s.arrays, seed, epoch)  # compiles
    s.evaluate(state.params, s.arrays, *split)
    with jax.transfer_guard("disallow"):
        with pytest.raises(Exception, match="[Dd]isallowed"):
            s.evaluate(s.params, s.arrays, *split)  # parameters on the host: the guard does see transfers
        state, losses = s.run_epoch(state, s.arrays, seed, epoch)
        ranks = s.evaluate(state.params, s.arrays, *split)
        jax.block_until_ready((losses, ranks))


def test_one_compilation(setup, caplog):
    """As the loop calls them: every epoch and both splits by one program each."""
    s = setup(2)
    dev, test = (put_split(split, s.mesh) for split in (s.corpus.dev, s.corpus.test))
    state, _ = s.train(s.state(), 7, 1)
    s.evaluate(state.params, s.arrays, *dev)
    with jax.log_compiles(), caplog.at_level(logging.DEBUG, logger="jax"):
        for epoch in (2, 3):
            state, _ = s.train(state, 7, epoch)
            s.evaluate(state.params, s.arrays, *dev)
        s.evaluate(state.params, s.arrays, *test)
        state, _ = s.train(s.state(), 8, 1)
        assert not [r for r in caplog.records if "compil" in r.message.lower()]
        jax.jit(lambda x: x + 1)(np.float32(0))  # a compilation would be seen
        assert [r for r in caplog.records if "compil" in r.message.lower()]


# B, C, H, R and D of which no other size is a multiple, so that a product of the last three is seen in any layout.
WIDE_H, WIDE_R, WIDE_D = 13, 11, 34


@pytest.fixture(scope="module", params=["paper", "released"])
def programs(request, setup):
    """The traced epoch and evaluation of such sizes: {name: jaxpr}."""
    s = setup(2)
    sizes = {"embedding_dim": WIDE_D, "num_latent_relations": WIDE_R - 5, "num_layers": 2, "dropout": 0.1}
    config = CONFIG.model_copy(
        update={
            "data": DataConfig(history_length=WIDE_H),
            "model": CONFIG.model.model_copy(update=sizes),
            "loss": CONFIG.loss.model_copy(update={"lrd_objective": request.param}),
        }
    )
    system = build_system(config, s.corpus, has_triples=True)
    state = jax.eval_shape(
        lambda tables: (lambda p: TrainState(p, s.optimizer.init(p)))(system.init(jax.random.key(0), tables)),
        s.arrays.tables,
    )
    run_epoch = build_epoch(
        system,
        s.optimizer,
        s.mesh,
        batch_size=8,
        num_negatives=1,
        history_length=WIDE_H,
        num_items=s.corpus.num_items,
    )
    evaluate = build_evaluation(system, s.mesh, history_length=WIDE_H)
    return {
        "epoch": jax.make_jaxpr(run_epoch)(state, s.arrays, 0, 1).jaxpr,
        "evaluation": jax.make_jaxpr(evaluate)(state.params, s.arrays, *put_split(s.corpus.dev, s.mesh)).jaxpr,
    }


def too_large(jaxpr):
    """Arrays that hold a number per history item, relation and dimension of a head, in any layout."""
    held = {aval.shape for aval in arrays_of(jaxpr) if hasattr(aval, "shape")}
    return {
        shape for shape in held if shape and math.prod(shape) % (WIDE_H * WIDE_R * WIDE_D // 2) == 0 < math.prod(shape)
    }


def test_no_array_of_history_by_relations_by_dimensions(programs):
    for name, jaxpr in programs.items():
        assert not too_large(jaxpr), name
        shapes = {aval.shape for aval in arrays_of(jaxpr) if hasattr(aval, "shape")}
        # The walk does reach the scorer: weights over history, tokens.
        assert any(shape[-2:] == (WIDE_H, WIDE_R) for shape in shapes), name
        assert any(shape[-2:] == (WIDE_R, WIDE_D) for shape in shapes), name


def test_such_an_array_would_be_seen():
    def naive(history, relations, tails):
        return jax.lax.map(lambda t: (history[:, :, None] * (relations * t[None])[None, None]).sum(-1), tails)

    shapes = (4, WIDE_H, WIDE_D), (WIDE_R, WIDE_D), (3, WIDE_D)
    assert too_large(jax.make_jaxpr(naive)(*(jnp.zeros(shape) for shape in shapes)).jaxpr)


def test_nothing_is_wider_than_32_bits(programs):
    for name, jaxpr in programs.items():
        kinds = {str(aval.dtype) for aval in arrays_of(jaxpr) if hasattr(aval, "dtype")}
        assert kinds <= {"float32", "int32", "uint32", "uint16", "bool", "key<fry>"}, name
        assert "float32" in kinds


def test_accelerators_compute_float32_products(programs):
    for name, jaxpr in programs.items():
        products = [e.params["precision"] for e in equations(jaxpr) if e.primitive.name == "dot_general"]
        assert len(products) > 5 and set(products) == {(jax.lax.Precision.HIGHEST,) * 2}, name


def test_nothing_to_learn_from_is_refused(corpus):
    firsts = np.unique(corpus.sequence_offsets[corpus.sequence_users])
    with pytest.raises(UserError, match="no training example"):
        put_corpus(dataclasses.replace(corpus, train_rows=firsts.astype(np.int32)), None, make_mesh(1))
