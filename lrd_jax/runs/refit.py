"""The configuration that trains a finished run again on all interactions."""

from __future__ import annotations

import os
from pathlib import Path

from lrd_jax.config.schema import Config
from lrd_jax.config.toml_file import load_config
from lrd_jax.errors import UserError
from lrd_jax.runs.folder import read_results, was_started


def refit_config(folder: Path) -> Config:
    """The options of a finished run, for as many epochs as dev chose, in a run folder of its own: RUN-refit.

    Raises:
      UserError: there is no run, it has not finished, was not trained here, or is a refit itself.
    """
    folder = Path(os.path.abspath(folder))
    if not was_started(folder):
        raise UserError("there is no run", file=folder, remedy="Name the run folder of a training")
    config, results = load_config(folder / "config.toml"), read_results(folder)
    if config.run.refit_of is not None:
        raise UserError("the run is itself a refit", file=folder, remedy=f"Name {config.run.refit_of}")
    if results is None:
        remedy = f"Finish it first, with --config {folder / 'config.toml'} --resume"
        raise UserError(
            "the run has not finished, so dev has not chosen a number of epochs", file=folder, remedy=remedy
        )
    if results["best_epoch"] < 1:
        remedy = "Name a run that was trained here"
        raise UserError("the weights were imported, so the number of epochs is not known", file=folder, remedy=remedy)
    of_run = {"refit_of": folder, "epochs": results["best_epoch"], "workdir": folder.with_name(folder.name + "-refit")}
    return config.model_copy(update={"run": config.run.model_copy(update=of_run)})
