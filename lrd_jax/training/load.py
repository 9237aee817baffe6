"""Loads trained runs from their run folders without writing there."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax

from lrd_jax.config.schema import Config
from lrd_jax.config.toml_file import load_config
from lrd_jax.devices import available_cores
from lrd_jax.errors import UserError
from lrd_jax.models.system import Params
from lrd_jax.runs.checkpoint import CheckpointReader
from lrd_jax.runs.folder import TEXT_FILE, read_results, was_started
from lrd_jax.training.seed_run import read_fingerprint
from lrd_jax.training.setup import Setup, assemble, refuse_other_data, resolve


class Trained(NamedTuple):
    """A run with its best epoch loaded.

    Attributes:
      run: the setup; if shared between runs, its seed may differ from that of `config`.
      params: parameters of the best epoch, on the devices.
      epoch: the best epoch.
      config: configuration of this run; `run.workdir` is the folder it was loaded from.
    """

    run: Setup
    params: Params
    epoch: int
    config: Config


def load_trained(folder: Path, *, assembled: Setup | None = None, data: Path | None = None) -> Trained:
    """Loads the best epoch of a run, finished or not.

    Args:
      folder: the run folder.
      assembled: setup of another run; reused if the configurations differ only in the section `run`, which avoids
        reading the dataset and compiling again.
      data: the folder where the dataset is now; None: where it was during training.

    Raises:
      UserError: the folder has no run or no checkpoint, or the dataset or its text embeddings are missing or differ
        from those that the run was started with.
    """
    check_holds_run(folder)
    config = load_config(folder / "config.toml")
    # The run may have been trained on another machine.
    placed = config.run.model_copy(update={"workdir": folder, "cpu_devices": _cpu_devices()})
    config = config.model_copy(update={"run": placed})
    if config.text.file is not None and config.text.file.name == TEXT_FILE and (folder / TEXT_FILE).exists():
        config = config.model_copy(update={"text": config.text.model_copy(update={"file": folder / TEXT_FILE})})
    config = resolve(config if data is None else with_dataset(config, data))
    check_dataset_is_there(config)
    results = read_results(folder)
    reader = CheckpointReader(folder / "checkpoints")
    try:
        epoch = _best_epoch(folder, results, reader)
        run = assembled
        if run is None or run.config.model_copy(update={"run": config.run}) != config:
            run = assemble(config)
        refuse_other_data(run, _fingerprint(results, reader), folder)
        _, params = reader.restore("best", jax.eval_shape(run.init).params, epoch=epoch)
    finally:
        reader.close()
    return Trained(run, jax.device_put(params, run.arrays.examples.sharding), epoch, config)


def with_dataset(config: Config, folder: Path) -> Config:
    """The configuration with its dataset in another folder, and with it text embeddings from the old folder."""
    old, text = config.data.path, config.text
    if old is not None and text.file is not None and text.file.is_relative_to(old):
        text = text.model_copy(update={"file": folder / text.file.relative_to(old)})
    data = config.data.model_copy(update={"path": folder})
    return config.model_copy(update={"data": data, "text": text})


def check_dataset_is_there(config: Config) -> None:
    """Raises a `UserError` if the dataset of a run is missing."""
    folder = config.data.path
    if folder is not None and not folder.is_dir():
        remedy = "Set --data.path to the folder where it is now"
        raise UserError("the run's dataset is missing", file=folder, remedy=remedy)


def load_params(folder: Path, like: Params) -> Params:
    """The best parameters of a run, on the host, for another run to start from.

    Args:
      folder: the run folder.
      like: parameters of the other run; only structure, shapes and types are used.

    Raises:
      UserError: the folder has no run or no checkpoint, its parameters have other names or shapes, or it is a refit,
        which knows the test set.
    """
    check_holds_run(folder)
    if (why := load_config(folder / "config.toml").untestable) is not None:
        remedy = "Start from the run that it is a refit of, or use --refit"
        raise UserError(f"{why}, nor can what starts from it", file=folder, field="run.init_from", remedy=remedy)
    reader = CheckpointReader(folder / "checkpoints")
    try:
        params: Params
        _, params = reader.restore("best", like, epoch=_best_epoch(folder, read_results(folder), reader))
        return params
    except UserError as error:
        remedy = f"Start with the run's own options, --config {folder / 'config.toml'}, and its dataset"
        raise UserError(error.problem, file=error.file, field="run.init_from", remedy=remedy) from error
    finally:
        reader.close()


def check_holds_run(folder: Path) -> None:
    """Raises a `UserError` if no run was started in the folder."""
    if not was_started(folder):
        remedy = "Give a run folder, with config.toml and checkpoints"
        raise UserError("there is no run", file=folder, remedy=remedy)


def refuse_untestable(config: Config) -> None:
    """Raises a `UserError` where a run cannot be evaluated."""
    if config.untestable is not None:
        remedy = f"Evaluate {config.run.refit_of}, which has not seen the test set"
        raise UserError(config.untestable, file=config.run.workdir, remedy=remedy)


def _best_epoch(folder: Path, results: dict[str, Any] | None, reader: CheckpointReader) -> int:
    epoch = results["best_epoch"] if results is not None else reader.latest_epoch("best")
    if epoch is None:
        raise UserError("the run has no checkpoint yet", file=folder, remedy="Wait for its first epoch")
    return epoch


def _cpu_devices() -> int:
    """The number of jax's CPU devices in this process; on an accelerator, one per core."""
    return jax.device_count() if jax.default_backend() == "cpu" else available_cores()


def _fingerprint(results: dict[str, Any] | None, reader: CheckpointReader) -> str:
    """`Setup.fingerprint` at the start of the run, from results.json or else from the latest checkpoint."""
    if results is not None and "fingerprint" in results["dataset"]:
        return str(results["dataset"]["fingerprint"])
    return read_fingerprint(reader)
