"""Runs with encoders other than wordllama: what the run folder records, and what can be resumed."""

import numpy as np
import pytest

from lrd_jax.config.schema import Config
from lrd_jax.config.toml_file import config_difference, config_of, config_to_toml, load_config
from lrd_jax.data.synthetic import write_synthetic
from lrd_jax.errors import UserError
from lrd_jax.study.runner import is_finished
from lrd_jax.training.load import load_trained
from lrd_jax.training.loop import train_seeds
from tests.small_runs import quickly_compiled


def small(place, **text):
    model = {"embedding_dim": 4, "num_heads": 2, "num_layers": 0, "num_latent_relations": 2}
    run = {"workdir": place / "run", "epochs": 1, "cpu_devices": 2}
    values = {"data": {"path": place / "data"}, "text": text, "model": model, "run": run}
    return Config.model_validate(values)


@pytest.fixture
def place(tmp_path, monkeypatch):
    # Whether or not jax has devices already: with this flag set train leaves their number as it is.
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2 --xla_cpu_multi_thread_eigen=false")
    write_synthetic(tmp_path / "data", num_users=20, num_items=12, max_length=6, num_negatives=4)
    vectors = np.random.default_rng(0).normal(size=(12, 6))
    np.save(tmp_path / "a.npy", vectors)
    vectors.tofile(tmp_path / "dump")
    with quickly_compiled():
        yield tmp_path


def test_the_width_is_recorded_and_need_not_be_given_again(place):
    config = small(place, encoder="file", file=place / "a.npy")
    assert config.text.dimensions is None
    train_seeds([config])
    recorded = load_config(place / "run/config.toml")
    assert (recorded.text.encoder, recorded.text.dimensions) == ("file", 6)
    trained = load_trained(place / "run")
    assert trained.params and trained.run.arrays.tables.text.shape == (13, 6)
    for same in (config, recorded):
        assert is_finished(same)
        train_seeds([same], resume=True)
    assert load_config(place / "run/config.toml") == recorded
    with pytest.raises(UserError, match="text.dimensions was 6, now 5"):
        train_seeds([small(place, encoder="file", file=place / "a.npy", dimensions=5)], resume=True)


def test_dump_and_array_are_the_same_run(place):
    train_seeds([small(place, encoder="file", file=place / "a.npy")])
    results = (place / "run/ranks.npz").read_bytes()
    array = load_trained(place / "run").run.fingerprint
    (place / "run").rename(place / "first")
    train_seeds([small(place, encoder="file", file=place / "dump", dimensions=6)])
    assert load_trained(place / "run").run.fingerprint == array
    assert (place / "run/ranks.npz").read_bytes() == results


def test_the_default_records_what_it_always_did(place):
    train_seeds([small(place)])
    text = (place / "run/config.toml").read_text()
    assert '[text]\nencoder = "wordllama"\ndimensions = 256\nscale = 1.0\n' in text
    assert not config_difference(load_config(place / "run/config.toml"), load_trained(place / "run").config)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"text.file": "a.npy"}, r"'text.file': the encoder is wordllama, which embeds.*Choose file as the encoder"),
        ({"text.file": "a.npy", "text.encoder": "openai"}, "'text.file': the encoder is openai"),
        ({"text.model": "x"}, "'text.model': the encoder wordllama has no models"),
        ({"text.model": "x", "text.encoder": "file"}, "'text.model': the encoder file has no models"),
        ({"text.encoder": "bert"}, "expected one of 'wordllama', 'openai'"),
        ({"text.encoder": "sentence-transformer"}, "Perhaps you mean 'sentence-transformers'"),
        ({"text.dimensions": 0}, "expected an integer >= 1, got 0"),
    ],
)
def test_options_that_do_not_go_together(options, told):
    with pytest.raises(UserError, match=told):
        config_of(options)


def test_options_of_the_encoders_survive_toml(tmp_path):
    options = {"text.encoder": "sentence-transformers", "text.model": "a/b", "text.dimensions": 64}
    for each in (options, {"text.encoder": "file", "text.file": "é.npz:x y"}, {}):
        config = config_of(each)
        (tmp_path / "config.toml").write_text(config_to_toml(config), encoding="utf-8")
        assert load_config(tmp_path / "config.toml") == config
