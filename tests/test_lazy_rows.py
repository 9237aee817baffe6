"""Lazy updates: what the compact tables compute, which rows change and how."""

import re
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from lrd_jax.config.schema import Config, DataConfig, LossConfig, ModelConfig, OptimConfig
from lrd_jax.data.device import put_corpus
from lrd_jax.data.rechorus import read_corpus
from lrd_jax.data.synthetic import write_synthetic
from lrd_jax.models import build_system
from lrd_jax.models.lazy_rows import number_rows, put_rows, take_rows
from lrd_jax.runs.checkpoint import Checkpoints
from lrd_jax.training.epoch import (
    TrainState,
    build_epoch,
    build_optimizer,
    build_update,
    draw_batch,
    loss_and_gradients,
    stream_key,
)
from tests.conftest import equations
from tests.test_engine import UNOPTIMISED, assert_trees_close, make_mesh

BATCH, HISTORY, NEGATIVES, WIDTH = 5, 4, 2, 8
NUM_USERS, NUM_ITEMS = 90, 300  # more of each than a batch looks up
TABLES = "user_embeddings", "entity_embeddings", "item_bias"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "many"
    sizes = {"min_length": 3, "max_length": 6, "num_negatives": 5}
    write_synthetic(folder, num_users=NUM_USERS, num_items=NUM_ITEMS, **sizes)
    corpus = read_corpus(folder, use_cache=False)
    assert corpus.holds_value.all(axis=2).any()  # items with several values
    assert not corpus.holds_value[1:].any(axis=2).all()  # and without any
    return corpus


class Setup(NamedTuple):
    """A system with its parameters on the host, and its options."""

    system: object
    arrays: object
    params: dict
    batches: list
    optimizer: object
    update: object  # (num_devices, lazy) → the jitted step

    def state(self):
        return TrainState(self.params, self.optimizer.init(self.params))


@pytest.fixture(scope="module")
def setup(corpus):
    """setup(name, l2=0, include_value=True, lrd_objective="released"), with six batches, the last two short."""

    @cache
    def build(name, l2=0.0, include_value=True, lrd_objective="released"):
        # The attention block sees no ids.
        sizes = {"embedding_dim": WIDTH, "num_layers": 0, "num_latent_relations": 2, "num_dft_points": 8}
        config = Config(
            data=DataConfig(history_length=HISTORY),
            model=ModelConfig(name=name, include_value=include_value, **sizes),
            loss=LossConfig(num_negatives=NEGATIVES, lrd_objective=lrd_objective, lrd_weight=1.0),
            optim=OptimConfig(l2=l2, learning_rate=0.01),
        )
        rng = np.random.default_rng(0)
        text = rng.normal(size=(NUM_ITEMS + 1, 6)).astype(np.float32) if config.uses_text else None
        arrays = put_corpus(corpus, text, make_mesh(1))
        system = build_system(config, corpus, has_triples=True)
        draw = jax.jit(
            lambda rows, edges, weights, key: draw_batch(
                arrays,
                rows,
                edges,
                weights,
                key,
                num_items=NUM_ITEMS,
                num_negatives=NEGATIVES,
                history_length=HISTORY,
                uses_triples="kg" in system.loss_weights,
                uses_text="lrd" in system.loss_weights,
            ),
            compiler_options=UNOPTIMISED,
        )
        batches = []
        for number in (5, 5, 5, 5, 4, 1):
            rows = rng.choice(arrays.examples, BATCH).astype(np.int32)
            edges = rng.choice(len(arrays.sampler.triples.heads), BATCH).astype(np.int32)
            weights = (np.arange(BATCH) < number).astype(np.float32)
            key = stream_key(0, "negatives", len(batches))
            batches.append(jax.device_get(draw(rows, edges, weights, key)))
        shapes = jax.eval_shape(system.init, jax.random.key(0), arrays.tables)
        params = jax.tree.map(lambda x: (0.3 * rng.normal(size=x.shape)).astype(np.float32), shapes)
        if system.scorer.temporal:  # a decay between 0 and 1, so that every relation counts
            params["scorer"]["decay_real"][:, 0] += 5
        optimizer = build_optimizer(config.optim)

        @cache
        def update(num_devices, lazy):
            step = build_update(system, optimizer, make_mesh(num_devices), lazy=lazy)
            return jax.jit(step, compiler_options=UNOPTIMISED)

        return Setup(system, jax.device_get(arrays), params, batches, optimizer, update)

    return build


