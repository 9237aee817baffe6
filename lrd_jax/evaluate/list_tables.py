"""Tables of what lists are like, and of comparisons between evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from lrd_jax.evaluate.list_summary import METRICS
from lrd_jax.evaluate.report import figure, new_table, shown
from lrd_jax.ranking.protocols import Protocol, SplitName


def list_tables(split_name: SplitName, protocol: Protocol, runs: Sequence[dict[str, Any]]) -> list[Table]:
    """A table for each dataset, with a line for each run and K.

    Args:
      split_name, protocol: of the evaluations.
      runs: of `summarise`, with "list_metrics" of `summarise_lists`.
    """
    made = []
    for dataset in dict.fromkeys(run["dataset"] for run in runs):
        table = new_table(f"{dataset}: {split_name}, {protocol.description}, lists", ("run",), ("K", *METRICS))
        for run in (run for run in runs if run["dataset"] == dataset):
            found = run["list_metrics"]
            for cutoff in dict.fromkeys(name.rpartition("@")[2] for name in found):
                table.add_row(shown(run["run"]), cutoff, *(figure(found[f"{name}@{cutoff}"]) for name in METRICS))
        made.append(table)
    return made


def comparison_tables(split_name: SplitName, protocol: Protocol, comparisons: Sequence[dict[str, Any]]) -> list[Table]:
    """A table for each dataset, with a line for each comparison of `compare`."""
    made = []
    columns = ("users", "wins", "losses", "ties", "difference", "t-test p", "Holm", "Wilcoxon p", "Holm")
    for dataset in dict.fromkeys(one["dataset"] for one in comparisons):
        of_dataset = [one for one in comparisons if one["dataset"] == dataset]
        title = f"{dataset}: {split_name}, {protocol.description}, against {of_dataset[0]['base']}, over users"
        table = new_table(title, ("run", "metric"), columns)
        for one in of_dataset:
            numbers = [f"{one[name]:,}" for name in ("users", "wins", "losses", "ties")]
            tests = ("t_test_p", "t_test_p_holm", "wilcoxon_p", "wilcoxon_p_holm")
            values = [f"{one['difference']:+.4f}", *(f"{one[test]:.2g}" for test in tests)]
            table.add_row(shown(one["run"]), one["metric"], *numbers, *values)
        made.append(table)
    return made
