"""Training from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax

from lrd_jax.api.dataset import Dataset
from lrd_jax.api.run import Run, load_run
from lrd_jax.config.schema import Config
from lrd_jax.config.toml_file import load_config, with_options
from lrd_jax.data.sources.movielens import ensure_ml_100k
from lrd_jax.runs.refit import refit_config
from lrd_jax.training.loop import train_and_evaluate
from lrd_jax.training.setup import Setup, assemble


def fit(config: Config | str | Path | None = None, dataset: Dataset | None = None, *, resume: bool = False) -> Run:
    """Trains with early stopping on dev, tests the best epoch once, and keeps everything in the run folder.

    Args:
      config: the options, or a TOML file with them. None: the defaults.
      dataset: the dataset to train on. None: the one that the configuration names, MovieLens-100k by default.
      resume: continue the run in the run folder.

    Returns:
      The trained run.

    Raises:
      UserError: the input is bad, the run folder already holds a run, or the loss is not finite.
    """
    config = config if isinstance(config, Config) else Config() if config is None else load_config(config)
    options: dict[str, Any] = {} if dataset is None else {"data.path": str(dataset.folder)}
    return _trained(with_options(config, options), resume)


def refit(run: Run | str | Path, *, workdir: str | Path | None = None, resume: bool = False) -> Run:
    """Trains a finished run again on all interactions, dev and test too, for the number of epochs that dev chose.

    For production: what comes out has seen the test set and cannot be evaluated.

    Args:
      run: the run, or its folder.
      workdir: the new run folder. None: the run's with "-refit" behind it.
      resume: continue the refit that the new folder holds.

    Returns:
      The new run.

    Raises:
      UserError: the run has not finished or is a refit itself; or as `fit`.
    """
    config = refit_config(run.folder if isinstance(run, Run) else Path(run))
    return _trained(config if workdir is None else with_options(config, {"run.workdir": str(workdir)}), resume)


def _trained(config: Config, resume: bool) -> Run:
    if jax.default_backend() == "cpu":  # what jax has in this process; commands choose it by run.cpu_devices
        config = with_options(config, {"run.cpu_devices": jax.device_count()})
    train_and_evaluate(config, resume=resume)
    return load_run(config.run_folder)


def setup(config: Config, dataset: Dataset | None = None) -> Setup:
    """Sets up a custom training loop: the dataset on the devices, and pure functions of the parameters.

    `Setup.init`, `Setup.train_epoch`, `Setup.loss` and `Setup.score` are stable.

    Raises:
      UserError: bad input.
    """
    if dataset is None and config.data.path is None:
        dataset = Dataset(ensure_ml_100k())
    return assemble(config if dataset is None else with_options(config, {"data.path": str(dataset.folder)}))