def looked_up(batch, item_values, include_value=True):
    """The ids of each table that the examples of a batch look up, as sets; 0 always among those of users, entities."""
    users, entities, candidates = {0}, {0}, set()
    for b in np.flatnonzero(batch.weights):
        users.add(int(batch.users[b]))
        candidates |= set(batch.candidates[b].tolist())
        entities |= set(batch.history.items[b].tolist())
        if batch.negative_history is not None:
            entities |= set(batch.negative_history[b][batch.history.items[b] > 0].tolist())
        if batch.triples is not None:
            entities |= {*batch.triples.heads[b].tolist(), *batch.triples.tails[b].tolist()}
            if include_value:
                entities.add(int(batch.triples.values[b]))
    if include_value:
        entities |= set(item_values[list(candidates)].ravel().tolist())
    return dict(zip(TABLES, (users, entities | candidates, candidates), strict=True))


def flat(tree):
    """{path: float64 copy}, the path as 'scorer/user_embeddings'."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(entry.key for entry in path): np.array(x, np.float64) for path, x in leaves}


# Which rows


def test_numbering():
    tree = {"a": jnp.array([[7, 3], [3, 9]]), "b": None, "c": jnp.array([0, 7])}
    number = jax.jit(number_rows, static_argnums=1, compiler_options=UNOPTIMISED)
    ids, places = number(tree, 10)
    assert ids.tolist() == [0, 3, 7, 9, 10, 10, 10]
    assert places["a"].tolist() == [[2, 1], [1, 3]] and places["b"] is None and places["c"].tolist() == [0, 2]
    assert {x.dtype for x in (ids, *jax.tree.leaves(places))} == {jnp.dtype(jnp.int32)}
    ids, places = number(jnp.arange(10)[::-1], 10)  # no more places than rows, and 0 among them
    assert ids.tolist() == list(range(10)) and places.tolist() == list(range(10))[::-1]


def test_rows_beyond_the_end_are_neither_read_nor_written():
    table = jnp.arange(12.0).reshape(6, 2)
    state = TrainState({"scorer": {"table": table, "bias": jnp.ones(3)}}, ({"scorer": {"table": -table}}, jnp.ones(6)))
    rows = {"scorer/table": jnp.array([4, 6, 1, 6])}
    small = take_rows(state, rows)
    expected = [[8, 9], [0, 0], [2, 3], [0, 0]]
    assert small.params["scorer"]["table"].tolist() == expected
    assert small.opt_state[0]["scorer"]["table"].tolist() == (-np.array(expected)).tolist()
    after = put_rows(state, jax.tree.map(lambda x: x + 100, small), rows)
    table = table + np.where(np.isin(np.arange(6), [1, 4]), np.float32(100), 0)[:, None]
    assert after.params["scorer"]["table"].tolist() == table.tolist()
    assert after.params["scorer"]["bias"].tolist() == [101] * 3 and after.opt_state[1].tolist() == [101] * 6


@pytest.mark.parametrize("include_value", [True, False])
@pytest.mark.parametrize("name", ["rcf", "kda_lrd"])
def test_rows_of_a_batch(name, include_value, setup):
    s = setup(name, include_value=include_value)
    compact_of = jax.jit(s.system.compact, compiler_options=UNOPTIMISED)
    for batch in s.batches:
        compact, tables, rows = jax.device_get(compact_of(batch, s.arrays.tables))
        expected = looked_up(batch, s.arrays.tables.item_values, include_value)
        assert rows.keys() == {f"scorer/{table}" for table in TABLES}
        for table in TABLES:
            ids = rows[f"scorer/{table}"]
            kept = ids[ids < len(s.params["scorer"][table])].tolist()
            assert len(kept) == len(set(kept)) < len(s.params["scorer"][table])
            # where an example is missing, candidate 0 stands for its candidates
            assert set(kept) - {0} == expected[table] - {0} and (table == "item_bias" or kept[0] == 0), table
        exists = batch.weights > 0
        entities = rows["scorer/entity_embeddings"]
        np.testing.assert_array_equal(rows["scorer/user_embeddings"][compact.users[exists]], batch.users[exists])
        np.testing.assert_array_equal(entities[compact.candidates[exists]], batch.candidates[exists])
        np.testing.assert_array_equal(entities[compact.history.items[exists]], batch.history.items[exists])
        np.testing.assert_array_equal(compact.history.items[exists] > 0, batch.history.items[exists] > 0)
        if include_value:
            values = s.arrays.tables.item_values[batch.candidates[exists]]
            np.testing.assert_array_equal(entities[tables.item_values[compact.candidates[exists]]], values)


# Gradients


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"name": "rcf"},
        {"name": "kda", "include_value": False},
        {"name": "kda"},
        {"name": "rcf_lrd", "lrd_objective": "released"},
        {"name": "rcf_lrd", "lrd_objective": "released", "include_value": False},
        {"name": "kda_lrd", "lrd_objective": "paper"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_gradients_of_the_rows_are_those_of_the_tables(options, setup):
    s = setup(**options)
    gradients_of = loss_and_gradients(s.system, make_mesh(2))

    def both(params, batch, tables, key):
        dense = gradients_of(params, batch, tables, key)
        batch, tables, rows = s.system.compact(batch, tables)
        gradients, *rest = gradients_of(take_rows(params, rows), batch, tables, key)
        return dense, (put_rows(jax.tree.map(jnp.zeros_like, params), gradients, rows), *rest)

    both = jax.jit(both, compiler_options=UNOPTIMISED)
    for batch in (s.batches[0], s.batches[-1]):
        dense, lazy = jax.device_get(both(s.params, batch, s.arrays.tables, jax.random.key(0)))
        assert_trees_close(lazy, dense, 1e-5)
        missing = np.abs(dense[0]["scorer"]["entity_embeddings"][0]).max()
        assert (missing > 0) == options.get("include_value", True)  # the learned row of what is missing


# Updates


@pytest.mark.slow
def test_first_step_is_adams(setup):
    """From zero moments and without L2, a row that is not looked up would not move in dense Adam either."""
    s = setup("kda_lrd")
    inputs = s.batches[-2], s.arrays.tables, jax.random.key(0)
    dense, sums, counts = jax.device_get(s.update(2, False)(s.state(), *inputs))
    lazy, lazy_sums, lazy_counts = jax.device_get(s.update(2, True)(s.state(), *inputs))
    assert_trees_close((lazy_sums, lazy_counts), (sums, counts), 1e-5)
    assert_trees_close(lazy.opt_state, dense.opt_state, 1e-5)
    for name, value in flat(lazy.params).items():
        np.testing.assert_allclose(value, flat(dense.params)[name], rtol=0, atol=1e-4, err_msg=name)  # of 0.01
    for table, ids in looked_up(s.batches[-2], s.arrays.tables.item_values).items():
        rest = np.setdiff1d(np.arange(len(s.params["scorer"][table])), list(ids))
        (before, *_), (after, *moments) = (
            [x for path, x in jax.tree_util.tree_leaves_with_path(state) if table in jax.tree_util.keystr(path)]
            for state in (s.state(), lazy)
        )
        assert len(rest) and len(moments) == 2
        np.testing.assert_array_equal(after[rest], before[rest])
        assert not any(moment[rest].any() for moment in moments)
        moved = sorted(ids - {0}) if table != "entity_embeddings" else sorted(ids)
        still = [n for n in moved if (after[n] == before[n]).all()]
        assert len(still) < len(moved) / 10, table  # a history of one item gives its relations no gradient


def lazy_adam(params, gradients, rows, *, learning_rate, l2, moments, step, b1=0.9, b2=0.999, eps=1e-8):
    """One step in place: a table's row where `rows` holds it, everything else always; biases take no L2."""
    for name, value in params.items():
        first, second = moments.setdefault(name, (np.zeros_like(value), np.zeros_like(value)))
        for n in rows.get(name, range(len(value))):
            g = gradients[name][n] + (0.0 if "bias" in name.split("/")[-1] else l2 * value[n])
            first[n] = b1 * first[n] + (1 - b1) * g
            second[n] = b2 * second[n] + (1 - b2) * g * g
            value[n] -= learning_rate * (first[n] / (1 - b1**step)) / (np.sqrt(second[n] / (1 - b2**step)) + eps)


