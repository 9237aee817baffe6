"""Run folders, and the JSON of `evaluate`, into the tables."""

from __future__ import annotations

import json
import re
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import tomli_w

from benchmarks.results_table.store import EVALUATIONS, ROWS, RUN, RUNS, SPLITS, Store
from lrd_jax.data.pipeline import dataset_folder
from lrd_jax.data.rechorus import read_corpus
from lrd_jax.errors import UserError
from lrd_jax.models.simple import item_counts
from lrd_jax.runs.folder import read_results
from lrd_jax.study.paper_results import METRICS

_SEED = re.compile(r"seed\d+")


def add_runs(store: Store, folder: Path, study: str, data: Mapping[str, Path], variant: str | None = None) -> Store:
    """Add every finished run below a folder; one that is there under the same names is replaced.

    Args:
      store: the tables.
      folder: of a study (DATASET/VARIANT/seedN), of DATASET/, or of one run.
      study: what it is called in the tables.
      data: dataset folders by name, for runs of data that the tables do not know yet.
      variant: name of runs whose path says none; None: the study's.

    Raises:
      UserError: there is no finished run, or its files, or the dataset it was trained on, are not there.
    """
    files = sorted(folder.rglob("results.json"))
    if not files:
        raise UserError("there is no finished run", file=folder, remedy="Name the folder of a study or of a run")
    for file in files:
        names = [part for part in file.parent.relative_to(folder).parts if not _SEED.fullmatch(part)]
        named = dict(zip(("dataset", "variant"), names, strict=False))
        store = _add_run(store, file.parent, {"study": study, "variant": variant or study, **named}, data)
    return store


def add_evaluations(store: Store, file: Path, study: str) -> Store:
    """Add what `evaluate --json` wrote; its runs' paths end in DATASET/VARIANT/seedN.

    Raises:
      UserError: a path does not end so.
    """
    report, added = json.loads(file.read_bytes()), []
    common = {key: report[key] for key in ("split", "protocol", "candidates", "ties")}
    for run in report["runs"]:
        *_, dataset, variant, seed = ("", "", *Path(run["run"]).parts)
        if not _SEED.fullmatch(seed):
            remedy = "Evaluate the run in the folder of its study"
            raise UserError(f"{run['run']} does not end in DATASET/VARIANT/seedN", file=file, remedy=remedy)
        names = {"study": study, "dataset": dataset, "variant": variant, "seed": run["seed"], **common}
        slices = [("all", [{"bin": "all", **run}]), *run["slices"].items()]
        for of, bins in slices:
            added += [
                {**names, "slice": of, "bin": bin["bin"], "rows": bin["rows"], **(bin["metrics"] or {})} for bin in bins
            ]
    table = pl.DataFrame(added, schema=EVALUATIONS)
    keys = [*RUN, "split", "protocol", "candidates", "ties"]
    return store._replace(evaluations=_replaced(store.evaluations, table, keys))


def _add_run(store: Store, folder: Path, names: dict[str, str], data: Mapping[str, Path]) -> Store:
    results = read_results(folder)
    assert results is not None  # its file is how the run was found
    try:
        config = tomllib.loads((folder / "config.toml").read_text())
        with np.load(folder / "ranks.npz", allow_pickle=False) as ranks:
            arrays = dict(ranks)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        problem = f"the run's files cannot be read ({error})"
        raise UserError(problem, file=folder, remedy="Delete its folder, or run the study again") from error
    known = store.runs.filter(pl.col("dataset_hash") == results["dataset"]["hash"])
    if "dataset" not in names:
        names["dataset"] = known["dataset"][0] if len(known) else results["dataset"]["name"]
    if known.is_empty():
        place = dataset_folder(data.get(names["dataset"]) or config["data"].get("path"))
        store, rows = _add_rows(store, names["dataset"], arrays, place, results["dataset"]["hash"])
    else:
        rows = {split: known[f"{split}_rows"][0] for split in SPLITS}
    row = {
        **names,
        **{name: results[name] for name in ("seed", "best_epoch", "epochs", "seconds", "device")},
        "system": results["model"],
        "leak": results.get("leak"),
        "config": tomli_w.dumps(_without_paths(config)),
        "dataset_hash": results["dataset"]["hash"],
        "fingerprint": results["dataset"]["fingerprint"],
        "versions": json.dumps(results["versions"], sort_keys=True),
        "warnings": json.dumps(results.get("warnings", [])),
        **{f"{split} {metric}": results[split][metric] for split in SPLITS for metric in METRICS},
        **{f"{split}_rows": rows[split] for split in SPLITS},
        **{f"{split}_ranks": arrays[f"{split}_ranks"].tolist() for split in SPLITS},
    }
    return store._replace(runs=_replaced(store.runs, pl.DataFrame([row], schema=RUNS), list(RUN)))


def _without_paths(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration without folders of the machine that it ran on; of a model's or a file's the name stays."""
    named = {("text", "model"), ("text", "file"), ("run", "init_from")}
    dropped = {("run", "workdir"), ("data", "path")}
    return {
        section: {
            option: Path(value).name if (section, option) in named and Path(value).is_absolute() else value
            for option, value in options.items()
            if (section, option) not in dropped
        }
        for section, options in config.items()
    }


def _add_rows(
    store: Store, dataset: str, arrays: dict[str, np.ndarray], folder: Path, content_hash: str
) -> tuple[Store, dict[str, int]]:
    """Add what the ranks of a dataset's splits are of, unless an earlier version's runs have brought the same.

    Returns:
      The tables, and the number of each split's rows.
    """
    corpus = read_corpus(folder)
    counts = item_counts(corpus)
    numbers: dict[str, int] = {}
    for split, rows in (("dev", corpus.dev.rows), ("test", corpus.test.rows)):
        users, popularity = corpus.sequence_users[rows], counts[corpus.sequence_items[rows]]
        same = content_hash in (corpus.content_hash, corpus.earlier_hash)
        if not (same and np.array_equal(users, arrays[f"{split}_users"])):
            problem = f"it is not the dataset that the runs on {dataset} were trained on"
            raise UserError(problem, file=folder, remedy="Name that folder with --data NAME=FOLDER")
        numbers[split] = len(store.rows)
        for row in store.rows.filter(pl.col("dataset") == dataset, pl.col("split") == split).iter_rows(named=True):
            if np.array_equal(row["users"], users) and np.array_equal(row["target_popularity"], popularity):
                numbers[split] = row["rows"]
        if numbers[split] == len(store.rows):
            row = {"rows": numbers[split], "dataset": dataset, "split": split}
            row |= {"users": users.tolist(), "target_popularity": popularity.tolist()}
            store = store._replace(rows=pl.concat([store.rows, pl.DataFrame([row], schema=ROWS)]))
    return store, numbers


def _replaced(table: pl.DataFrame, added: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """The table with rows added, in place of those with the same keys."""
    return pl.concat([table.join(added, on=keys, how="anti"), added])
