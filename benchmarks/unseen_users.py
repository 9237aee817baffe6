"""What a model loses on users that it was not trained on, and which vector to give them: `python -m
benchmarks.unseen_users`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.intervals import METRICS, difference, with_intervals
from lrd_jax.command_line.jax_setup import set_up_jax
from lrd_jax.command_line.parse import run_command
from lrd_jax.config.schema import Config
from lrd_jax.config.toml_file import load_config
from lrd_jax.data.corpus import Corpus, Split
from lrd_jax.data.rechorus import read_corpus
from lrd_jax.data.sources.movielens import ensure_ml_100k
from lrd_jax.models.system import Params
from lrd_jax.ranking.metrics import ranking_metrics
from lrd_jax.text.store import load_or_embed
from lrd_jax.training.setup import Setup, assemble_corpus, checked_ranks, resolve
from lrd_jax.training.stopping import STOPPING_METRIC, stops


@dataclasses.dataclass(frozen=True)
class UsersOptions:
    """Train without the interactions of some users, rank their test targets with the mean of all trained users' vectors
    and with zeros, and compare with a run that was trained on everybody."""

    configs: tuple[Path, ...] = (Path("configs/tuned/ml-100k/kda.toml"), Path("configs/ml-100k/sasrec.toml"))
    """TOML files of the models."""
    data: Path | None = None
    """Dataset folder. None: MovieLens-100k."""
    share: float = 0.1
    """Which share of the users is held out."""
    seed: int = 0
    """Of the choice of users; training has the configuration's."""
    cpu_devices: int = 1
    """Single-threaded CPU devices."""


def main() -> None:
    """Trains twice for each configuration and prints a table."""
    options = tyro.cli(UsersOptions, prog="python -m benchmarks.unseen_users")
    set_up_jax(options.cpu_devices)
    folder = options.data or ensure_ml_100k()
    corpus = read_corpus(folder)
    held = held_out_users(corpus, options.share, options.seed)
    table = Table(title=f"{corpus.name}: test targets of {len(held):,} users, given candidates")
    for name in ("model", "trained on", "user vector", "best epoch", *METRICS, "NDCG@10, difference"):
        table.add_column(name, justify="left" if name in ("model", "trained on", "user vector") else "right")
    for file in options.configs:
        config = resolve(load_config(file))
        for row in compare(config, corpus, held, text_of(config, folder, corpus)):
            table.add_row(*row)
        table.add_section()
    Console(width=150).print(table)


def text_of(config: Config, folder: Path, corpus: Corpus) -> np.ndarray | None:
    """Text embeddings [I + 1, T] where the model reads them."""
    return load_or_embed(folder, corpus.num_items, config.text) if config.uses_text else None


def held_out_users(corpus: Corpus, share: float, seed: int) -> np.ndarray:
    """A share of the users with a test row, int [N] ascending."""
    users = np.unique(corpus.sequence_users[corpus.test.rows])
    number = max(1, round(share * len(users)))
    return np.sort(np.random.default_rng(seed).choice(users, number, replace=False))


def without_users(corpus: Corpus, users: np.ndarray) -> Corpus:
    """The corpus with none of the users' interactions trained on, nor evaluated on dev; ids and test stay."""
    train_rows = corpus.train_rows[~np.isin(corpus.sequence_users[corpus.train_rows], users)]
    kept = ~np.isin(corpus.sequence_users[corpus.dev.rows], users)
    dev = Split(corpus.dev.rows[kept], corpus.dev.negatives[kept])
    return dataclasses.replace(corpus, train_rows=train_rows, dev=dev)


def compare(config: Config, corpus: Corpus, held: np.ndarray, text: np.ndarray | None) -> list[list[str]]:
    """The rows of the table for one model."""
    found = []
    seen_run = assemble_corpus(config, corpus, text)
    params, epoch = train_best(seen_run)
    found.append(["everybody", "own", str(epoch), test_ranks(seen_run, params, held)])
    run = assemble_corpus(config, without_users(corpus, held), text)
    params, epoch = train_best(run)
    for name, vector in VECTORS.items():
        found.append(["the others", name, str(epoch), test_ranks(run, with_vectors(params, held, vector), held)])
        if not has_users(params):
            found[0][1] = found[-1][1] = "none"
            break
    users = np.array([user for user in corpus.sequence_users[corpus.test.rows] if user in set(held.tolist())])
    of_everybody = found[0][-1]
    return [
        [config.model.name, *words, *with_intervals(users, ranks), difference(users, ranks, of_everybody)]
        for *words, ranks in found
    ]


VECTORS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean of the others'": lambda others: others.mean(axis=0),
    "zeros": lambda others: np.zeros_like(others[0]),
}
"""What a user gets who was not trained on, from the vectors [U, D] of those who were."""


def has_users(params: Params) -> bool:
    """Whether the model has vectors of users."""
    return any(path[-1].key == "user_embeddings" for path, _ in jax.tree_util.tree_leaves_with_path(params))


def with_vectors(params: Params, held: np.ndarray, vector: Callable[[np.ndarray], np.ndarray]) -> Params:
    """The parameters with another vector for the users who were held out."""

    def fill(path: tuple[Any, ...], value: jax.Array) -> Any:
        if path[-1].key != "user_embeddings":
            return value
        table = np.array(value)
        table[held] = vector(np.delete(table, [0, *held], axis=0))
        return table

    filled: Params = jax.tree_util.tree_map_with_path(fill, params)
    return filled


def test_ranks(run: Setup, params: Params, users: np.ndarray) -> np.ndarray:
    """Ranks of the users' test targets among the given candidates, float64 [N]."""
    split = run.corpus.test
    wanted = np.isin(run.corpus.sequence_users[split.rows], users)
    rows = split.rows[wanted]
    counts = jax.device_get(run.evaluation_on_device(params, run.arrays, rows, split.negatives[wanted]))
    return checked_ranks(counts, run.corpus.sequence_users[rows], "test")


def train_best(run: Setup) -> tuple[Params, int]:
    """Trains with early stopping on dev: the parameters of the best epoch, on the host, and its number."""
    state, scores, best = run.init(), [], (None, 0)
    while not (scores and stops(scores, best[1], run.config.run)):
        state, _ = run.train_epoch(state, run.config.run.seed, len(scores) + 1)
        scores.append(ranking_metrics(run.rank_targets(state.params, "dev"))[STOPPING_METRIC])
        if scores[-1] > max(scores[:-1], default=-1.0):
            best = (jax.device_get(state.params), len(scores))
        print(f"{run.config.model.name} epoch {len(scores)}: dev {STOPPING_METRIC} {scores[-1]:.4f}", flush=True)
    return best


if __name__ == "__main__":
    run_command(main)
