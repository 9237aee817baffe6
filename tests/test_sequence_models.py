"""The sequence models against what the published code computed, against loops, and at their edges."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrd_jax import plugins
from lrd_jax.config.schema import Config, DataConfig, ModelConfig
from lrd_jax.data.batch import Batch, History
from lrd_jax.data.device import gather_history, shortest_intervals
from lrd_jax.devices import data_mesh
from lrd_jax.interop.parameter_names import from_published, paths, to_published
from lrd_jax.models import sequence_model
from lrd_jax.models.caser import convolve
from lrd_jax.models.cpu_kernels import random_bits
from lrd_jax.models.layers import kept, of_rows
from lrd_jax.models.lazy_rows import put_rows, take_rows
from lrd_jax.models.sequence_system import SequenceSystem
from lrd_jax.models.tisasrec import relative_intervals
from lrd_jax.ranking.on_device import build_counts
from lrd_jax.ranking.protocols.full import Full
from lrd_jax.training.setup import assemble_corpus
from tests import golden_files, reference
from tests.test_engine import UNOPTIMISED
from tests.test_golden import golden_history

NAMES = tuple(plugins.MODELS.ours)


def golden_config(name, golden):
    """The configuration of a golden file, every size read from its parameters."""
    shapes = {key: value.shape for key, value in golden["param"].items()}
    sizes = {"embedding_dim": shapes["i_embeddings.weight"][1]}
    if name in ("sasrec", "tisasrec"):
        sizes |= {"num_layers": golden["hyper"]["num_layers"], "num_heads": golden["hyper"]["num_heads"]}
    if name == "tisasrec":
        sizes["time_max"] = shapes["t_k_embeddings.weight"][0] - 1
    if name == "gru4rec":
        sizes["gru_hidden_dim"] = shapes["rnn.weight_hh_l0"][1]
    if name == "caser":
        sizes["num_horizontal_filters"] = shapes["conv_h.0.weight"][0]
        sizes["num_vertical_filters"], _, length, _ = shapes["conv_v.weight"]
        sizes["max_filter_height"] = sum(key.startswith("conv_h") and key.endswith("weight") for key in shapes)
    else:
        length = golden["batch"]["history_items"].shape[1]
    return Config(data=DataConfig(history_length=length), model=ModelConfig(name=name, **sizes))


@pytest.fixture(scope="module", params=NAMES)
def case(request):
    """Name, golden file, system, parameters and batch."""
    name = request.param
    golden = golden_files.load(name)
    config = golden_config(name, golden)
    num_items = len(golden["param"]["i_embeddings.weight"]) - 1
    system = SequenceSystem(
        encoder=sequence_model(name).from_config(config),
        num_users=12,
        num_items=num_items,
        embedding_dim=config.model.embedding_dim,
        history_length=config.data.history_length,
    )
    shapes = jax.eval_shape(system.init, jax.random.key(0), None)
    params = from_published(name, golden["param"], shapes)
    values = {key: v.astype(np.int32) if v.dtype == np.int64 else v for key, v in golden["batch"].items()}
    batch = Batch(
        users=values["user_id"],
        candidates=values["item_id"],
        history=golden_history(values),
        triples=None,
        negative_history=None,
        weights=np.ones(len(values["user_id"]), np.float32),
    )
    return name, golden, system, params, batch


def test_golden(case):
    name, golden, system, params, batch = case

    def loss(params):
        sums, counts = system.losses(params, batch, None, jax.random.key(0))["rec"]
        scores = system.score(params, system.encode(params, batch.users, batch.history, None), batch.candidates, None)
        return jnp.sum(sums) / jnp.sum(counts), scores

    (value, scores), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=UNOPTIMISED)(params)
    np.testing.assert_allclose(scores, golden["out"]["prediction"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(value, golden["out"]["loss"], rtol=0, atol=1e-5)
    ours = to_published(name, gradients, {key: x.shape for key, x in golden["grad"].items()})
    for key, expected in golden["grad"].items():
        # A bias of the keys changes no attention: its gradient is rounding in both.
        atol = 1e-4 * np.abs(expected).max() + 1e-7
        np.testing.assert_allclose(ours[key], expected, rtol=0, atol=atol, err_msg=key)


def slow_vector(name, system, params, user, items, seconds, shortest):
    """One user's vector by the loops of tests/reference.py, from the items that there are."""
    flat = {key: np.asarray(value, np.float64) for key, value in paths(params).items()}
    table, encoder = flat["item_embeddings"], system.encoder
    inner = {key.removeprefix("encoder/"): value for key, value in flat.items()}
    if name == "caser":
        user_emb = flat["user_embeddings"][user]
        return reference.caser_vector(inner, table[items], table[0], user_emb, system.history_length)
    if name == "gru4rec":
        return reference.gru_state(inner, table[items])
    units = reference.interval_units(seconds, shortest, encoder.time_max) if name == "tisasrec" else None
    sizes = {"num_layers": encoder.num_layers, "num_heads": encoder.num_heads}
    return reference.transformer_state(inner, table[items], units=units, **sizes)


