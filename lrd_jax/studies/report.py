"""A study's table: built from run folders, written as JSON and Markdown, shown on the terminal."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rich

from lrd_jax.errors import UserError
from lrd_jax.paper_results import METRICS
from lrd_jax.studies.cells import Cell
from lrd_jax.studies.claims import locked
from lrd_jax.studies.grids import Grid, to_markdown, to_rich
from lrd_jax.studies.outcomes import (
    BOOTSTRAP_SEED,
    LEVEL,
    RESAMPLES,
    Outcome,
    compare,
    read_outcomes,
    summarise,
)
from lrd_jax.writer import write_atomically


def write_report(
    cells: Sequence[Cell], seeds: Sequence[int], workdir: Path, name: str, *, command: str
) -> tuple[dict[str, Any], dict[Path, UserError]]:
    """Write NAME.json and NAME.md of what has finished, and show the tables; nothing is trained.

    Whoever of several processes comes last sees the runs of all: reading and writing are under one lock.

    Args:
      cells, seeds: of the study.
      workdir: where to write.
      name: of the files.
      command: that makes them, for the foot.

    Returns:
      What the JSON holds, and what is wrong with runs that cannot be counted, by run folder.
    """
    with locked(workdir / f".{name}.lock"):
        outcomes, failures = read_outcomes(cells, seeds)
        report = {"cells": summarise(outcomes, seeds), "comparisons": compare(outcomes), **_origin(outcomes, command)}
        write_atomically(workdir / f"{name}.json", (json.dumps(report, indent=2, allow_nan=False) + "\n").encode())
        markdown = "\n".join([*map(to_markdown, report_grids(report)), _foot(report)])
        write_atomically(workdir / f"{name}.md", markdown.encode())
    for grid in report_grids(report):
        rich.print(to_rich(grid))
    return report, failures


def report_grids(report: dict[str, Any]) -> list[Grid]:
    """The tables of a report: for each dataset the figures, then the comparisons."""
    datasets = dict.fromkeys(cell["dataset"] for cell in report["cells"])
    grids = []
    for dataset in datasets:
        rows = [_figures(cell) for cell in report["cells"] if cell["dataset"] == dataset]
        header = ["test", "seeds", *(text for name in METRICS for text in (name, "paper"))]
        grids.append(Grid(f"{dataset}, mean ± standard deviation over seeds", header, rows))
    if report["comparisons"]:
        header = ["comparison", "metric", "base", "variant", "change", "95% interval", "t-test p", "Wilcoxon p"]
        header += ["Holm t-test p", "Holm Wilcoxon p"]
        rows = [row for comparison in report["comparisons"] for row in _comparison(comparison)]
        grids.append(Grid("Comparisons over users, test", header, rows))
    return grids


def _figures(cell: dict[str, Any]) -> list[str]:
    row = [cell["variant"], ", ".join(map(str, cell["seeds"])) or "none yet"]
    for name in METRICS:
        row.append(_mean_std(cell["test"][name]) if cell["test"] else "")
        row.append(f"{cell['paper'][name]:.4f}" if cell["paper"] else "")
    return row


def _mean_std(values: dict[str, Any]) -> str:
    return f"{values['mean']:.4f}" + ("" if values["std"] is None else f" ± {values['std']:.4f}")


def _comparison(comparison: dict[str, Any]) -> list[list[str]]:
    title = f"{comparison['dataset']}: {comparison['variant']} against {comparison['base']}"
    rows = []
    for name, values in comparison["metrics"].items():
        percent = values["improvement_percent"]
        row = [title, name, f"{values['base_value']:.4f}", f"{values['value']:.4f}"]
        row.append("" if percent is None else f"{percent:+.2f}%")
        row.append("{:+.4f} to {:+.4f}".format(*values["interval"]))
        tests = ("t_test_p", "wilcoxon_p", "t_test_p_holm", "wilcoxon_p_holm")
        rows.append(row + [f"{values[test]:.2g}" for test in tests])
    return rows


def _origin(outcomes: Sequence[Outcome], command: str) -> dict[str, Any]:
    """Under what the figures came about."""
    runs = [run for outcome in outcomes for run in outcome.results.values()]
    versions = {json.dumps(run["versions"], sort_keys=True) for run in runs}
    return {
        "bootstrap": {"resamples": RESAMPLES, "level": LEVEL, "seed": BOOTSTRAP_SEED},
        "versions": [json.loads(found) for found in sorted(versions)],
        "devices": sorted({run["device"] for run in runs}),
        "data": {outcome.cell.dataset: _hashes(outcomes, outcome.cell.dataset) for outcome in outcomes},
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def _hashes(outcomes: Sequence[Outcome], dataset: str) -> list[str]:
    mine = [outcome for outcome in outcomes if outcome.cell.dataset == dataset]
    return sorted({run["dataset"]["hash"] for outcome in mine for run in outcome.results.values()})


def _foot(report: dict[str, Any]) -> str:
    lines = [
        "Comparisons: each user's metric averaged over the seeds that both have, users paired; improvement in percent "
        f"of the base; {LEVEL:.0%} percentile bootstrap interval of the difference over users ({RESAMPLES:,} "
        f"resamples, seed {BOOTSTRAP_SEED}); paired t-test and Wilcoxon signed-rank test, two-sided, then with Holm's "
        "correction over all rows. They tell whether users differ, not how training varies: see the seeds for that.",
        f"Devices: {'; '.join(report['devices']) or 'none yet'}",
        *(
            "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items())
            for versions in report["versions"]
        ),
        f"Command: `{report['command']}`",
        f"Date: {report['date']}",
    ]
    return "\n\n".join(lines) + "\n"
