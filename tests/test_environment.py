"""What users set for jax in their environment: every model runs under it, with the same numbers."""

import contextlib

import jax
import numpy as np
import pytest

from lrd_jax.config.schema import Config
from lrd_jax.data.synthetic import write_synthetic
from lrd_jax.evaluate.run_protocol import build_ranking
from lrd_jax.ranking.protocols.full import Full
from lrd_jax.ranking.protocols.sampled import Sampled
from lrd_jax.training.setup import assemble_corpus
from tests.conftest import equations
from tests.processes import run, small_training
from tests.test_train import VARIANTS, outcome

MORE = {
    "popularity": {"model": {"name": "popularity"}},
    "item_knn": {"model": {"name": "item_knn"}},
    "prior": {"model": {"name": "rcf_lrd", "relation_prior": "learned", "precision": "tf32", "classifier_input": "id"}},
    "lazy": {"model": {"name": "kda_lrd"}, "optim": {"update": "lazy"}},
}
SMALL = {
    "data": {"history_length": 6},
    "model": {"embedding_dim": 8, "num_heads": 2, "num_latent_relations": 3},
    "optim": {"batch_size": 64, "learning_rate": 0.001},
}


@pytest.fixture(autouse=True)
def _quickly_compiled():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def assembled(name, corpus, text):
    options = {**VARIANTS, **MORE}[name]
    config = Config.model_validate({key: {**SMALL.get(key, {}), **options.get(key, {})} for key in {*SMALL, *options}})
    return assemble_corpus(config, corpus, text if config.uses_text else None)


def numbers(run):
    """Parameters and losses after an epoch, and how many candidates outrank the targets by every protocol."""
    state, losses = run.epoch_on_device(run.init(3), run.arrays, 3, 1)
    dev = jax.device_get(run.evaluation_on_device(state.params, run.arrays, *run.splits["dev"]))
    protocols = (Full(), Sampled(negatives=5)) if run.config.model.name in ("kda_lrd", "gru4rec", "popularity") else ()
    found = [build_ranking(run, "test", protocol)(state.params) for protocol in protocols]
    return jax.device_get((state, losses)), [counts.greater for counts in (dev, *found)]


def wide_floats(run):
    """The float64 arrays that an epoch and an evaluation compute; Adam's bias correction is a single number."""
    state = jax.eval_shape(run.init)
    programs = (
        jax.make_jaxpr(lambda state: run.epoch_on_device(state, run.arrays, 3, 1))(state),
        jax.make_jaxpr(lambda params: run.evaluation_on_device(params, run.arrays, *run.splits["dev"]))(state.params),
    )
    values = [variable.aval for made in programs for equation in equations(made.jaxpr) for variable in equation.outvars]
    return [str(value) for value in values if value.ndim and value.dtype == np.dtype("float64")]


@pytest.mark.slow
# The others add no operation of their own.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ("kda_lrd", "tisasrec", "gru4rec", "item_knn") else pytest.mark.nightly)
        for name in (*VARIANTS, *MORE)
    ],
)
def test_every_model(name, corpus, text):
    """64 bits, and checks that are of the user's own code, all at once; `test_commands` has them one by one."""
    expected, expected_counts = numbers(assembled(name, corpus, text))
    checks = (jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"), jax.debug_nans(True))
    with contextlib.ExitStack() as settings:
        for setting in (jax.enable_x64(True), *checks):
            settings.enter_context(setting)
        run = assembled(name, corpus, text)
        assert {leaf.dtype.itemsize for leaf in jax.tree.leaves((run.init(3), run.arrays))} == {4}
        assert wide_floats(run) == []
        found, counts = numbers(run)

    def compare(a, b):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5)

    jax.tree.map(compare, found, expected)
    for greater, known in zip(counts, expected_counts, strict=True):
        assert np.mean(greater != known) < 0.1


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """`data`, and a run `plain`."""
    place = tmp_path_factory.mktemp("environment")
    write_synthetic(place / "data", num_users=60, num_items=40)
    answer = run(place, "train", *small_training(place, "plain", epochs=2))
    assert answer.returncode == 0, answer.stderr
    return place


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.process
@pytest.mark.parametrize(
    "setting",
    [
        {"JAX_ENABLE_X64": "1"},
        {"JAX_NUMPY_RANK_PROMOTION": "raise", "JAX_NUMPY_DTYPE_PROMOTION": "strict", "JAX_DEFAULT_DTYPE_BITS": "64"},
        {"JAX_DEBUG_NANS": "1"},
        {"JAX_DISABLE_JIT": "1"},
        {"JAX_DISABLE_JIT": "0"},
    ],
    ids=lambda setting: ",".join(setting),
)
def test_commands(setting, place):
    """Training, orbax's checkpoints with it, evaluation, and the comparison with published weights."""
    name = "-".join([*setting, *setting.values()])
    trained = run(place, "train", *small_training(place, name, epochs=2), **setting)
    assert trained.returncode == 0, trained.stderr
    found, expected = outcome(place / name), outcome(place / "plain")
    for split in ("dev", "test"):
        assert found[split] == pytest.approx(expected[split], abs=0.02)
    assert trained.stderr.count("warning: JAX_DISABLE_JIT is set") == (setting.get("JAX_DISABLE_JIT") == "1")
    ranked = run(place, "evaluate", place / name, **setting)
    assert ranked.returncode == 0, ranked.stderr
    compared = run(place, "interop", "parity", "tests/golden/gru4rec.npz", **setting)
    assert compared.returncode == 0, compared.stdout + compared.stderr


@pytest.mark.process
@pytest.mark.parametrize("platform", ["cuda", "gpu", "tpu", "misspelt"])
@pytest.mark.parametrize("command", ["train", "evaluate", "interop"])
def test_a_device_that_is_not_there(command, platform, place):
    if platform in {device.platform for device in jax.devices()}:
        pytest.skip("it is there")
    words = {
        "train": small_training(place, "nowhere", model="popularity"),
        "evaluate": [place / "plain"],
        "interop": ["parity", "tests/golden/gru4rec.npz"],
    }[command]
    answer = run(place, command, *words, JAX_PLATFORMS=platform)
    assert answer.returncode == 2
    (line,) = answer.stderr.splitlines()
    assert line.startswith(f"error: JAX_PLATFORMS={platform}, but jax finds no such device here. Unset JAX_PLATFORMS")
    assert not (place / "nowhere").exists()
