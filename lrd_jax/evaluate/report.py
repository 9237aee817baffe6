"""What evaluations found, by run and by slice, and the tables of it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from rich.markup import escape
from rich.table import Table

from lrd_jax.data.notices import one_by_construction
from lrd_jax.errors import printable
from lrd_jax.ranking.metrics import ranking_metrics, reciprocal_rank_metrics
from lrd_jax.ranking.protocols import Protocol, SplitName, TieRule
from lrd_jax.ranking.slices import HISTORY_STARTS, NEW_OR_REPEATED, POPULARITY_STARTS, slice_rows, split_rows

SLICES = {
    "target_popularity": (
        "the target's training interactions (0: cold items)",
        functools.partial(slice_rows, starts=POPULARITY_STARTS),
    ),
    "history_length": (
        "the number of the user's interactions before the target",
        functools.partial(slice_rows, starts=HISTORY_STARTS),
    ),
    "target_repeated": (
        "whether the user had the target before",
        functools.partial(split_rows, labels=NEW_OR_REPEATED),
    ),
}
"""The columns that slices are made of: what they are, and how they are cut; no slices, no table."""


def summarise(frame: pl.DataFrame, cutoffs: Sequence[int]) -> dict[str, Any]:
    """The metrics of one run, means over rows, in all and by slices.

    Args:
      frame: of `ranks_frame`.
      cutoffs: the values of K.

    Returns:
      {"run", "model", "seed", "dataset", "rows", "metrics", "slices": {column: [{"bin", "rows", "metrics"}]},
      "warnings"}; the metrics of a bin without rows are None, and so is MRR where lists lack targets; a column that is
      not cut has no slices; for warnings see `notices`.
    """
    ranks = frame["rank"].to_numpy()
    slices = {
        column: [
            {"bin": label, "rows": int(rows.sum()), "metrics": _metrics(ranks[rows], cutoffs) if rows.any() else None}
            for label, rows in parts
        ]
        for column, (_, cut) in SLICES.items()
        if (parts := cut(frame[column].to_numpy()))
    }
    of_the_run = frame.select("run", "model", "seed", "dataset").row(0, named=True)
    warnings = one_by_construction({frame["split"][0]: frame["candidates"].to_numpy()}, cutoffs)
    found = {"rows": len(frame), "metrics": _metrics(ranks, cutoffs), "slices": slices, "warnings": warnings}
    return {**of_the_run, **found}


def tables(split_name: SplitName, protocol: Protocol, ties: TieRule, runs: Sequence[dict[str, Any]]) -> list[Table]:
    """A line per run in one table, then for each dataset a table per kind of slice; every title tells the protocol.

    Args:
      split_name, protocol, ties: of the evaluations.
      runs: of `summarise`.
    """
    names = list(runs[0]["metrics"])
    datasets = list(dict.fromkeys(run["dataset"] for run in runs))
    how = how_ranked(split_name, protocol, ties)
    columns = ("run", "model", "dataset") if len(datasets) > 1 else ("run", "model")
    main = new_table(f"{', '.join(datasets)}: {how}", columns, ("rows", *names))
    for run in runs:
        main.add_row(*(shown(run[column]) for column in columns), *_numbers(run, names))
    made = [main]
    for dataset in datasets:
        of_dataset = [run for run in runs if run["dataset"] == dataset]
        for column, (what, _) in SLICES.items():
            table = new_table(f"{dataset}: {how}; by {what}", ("slice", "run"), ("rows", *names))
            for parts in zip(*(run["slices"].get(column, ()) for run in of_dataset), strict=True):
                for run, part in zip(of_dataset, parts, strict=True):
                    table.add_row(part["bin"], shown(run["run"]), *_numbers(part, names))
                if len(of_dataset) > 1:
                    table.add_section()
            made += [table] if table.row_count else []
    return made


def how_ranked(split_name: SplitName, protocol: Protocol, ties: TieRule) -> str:
    """For titles."""
    return f"{split_name}, {protocol.description}, ties: {ties} rank"


def _metrics(ranks: np.ndarray, cutoffs: Sequence[int]) -> dict[str, float | None]:
    found: dict[str, float | None] = {
        **ranking_metrics(ranks, tuple(cutoffs)),
        **reciprocal_rank_metrics(ranks, tuple(cutoffs)),
    }
    return found if np.isfinite(ranks).all() else found | {"MRR": None}  # beyond a list's end nothing is known


def figure(value: float | None) -> str:
    """A metric with four decimals, "-" where it is not defined."""
    return "-" if value is None else f"{value:.4f}"


def new_table(title: str, texts: Sequence[str], figures: Sequence[str]) -> Table:
    """A table without rows, its columns of figures to the right."""
    table = Table(title=shown(title))
    for name in texts:
        table.add_column(name)
    for name in figures:
        table.add_column(name, justify="right")
    return table


def shown(text: str) -> str:
    """A text as it is, whatever characters are in it."""
    return escape(printable(text))


def _numbers(part: dict[str, Any], names: Sequence[str]) -> list[str]:
    metrics = part["metrics"]
    return [f"{part['rows']:,}", *(figure(None if metrics is None else metrics[name]) for name in names)]
