"""A study's report: plain values from run folders and text tables, written as JSON and Markdown."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lrd_jax.errors import UserError
from lrd_jax.files import write_atomically
from lrd_jax.study.grids import Grid, to_markdown
from lrd_jax.study.outcomes import BOOTSTRAP_SEED, LEVEL, RESAMPLES, Outcome, compare, correct, summarise
from lrd_jax.study.paper_results import METRICS

_COMPARISON = ("metric", "base", "variant", "change", f"{LEVEL:.0%} interval", "t-test p", "Holm", "Wilcoxon p", "Holm")
"""Columns of a row of `_comparison`, after its title."""

_SLICES_NOTE = (
    "Rows of the test split by the target's number of training interactions; 0 means cold items. Slices without rows "
    "are left out. Each comparison is over the users with a target in the slice, with Holm's correction over all rows "
    "of the table of slices. Intervals over few users are not informative.\n"
)


def build_report(
    outcomes: Sequence[Outcome], seeds: Sequence[int], *, command: str
) -> tuple[dict[str, Any], dict[Path, UserError]]:
    """Builds the report of the finished runs; trains and writes nothing.

    Args:
      outcomes, seeds: outcomes and seeds of the study.
      command: the command that makes the report, for its footer.

    Returns:
      The contents of the JSON file, and the errors of variants that cannot be compared, by the folder of their runs.
    """
    comparisons, failures = compare(outcomes)
    correct(comparisons)
    return {"cells": summarise(outcomes, seeds), "comparisons": comparisons, **_origin(outcomes, command)}, failures


def write_report(report: dict[str, Any], workdir: Path, name: str) -> None:
    """Writes NAME.json and NAME.md; only the latter shows the slices."""
    write_atomically(workdir / f"{name}.json", (json.dumps(report, indent=2, allow_nan=False) + "\n").encode())
    write_atomically(workdir / f"{name}.md", markdown_report(report).encode())


def markdown_report(report: dict[str, Any]) -> str:
    """The report as Markdown: its tables, slices and footer."""
    slices = _slices(report["by_popularity"]) if "by_popularity" in report else []
    return "\n".join([*map(to_markdown, report_grids(report)), *slices, _foot(report)])


def report_grids(report: dict[str, Any]) -> list[Grid]:
    """The tables of a report: the metrics of each dataset, the comparisons, the averages of a sensitivity study."""
    grids = []
    for dataset in dict.fromkeys(cell["dataset"] for cell in report["cells"]):
        cells = [cell for cell in report["cells"] if cell["dataset"] == dataset]
        rows = [row for cell in cells for row in _figures(cell)]
        grids.append(Grid(f"{dataset}, test: mean ± standard deviation over seeds", ["", "seeds", *METRICS], rows))
    if report["comparisons"]:
        rows = [row for comparison in report["comparisons"] for row in _comparison(comparison)]
        grids.append(Grid("Comparisons", ["test, over users", *_COMPARISON], rows))
    for option, averages in report.get("averages", {}).items():
        rows = [[f"{row['value']:g}", *(_figure(row[split]) for split in ("dev", "test"))] for row in averages]
        grids.append(Grid(f"NDCG@5 by {option}, mean over the other option", [option, "dev", "test"], rows))
    return grids


def _figures(cell: dict[str, Any]) -> list[list[str]]:
    """A row with the metrics, and one with the paper's metrics, if any."""
    found = [_mean_std(cell["test"][name]) if cell["test"] else "" for name in METRICS]
    rows = [[cell["title"], ", ".join(map(str, cell["seeds"])) or "none yet", *found]]
    if cell["paper"]:
        rows.append([f"{cell['variant']}, paper", "", *(f"{cell['paper'][name]:.4f}" for name in METRICS)])
    return rows


def _slices(found: dict[str, Any]) -> list[str]:
    """The section with the result of `by_popularity`, as parts of Markdown."""
    parts = ["## By the target's popularity\n", _SLICES_NOTE]
    parts += [f"{dataset} is left out: {reason}\n" for dataset, reason in found["skipped"].items()]
    for dataset in dict.fromkeys(row["dataset"] for row in found["slices"]):
        rows = [
            [row["bin"], row["title"], f"{row['rows']:,}", *(_mean_std(row["test"][name]) for name in METRICS)]
            for row in found["slices"]
            if row["dataset"] == dataset and row["test"]
        ]
        grid = Grid(f"{dataset}, test: mean ± standard deviation over seeds", ["slice", "", "rows", *METRICS], rows)
        parts.append(to_markdown(grid, level=3))
    if found["comparisons"]:
        rows = [
            [comparison["bin"], f"{comparison['users']:,}", *row]
            for comparison in found["comparisons"]
            for row in _comparison(comparison)
        ]
        grid = Grid("Comparisons by slice", ["slice", "users", "test, over users", *_COMPARISON], rows)
        parts.append(to_markdown(grid, level=3))
    return parts


def _mean_std(values: dict[str, Any]) -> str:
    return _figure(values["mean"]) + ("" if values["std"] is None else f" ± {values['std']:.4f}")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _comparison(comparison: dict[str, Any]) -> list[list[str]]:
    """One row per metric; the first has the names."""
    title = f"{comparison['dataset']}: {comparison['title']}"
    rows = []
    for name, values in comparison["metrics"].items():
        percent = values["improvement_percent"]
        row = [title, name, _figure(values["base_value"]), _figure(values["value"])]
        row.append("" if percent is None else f"{percent:+.2f}%")
        row.append("{:+.4f} to {:+.4f}".format(*values["interval"]))
        tests = ("t_test_p", "t_test_p_holm", "wilcoxon_p", "wilcoxon_p_holm")
        rows.append(row + [f"{values[test]:.2g}" for test in tests])
    return rows


def _origin(outcomes: Sequence[Outcome], command: str) -> dict[str, Any]:
    """The conditions of the runs: seeds, datasets, devices, versions."""
    runs = [run for outcome in outcomes for run in outcome.results.values()]
    hashes: dict[str, set[str]] = {outcome.cell.dataset: set() for outcome in outcomes}
    for outcome in outcomes:
        hashes[outcome.cell.dataset] |= {run["dataset"]["hash"] for run in outcome.results.values()}
    versions = {json.dumps(run["versions"], sort_keys=True) for run in runs}
    return {
        "bootstrap": {"resamples": RESAMPLES, "level": LEVEL, "seed": BOOTSTRAP_SEED},
        "versions": [json.loads(found) for found in sorted(versions)],
        "devices": sorted({run["device"] for run in runs}),
        "dataset_hashes": {dataset: sorted(found) for dataset, found in hashes.items()},
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def _foot(report: dict[str, Any]) -> str:
    lines = []
    if report["comparisons"]:
        lines.append(
            "Comparisons: each user's metric averaged over the seeds that both have, users paired; change in percent "
            f"of the base; {LEVEL:.0%} percentile bootstrap interval of the difference over users ({RESAMPLES:,} "
            f"resamples, seed {BOOTSTRAP_SEED}); paired t-test and Wilcoxon signed-rank test, two-sided, and each with "
            "Holm's correction over all rows of its table. They measure variation over users, not over seeds; for the "
            "latter see the standard deviations."
        )
    lines.append(f"Devices: {'; '.join(report['devices']) or 'none yet'}")
    for versions in report["versions"]:
        lines.append("Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    return "\n\n".join([*lines, f"Command: `{report['command']}`", f"Date: {report['date']}"]) + "\n"