@pytest.fixture(scope="module")
def encode(case):
    """The compiled encoder."""
    _, _, system, params, _ = case
    compiled = jax.jit(system.encode, compiler_options=UNOPTIMISED)
    return lambda users, history: compiled(params, users, history, None)


def test_against_loops(case, encode):
    name, golden, system, params, batch = case
    assert 1 in golden["batch"]["lengths"]  # a history of one item
    vectors = encode(batch.users, batch.history)
    for b, length in enumerate(golden["batch"]["lengths"]):
        items, seconds = batch.history.items[b, :length], batch.history.seconds[b, :length]
        expected = slow_vector(name, system, params, batch.users[b], items, seconds, batch.history.shortest[b])
        np.testing.assert_allclose(vectors[b], expected, rtol=0, atol=1e-5)


def test_what_padding_holds_is_not_seen(case, encode):
    name, _, _, _, batch = case
    padding = batch.history.items == 0
    noise = np.random.default_rng(0).integers(1, 10**6, padding.shape).astype(np.int32)
    changed = batch.history._replace(
        seconds=np.where(padding, noise, batch.history.seconds),
        intervals=np.where(padding, noise, batch.history.intervals).astype(np.float32),
    )
    np.testing.assert_array_equal(encode(batch.users, changed), encode(batch.users, batch.history))


def test_length_of_the_arrays(case, encode):
    """Fewer places than the model has are padded, more are refused, and one more makes no difference but to Caser."""
    name, golden, system, params, batch = case
    short = golden["batch"]["lengths"] <= 5
    cut = lambda x: x[short, :5]  # noqa: E731
    history = History(*map(cut, batch.history[:3]), batch.history.shortest[short])
    expected = encode(batch.users, batch.history)[short]
    np.testing.assert_allclose(encode(batch.users[short], history), expected, rtol=0, atol=1e-6)
    longer = History(*(np.pad(x, ((0, 0), (0, 1))) for x in batch.history[:3]), batch.history.shortest)
    with pytest.raises(ValueError, match="the history has 8 positions, the model 7"):
        system.encode(params, batch.users, longer, None)


def test_empty_history_is_finite(case, encode):
    _, _, _, _, batch = case
    empty = batch.history._replace(**{name: 0 * getattr(batch.history, name) for name in ("items", "seconds")})
    empty = empty._replace(shortest=0 * empty.shortest)  # as examples that fill the last batch up
    assert np.isfinite(encode(batch.users, empty)).all()


def test_the_unit_of_time_is_the_users_shortest_interval_however_long(corpus):
    shortest = shortest_intervals(corpus)
    for user in range(1, corpus.num_users + 1):
        times = corpus.sequence_times[corpus.sequence_users == user].tolist()
        gaps = [later - earlier for earlier, later in itertools.pairwise(times) if later > earlier]
        assert shortest[user] == min(gaps, default=2**31 - 1)
    assert (shortest[1:] > 65_535).any()  # where the published code stops


def test_a_limit_of_the_unit_of_time():
    """Dates by the day: 1, 2 and 4 days apart are 1, 2 and 4 units, or 1, 2 and 5 of at most 65,535 seconds."""
    data = DataConfig(history_length=4)
    days = np.array([[7, 6, 4, 0]], np.int32) * 86_400
    history = History(np.array([[1, 2, 3, 4]], np.int32), np.zeros((1, 4), np.float32), days, np.array([86_400]))
    rng, vectors = np.random.default_rng(0), {}
    items = rng.normal(size=(5, 8)).astype(np.float32)
    for limit in (None, 65_535, 10**6):
        model = ModelConfig(name="tisasrec", num_layers=1, num_heads=1, embedding_dim=8, longest_time_unit=limit)
        encoder = sequence_model("tisasrec").from_config(Config(data=data, model=model))
        if not vectors:
            params = encoder.init(jax.random.key(0), items, None, history)
            params = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), params)
        vectors[limit] = encoder.apply(params, items, None, history)
        if limit == 65_535:
            capped = history._replace(shortest=np.array([65_535]))
            np.testing.assert_array_equal(vectors[limit], encoder.apply(params, items, None, capped))
    np.testing.assert_array_equal(vectors[None], vectors[10**6])
    assert np.abs(vectors[None] - vectors[65_535]).max() > 1e-3


