"""Runs what a study lacks; what is finished is taken as it is, what is half done is resumed."""

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
from lrd_jax.runs.terminal import say
from lrd_jax.study.cells import Cell
from lrd_jax.training.loop import train_held_seeds
from lrd_jax.training.setup import resolve


def run_missing(cells: Sequence[Cell], seeds: Sequence[int], *, seeds_at_once: int | None) -> dict[Path, UserError]:
    """Train every run that has not finished and that no other process holds.

    Runs that another process gave up meanwhile are taken too: the cells are gone through until nothing is left to do.

    Args:
      cells: in the order in which they are trained.
      seeds: of each cell.
      seeds_at_once: how many of a cell's seeds to claim at a time; None: all.

    Returns:
      What ended each run that failed, by its run folder; the others go on.
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
    """Whether the run folder holds the finished run of this configuration.

    The number of CPU devices may differ where the configuration leaves it to the machine.

    Raises:
      UserError: it holds a run of another configuration, finished or not; the path cannot be used.
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
    ):  # of which a resumed run asks only whether they hold the same; of a finished one, nobody else asks
        if before != now:
            problem = f"the run was made with {option} {before}, not with {now}"
            raise UserError(problem, file=folder, remedy="Name it as it was, or choose another --workdir")
    return finished


def _open_runs(runs: Sequence[Config], failures: dict[Path, UserError]) -> list[Config]:
    """The runs that are still to be trained; those that cannot be are added to the failures and told."""
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
    """Trains seeds of one cell; returns what ended those that failed.

    What cannot even be started, such as a damaged checkpoint of one seed, ends all that are trained at once: each is
    then tried by itself.
    """
    try:
        set_up_jax(runs[0].run.cpu_devices)
        train_held_seeds(runs, resume=any(holds_run(run.run_folder) for run in runs))
        return {}
    except (UserError, MemoryError, jax.errors.JaxRuntimeError) as error:  # the latter two: too little memory
        if not isinstance(error, UserError):
            error = UserError(str(error).splitlines()[0] if str(error) else repr(error), file=runs[0].run_folder)
        say(f"failed: {error}")
        unfinished = [run for run in runs if read_results(run.run_folder) is None]
        if len(runs) == 1:
            return {run.run_folder: error for run in unfinished}
        return {folder: error for run in unfinished for folder, error in _train([run]).items()}
