"""Our SASRec, GRU4Rec and Caser beside RecBole's: seconds per epoch, seconds per full ranking, NDCG@10."""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import jax
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.options import Options, names_with_commas, parse_options, write_lines
from benchmarks.peers_environment import RECBOLE, ensure_recbole
from benchmarks.peers_export import METRIC, RECBOLE_NAMES, recbole_settings, write_interactions
from benchmarks.peers_sides import Ours, RecBole, Side, Timed
from benchmarks.report import machine, rounded, surroundings
from benchmarks.workload import Workload
from lrd_jax.command_line.parse import run_command
from lrd_jax.config.messages import explain
from lrd_jax.config.schema import Config
from lrd_jax.data.rechorus import read_corpus
from lrd_jax.data.sources.movielens import ensure_ml_100k
from lrd_jax.devices import available_cores, set_up_devices
from lrd_jax.errors import UserError
from lrd_jax.terminal.lines import epoch_progress
from lrd_jax.training.setup import assemble_corpus


@dataclasses.dataclass(frozen=True)
class PeersOptions:
    """What is compared and where the record goes."""

    models: Annotated[tuple[str, ...], names_with_commas("--models", RECBOLE_NAMES)] = tuple(RECBOLE_NAMES)
    """Which recommenders, with commas between them."""
    data: Path | None = None
    """Dataset folder. None: MovieLens-100k."""
    epochs: int = 3
    """Most epochs of each side. A few are enough for the times; the accuracy is that of as short a training."""
    patience: int = 10
    """A side stops when its NDCG@10 on dev has not improved for so many epochs."""
    batch_size: int = 2048
    """Training examples per step."""
    learning_rate: float = 1e-3
    """Adam's step size on both sides; a larger one learns in fewer epochs, where the accuracy is wanted."""
    dropout: float | None = None
    """Dropout rate of both sides. None: RecBole's, .5 of SASRec, .3 of GRU4Rec and .4 of Caser."""
    seed: int = 0
    """Seed of both sides, whose random numbers differ all the same."""
    json: str | None = None
    """File that a line of JSON is added to for each side; - writes them to stdout, the table to stderr."""
    cpu_devices: int | None = None
    """Without an accelerator, our single-threaded CPU devices. None: one per core."""


@dataclasses.dataclass
class Course:
    """How one side's training went.

    Attributes:
      epochs, rankings: of training, and of the dev targets after each epoch; the score is NDCG@10.
      test: of the best epoch on dev.
    """

    epochs: list[Timed] = dataclasses.field(default_factory=list)
    rankings: list[Timed] = dataclasses.field(default_factory=list)
    test: Timed | None = None

    @property
    def best_epoch(self) -> int:
        """The first epoch, from 1, with the highest score."""
        scores = [ranking.value for ranking in self.rankings]
        return 1 + scores.index(max(scores))

    def goes_on(self, epochs: int, patience: int) -> bool:
        """Whether there is another epoch: neither all of them made, nor no better one for `patience`."""
        done = len(self.rankings)
        return done == 0 or (done < epochs and done - self.best_epoch < patience)


def main() -> None:
    """Trains every model on both sides, in turns, and prints a table of each."""
    options = parse_options(PeersOptions, "peers", __doc__)
    configs = {model: peer_config(model, options) for model in options.models}
    set_up_devices(options.cpu_devices or available_cores())
    use_gpu = jax.default_backend() == "gpu"
    python = ensure_recbole(cuda=use_gpu)
    corpus = read_corpus(options.data if options.data is not None else ensure_ml_100k())
    console = Console(stderr=options.json == "-")
    for model, config in configs.items():
        workload = Workload(Options(model=model), corpus.name, assemble_corpus(config, corpus, None))
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            write_interactions(corpus, folder)
            settings = recbole_settings(config, folder, use_gpu=use_gpu)
            theirs = stack.enter_context(RecBole(python, RECBOLE_NAMES[model], settings, folder))
            sides: dict[str, Side] = {"lrd_jax": Ours(workload), RECBOLE: theirs}
            courses = train_in_turns(sides, options.epochs, options.patience, model)
            lines = records(workload, sides, courses)
        console.print(comparison(lines))
        write_lines([rounded(line) for line in lines], options.json)


