"""Trains small models within this process, for tests of what comes after training."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

from lrd_jax.config.schema import Config
from lrd_jax.data.rechorus import read_corpus
from lrd_jax.data.synthetic import write_synthetic
from lrd_jax.training.loop import train_and_evaluate


def train(folder: Path, data: Path, *, model: str = "rcf", seed: int = 0, **options: Any) -> Path:
    """Two epochs of a model with 4 dimensions, no layers, and other options of it; returns the run folder."""
    config = Config.model_validate(
        {
            "data": {"path": data, "history_length": 5},
            "model": {"name": model, "embedding_dim": 4, "num_heads": 2, "num_layers": 0, **options},
            "optim": {"batch_size": 256, "learning_rate": 0.01},
            "run": {"workdir": folder, "epochs": 2, "cpu_devices": 2, "seed": seed},
        }
    )
    with pytest.MonkeyPatch.context() as patch, quickly_compiled():
        # Whether or not jax has devices already: with this flag set train leaves their number as it is.
        patch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2 --xla_cpu_multi_thread_eigen=false")
        train_and_evaluate(config)
    return folder


def shared(tmp_path_factory: pytest.TempPathFactory, *models: str) -> Path:
    """A folder with `data` and a small run of each model, which all tests of a session share; nobody changes them.

    What another test or another worker has made is there already.
    """
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent  # of all workers
    place = place / "small-runs"
    place.mkdir(exist_ok=True)
    with _locked(place / "data.lock"):
        if not (place / "data").exists():
            write_synthetic(place / "data", num_users=60, num_items=40)
            read_corpus(place / "data")  # into the cache
    for model in models:
        with _locked(place / f"{model}.lock"):
            if not (place / model / "results.json").exists():
                train(place / model, place / "data", model=model)
    return place


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def quickly_compiled() -> Iterator[None]:
    """Programs that run slower and are there sooner: these tests spend their time in the compiler."""
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", False)
