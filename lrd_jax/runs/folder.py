"""The run folder's files: configuration, one line per epoch, TensorBoard events, results, target ranks.

RUN/config.toml      the complete configuration; can be passed back as --config
RUN/metrics.jsonl    one JSON object per epoch
RUN/tensorboard/     the same numbers as TensorBoard events
RUN/checkpoints/     see checkpoint.py
RUN/results.json     metrics of the best epoch, and the conditions of the run; without metrics for a refit
RUN/text.npy         the text embeddings, if they came with imported weights
RUN/ranks.npz        the target's rank in every row of dev and test; not for a refit
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from tensorboardX import SummaryWriter

from lrd_jax.config.schema import Config
from lrd_jax.config.toml_file import config_difference, config_to_toml, load_config
from lrd_jax.errors import UserError
from lrd_jax.files import write_atomically
from lrd_jax.version import __version__

TEXT_FILE = "text.npy"
"""Text embeddings that came with imported weights; they move with the folder."""
_CONFIG, _METRICS, _RESULTS, _RANKS = "config.toml", "metrics.jsonl", "results.json", "ranks.npz"


def was_started(folder: Path) -> bool:
    """Whether a run was started in the folder, even if it ended before its first epoch.

    Raises:
      UserError: the path cannot be used.
    """
    return _exists(folder, folder / _CONFIG)


def holds_run(folder: Path) -> bool:
    """Whether the folder has a run with at least one epoch, a checkpoint or results.

    Raises:
      UserError: the path cannot be used.
    """
    if not was_started(folder):
        return False
    metrics = folder / _METRICS
    return (
        _exists(folder, folder / _RESULTS)
        or (_exists(folder, metrics) and metrics.stat().st_size > 0)
        or any(path.name.isdecimal() for path in folder.glob("checkpoints/*/*"))
    )


def _exists(folder: Path, path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise UserError(
            f"the run folder cannot be used ({error.strerror})", file=folder, remedy="Choose another with --run.workdir"
        ) from error


def check_run_folder(folder: Path, config: Config, *, resume: bool) -> None:
    """Checks, before any work and without writing, that a run can start or resume in the folder.

    Args:
      folder: the run folder.
      config: the complete configuration.
      resume: continue the run in the folder.

    Raises:
      UserError: the folder has a run and `resume` is off, or no run and `resume` is on; the configuration of the run to
        resume differs in more than longer training (the message lists the options); the path cannot be used.
    """
    if set("[]") & set(str(folder)):
        # orbax 0.12.8 saves a checkpoint below such a path and then does not find it.
        raise UserError("the path contains a square bracket", file=folder, remedy="Choose another with --run.workdir")
    if resume:
        if not was_started(folder):
            remedy = "Leave out --resume, or set --run.workdir to the run's folder"
            raise UserError("there is no run to resume", file=folder, remedy=remedy)
        _refuse_changes(load_config(folder / _CONFIG), config, folder / _CONFIG)
    elif holds_run(folder):
        raise UserError(
            "the folder already holds a run",
            file=folder,
            remedy="Continue it with --resume, or choose another folder with --run.workdir",
        )


def check_run_folders(configs: Sequence[Config], resume: bool) -> list[bool]:
    """`check_run_folder` for several seeds; returns which are resumed.

    If at least one folder has a run, seeds without a run start one. If none has a run, `resume` is an error, because
    the folder is most likely wrong.
    """
    found = [holds_run(config.run_folder) for config in configs]
    if not any(found):  # no run has reached its first epoch
        found = [was_started(config.run_folder) for config in configs]
    resumed = [resume and (run_is_there or not any(found)) for run_is_there in found]
    for config, resumes in zip(configs, resumed, strict=True):
        check_run_folder(config.run_folder, config, resume=resumes)
    return resumed


def read_results(folder: Path) -> dict[str, Any] | None:
    """The results that `RunWriter.write_results` wrote; None if the run has not finished."""
    path = folder / _RESULTS
    try:
        return json.loads(path.read_bytes()) if path.exists() else None
    except ValueError as error:
        remedy = "Delete the file and continue with --resume, which tests the best epoch again"
        raise UserError("does not parse as JSON", file=path, remedy=remedy) from error


def forget_results(folder: Path) -> None:
    """Deletes the files of `RunWriter.write_results` and `write_ranks`, because the run continues."""
    for name in (_RESULTS, _RANKS):
        (folder / name).unlink(missing_ok=True)


def read_dev_metrics(folder: Path) -> dict[int, dict[str, float]]:
    """The dev metrics of each epoch, as written by `RunWriter.write_epoch`."""
    lines = _lines_until(folder / _METRICS, sys.maxsize).splitlines()
    return {record["epoch"]: record["dev"] for record in map(json.loads, lines) if "dev" in record}


def open_run_folder(folder: Path, config: Config, *, resume: bool) -> None:
    """Creates the run folder with its config.toml, or checks that a run can be resumed in it.

    Deletes the files of a run that ended before its first epoch.

    Raises:
      UserError: as for `check_run_folder`, or the folder cannot be written.
    """
    check_run_folder(folder, config, resume=resume)
    held = folder / _CONFIG
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not resume and (folder / "checkpoints").is_dir():
            shutil.rmtree(folder / "checkpoints")
        # Write it even if it exists, to test whether the folder is writable.
        write_atomically(held, config_to_toml(config).encode())
    except OSError as error:
        raise UserError(
            f"the run folder cannot be written ({error.strerror})",
            file=folder,
            remedy="Choose another folder with --run.workdir",
        ) from error


def _refuse_changes(old: Config, new: Config, file: Path) -> None:
    changes = [change for change in config_difference(old, new) if not _is_longer(*change)]
    if changes:
        listed = "; ".join(f"{key} was {before!s}, now {now!s}" for key, before, now in changes)
        raise UserError(
            f"the run was started with another configuration: {listed}",
            file=file,
            remedy=f"Resume it with --config {file} (only run.epochs and run.patience may grow), or start a new run "
            "with another --run.workdir",
        )


def is_longer(old: Config, new: Config) -> bool:
    """Whether a run's new configuration trains for more epochs or with more patience than its old one."""
    return any(_is_longer(*change) for change in config_difference(old, new))


