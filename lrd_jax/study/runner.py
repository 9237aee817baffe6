"""Trains the missing runs of a study; reuses finished runs and resumes unfinished ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jax

from lrd_jax.command_line.jax_setup import set_up_jax
from lrd_jax.config.schema import Config
from lrd_jax.config.toml_file import load_config
from lrd_jax.errors import UserError
from lrd_jax.runs.folder import check_run_folder, holds_run, is_longer, read_results
from lrd_jax.runs.locks import claimed
from lrd_jax.study.cells import Cell
from lrd_jax.terminal.lines import say
from lrd_jax.training.loop import train_held_seeds
from lrd_jax.training.setup import resolve


def run_missing(cells: Sequence[Cell], seeds: Sequence[int], *, seeds_at_once: int | None) -> dict[Path, UserError]:
    """Trains every run that has not finished and is not locked by another process.

    Repeats until nothing is left, so it also trains runs that another process has given up meanwhile.

    Args:
      cells: the cells, in order of training.
      seeds: seeds of each cell.
      seeds_at_once: number of seeds of a cell to claim at once; None: all.

    Returns:
      The error of each failed run, by its run folder; other runs continue.
    """
    failures: dict[Path, UserError] = {}
    trained = True
    while trained:
        trained = False
        for cell in cells:
            runs = [run for run in _open_runs(cell.runs(seeds), failures) if run.run_folder not in failures]
            step = seeds_at_once or max(len(runs), 1)
            for start in range(0, len(runs), step):
                with claimed(runs[start : start + step]) as held:
                    if held := _open_runs(held, failures):
                        trained = True
                        say(f"\n{cell.dataset}, {cell.variant}")
                        failures |= _train(held)
            jax.clear_caches()  # no other cell uses this one's programs
    return failures


def is_finished(run: Config) -> bool:
    """Whether the run folder has a finished run with this configuration.

    The number of CPU devices may differ if the configuration does not set it.

    Raises:
      UserError: the folder has a run with another configuration, finished or not; or the path cannot be used.
    """
    folder = run.run_folder
    if not holds_run(folder):
        return False
    held = load_config(folder / "config.toml")
    finished = read_results(folder) is not None and not is_longer(held, run)
    if finished and run.run.cpu_devices is None:
        run = run.model_copy(update={"run": run.run.model_copy(update={"cpu_devices": held.run.cpu_devices})})
    run = resolve(run)
    check_run_folder(folder, run, resume=True)
    for option, before, now in (
        ("run.init_from", held.run.init_from, run.run.init_from),
        ("text.file", held.text.file, run.text.file),
    ):  # resuming compares only their contents, and nothing else checks a finished run
        if before != now:
            problem = f"the run was made with {option} {before}, not with {now}"
            raise UserError(problem, file=folder, remedy="Use the same value, or choose another --workdir")
    return finished


def _open_runs(runs: Sequence[Config], failures: dict[Path, UserError]) -> list[Config]:
    """The runs that still need training; runs that cannot be trained are added to the failures and printed."""
    unfinished = []
    for run in runs:
        try:
            if run.run_folder not in failures and not is_finished(run):
                unfinished.append(run)
        except UserError as error:
            say(f"failed: {error}")
            failures[run.run_folder] = error
    return unfinished


def _train(runs: Sequence[Config]) -> dict[Path, UserError]:
    """Trains seeds of one cell; returns the errors of failed seeds.

    If a seed cannot start, for example because of a damaged checkpoint, all seeds of the group stop, and each is tried
    separately.
    """
    try:
        set_up_jax(runs[0].run.cpu_devices)
        train_held_seeds(runs, resume=any(holds_run(run.run_folder) for run in runs))
        return {}
    except (UserError, MemoryError, jax.errors.JaxRuntimeError) as error:  # the last two mean too little memory
        if not isinstance(error, UserError):
            error = UserError(str(error).splitlines()[0] if str(error) else repr(error), file=runs[0].run_folder)
        say(f"failed: {error}")
        unfinished = [run for run in runs if read_results(run.run_folder) is None]
        if len(runs) == 1:
            return {run.run_folder: error for run in unfinished}
        return {folder: error for run in unfinished for folder, error in _train([run]).items()}
