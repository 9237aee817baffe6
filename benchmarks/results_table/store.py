"""The tables in docs/results: what they hold, how they are read and written, and the outcomes of a study out of them.

runs.parquet         a row per run: study, dataset, variant, seed; the whole configuration but its paths, as the TOML of
                     --config; metrics of dev and test; epochs, seconds, versions; and the target's rank in every row
rows.parquet         what the ranks of a split are of: users (our ids), and how often each target was in training
evaluations.parquet  what `evaluate --json` wrote of these runs: metrics in all (slice "all") and by slice
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from lrd_jax.config.schema import Config
from lrd_jax.errors import UserError
from lrd_jax.study.cells import Cell, Variant
from lrd_jax.study.outcomes import Outcome
from lrd_jax.study.paper_results import METRICS

FOLDER = Path(__file__).parents[2] / "docs" / "results"

SPLITS = ("dev", "test")
RUN: dict[str, Any] = {"study": pl.String, "dataset": pl.String, "variant": pl.String, "seed": pl.Int32}
"""The columns that name a run."""
RUNS: dict[str, Any] = {
    **RUN,
    "system": pl.String,
    "leak": pl.String,
    "config": pl.String,
    "dataset_hash": pl.String,
    "fingerprint": pl.String,
    "best_epoch": pl.Int32,
    "epochs": pl.Int32,
    "seconds": pl.Float64,
    "device": pl.String,
    "versions": pl.String,
    "warnings": pl.String,
    **{f"{split} {metric}": pl.Float64 for split in SPLITS for metric in METRICS},
    **{f"{split}_rows": pl.Int32 for split in SPLITS},
    **{f"{split}_ranks": pl.List(pl.Float32) for split in SPLITS},
}
ROWS: dict[str, Any] = {
    "rows": pl.Int32,
    "dataset": pl.String,
    "split": pl.String,
    "users": pl.List(pl.Int32),
    "target_popularity": pl.List(pl.Int32),
}
EVALUATIONS: dict[str, Any] = {
    **RUN,
    "split": pl.String,
    "protocol": pl.String,
    "candidates": pl.String,
    "ties": pl.String,
    "slice": pl.String,
    "bin": pl.String,
    "rows": pl.Int32,
    **{metric: pl.Float64 for metric in ("HR@5", "NDCG@5", "HR@10", "NDCG@10", "MRR@5", "MRR@10", "MRR")},
}
_COLLECT = "Add it with python -m benchmarks.results_table collect"
_LEAKING = ("negatives", "history_negatives", "lrd_weight", "rec_objective")
"""The options of [loss] that decide whether a run leaks the test set."""


class Store(NamedTuple):
    """The three tables."""

    runs: pl.DataFrame = pl.DataFrame(schema=RUNS)
    rows: pl.DataFrame = pl.DataFrame(schema=ROWS)
    evaluations: pl.DataFrame = pl.DataFrame(schema=EVALUATIONS)


def read_store(folder: Path = FOLDER) -> Store:
    """The tables of a folder; empty where there is none yet."""
    files = (folder / f"{name}.parquet" for name in Store._fields)
    return Store(
        *(pl.read_parquet(file) if file.exists() else empty for file, empty in zip(files, Store(), strict=True))
    )


def write_store(store: Store, folder: Path = FOLDER) -> None:
    """Write the tables, rows in order of their names, so that the same runs give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = {"runs": list(RUN), "rows": ["rows"], "evaluations": [*RUN, "split", "protocol", "slice"]}
    for name, table in store._asdict().items():
        ordered = table.sort(keys[name], maintain_order=True)
        ordered.write_parquet(folder / f"{name}.parquet", compression="zstd", compression_level=19)