def _is_longer(option: str, before: Any, now: Any) -> bool:
    return option in ("run.epochs", "run.patience") and now > before


class RunWriter:
    """Writes a run's numbers as they arrive; every line is on disk when its call returns.

    Call `write_epoch` before saving the epoch's "latest" checkpoint: a run killed between the two repeats the epoch and
    writes its line again; the other order would lose the line.
    """

    def __init__(self, folder: Path, *, resume_after: int | None = None) -> None:
        """Opens the files in a folder made by `open_run_folder`.

        Args:
          folder: the run folder.
          resume_after: epoch of the checkpoint from which the run continues; lines of later epochs are removed, so
            that the file equals that of an uninterrupted run. None: from the start.
        """
        self._folder = folder
        keep = _lines_until(folder / _METRICS, resume_after)
        write_atomically(folder / _METRICS, keep)
        self._metrics = open(folder / _METRICS, "a", encoding="utf-8")
        # purge_step tells TensorBoard to forget events from that step on.
        purge = None if resume_after is None else resume_after + 1
        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=purge)

    def write_epoch(
        self, epoch: int, losses: Mapping[str, float], dev: Mapping[str, float] | None, seconds: float
    ) -> None:
        """Appends an epoch to metrics.jsonl and TensorBoard.

        Args:
          epoch: number of the epoch.
          losses: mean of each part of the training loss.
          dev: metrics on the dev split; None if it was not evaluated.
          seconds: duration of the epoch and its evaluation.
        """
        record: dict[str, Any] = {"epoch": epoch, "losses": losses}
        record |= {"dev": dev} if dev is not None else {}
        self._metrics.write(to_json(record | {"seconds": round(float(seconds), 3)}) + "\n")
        self._metrics.flush()
        os.fsync(self._metrics.fileno())
        for group, values in (("loss", losses), ("dev", dev or {}), ("time", {"seconds": seconds})):
            for name, value in values.items():
                tag = f"{group}/{name}".replace("@", "_")  # TensorBoard allows no @; tensorboardX would warn each time
                self._events.add_scalar(tag, float(value), epoch)
        self._events.flush()

    def write_results(
        self,
        *,
        best_epoch: int,
        epochs: int,
        seconds: float,
        device: str,
        config: Config,
        dataset_hash: str,
        fingerprint: str,
        dev: Mapping[str, float] | None = None,
        test: Mapping[str, float] | None = None,
        warnings: Sequence[Mapping[str, Any]] = (),
    ) -> Path:
        """Writes results.json, completely or not at all.

        Args:
          best_epoch: the epoch that was tested.
          epochs: number of epochs trained.
          seconds: duration of the epochs and their evaluations on dev.
          device: the devices of the run.
          config: the complete configuration.
          dataset_hash: `Corpus.content_hash`.
          fingerprint: `Setup.fingerprint`, which includes the text embeddings.
          dev, test: metrics of the best epoch, such as {"HR@5": 0.48, ...}; None for a refit.
          warnings: `Setup.notices`.

        Returns:
          The path of the file.
        """
        path = self._folder / _RESULTS
        results = {
            **{split: metrics for split, metrics in (("dev", dev), ("test", test)) if metrics is not None},
            **({"refit_of": str(config.run.refit_of)} if config.run.refit_of else {}),
            "best_epoch": best_epoch,
            "epochs": epochs,
            "seconds": round(float(seconds), 3),
            "model": config.model.name,
            "dataset": {"name": config.dataset_name, "hash": dataset_hash, "fingerprint": fingerprint},
            "seed": config.run.seed,
            **({"leak": config.leak} if config.leak else {}),
            "device": device,
            "versions": versions(),
            "warnings": list(warnings),
        }
        write_atomically(path, (to_json(results, indent=2) + "\n").encode())
        return path

    def write_ranks(self, **splits: tuple[np.ndarray, pl.Series, np.ndarray]) -> Path:
        """Writes ranks.npz atomically: SPLIT_users (int32), SPLIT_raw_users (text), SPLIT_ranks (float32).

        Ranks count from 1; ties give half ranks (`metrics.target_ranks`). Unknown raw ids are ""; if all are unknown,
        the array is left out.

        Args:
          splits: per split ("dev", "test") the user ids, the source's user ids (`raw_ids`) and the targets' ranks, in
            the order of the split's file; a user has one entry per target.

        Returns:
          The path of the file, for `numpy.load(path, allow_pickle=False)`.
        """
        arrays: dict[str, Any] = {}  # Any: by NumPy's types a name might be the argument allow_pickle
        for split, (users, raw_users, ranks) in splits.items():
            if len(users) != len(ranks):
                raise ValueError(f"{split}: {len(users)} users but {len(ranks)} ranks")
            arrays[f"{split}_users"] = np.asarray(users, np.int32)
            if raw_users.null_count() < len(raw_users):
                arrays[f"{split}_raw_users"] = np.array(raw_users.fill_null("").to_list(), np.str_)
            arrays[f"{split}_ranks"] = np.asarray(ranks, np.float32)
        path, partial = self._folder / _RANKS, self._folder / "ranks.partial.npz"
        np.savez_compressed(partial, **arrays)
        os.replace(partial, path)
        return path

    def close(self) -> None:
        """Closes the files."""
        self._metrics.close()
        self._events.close()


def versions() -> dict[str, str]:
    """Versions of the packages that determine a run's numbers."""
    packages = {"jax": "jax", "jaxlib": "jaxlib", "flax": "flax", "optax": "optax", "numpy": "numpy"}
    packages["orbax"] = "orbax-checkpoint"
    installed = {name: importlib.metadata.version(package) for name, package in packages.items()}
    return installed | {"python": platform.python_version(), "lrd_jax": __version__}


def _lines_until(path: Path, last_epoch: int | None) -> bytes:
    """The lines of metrics.jsonl up to an epoch, without an incomplete last line, as left by a kill."""
    if last_epoch is None or not path.exists():
        return b""
    kept = []
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        try:
            if line.endswith(b"\n") and json.loads(line)["epoch"] <= last_epoch:
                kept.append(line)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                "not an epoch's JSON object", file=path, line=number, remedy="Delete the line, then resume"
            ) from error
    return b"".join(kept)


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON of numbers and texts; NumPy and jax scalars become floats; NaN is rejected, because JSON has none."""
    return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")
