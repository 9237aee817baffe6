"""Rank the targets of trained runs: `python -m lrd_jax.evaluate RUN [RUN...] --protocol full`."""

from __future__ import annotations

if __name__ == "__main__":
    from lrd_jax.command_line.begin import begin

    begin()

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lrd_jax.command_line.parse import run_command
from lrd_jax.errors import UserError, quoted
from lrd_jax.evaluate.flags import EvaluateFlags, parse_flags
from lrd_jax.ranking.protocols import Protocol

if TYPE_CHECKING:
    from lrd_jax.evaluate.lists import Evaluated
    from lrd_jax.training.setup import Setup


def main() -> None:
    """Parse the command line, evaluate; jax is imported only after that, so that --help answers at once."""
    flags, protocol = parse_flags()
    from lrd_jax.command_line.jax_setup import set_up_jax

    set_up_jax(None)
    evaluate(flags, protocol)


def evaluate(flags: EvaluateFlags, protocol: Protocol) -> None:
    """Evaluates the runs one after the other, then others' lists; prints the tables and writes the files.

    Raises:
      UserError: no run in a folder, changed data, scores that are not finite, lists that do not fit the dataset, a file
        that cannot be written.
    """
    import polars as pl

    from lrd_jax.evaluate.files import write_parquet
    from lrd_jax.evaluate.lists import lists_frame
    from lrd_jax.evaluate.show import show
    from lrd_jax.runs.terminal import say
    from lrd_jax.training.load import check_holds_run

    for folder in flags.runs:  # before the long work
        check_holds_run(folder)
    done = list(_evaluations(flags, protocol))
    if flags.out is not None:
        write_parquet(flags.out, pl.concat([one.ranks for one in done], how="vertical_relaxed"))
    if flags.lists is not None:
        frames = [lists_frame(one.subject, one.ranks, one.lists) for one in done if one.lists is not None]
        write_parquet(flags.lists, pl.concat(frames, how="vertical_relaxed"))
        say(f"top-{max(flags.at)} lists in {quoted(flags.lists)}")
    show(done, flags, protocol)


def _evaluations(flags: EvaluateFlags, protocol: Protocol) -> Iterator[Evaluated]:
    """The runs, then the lists of others; the ranks of each run are written when it is done."""
    from lrd_jax.data.device import put_corpus
    from lrd_jax.data.pipeline import dataset_folder
    from lrd_jax.data.rechorus import read_corpus
    from lrd_jax.devices import data_mesh
    from lrd_jax.evaluate.evaluate_lists import Data, evaluate_lists
    from lrd_jax.evaluate.files import write_parquet
    from lrd_jax.evaluate.lists import Evaluated
    from lrd_jax.evaluate.ranks import Subject, results_frame
    from lrd_jax.evaluate.run_protocol import build_listing, build_ranking
    from lrd_jax.runs.terminal import say
    from lrd_jax.training.load import load_trained

    run: Setup | None = None
    hashes: dict[str, str] = {}
    for folder in flags.runs:
        trained = load_trained(folder, assembled=run, data=flags.data)
        corpus = trained.run.corpus
        if hashes.setdefault(corpus.name, corpus.content_hash) != corpus.content_hash:
            remedy = "Evaluate each in a call of its own"
            raise UserError(f"two datasets of different content are named {corpus.name}", file=folder, remedy=remedy)
        if flags.lists_from and len(hashes) > 1:
            remedy = "Evaluate them with the runs of one dataset at a time"
            problem = f"the runs are on several datasets ({', '.join(hashes)}), so it is not clear whose the lists are"
            raise UserError(problem, field="--lists-from", remedy=remedy)
        if trained.run is not run:
            run = trained.run
            rank, listing = build_ranking(run, flags.split, protocol), None
            if flags.wants_lists:
                listing = build_listing(run, flags.split, protocol, max(flags.at))
        counts, lists = (rank(trained.params), None) if listing is None else listing(trained.params)
        frame = results_frame(folder, trained, flags.split, protocol, flags.ties, counts)
        place = flags.out or folder / f"evaluation-{flags.split}-{protocol.name}.parquet"
        if flags.out is None:
            write_parquet(place, frame)
        rows = f"{len(counts.greater):,} {flags.split} rows"
        say(f"{quoted(folder)}: epoch {trained.epoch}, {rows}, ranks in {quoted(place)}")
        yield Evaluated(Subject.of_run(folder, trained), frame, lists)
    if flags.lists_from:
        if run is None:
            assert flags.data is not None  # `EvaluateFlags.check`
            corpus = read_corpus(flags.data)
            data = Data(corpus, put_corpus(corpus, None, data_mesh()), flags.data)
        else:
            data = Data(run.corpus, run.arrays, dataset_folder(run.config.data.path))
        for file in flags.lists_from:
            for one in evaluate_lists(file, data, flags.split, protocol, flags.ties, max(flags.at)):
                say(f"{quoted(one.subject.run)}: {len(one.ranks):,} {flags.split} rows")
                yield one


if __name__ == "__main__":
    run_command(main)
