"""How well items are ranked that a model was not trained on, by what their vectors are made of: `python -m
benchmarks.new_items`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.held_out_items import Parts, split_items
from benchmarks.intervals import METRICS, with_intervals
from lrd_jax.api.dataset import Dataset
from lrd_jax.api.fitting import fit
from lrd_jax.api.run import Run, load_run
from lrd_jax.command_line.jax_setup import set_up_jax
from lrd_jax.command_line.parse import run_command
from lrd_jax.config.toml_file import load_config
from lrd_jax.data.sources.movielens import ensure_ml_100k
from lrd_jax.models.simple import item_counts
from lrd_jax.models.system import Params
from lrd_jax.ranking.histories import Histories
from lrd_jax.ranking.metrics import target_ranks
from lrd_jax.ranking.ranker import Ranker
from lrd_jax.runs.folder import read_results

CANDIDATES = 100


@dataclasses.dataclass(frozen=True)
class ItemsOptions:
    """Hold items out of training with all their interactions, give them vectors by `Run.with_new_items`, and rank them
    where users had them: against vectors drawn at random, the mean of all vectors, and popularity."""

    config: Path = Path("configs/tuned/ml-100k/kda.toml")
    """TOML file of the model."""
    data: Path | None = None
    """Dataset folder with values.tsv and item_text.tsv. None: MovieLens-100k."""
    workdir: Path = Path("runs/new-items")
    """Run folder of the training; a finished run there is taken."""
    share: float = 0.05
    """Which share of the items is held out."""
    seed: int = 0
    """Of the choice of items, of the candidates and of the random vectors."""
    cpu_devices: int = 1
    """Single-threaded CPU devices."""


class Rows(NamedTuple):
    """Interactions with new items, each with what the user had before of the items that are not new.

    Attributes:
      users: int [N].
      histories: N of them.
      candidates: int32 [N, C], the target first.
      is_evaluated: bool [N], whether it is a row of dev or test in the whole dataset.
    """

    users: np.ndarray
    histories: Histories
    candidates: np.ndarray
    is_evaluated: np.ndarray


def main() -> None:
    """Trains once and prints a table per kind of rows and candidates."""
    options = tyro.cli(ItemsOptions, prog="python -m benchmarks.new_items")
    set_up_jax(options.cpu_devices)
    whole = Dataset(options.data or ensure_ml_100k())
    parts = split_items(whole, options.share, options.seed)
    run = trained(options, parts.known)
    extended = run.with_new_items(parts.new)
    own = extended.dataset.own_ids("item", whole.item_ids)  # of the whole dataset's items 1..I
    rng = np.random.default_rng(options.seed)
    print(f"{len(parts.items):,} of {len(whole.item_ids):,} items held out; {run.config.model.name}, epoch {run.epoch}")
    all_items = np.concatenate([[0], own])
    known, new = (all_items[1:][~np.isin(np.arange(1, len(all_items)), parts.items)], all_items[parts.items])
    for title, pool in (
        (f"{CANDIDATES} candidates of all items that the user does not have", np.concatenate([known, new])),
        ("all new items that the user does not have", new),
    ):
        number = CANDIDATES if len(pool) > len(new) else len(new)
        rows = rows_of(whole, parts, all_items, pool, number, rng)
        ranks = ranks_by_vectors(extended, rows, len(parts.items), rng)
        popularity = np.zeros(extended.dataset.corpus.num_items + 1)
        popularity[all_items] = item_counts(whole.corpus)
        ranks["popularity, were it known"] = ranks_of(popularity[rows.candidates], rows.candidates)
        show(title, rows, ranks)


def trained(options: ItemsOptions, known: Dataset) -> Run:
    """The run without the new items, trained where the folder does not hold it."""
    if read_results(options.workdir) is None:
        config = load_config(options.config)
        fit(config.model_copy(update={"run": config.run.model_copy(update={"workdir": options.workdir})}), known)
    return load_run(options.workdir)


def rows_of(
    whole: Dataset, parts: Parts, own: np.ndarray, pool: np.ndarray, number: int, rng: np.random.Generator
) -> Rows:
    """All interactions with new items for which the user has had an item that is not new.

    Args:
      whole, parts: the datasets.
      own: int [I + 1], the extended run's ids of the whole dataset's items.
      pool: the extended run's ids that candidates are drawn from.
      number: C, the target included; fewer, padded with 0, where a user leaves fewer.
      rng: of the draw.
    """
    corpus = whole.corpus
    is_new = np.isin(corpus.sequence_items, parts.items)
    users, offsets, candidates, places = [], [0], [], []
    evaluated = np.isin(np.arange(len(is_new)), np.concatenate([corpus.dev.rows, corpus.test.rows]))
    kept = []
    for row in np.flatnonzero(is_new):
        user = corpus.sequence_users[row]
        start, end = corpus.sequence_offsets[user : user + 2]
        before = np.arange(start, row)[~is_new[start:row]]
        if not len(before):
            continue
        free = np.setdiff1d(pool, own[corpus.sequence_items[start:end]])
        drawn = rng.permutation(free)[: number - 1]
        target = own[corpus.sequence_items[row]]
        candidates.append(np.pad([target, *drawn], (0, number - 1 - len(drawn))))
        users.append(user)
        places.append(before)
        offsets.append(offsets[-1] + len(before))
        kept.append(row)
    flat = np.concatenate(places)
    histories = Histories(
        np.array(users, np.int32),
        own[corpus.sequence_items[flat]].astype(np.int32),
        corpus.sequence_times[flat].astype(np.int64),
        np.array(offsets),
    )
    return Rows(np.array(users), histories, np.array(candidates, np.int32), evaluated[kept])


def ranks_by_vectors(run: Run, rows: Rows, number: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The targets' ranks, float64 [N], by what the new items' vectors are; the last `number` items are new."""
    found = {}
    for name, params in {
        "similar items (with_new_items)": run.params,
        "mean of all items": with_vectors(run, number, None),
        "random, as items are spread": with_vectors(run, number, rng),
    }.items():
        ranker = Ranker(
            run.model,
            params,
            run.setup.arrays.tables,
            history_length=run.config.data.history_length,
            num_items=run.dataset.corpus.num_items,
        )
        found[name] = ranks_of(ranker.score_rows(rows.histories, rows.candidates), rows.candidates)
    counts = item_counts(run.dataset.corpus)[rows.candidates]
    found["popularity: new items have none"] = ranks_of(counts, rows.candidates)
    return found