def test_steps_are_lazy_adams(setup):
    """Each of six batches twice, so that rows come back after their moments have stood still."""
    s = setup("kda_lrd", l2=0.1)
    gradients_of = jax.jit(loss_and_gradients(s.system, make_mesh(1)), compiler_options=UNOPTIMISED)
    state, params, moments = s.state(), flat(s.params), {}
    for step, batch in enumerate(2 * s.batches, start=1):
        inputs = batch, s.arrays.tables, jax.random.key(step)
        like = jax.tree.unflatten(jax.tree.structure(s.params), [x.astype(np.float32) for x in params.values()])
        gradients = flat(gradients_of(like, *inputs)[0])
        rows = {f"scorer/{table}": ids for table, ids in looked_up(batch, s.arrays.tables.item_values).items()}
        lazy_adam(params, gradients, rows, learning_rate=0.01, l2=0.1, moments=moments, step=step)
        state, *_ = s.update(2, True)(state, *inputs)
    adam = state.opt_state[1][0]
    assert adam.count == step
    assert all(np.abs(params[f"scorer/{table}"] - s.params["scorer"][table]).max() > 0.005 for table in TABLES)
    for name, value in flat(state.params).items():
        np.testing.assert_allclose(value, params[name], rtol=0, atol=1e-3, err_msg=name)
    assert_trees_close(flat(adam.mu), {name: first for name, (first, _) in moments.items()}, 1e-3)
    assert_trees_close(flat(adam.nu), {name: second for name, (_, second) in moments.items()}, 1e-3)