@pytest.mark.parametrize("name", ["sasrec", "tisasrec"])
def test_without_layers_the_newest_item_is_the_state(name):
    data, model = DataConfig(history_length=4), ModelConfig(name=name, num_layers=0, num_heads=1, embedding_dim=2)
    encoder = sequence_model(name).from_config(Config(data=data, model=model))
    items = np.array([[3, 5, 0, 0]], np.int32)
    history = History(items, items.astype(np.float32), items, np.ones(1, np.int32))
    table = np.arange(12, dtype=np.float32).reshape(6, 2)
    variables = jax.tree.map(jnp.zeros_like, encoder.init(jax.random.key(0), table, None, history))
    assert encoder.apply(variables, table, None, history).tolist() == [[10.0, 11.0]]


def test_rows_are_computed_once_whichever_are_fewer():
    computed = []

    def function(rows):
        computed.append(len(rows.reshape(-1, 2)))
        return 3 * rows[..., :1]

    ids = np.array([[3, 0, 3], [1, 3, 2]])
    for rows, once in ((5, 5), (6, 6), (7, 6)):
        table = jnp.arange(2.0 * rows).reshape(rows, 2)
        np.testing.assert_array_equal(of_rows(function, table, ids)[..., 0], 6 * ids)
        gradient = jax.grad(lambda table: jnp.sum(of_rows(function, table, ids)))(table)
        np.testing.assert_array_equal(gradient[:, 0], 3 * np.bincount(ids.ravel(), minlength=rows))
        assert computed[-1] == once


def test_intervals_are_truncated_as_in_torch():
    """float32 quotients: 16,777,217 is 16,777,216 there, and 3 · 0.333... just below 1 would be 0."""
    to = np.array([[0, 9, 10, 16_777_217, 2**31 - 1]], np.int32)
    intervals = relative_intervals(np.zeros((1, 1), np.int32), to, np.array([10], np.int32), 2_000_000)
    assert intervals.tolist() == [[[0, 0, 1, 1_677_721, 2_000_000]]]
    assert relative_intervals(to[:, 1:2], to, np.array([1], np.int32), 512).tolist() == [[[9, 0, 1, 512, 512]]]


# Training


def initial(system):
    return jax.jit(system.init, compiler_options=UNOPTIMISED)(jax.random.key(1), None)


def drawn_batch(system, seed=0, size=6, num_negatives=2, length=4):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, length + 1, (size, 1))
    items = np.where(np.arange(length) < lengths, rng.integers(1, system.num_items + 1, (size, length)), 0)
    seconds = np.where(items > 0, rng.integers(0, 1000, items.shape), 0).astype(np.int32)
    return Batch(
        users=rng.integers(1, system.num_users + 1, size).astype(np.int32),
        candidates=rng.integers(1, system.num_items + 1, (size, 1 + num_negatives)).astype(np.int32),
        history=History(items.astype(np.int32), seconds.astype(np.float32), seconds, np.full(size, 7, np.int32)),
        triples=None,
        negative_history=None,
        weights=(np.arange(size) < size - 1).astype(np.float32),
    )


def small_encoder(name, **options):
    sizes = {"embedding_dim": 8, "num_heads": 2, "gru_hidden_dim": 6, "time_max": 9, "max_filter_height": 2}
    model = ModelConfig(name=name, **sizes, **options)
    return sequence_model(name).from_config(Config(data=DataConfig(history_length=4), model=model))


def small_system(name, **options):
    sizes = {"num_users": 50, "num_items": 90, "embedding_dim": 8, "history_length": 4}
    return SequenceSystem(small_encoder(name), **sizes, **options)


