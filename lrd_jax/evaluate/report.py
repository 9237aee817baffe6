"""What evaluations found: one row per target in a frame, from which every table and file is made."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.markup import escape
from rich.table import Table

from lrd_jax.data.id_maps import raw_ids
from lrd_jax.data.notices import one_by_construction
from lrd_jax.data.pipeline import dataset_folder
from lrd_jax.data.splits import repeated
from lrd_jax.errors import UserError, printable
from lrd_jax.models.simple import item_counts
from lrd_jax.ranking.metrics import Counts, ranking_metrics, reciprocal_rank_metrics
from lrd_jax.ranking.protocols import Protocol, SplitName, TieRule
from lrd_jax.ranking.slices import HISTORY_STARTS, NEW_OR_REPEATED, POPULARITY_STARTS, slice_rows, split_rows
from lrd_jax.runs.folder import to_json, write_atomically
from lrd_jax.training.load import Trained
from lrd_jax.training.setup import checked_ranks

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


def results_frame(
    folder: Path, trained: Trained, split_name: SplitName, protocol: Protocol, ties: TieRule, counts: Counts
) -> pl.DataFrame:
    """One row for each row of the split, with everything that tells which evaluation it is of.

    Columns: run, model, seed, dataset, split, protocol, ties; user, item (the target), raw_user and raw_item (the ids
    of the source, null where the dataset folder does not tell them: see `raw_ids`), rank, greater, equal (see
    `Counts`), candidates (how many the target was ranked among, itself included), history_length (of the user's
    interactions before), target_popularity (training interactions), target_repeated (whether the user had the target
    before).

    Args:
      folder: the run folder, as the user names it.
      trained: the run.
      split_name, protocol, ties: of the evaluation.
      counts: what it found.

    Raises:
      UserError: a score was not finite, or the folder's map of ids cannot be read.
    """
    corpus, config = trained.run.corpus, trained.config
    data = dataset_folder(config.data.path)
    rows = getattr(corpus, split_name).rows
    users, items = corpus.sequence_users[rows], corpus.sequence_items[rows]
    ranks = checked_ranks(counts, users, split_name, ties=ties, folder=folder)
    of_the_run = {"run": str(folder), "model": config.model_title, "seed": config.run.seed, "dataset": corpus.name}
    of_the_evaluation = {"split": split_name, "protocol": protocol.name, "ties": ties}
    by_row = {
        "user": users,
        "item": items,
        "raw_user": raw_ids(data, "user", users),
        "raw_item": raw_ids(data, "item", items),
        "rank": ranks,
        "greater": counts.greater,
        "equal": counts.equal,
        "candidates": protocol.num_candidates(corpus, split_name).astype(np.int32),
        "history_length": rows - corpus.sequence_offsets[users],
        "target_popularity": item_counts(corpus)[items].astype(np.int32),
        "target_repeated": repeated(corpus.sequence_users, corpus.sequence_items)[rows],
    }
    constants = [pl.lit(value).alias(name) for name, value in {**of_the_run, **of_the_evaluation}.items()]
    return pl.DataFrame(by_row).select(*constants, *by_row)


def write_parquet(path: Path, frame: pl.DataFrame) -> None:
    """Write a frame, all of it or nothing.

    Raises:
      UserError: the file cannot be written.
    """
    content = io.BytesIO()
    frame.write_parquet(content)
    _write(path, content.getvalue())


def write_summary(
    path: Path, split_name: SplitName, protocol: Protocol, ties: TieRule, runs: Sequence[dict[str, Any]]
) -> None:
    """Write what the tables show as JSON, all of it or nothing.

    Raises:
      UserError: the file cannot be written.
    """
    what = {"split": split_name, "protocol": protocol.name, "candidates": protocol.description, "ties": ties}
    _write(path, (to_json({**what, "runs": runs}, indent=2) + "\n").encode())


def summarise(frame: pl.DataFrame, cutoffs: Sequence[int]) -> dict[str, Any]:
    """The metrics of one run, means over rows, in all and by slices.

    Args:
      frame: of `results_frame`.
      cutoffs: the values of K.

    Returns:
      {"run", "model", "seed", "dataset", "rows", "metrics", "slices": {column: [{"bin", "rows", "metrics"}]},
      "warnings"}; the metrics of a bin without rows are None; a column that is not cut has no slices; for warnings see
      `notices`.
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
    how = f"{split_name}, {protocol.description}, ties: {ties} rank"
    columns = ("run", "model", "dataset") if len(datasets) > 1 else ("run", "model")
    main = _table(f"{', '.join(datasets)}: {how}", columns, names)
    for run in runs:
        main.add_row(*(_shown(run[column]) for column in columns), *_numbers(run, names))
    made = [main]
    for dataset in datasets:
        of_dataset = [run for run in runs if run["dataset"] == dataset]
        for column, (what, _) in SLICES.items():
            table = _table(f"{dataset}: {how}; by {what}", ("slice", "run"), names)
            for parts in zip(*(run["slices"].get(column, ()) for run in of_dataset), strict=True):
                for run, part in zip(of_dataset, parts, strict=True):
                    table.add_row(part["bin"], _shown(run["run"]), *_numbers(part, names))
                if len(of_dataset) > 1:
                    table.add_section()
            made += [table] if table.row_count else []
    return made


def _metrics(ranks: np.ndarray, cutoffs: Sequence[int]) -> dict[str, float]:
    return {**ranking_metrics(ranks, tuple(cutoffs)), **reciprocal_rank_metrics(ranks, tuple(cutoffs))}


def _table(title: str, texts: Sequence[str], metrics: Sequence[str]) -> Table:
    table = Table(title=_shown(title))
    for name in texts:
        table.add_column(name)
    for name in ("rows", *metrics):
        table.add_column(name, justify="right")
    return table


def _shown(text: str) -> str:
    return escape(printable(text))


def _numbers(part: dict[str, Any], names: Sequence[str]) -> list[str]:
    metrics = part["metrics"]
    return [f"{part['rows']:,}", *("-" if metrics is None else f"{metrics[name]:.4f}" for name in names)]


def _write(path: Path, content: bytes) -> None:
    try:
        write_atomically(path, content)
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror})", file=path, remedy="Name another file") from error