def test_number_of_devices_does_not_matter(setup):
    s = setup("kda_lrd", l2=0.1)
    states = [s.state(), s.state()]
    updates = [s.update(number, True) for number in (1, 2)]
    for batch in s.batches:
        inputs = batch, s.arrays.tables, jax.random.key(0)
        results = [update(state, *inputs) for update, state in zip(updates, states, strict=True)]
        states = [jax.device_get(state) for state, *_ in results]
        assert_trees_close(*(jax.device_get(rest) for _, *rest in results), 1e-4)
    assert_trees_close(*states, 1e-4)


# The epoch


@pytest.fixture(scope="module")
def epoch(setup):
    """epoch(lazy) of a small model on two devices, not compiled."""

    def build(lazy):
        s = setup("rcf_lrd")
        return build_epoch(
            s.system,
            s.optimizer,
            make_mesh(2),
            batch_size=BATCH,
            num_negatives=NEGATIVES,
            history_length=HISTORY,
            num_items=NUM_ITEMS,
            lazy=lazy,
        )

    return build


@pytest.fixture(scope="module")
def compiled(setup, epoch):
    """The inputs on two devices, and the lazy epoch compiled for them."""
    s = setup("rcf_lrd")
    put = lambda tree: jax.device_put(tree, NamedSharding(make_mesh(2), PartitionSpec()))  # noqa: E731
    inputs = put(s.state()), put(s.arrays), put(7), put(1)
    return inputs, epoch(True).lower(*inputs).compile(compiler_options=UNOPTIMISED)


def test_interrupted_and_resumed(setup, compiled, tmp_path):
    s = setup("rcf_lrd")
    (state, *inputs), program = compiled
    first, _ = program(state, *inputs)
    like = jax.eval_shape(s.state)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), first) == jax.tree.map(lambda x: (x.shape, x.dtype), like)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("latest", 1, first)
    (_, restored) = checkpoints.restore("latest", like)
    checkpoints.close()
    straight, resumed = (jax.device_get(program(state, *inputs)) for state in (first, restored))
    jax.tree.map(np.testing.assert_array_equal, resumed, straight)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(straight))


def table_shapes(s):
    return {s.params["scorer"][table].shape for table in TABLES}


def computes_whole_tables(s, program):
    """The primitives within a step that make an array of a table's shape, but for the scatter into the carried one."""
    jaxpr = jax.make_jaxpr(program)(s.state(), s.arrays, 7, 1).jaxpr
    (scan,) = (e for e in equations(jaxpr) if e.primitive.name == "scan" and len(e.invars) > 20)
    return {
        equation.primitive.name
        for equation in equations(scan.params["jaxpr"].jaxpr)
        if any(getattr(variable.aval, "shape", None) in table_shapes(s) for variable in equation.outvars)
        and not any(hasattr(inner, "jaxpr") or hasattr(inner, "eqns") for inner in equation.params.values())
    } - {"scatter"}


def test_a_step_makes_no_whole_table(setup, epoch):
    s = setup("rcf_lrd")
    assert not computes_whole_tables(s, epoch(True))
    assert {"add", "mul", "sqrt"} <= computes_whole_tables(s, epoch(False))  # those of dense Adam are seen


def test_a_compiled_step_copies_no_whole_table(setup, compiled):
    """In the loops of the compiled program, what has a table's shape is carried or scattered into in place."""
    text = compiled[1].as_text()
    loops = "\n".join(part for part in text.split("\n\n") if not part.startswith("ENTRY"))
    for shape in table_shapes(setup("rcf_lrd")):
        found = set(re.findall(rf"= f32\[{','.join(map(str, shape))}\]\S* ([\w-]+)\(", loops))
        assert "scatter" in found
        assert found <= {"parameter", "get-tuple-element", "bitcast", "call", "fusion", "scatter"}, shape
    # The devices exchange gradients and sums, nothing else.
    assert set(re.findall(r"\b(all-\w+|collective-\w+|reduce-scatter)\(", text)) == {"all-reduce"}