@pytest.mark.parametrize("objective", ["bpr", "sampled_softmax", "gbce", "cross_entropy"])
def test_losses_of_a_batch(objective):
    system = small_system("gru4rec", rec_objective=objective, calibration=0.3)
    batch = drawn_batch(system)
    params = jax.tree.map(lambda x: 30 * x, initial(system))
    compiled = jax.jit(lambda params: system.losses(params, batch, None, jax.random.key(0))["rec"])
    losses, counts = compiled(params)
    assert counts.tolist() == [1] * 6
    vectors = np.asarray(jax.jit(system.encode)(params, batch.users, batch.history, None), np.float64)
    table = np.asarray(params["item_embeddings"], np.float64)
    for b, row in enumerate(batch.candidates):
        scores = table[row] @ vectors[b]
        expected = {
            "bpr": lambda: reference.sequence_loss([scores[0]], [scores[1:]]),  # noqa: B023
            "sampled_softmax": lambda: reference.softmax_loss(scores),  # noqa: B023
            "gbce": lambda: reference.gbce_loss(scores, 2 / 89, 0.3),  # noqa: B023
            "cross_entropy": lambda: reference.softmax_loss(table[1:] @ vectors[b], row[0] - 1),  # noqa: B023
        }[objective]()
        assert losses[b] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_the_rows_are_those_of_the_tables(name):
    system = small_system(name)
    batch, params = drawn_batch(system), initial(system)
    if name == "caser":  # more rows than the batch looks up, in every table
        assert len(params["user_embeddings"]) == 51

    def gradients(params, batch):
        return jax.grad(lambda p: jnp.vdot(batch.weights, system.losses(p, batch, None, jax.random.key(0))["rec"][0]))(
            params
        )

    def both(params, batch):
        compact, _, rows = system.compact(batch, None)
        of_rows = gradients(take_rows(params, rows), compact)
        zeros = jax.tree.map(jnp.zeros_like, params)
        return gradients(params, batch), put_rows(zeros, of_rows, rows), rows

    dense, lazy, rows = jax.jit(both, compiler_options=UNOPTIMISED)(params, batch)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-7), lazy, dense)
    assert np.abs(dense["item_embeddings"]).max() > 1e-4
    exists = batch.weights > 0
    items = {0, *batch.candidates[exists].ravel().tolist(), *batch.history.items[exists].ravel().tolist()}
    for table, last, expected in (("item", 90, items), ("user", 50, {0, *batch.users[exists].tolist()})):
        ids = rows[f"{table}_embeddings"]
        assert ids[ids <= last].tolist() == sorted(expected) and len(ids) <= last


@pytest.mark.parametrize("name", NAMES)
def test_dropout_comes_from_the_key(name):
    system = dataclasses.replace(small_system(name), encoder=small_encoder(name, dropout=0.5))
    batch, params = drawn_batch(system), jax.tree.map(lambda x: 10 * x, initial(system))
    encode = jax.jit(
        lambda key: system.encode(params, batch.users, batch.history, None, key), compiler_options=UNOPTIMISED
    )
    once, again, other = (encode(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(once, again)
    assert np.abs(once - other).max() > 1e-3
    plain = encode(None)
    assert np.abs(once - plain).max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_precision_reaches_the_products(name):
    exact = small_system(name)
    batch, params = drawn_batch(exact), initial(exact)
    # Larger than they start, so that rounding shows.
    params = jax.tree.map(lambda x: 10 * x, params)
    rounded = dataclasses.replace(exact, encoder=small_encoder(name, precision="bfloat16"), precision="bfloat16")
    compiled = [jax.jit(system.encode, compiler_options=UNOPTIMISED) for system in (exact, rounded)]
    vectors = [np.asarray(encode(params, batch.users, batch.history, None)) for encode in compiled]
    difference = np.abs(vectors[0] - vectors[1]).max() / np.abs(vectors[0]).max()
    assert 1e-5 < difference < 0.05


def test_initial_values():
    """Tables and linear layers from N(0, 0.01); recurrent layers and convolutions uniform within ± 1 / √fan-in."""
    config = Config(model=ModelConfig(name="caser", num_vertical_filters=64))
    caser = sequence_model("caser").from_config(config)
    system = SequenceSystem(caser, num_users=500, num_items=500, embedding_dim=64, history_length=20)
    flat = jax.tree.map(np.asarray, paths(initial(system)))
    for name in ("item_embeddings", "user_embeddings", "encoder/hidden_kernel", "encoder/out_kernel"):
        assert np.std(flat[name]) == pytest.approx(0.01, rel=0.05), name
    for name, fan_in in (("vertical", 20), ("horizontal_0", 64), ("horizontal_3", 4 * 64)):
        kernel = flat[f"encoder/{name}_kernel"]
        assert 0.95 < np.abs(kernel).max() * fan_in**0.5 <= 1 and np.std(kernel) == pytest.approx(
            (3 * fan_in) ** -0.5, rel=0.1
        )


@pytest.mark.parametrize("number", [1, 2, 1000])
@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_random_bits_are_those_of_jax(number, impl):
    key = jax.random.fold_in(jax.random.key(7, impl=impl), 3)
    expected = jax.random.bits(key, (number,), jnp.uint32)
    np.testing.assert_array_equal(jax.jit(random_bits, static_argnums=1)(key, number), expected)


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 0.999999])
def test_dropout_keeps_its_share(rate):
    """Within five standard deviations of 2^20 draws; a rate that 16 bits round to 1 still keeps something."""
    number = 2**20
    share = float(jnp.mean(kept(jax.random.key(0), rate, (number,))))
    probability = min(round(rate * 2**16), 2**16 - 1) / 2**16
    assert abs(probability - rate) < 2**-16
    assert share > 0 and abs(share - (1 - probability)) < 5 * math.sqrt(probability * (1 - probability) / number)