def with_vectors(run: Run, number: int, rng: np.random.Generator | None) -> Params:
    """The parameters with other vectors and biases for the new items: the mean of the others', or normal draws with
    their mean and standard deviation."""
    scorer, end = dict(run.params["scorer"]), run.dataset.corpus.num_items + 1
    for name in ("entity_embeddings", "item_bias"):
        table = np.array(scorer[name])
        known = table[1 : end - number]
        mean, spread = known.mean(axis=0), known.std(axis=0)
        shape = (number, *table.shape[1:])
        table[end - number : end] = mean if rng is None else mean + spread * rng.standard_normal(shape)
        scorer[name] = jax.numpy.asarray(table)
    return {**run.params, "scorer": scorer}


def ranks_of(scores: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """The rank of the first candidate of each row, ties in the middle; candidates of 0 are padding."""
    others, held = scores[:, 1:], candidates[:, 1:] > 0
    greater = ((others > scores[:, :1]) & held).sum(axis=1)
    return target_ranks(greater, ((others == scores[:, :1]) & held).sum(axis=1))


def show(title: str, rows: Rows, ranks: dict[str, np.ndarray]) -> None:
    """A table of all rows and of those of dev and test."""
    size = int(np.median((rows.candidates > 0).sum(axis=1)))
    table = Table(title=f"{title} (median {size})")
    for name in ("vectors of new items", "rows", *METRICS):
        table.add_column(name, justify="left" if name == "vectors of new items" else "right")
    for which, chosen in (("all", np.ones(len(rows.users), bool)), ("dev and test", rows.is_evaluated)):
        for name, values in ranks.items():
            cells = with_intervals(rows.users[chosen], values[chosen])
            table.add_row(name, f"{which}: {chosen.sum():,}", *cells)
        table.add_section()
    Console(width=130).print(table)


if __name__ == "__main__":
    run_command(main)
