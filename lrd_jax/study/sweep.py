"""Hyperparameter search by dev NDCG@5: optuna proposes, bad trials are pruned, the test split is never used."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from lrd_jax.command_line.jax_setup import set_up_jax
from lrd_jax.config.schema import Config
from lrd_jax.config.toml_file import config_difference, config_to_toml, load_config, with_options
from lrd_jax.errors import UserError
from lrd_jax.files import write_atomically
from lrd_jax.runs.folder import holds_run, read_dev_metrics
from lrd_jax.runs.locks import claimed, locked
from lrd_jax.study.grids import Grid
from lrd_jax.study.space import Range, Space
from lrd_jax.terminal.lines import say
from lrd_jax.training.loop import train_without_test
from lrd_jax.training.stopping import STOPPING_METRIC

STARTUP_TRIALS, WARMUP_EPOCHS = 5, 5
"""No pruning before this many trials have finished, nor in this many first epochs of a trial."""

_DONE = (TrialState.COMPLETE, TrialState.PRUNED)


def run_sweep(config: Config, space: Space, folder: Path, *, num_trials: int, seed: int) -> list[dict[str, Any]]:
    """Tries configurations until the sweep has `num_trials` trials; several processes may do so at once.

    A trial is an ordinary run in TRIAL_FOLDER without the test. The next process resumes a killed trial.

    Args:
      config: configuration of every trial, except for the options in the space.
      space: the search space.
      folder: folder for sweep.db, the trials, and best.toml.
      num_trials: total number of trials, including those of earlier calls.
      seed: seed of optuna's proposals.

    Returns:
      The trials, as from `trial_rows`.

    Raises:
      UserError: the folder has a sweep with another configuration or space, or no trial has finished.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with locked(folder / ".sweep.lock"):
        study = _open_study(config, space, folder)
    while True:
        with contextlib.ExitStack() as claim:
            with locked(folder / ".sweep.lock"):
                _retry_killed(study, config, folder)
                if len([trial for trial in study.get_trials(deepcopy=False) if _counts(trial)]) >= num_trials:
                    break
                study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
                trial = study.ask()
                try:
                    run = _configure(trial, config, space, folder)
                except UserError as error:  # values that are valid separately but not together
                    trial.set_user_attr("problem", str(error))
                    study.tell(trial, state=TrialState.FAIL)
                    continue
                claim.enter_context(claimed([run]))
            _run_trial(study, trial, run)
    rows = trial_rows(study.get_trials())
    if not any(row["state"] == "complete" for row in rows):
        raise UserError("no trial has finished", file=folder, remedy="Fix the space, or raise --trials")
    best = study.best_trial
    write_atomically(folder / "best.toml", config_to_toml(_without_place(with_options(config, best.params))).encode())
    return rows


def trial_rows(trials: list[FrozenTrial]) -> list[dict[str, Any]]:
    """Every valid trial: its state, best dev NDCG@5 and its epoch, number of epochs, and choices; best first."""
    rows = [
        {
            "trial": trial.number,
            "state": "failed" if trial.state == TrialState.FAIL else trial.state.name.lower(),
            "dev_ndcg_at_5": max(trial.intermediate_values.values(), default=trial.value),
            "epochs": max(trial.intermediate_values, default=0),
            "options": trial.params,
            "problem": trial.user_attrs.get("problem"),
        }
        for trial in trials
        if _counts(trial)
    ]
    return sorted(rows, key=lambda row: (row["state"] != "complete", -(row["dev_ndcg_at_5"] or 0.0)))


def sweep_grid(rows: list[dict[str, Any]], title: str) -> Grid:
    """The trials as a text table."""
    options = list(dict.fromkeys(option for row in rows for option in row["options"]))
    lines = []
    for row in rows:
        score = "" if row["dev_ndcg_at_5"] is None else f"{row['dev_ndcg_at_5']:.4f}"
        chosen = [f"{row['options'].get(option, '')}" for option in options]
        lines.append([str(row["trial"]), row["state"], score, str(row["epochs"]), *chosen])
    return Grid(title, ["trial", "state", "dev NDCG@5", "epochs", *options], lines)


