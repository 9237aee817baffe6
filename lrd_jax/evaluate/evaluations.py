"""The evaluations of a command, one after the other: its runs, then the lists of other systems."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

from lrd_jax.data.device import put_corpus
from lrd_jax.data.pipeline import dataset_folder
from lrd_jax.data.rechorus import read_corpus
from lrd_jax.devices import data_mesh
from lrd_jax.errors import UserError, quoted
from lrd_jax.evaluate.evaluate_lists import Data, evaluate_lists
from lrd_jax.evaluate.files import write_parquet
from lrd_jax.evaluate.flags import EvaluateFlags
from lrd_jax.evaluate.lists import Evaluated, Lists
from lrd_jax.evaluate.others_lists import read_lists
from lrd_jax.evaluate.ranks import Subject, results_frame
from lrd_jax.evaluate.run_protocol import build_listing, build_ranking
from lrd_jax.models.system import Params
from lrd_jax.ranking.metrics import Counts
from lrd_jax.ranking.protocols import Protocol
from lrd_jax.terminal.lines import say
from lrd_jax.training.load import Trained, load_trained
from lrd_jax.training.setup import Setup


def evaluations(flags: EvaluateFlags, protocol: Protocol) -> Iterator[Evaluated]:
    """Evaluates the runs, then the lists of others; writes the ranks of each run, unless they all go into one file.

    Raises:
      UserError: changed data, scores that are not finite, lists that do not fit the dataset, a file that cannot be
        written.
    """
    loaded = _load(flags)
    first = next(loaded, None)
    data = _data(flags.data if first is None else first[1])
    # Read now, so that mistakes in them come before the long work.
    others = [one for file in flags.lists_from for one in read_lists(file, data.corpus, data.folder, flags.split)]
    if first is not None:
        yield from _evaluate_runs(itertools.chain([first], loaded), flags, protocol)
    for one in others:
        say(f"{quoted(one.name)}: {len(one.lists.items):,} {flags.split} rows")
        yield evaluate_lists(one, data, flags.split, protocol, flags.ties, max(flags.at))


def _load(flags: EvaluateFlags) -> Iterator[tuple[Path, Trained]]:
    """The runs with their folders."""
    run: Setup | None = None
    hashes: dict[str, str] = {}
    for folder in flags.runs:
        trained = load_trained(folder, assembled=run, data=flags.data)
        run, corpus = trained.run, trained.run.corpus
        if hashes.setdefault(corpus.name, corpus.content_hash) != corpus.content_hash:
            remedy = "Evaluate each in a call of its own"
            raise UserError(f"two datasets of different content are named {corpus.name}", file=folder, remedy=remedy)
        if flags.lists_from and len(hashes) > 1:
            problem = f"the runs are on several datasets ({', '.join(hashes)}), and lists are for one"
            remedy = "Evaluate them with the runs of one dataset at a time"
            raise UserError(problem, field="--lists-from", remedy=remedy)
        yield folder, trained


def _data(source: Path | Trained | None) -> Data:
    """The dataset of a run, or in a folder."""
    if isinstance(source, Trained):
        return Data(source.run.corpus, source.run.arrays, dataset_folder(source.config.data.path))
    assert source is not None  # `EvaluateFlags.check`
    corpus = read_corpus(source)
    return Data(corpus, put_corpus(corpus, None, data_mesh()), source)


def _evaluate_runs(
    runs: Iterator[tuple[Path, Trained]], flags: EvaluateFlags, protocol: Protocol
) -> Iterator[Evaluated]:
    """Evaluates runs, compiling once for those that share everything but their parameters."""
    run: Setup | None = None
    for folder, trained in runs:
        if trained.run is not run:
            run = trained.run
            rank = _build(run, flags, protocol)
        counts, lists = rank(trained.params)
        frame = results_frame(folder, trained, flags.split, protocol, flags.ties, counts)
        place = flags.out or folder / f"evaluation-{flags.split}-{protocol.name}.parquet"
        if flags.out is None:
            write_parquet(place, frame)
        rows = f"{len(counts.greater):,} {flags.split} rows"
        say(f"{quoted(folder)}: epoch {trained.epoch}, {rows}, ranks in {quoted(place)}")
        yield Evaluated(Subject.of_run(folder, trained), frame, lists)


def _build(run: Setup, flags: EvaluateFlags, protocol: Protocol) -> Callable[[Params], tuple[Counts, Lists | None]]:
    """Parameters → the counts, and the lists where they are wanted."""
    if flags.wants_lists:
        return build_listing(run, flags.split, protocol, max(flags.at))
    rank = build_ranking(run, flags.split, protocol)
    return lambda params: (rank(params), None)
