"""Trains small models within this process, for tests of what comes after training."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

from lrd_jax.config.schema import Config
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


@contextlib.contextmanager
def quickly_compiled() -> Iterator[None]:
    """Programs that run slower and are there sooner: these tests spend their time in the compiler."""
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", False)