def peer_config(model: str, options: PeersOptions) -> Config:
    """Settings that both sides can have: RecBole's own, but for SASRec's feed-forward width and GRU4Rec's state.

    Raises:
      UserError: a value out of range.
    """
    sizes = {
        "sasrec": {"dropout": 0.5, "num_layers": 2, "num_heads": 2},
        "gru4rec": {"dropout": 0.3, "gru_hidden_dim": 100},
        # RecBole has horizontal filters of every height up to the history's length.
        "caser": {"dropout": 0.4, "num_horizontal_filters": 8, "num_vertical_filters": 4, "max_filter_height": 20},
    }[model]
    if options.dropout is not None:
        sizes["dropout"] = options.dropout
    values = {
        "data": {"history_length": 20},
        "model": {"name": model, "embedding_dim": 64, **sizes},
        "loss": {"rec_objective": "cross_entropy"},
        "optim": {"batch_size": options.batch_size, "learning_rate": options.learning_rate, "l2": 0.0},
        "run": {"seed": options.seed},
    }
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        key, problem, remedy = explain(error)
        raise UserError(problem, field="--" + key.split(".")[-1].replace("_", "-"), remedy=remedy) from error


def train_in_turns(sides: Mapping[str, Side], epochs: int, patience: int, label: str) -> dict[str, Course]:
    """One epoch and one ranking of dev on each side after the other, so that a machine's drift meets both alike."""
    courses = {name: Course() for name in sides}
    with epoch_progress(epochs * len(sides)) as bar:
        for epoch in range(1, epochs + 1):
            for name, side in sides.items():
                course = courses[name]
                if not course.goes_on(epochs, patience):
                    continue
                course.epochs.append(side.train())
                course.rankings.append(side.validate())
                trained, ranked = course.epochs[-1], course.rankings[-1]
                tqdm.write(
                    f"{label}  {name:<14} epoch {epoch:>3}  {trained.seconds:8.2f} s"
                    f"  dev ranked in {ranked.seconds:.3f} s  {METRIC} {ranked.value:.4f}",
                    file=sys.stderr,
                )
                bar.update()
    for name, side in sides.items():
        courses[name].test = side.test()
    return courses


def records(workload: Workload, sides: Mapping[str, Side], courses: Mapping[str, Course]) -> list[dict]:
    """A line of JSON for each side; the ratios are its median seconds over the first side's."""
    lines: list[dict] = []
    for name, course in courses.items():
        epochs, rankings = ([timed.seconds for timed in part] for part in (course.epochs, course.rankings))
        line = {
            "benchmark": "peers",
            "part": name,
            **surroundings(workload),
            **sides[name].describe(),
            "epochs": len(epochs),
            "best_epoch": course.best_epoch,
            "epoch_p50": statistics.median(epochs),
            "epoch_min": min(epochs),
            "ranking_p50": statistics.median(rankings),
            "ranking_min": min(rankings),
            "dev_ndcg": course.rankings[course.best_epoch - 1].value,
            "test_ndcg": course.test.value,
        }
        first = lines[0] if lines else line
        ratios = {f"{what}_ratio": line[f"{what}_p50"] / first[f"{what}_p50"] for what in ("epoch", "ranking")}
        lines.append(line | ratios)
    return lines


def comparison(lines: Sequence[dict]) -> Table:
    """A column per side, ratios last: of the second side to the first."""
    first, second = lines
    table = Table(
        title=f"peers  {first['model']}  {first['scale']}",
        caption=f"{machine()}, jax {first['jax']}, torch {second['torch']}; median seconds, compilation not in them",
    )
    for heading in ("", first["part"], second["part"], "ratio"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for label, key, form in _FIGURES:
        cells = ["" if line[key] is None else form.format(line[key]) for line in lines]
        ratio = f"{second[key] / first[key]:.2f}" if key in _COMPARED and first[key] else ""
        table.add_row(label, *cells, ratio)
    return table


_FIGURES = (
    ("device", "device", "{}"),
    ("training examples", "examples", "{:,}"),
    ("parameters", "parameters", "{:,}"),
    ("compile, s", "compile_seconds", "{:.2f}"),
    ("training epoch, s", "epoch_p50", "{:.3f}"),
    ("full ranking of dev, s", "ranking_p50", "{:.4f}"),
    ("epochs", "epochs", "{}"),
    ("best epoch", "best_epoch", "{}"),
    (f"dev {METRIC}", "dev_ndcg", "{:.4f}"),
    (f"test {METRIC}", "test_ndcg", "{:.4f}"),
)
_COMPARED = {"parameters", "examples", "epoch_p50", "ranking_p50", "dev_ndcg", "test_ndcg"}


if __name__ == "__main__":
    run_command(main)
