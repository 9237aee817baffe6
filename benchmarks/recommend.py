"""How long top-10 lists take: seconds per 1,000 users of every model, and what retrieval saves and costs on a large
catalogue."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.options import ModelName, Options, names_with_commas, write_lines
from benchmarks.report import machine, rounded, surroundings
from benchmarks.workload import Workload, build_workload
from lrd_jax.api.run import load_run
from lrd_jax.command_line.parse import run_command
from lrd_jax.data.corpus import Corpus
from lrd_jax.errors import UserError
from lrd_jax.models.system import Params
from lrd_jax.ranking.histories import Histories
from lrd_jax.ranking.ranker import Ranker, TopItems
from lrd_jax.ranking.retrieve import knn_ranker, text_ranker

K = 10
MODELS = ("popularity", "item_knn", "sasrec", "gru4rec", "caser", "tisasrec", "rcf", "kda", "kda_lrd")


@dataclasses.dataclass(frozen=True)
class RecommendOptions:
    """Time top-10 lists over the whole catalogue, those that a user had left out, with the published settings; then, on
    a made catalogue, rank only what another model retrieves, and compare with the exact lists."""

    models: Annotated[tuple[str, ...], names_with_commas("--models", MODELS)] = MODELS
    """Which models to time."""
    scales: Annotated[tuple[str, ...], names_with_commas("--scales", ("tiny", "ml-100k", "office"))] = (
        "ml-100k",
        "office",
    )
    """How large the datasets are that they are timed on."""
    users: int = 1000
    """Users of each timing; a multiple or a part of 1,000."""
    catalogue: str = "10000x60000"
    """USERSxITEMS of the made dataset for retrieval; "none" to leave that out."""
    model: ModelName = "kda"
    """Which model ranks what is retrieved."""
    epochs: int = 3
    """Epochs that it and the model that retrieves are trained there, since random vectors agree on nothing."""
    retrieve: tuple[int, ...] = (100, 300, 1000)
    """How many items are retrieved."""
    queries: int = 64
    """Users whose exact lists the retrieved ones are compared with."""
    run: Path | None = None
    """Compare on the dataset of this trained run too, retrieving by item_knn and by text."""
    json: str | None = None
    """File that a line of JSON is added to for each measurement; - writes them to stdout, the tables to stderr."""
    cpu_devices: int | None = None
    """Without an accelerator, single-threaded CPU devices. None: one per core."""


def main() -> None:
    """Prints both tables and writes the lines."""
    options = tyro.cli(RecommendOptions, prog="python -m benchmarks.recommend")
    for name in ("users", "epochs", "queries", "cpu_devices"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"must be 1 or more, not {value}", field="--" + name.replace("_", "-"))
    write_lines([], options.json)  # a place that cannot be written is told before the long measurement
    console = Console(stderr=options.json == "-", width=120)
    console.print(time_models(options))
    if options.catalogue != "none":
        console.print(retrieval_on_made_data(options))
    if options.run is not None:
        console.print(retrieval_on_run(options.run, options))


def time_models(options: RecommendOptions) -> Table:
    """Seconds per 1,000 users, models by scales."""
    table = Table(title=f"seconds per 1,000 users, top {K} of all items", caption=machine())
    for name in ("model", *options.scales):
        table.add_column(name, justify="left" if name == "model" else "right")
    for model in options.models:
        cells = []
        for scale in options.scales:
            workload = build_workload(Options(model=model, scale=scale, cpu_devices=options.cpu_devices))
            ranker = ranker_of(workload, workload.run.init().params)
            given = histories_of(workload.run.corpus, options.users)
            _, seconds = timed_lists(ranker, given)
            per_thousand = 1000 * seconds / len(given)
            cells.append(f"{per_thousand:.2f}")
            record = {"benchmark": "recommend", "part": "exact", "repeat": 1, **surroundings(workload)}
            write_lines([rounded({**record, "seconds_per_1000_users": per_thousand})], options.json)
        table.add_row(model, *cells)
    return table


def retrieval_on_made_data(options: RecommendOptions) -> Table:
    """The table of a made catalogue."""
    asked = {"scale": options.catalogue, "cpu_devices": options.cpu_devices}
    workload = build_workload(Options(model=options.model, **asked))
    ranker = ranker_of(workload, trained(workload, options.epochs))
    sequence = build_workload(Options(model="sasrec", **asked))
    retrievers = {
        "item_knn": knn_ranker(workload.run.corpus, ranker.history_length),
        "sasrec": ranker_of(sequence, trained(sequence, options.epochs)),
    }
    given = histories_of(workload.run.corpus, options.queries)
    return time_retrieval(options, options.model, ranker, retrievers, given, surroundings(workload))


def retrieval_on_run(folder: Path, options: RecommendOptions) -> Table:
    """The table of a trained run."""
    run = load_run(folder)
    corpus, length = run.dataset.corpus, run.config.data.history_length
    retrievers = {"item_knn": knn_ranker(corpus, length), "text": text_ranker(corpus, run.text, length)}
    what = {"model": run.config.model.name, "scale": corpus.name}
    given = histories_of(corpus, options.queries)
    return time_retrieval(options, f"{run.config.model_title}, {corpus.name}", run.ranker, retrievers, given, what)


def time_retrieval(
    options: RecommendOptions,
    name: str,
    ranker: Ranker,
    retrievers: Mapping[str, Ranker],
    given: Histories,
    what: Mapping[str, Any],
) -> Table:
    """Recall of the exact lists and speed-up, by what retrieves and how many items."""
    exact, exact_seconds = timed_lists(ranker, given)
    title = f"{name} on {ranker.num_items:,} items, {len(given)} users: exact {exact_seconds:.2f} s"
    table = Table(title=title, caption=machine())
    for column in ("retrieved by", "items", f"recall@{K}", "seconds", "speed-up"):
        table.add_column(column, justify="left" if column == "retrieved by" else "right")
    for by, retriever in retrievers.items():
        for number in options.retrieve:
            found, seconds = timed_retrieval(ranker, retriever, given, number)
            recall = recall_of(found, exact)
            faster = exact_seconds / seconds
            table.add_row(by, f"{number:,}", f"{recall:.3f}", f"{seconds:.2f}", f"{faster:.1f}")
            record = {"benchmark": "recommend", "part": f"{by}, {number}", "repeat": 1, **what}
            figures = {"recall": recall, "seconds": seconds, "exact_seconds": exact_seconds, "ratio": faster}
            write_lines([rounded({**record, **figures, "users": len(given)})], options.json)
    return table


def ranker_of(workload: Workload, params: Params) -> Ranker:
    """Ranks with these parameters."""
    run = workload.run
    length, number = run.config.data.history_length, run.corpus.num_items
    return Ranker(run.system, params, run.arrays.tables, history_length=length, num_items=number)


def trained(workload: Workload, epochs: int) -> Params:
    """Parameters after some epochs."""
    state = workload.run.init()
    for epoch in range(1, epochs + 1):
        state, _ = workload.run.train_epoch(state, 0, epoch)
    return state.params


def histories_of(corpus: Corpus, number: int) -> Histories:
    """Evenly spaced users with all their interactions; with repetitions where there are fewer."""
    return Histories.of_users(corpus, np.linspace(1, corpus.num_users, number).astype(np.int32))


def timed_lists(ranker: Ranker, given: Histories) -> tuple[TopItems, float]:
    """The exact lists and the wall seconds that they took, after a block to warm up."""
    seen = given.seen()

    def lists() -> TopItems:
        return ranker.top_items(given, K, excluded=seen)

    return _timed(lists)


def timed_retrieval(ranker: Ranker, retriever: Ranker, given: Histories, number: int) -> tuple[TopItems, float]:
    """The lists among what is retrieved, and the wall seconds that both steps took, after one time to warm up."""
    seen = given.seen()

    def lists() -> TopItems:
        found = retriever.top_items(given, number, excluded=seen)
        return ranker.top_of_candidates(given, K, found.items, excluded=seen)

    return _timed(lists)


def _timed(lists) -> tuple[TopItems, float]:
    lists()
    started = time.perf_counter()
    found = jax.block_until_ready(lists())
    return found, time.perf_counter() - started


def recall_of(found: TopItems, exact: TopItems) -> float:
    """The mean share of the exact lists that was found."""
    pairs = zip(found.items.tolist(), exact.items.tolist(), strict=True)
    return float(np.mean([len((set(ours) & set(theirs)) - {0}) / len(set(theirs) - {0}) for ours, theirs in pairs]))


if __name__ == "__main__":
    run_command(main)
