"""The results of a study's finished runs: read from run folders, averaged and compared."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lrd_jax.errors import UserError
from lrd_jax.ranking.metrics import row_metrics
from lrd_jax.ranking.statistics import bootstrap_intervals, holm, mean_over_runs, t_test, wilcoxon_test
from lrd_jax.runs.folder import read_results
from lrd_jax.study.cells import Cell
from lrd_jax.study.paper_results import METRICS, paper_metrics
from lrd_jax.study.runner import is_finished

RESAMPLES, LEVEL, BOOTSTRAP_SEED = 2000, 0.95, 0


class Outcome(NamedTuple):
    """The finished runs of a cell.

    Attributes:
      cell: their cell.
      results: {seed: contents of results.json}.
      ranks: {seed: (users, ranks) in the test split}; each int or float [N].
    """

    cell: Cell
    results: dict[int, dict[str, Any]]
    ranks: dict[int, tuple[np.ndarray, np.ndarray]]


def read_outcomes(cells: Sequence[Cell], seeds: Sequence[int]) -> tuple[list[Outcome], dict[Path, UserError]]:
    """The outcome of every cell; some or all seeds may be missing.

    Returns:
      The outcomes, and the errors of runs that cannot be used, by run folder.
    """
    outcomes, failures = [], {}
    for cell in cells:
        outcome = Outcome(cell, {}, {})
        for seed, run in zip(seeds, cell.runs(seeds), strict=True):
            try:
                if is_finished(run):
                    results, ranks = _read(run.run_folder)
                    outcome.results[seed], outcome.ranks[seed] = results, ranks
            except UserError as error:
                failures[run.run_folder] = error
        outcomes.append(outcome)
    return outcomes, failures


def summarise(outcomes: Sequence[Outcome], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """For each cell, mean and standard deviation (dividing by n − 1) over its seeds, and the paper's metrics."""
    return [
        {
            "dataset": outcome.cell.dataset,
            "variant": outcome.cell.variant,
            "title": outcome.cell.title,
            "system": outcome.cell.config.model.name,
            "leak": outcome.cell.config.leak,
            "seeds": list(outcome.results),
            "missing": [seed for seed in seeds if seed not in outcome.results],
            **{split: spread([run[split] for run in outcome.results.values()]) for split in ("dev", "test")},
            "paper": paper_metrics(outcome.cell.dataset, outcome.cell.variant),
        }
        for outcome in outcomes
    ]


def spread(runs: Sequence[dict[str, float]]) -> dict[str, dict[str, Any]] | None:
    """Mean and standard deviation of each metric over runs; None without runs; no deviation for a single run."""
    if not runs:
        return None
    spread = {}
    for name in METRICS:
        values = [run[name] for run in runs]
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
        spread[name] = {"mean": float(np.mean(values)), "std": deviation, "values": values}
    return spread


def compare(
    outcomes: Sequence[Outcome], names: Sequence[str] = METRICS
) -> tuple[list[dict[str, Any]], dict[Path, UserError]]:
    """Compares each variant with its base on the test split, over users, with the seeds that both have.

    A user's value is the mean over the seeds. The p-values are not corrected; see `correct`.

    Args:
      outcomes: outcomes of variants and their bases.
      names: names of the metrics.

    Returns:
      The comparisons, and the errors of variants that cannot be compared, by the folder of their runs.
    """
    by_name = {(outcome.cell.dataset, outcome.cell.variant): outcome for outcome in outcomes}
    comparisons, failures = [], {}
    for outcome in outcomes:
        if outcome.cell.base is None:
            continue
        base = by_name[outcome.cell.dataset, outcome.cell.base]
        if seeds := [seed for seed in outcome.results if seed in base.results]:
            try:
                comparisons.append(_compare(outcome, base, seeds, names))
            except UserError as error:
                failures[outcome.cell.config.run_folder] = error
    return comparisons, failures


def correct(comparisons: Sequence[dict[str, Any]]) -> None:
    """Adds Holm's corrections over all comparisons and metrics, separately for each test."""
    for test in ("t_test", "wilcoxon"):
        tested = [metric for comparison in comparisons for metric in comparison["metrics"].values()]
        for metric, corrected in zip(tested, holm([metric[f"{test}_p"] for metric in tested]), strict=True):
            metric[f"{test}_p_holm"] = float(corrected)


def _compare(outcome: Outcome, base: Outcome, seeds: Sequence[int], names: Sequence[str]) -> dict[str, Any]:
    data = {run["dataset"]["hash"] for seed in seeds for run in (outcome.results[seed], base.results[seed])}
    values, base_values = _user_metrics(outcome, seeds, names), _user_metrics(base, seeds, names)
    users, base_users = values.pop("users"), base_values.pop("users")
    if len(data) > 1 or not np.array_equal(users, base_users):
        raise _different_data(outcome.cell, base.cell)
    # Round, so that the last bit of a sum does not affect ranks in Wilcoxon's test.
    differences = np.stack([np.round(values[name] - base_values[name], 12) for name in names], axis=1)  # [U, M]
    intervals = bootstrap_intervals(differences, seed=BOOTSTRAP_SEED, resamples=RESAMPLES, level=LEVEL)
    metrics = {}
    for name, difference, interval in zip(names, differences.T, intervals, strict=True):
        mean, base_mean = float(values[name].mean()), float(base_values[name].mean())
        metrics[name] = {
            "value": mean,
            "base_value": base_mean,
            "difference": mean - base_mean,
            "improvement_percent": 100 * (mean / base_mean - 1) if base_mean else None,
            "interval": interval.tolist(),
            "t_test_p": t_test(difference),
            "wilcoxon_p": wilcoxon_test(difference),
        }
    of_cells = {"dataset": outcome.cell.dataset, "variant": outcome.cell.variant, "base": base.cell.variant}
    of_cells["title"] = f"{outcome.cell.title} against {base.cell.title}"
    return {**of_cells, "seeds": list(seeds), "users": len(users), "metrics": metrics}


def _user_metrics(outcome: Outcome, seeds: Sequence[int], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Each user's metrics, averaged over the seeds, float64 [U] each; "users" has the ids."""
    by_seed = [(outcome.ranks[seed][0], row_metrics(outcome.ranks[seed][1])) for seed in seeds]
    averaged: dict[str, np.ndarray] = {}
    for name in names:
        try:
            averaged["users"], averaged[name] = mean_over_runs([(users, rows[name]) for users, rows in by_seed])
        except ValueError as error:
            raise _different_data(outcome.cell, outcome.cell) from error
    return averaged


def _different_data(cell: Cell, base: Cell) -> UserError:
    return UserError(
        f"the runs of {cell.variant} and {base.variant} on {cell.dataset} have different data",
        file=cell.config.run.workdir,
        remedy="Delete the runs with the wrong data, and run the study again",
    )


def _read(folder: Path) -> tuple[dict[str, Any], tuple[np.ndarray, np.ndarray]]:
    """results.json of a finished run, and users and ranks of its test split."""
    results = _or_damaged(folder / "results.json", lambda: read_results(folder))
    with _or_damaged(folder / "ranks.npz", lambda: np.load(folder / "ranks.npz", allow_pickle=False)) as ranks:
        return results, _or_damaged(folder / "ranks.npz", lambda: (ranks["test_users"], ranks["test_ranks"]))


def _or_damaged(file: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (OSError, ValueError, KeyError, json.JSONDecodeError, zipfile.BadZipFile) as error:
        remedy = "Delete the run's folder and run the study again"
        raise UserError(f"the file cannot be read ({error})", file=file, remedy=remedy) from error
