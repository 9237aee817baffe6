"""Rank the targets of trained runs: `python -m lrd_jax.evaluate RUN [RUN...] --protocol full`."""

from __future__ import annotations

if __name__ == "__main__":
    from lrd_jax.command_line.begin import begin

    begin()

import dataclasses
import os
import re
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from lrd_jax.command_line.parse import MAX_SEED, run_command
from lrd_jax.config.schema import CUTOFFS
from lrd_jax.errors import UserError, quoted
from lrd_jax.ranking.protocols import Full, Given, Protocol, Sampled, Sampling, SplitName, TieRule


def parse_cutoffs(text: str) -> tuple[int, ...]:
    """The cutoffs in "5,10,20", ascending.

    Raises:
      UserError: not integers from 1 with commas between them.
    """
    for part in text.split(","):
        if not re.fullmatch(r"[0-9]{1,9}", part) or int(part) < 1:
            problem = f"{part!r} is no cutoff" if part else "a cutoff is missing"
            raise UserError(problem, field="--at", remedy="Give integers from 1, as in --at 5,10,20")
    return tuple(sorted({int(part) for part in text.split(",")}))


_CUTOFFS = PrimitiveConstructorSpec(
    nargs=1,
    metavar="K,K,...",
    instance_from_str=lambda words: parse_cutoffs(words[0]),
    is_instance=lambda value: isinstance(value, tuple),
    str_from_instance=lambda cutoffs: [",".join(map(str, cutoffs))],
)


@dataclasses.dataclass(frozen=True)
class EvaluateFlags:
    """Rank the target of every row among candidates, with the best epoch of each run: HR, NDCG and MRR, in all and by
    the target's popularity in training, the length of the history, and whether the user had the target before; and the
    rank of every target as Parquet."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")]
    """Run folders of `train`."""
    data: Annotated[Path | None, tyro.conf.arg(name="data.path", metavar="FOLDER")] = None
    """Where the dataset of the runs is now, for one that was moved or renamed. None: where it was in training."""
    split: SplitName = "test"
    """Which rows."""
    protocol: Literal["given", "sampled", "full"] = "given"
    """What a target is ranked against: the dataset's neg_items; items drawn anew among those that the user had not
    touched before; or every item."""
    negatives: int = Sampled.negatives
    """sampled: how many for each row, without replacement."""
    sampling: Sampling = Sampled.sampling
    """sampled: all items alike, or in proportion to their training interactions."""
    seed: int = Sampled.seed
    """sampled: of the draw, which is the same for every run on a dataset."""
    keep_seen: Annotated[bool, tyro.conf.FlagCreatePairsOff] = Full.keep_seen
    """full: keep the items that the user had touched before."""
    at: Annotated[tuple[int, ...], _CUTOFFS] = CUTOFFS
    """The cutoffs K of HR@K, NDCG@K and MRR@K."""
    ties: TieRule = "average"
    """Rank of a target among candidates of its score: their middle, or the last."""
    out: Path | None = None
    """Parquet file for the ranks of all runs. None: evaluation-SPLIT-PROTOCOL.parquet in each run folder."""
    json: Path | None = None
    """File for the tables as JSON."""


def main() -> None:
    """Parse the command line, evaluate; jax is imported only after that, so that --help answers at once."""
    flags = tyro.cli(EvaluateFlags, prog="python -m lrd_jax.evaluate")
    protocol = _protocol(flags)
    _check(flags)
    evaluate(flags, protocol)


def evaluate(flags: EvaluateFlags, protocol: Protocol) -> None:
    """Evaluates the runs one after the other, then prints the tables and writes the files.

    Raises:
      UserError: no run in a folder, changed data, scores that are not finite, a file that cannot be written.
    """
    import polars as pl

    from lrd_jax.errors import printable
    from lrd_jax.evaluate.report import results_frame, summarise, tables, write_parquet, write_summary
    from lrd_jax.evaluate.run_protocol import build_ranking
    from lrd_jax.runs.tables import print_table
    from lrd_jax.runs.terminal import say, warn
    from lrd_jax.training.load import check_holds_run, load_trained

    for folder in flags.runs:  # told before the long work
        check_holds_run(folder)
    frames, run, hashes = [], None, {}
    for folder in flags.runs:
        trained = load_trained(folder, assembled=run, data=flags.data)
        corpus = trained.run.corpus
        if hashes.setdefault(corpus.name, corpus.content_hash) != corpus.content_hash:
            remedy = "Evaluate each in a call of its own"
            raise UserError(f"two datasets of different content are named {corpus.name}", file=folder, remedy=remedy)
        if trained.run is not run:
            run, rank = trained.run, build_ranking(trained.run, flags.split, protocol)
        counts = rank(trained.params)
        frames.append(results_frame(folder, trained, flags.split, protocol, flags.ties, counts))
        place = flags.out or folder / f"evaluation-{flags.split}-{protocol.name}.parquet"
        if flags.out is None:
            write_parquet(place, frames[-1])
        rows = f"{len(counts.greater):,} {flags.split} rows"
        say(f"{quoted(folder)}: epoch {trained.epoch}, {rows}, ranks in {quoted(place)}")
    if flags.out is not None:
        write_parquet(flags.out, pl.concat(frames))
    summaries = [summarise(frame, flags.at) for frame in frames]
    if flags.json is not None:
        write_summary(flags.json, flags.split, protocol, flags.ties, summaries)
    for table in tables(flags.split, protocol, flags.ties, summaries):
        print_table(table)
    said = {f"{run['dataset']}: {notice['text']}": None for run in summaries for notice in run["warnings"]}
    for line in said:  # once where several runs are on one dataset
        warn(printable(line))


def _protocol(flags: EvaluateFlags) -> Protocol:
    """The protocol that the flags name.

    Raises:
      UserError: a flag of another protocol, or out of range.
    """
    belongs = {"negatives": "sampled", "sampling": "sampled", "seed": "sampled", "keep_seen": "full"}
    defaults = {field.name: field.default for field in dataclasses.fields(EvaluateFlags)}
    for name, protocol in belongs.items():
        if flags.protocol != protocol and getattr(flags, name) != defaults[name]:
            option = "--" + name.replace("_", "-")
            raise UserError(f"means nothing with --protocol {flags.protocol}", field=option, remedy="Leave it out")
    if flags.protocol == "given":
        return Given()
    if flags.protocol == "full":
        return Full(keep_seen=flags.keep_seen)
    if flags.negatives < 1:
        raise UserError(f"must be 1 or more, not {flags.negatives}", field="--negatives")
    if not 0 <= flags.seed <= MAX_SEED:
        raise UserError(f"must be from 0 to {MAX_SEED}, not {flags.seed}", field="--seed")
    return Sampled(negatives=flags.negatives, sampling=flags.sampling, seed=flags.seed)


def _check(flags: EvaluateFlags) -> None:
    """Refuses, before the long work, runs given twice or none, and places that cannot be written."""
    if not flags.runs:
        raise UserError("there is no run to evaluate", field="RUN", remedy="Name the run folder of a training")
    for number, folder in enumerate(flags.runs):
        if folder.resolve() in [earlier.resolve() for earlier in flags.runs[:number]]:
            raise UserError("the run is there twice", file=folder, remedy="Name it once")
    for option, path in (("--out", flags.out), ("--json", flags.json)):
        if path is not None and (path.is_dir() or not os.access(path.absolute().parent, os.W_OK)):
            raise UserError("cannot be written", file=path, field=option, remedy="Name a file in a folder that can")


if __name__ == "__main__":
    run_command(main)