def _open_study(config: Config, space: Space, folder: Path) -> optuna.Study:
    """The sweep in the folder, or a new one."""
    study = optuna.create_study(
        study_name="sweep",
        storage=f"sqlite:///{folder.absolute() / 'sweep.db'}",
        load_if_exists=True,
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=WARMUP_EPOCHS),
    )
    described = json.dumps(space, sort_keys=True)
    if study.user_attrs.setdefault("space", described) != described:
        raise UserError("the folder holds a sweep of another space", file=folder, remedy="Choose another --workdir")
    base = folder / "base.toml"
    if not base.exists():
        write_atomically(base, config_to_toml(_without_place(config)).encode())
    if changes := config_difference(load_config(base), config):
        listed = "; ".join(f"{key} was {before!s}, now {now!s}" for key, before, now in changes)
        raise UserError(
            f"the folder holds a sweep of another configuration: {listed}", file=base, remedy="Choose another --workdir"
        )
    study.set_user_attr("space", described)
    return study


def _without_place(config: Config) -> Config:
    return config.model_copy(update={"run": config.run.model_copy(update={"workdir": None})})


def _counts(trial: FrozenTrial) -> bool:
    """Whether a trial counts; killed trials do not, because they are in the queue again."""
    return trial.state in (*_DONE, TrialState.RUNNING) or "problem" in trial.user_attrs


def _retry_killed(study: optuna.Study, config: Config, folder: Path) -> None:
    """Puts trials with a dead process back in the queue, to be resumed in their folder."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        place = trial.user_attrs.get("folder", f"trial{trial.number}")
        with claimed([_placed(config, folder / place)]) as dead:
            if dead:
                study.enqueue_trial(trial.params, user_attrs={"folder": place})
                study.tell(trial.number, state=TrialState.FAIL)


def _configure(trial: Trial, config: Config, space: Space, folder: Path) -> Config:
    """The configuration of a trial with its choices."""
    place = trial.user_attrs.get("folder", f"trial{trial.number}")
    trial.set_user_attr("folder", place)
    chosen = {key: _suggest(trial, key, choices) for key, choices in space.items()}
    return _placed(with_options(config, chosen), folder / place)


def _placed(config: Config, folder: Path) -> Config:
    return config.model_copy(update={"run": config.run.model_copy(update={"workdir": folder})})


def _suggest(trial: Trial, key: str, choices: list[Any] | Range) -> Any:
    if not isinstance(choices, Range):
        return trial.suggest_categorical(key, choices)
    if isinstance(choices.low, int) and isinstance(choices.high, int):
        return trial.suggest_int(key, choices.low, choices.high, log=choices.log)
    return trial.suggest_float(key, choices.low, choices.high, log=choices.log)


def _run_trial(study: optuna.Study, trial: Trial, run: Config) -> None:
    """Trains a trial and reports to optuna; reuses the result of an earlier trial with the same choices."""
    say(f"\ntrial {trial.number}: " + ", ".join(f"{key} {value}" for key, value in trial.params.items()))
    for earlier in study.get_trials(deepcopy=False, states=_DONE):
        if earlier.params == trial.params:
            say(f"same as trial {earlier.number}")
            for epoch, score in earlier.intermediate_values.items():
                trial.report(score, epoch)
            study.tell(trial, earlier.value if earlier.state == TrialState.COMPLETE else None, state=earlier.state)
            return
    resume = holds_run(run.run_folder)
    reported = read_dev_metrics(run.run_folder) if resume else {}
    for epoch, dev in reported.items():
        trial.report(dev[STOPPING_METRIC], epoch)

    def after_epoch(epoch: int, dev: Mapping[str, float]) -> None:
        if epoch not in reported:  # a run killed between an epoch's line and its checkpoint repeats the epoch
            trial.report(dev[STOPPING_METRIC], epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        set_up_jax(run.run.cpu_devices)
        _, score = train_without_test(run, resume=resume, after_epoch=after_epoch)
        study.tell(trial, score)
    except optuna.TrialPruned:
        say("pruned: below the median of the other trials")
        study.tell(trial, state=TrialState.PRUNED)
    except UserError as error:
        say(f"failed: {error}")
        trial.set_user_attr("problem", str(error))
        study.tell(trial, state=TrialState.FAIL)