def read_outcomes(store: Store, study: str, datasets: Sequence[str], variants: Sequence[Variant]) -> list[Outcome]:
    """The stored runs of a study as `lrd_jax.study` reads them from run folders: for its summaries, tests and slices.

    Data count as the same where users and targets are, so that runs of two versions can be compared even if one of them
    reads the dataset differently.

    Args:
      store: the tables.
      study: whose runs.
      datasets: their names; the outcomes come in this order.
      variants: and in this one within a dataset; those without runs are left out.
    """
    users = {row["rows"]: np.asarray(row["users"]) for row in store.rows.iter_rows(named=True)}
    outcomes = []
    for dataset in datasets:
        of_dataset = store.runs.filter(pl.col("study") == study, pl.col("dataset") == dataset)
        known = set(of_dataset["variant"])
        for variant in variants:
            runs = of_dataset.filter(pl.col("variant") == variant.name).sort("seed").rows(named=True)
            if runs:
                base = variant.base if variant.base in known else None
                cell = Cell(dataset, variant.name, base, _config(runs[0]))
                ranks = {run["seed"]: (users[run["test_rows"]], np.asarray(run["test_ranks"])) for run in runs}
                outcomes.append(Outcome(cell, {run["seed"]: _results(run) for run in runs}, ranks))
    return outcomes


def target_popularity(store: Store, outcomes: Sequence[Outcome]) -> np.ndarray:
    """As `lrd_jax.study.popularity.target_popularity`, without the dataset."""
    (rows,) = {run["dataset"]["hash"] for outcome in outcomes for run in outcome.results.values()}
    return np.asarray(store.rows.row(by_predicate=pl.col("rows") == int(rows), named=True)["target_popularity"])


def find_run(store: Store, study: str, dataset: str, variant: str, seed: int = 0) -> dict[str, Any]:
    """One run's row.

    Raises:
      UserError: there is no such run.
    """
    named = {"study": study, "dataset": dataset, "variant": variant, "seed": seed}
    found = store.runs.filter(*(pl.col(column) == value for column, value in named.items()))
    if found.is_empty():
        problem = f"there is no run {study}/{dataset}/{variant}/seed{seed}"
        raise UserError(problem, file=FOLDER / "runs.parquet", remedy=_COLLECT)
    return found.row(0, named=True)


def find_evaluation(
    store: Store, study: str, dataset: str, variant: str, protocol: str, seed: int = 0
) -> dict[str, Any]:
    """All rows of a run's test split under a protocol.

    Raises:
      UserError: there is no such evaluation.
    """
    named = {"study": study, "dataset": dataset, "variant": variant, "seed": seed, "protocol": protocol}
    named |= {"split": "test", "slice": "all"}
    found = store.evaluations.filter(*(pl.col(column) == value for column, value in named.items()))
    if found.is_empty():
        problem = f"there is no {protocol} ranking of {study}/{dataset}/{variant}/seed{seed}"
        raise UserError(problem, file=FOLDER / "evaluations.parquet", remedy=_COLLECT)
    return found.row(0, named=True)


def _results(run: dict[str, Any]) -> dict[str, Any]:
    """What results.json held, the dataset named by its rows."""
    metrics = {split: {metric: run[f"{split} {metric}"] for metric in METRICS} for split in SPLITS}
    return {
        **metrics,
        **{name: run[name] for name in ("best_epoch", "epochs", "seconds", "device", "seed")},
        "model": run["system"],
        "dataset": {"name": run["dataset"], "hash": str(run["test_rows"]), "fingerprint": run["fingerprint"]},
        **{name: json.loads(run[name]) for name in ("versions", "warnings")},
        **({"leak": run["leak"]} if run["leak"] else {}),
    }


def _config(run: dict[str, Any]) -> Config:
    """System and leak of a run; options that a later version no longer has do not matter here."""
    loss = tomllib.loads(run["config"]).get("loss", {})
    leaking = {option: loss[option] for option in _LEAKING if option in loss}
    return Config.model_validate({"model": {"name": run["system"]}, "loss": leaking})