def test_convolution_against_loops():
    rng = np.random.default_rng(0)
    for length, highest in ((4, 4), (7, 3), (11, 10), (5, 1)):
        x = rng.normal(size=(2, length, 3)).astype(np.float32)
        kernels = [rng.normal(size=(height * 3, 2)).astype(np.float32) for height in range(1, highest + 1)]
        for height, (kernel, answers) in enumerate(zip(kernels, convolve(x, kernels, "float32"), strict=True), start=1):
            windows = [x[:, start : start + height].reshape(2, -1) for start in range(length - height + 1)]
            expected = np.stack([window @ kernel for window in windows], axis=1)
            np.testing.assert_allclose(answers, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["sasrec", "caser", "item_knn"])
def test_full_ranking_against_every_score(name, corpus):
    """The ranking by products with all items at once, against the scores of each user's items one by one."""
    config = Config.model_validate(
        {"model": {"name": name, "embedding_dim": 8, "num_heads": 2}, "data": {"history_length": 5}}
    )
    run = assemble_corpus(config, corpus, None)
    params = jax.device_get(run.init().params)
    if name != "item_knn":
        params = jax.tree.map(lambda x: 30 * x, params)
    rows = corpus.test.rows
    history = gather_history(run.arrays, rows, 5)
    encoded = jax.jit(run.system.encode)(params, corpus.sequence_users[rows], history, run.arrays.tables)
    everything = np.tile(np.arange(1, corpus.num_items + 1, dtype=np.int32), (len(rows), 1))
    scores = np.asarray(jax.jit(run.system.score)(params, encoded, everything, run.arrays.tables), np.float64)
    full = build_counts(run.system, data_mesh(), Full().candidates(corpus, "test"), history_length=5)
    found = full(params, run.arrays, rows)
    clear = 0
    for place, row in enumerate(rows):
        target = corpus.sequence_items[row]
        seen = corpus.sequence_items[corpus.sequence_offsets[corpus.sequence_users[row]] : row]
        others = np.delete(scores[place], np.unique([target, *seen]) - 1)
        distance = np.abs(others - scores[place, target - 1])
        if name == "item_knn" or distance.min() > 1e-5:
            clear += 1
            equal = int((distance < 1e-6).sum())
            assert found.equal[place] == equal
            assert found.greater[place] == (others > scores[place, target - 1] + 1e-6).sum()
    assert clear > len(rows) / 2


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_full_ranking_of_items_that_are_alike_ties(precision, corpus):
    """A model that has collapsed gains nothing by rounding: its targets tie with all others."""
    model = {"name": "gru4rec", "precision": precision}
    config = Config.model_validate({"model": model, "data": {"history_length": 5}})
    run = assemble_corpus(config, corpus, None)
    params = jax.device_get(run.init().params)
    row = np.random.default_rng(0).normal(size=64).astype(np.float32)
    params["item_embeddings"] = np.tile(row, (corpus.num_items + 1, 1))
    params["encoder"]["out_kernel"] = params["encoder"]["out_kernel"] * 100
    full = build_counts(run.system, data_mesh(), Full().candidates(corpus, "test"), history_length=5)
    found = full(params, run.arrays, corpus.test.rows)
    assert not np.asarray(found.greater).any()
    seen = corpus.test.rows - corpus.sequence_offsets[corpus.sequence_users[corpus.test.rows]]
    assert (np.asarray(found.equal) >= corpus.num_items - 1 - seen).all()
