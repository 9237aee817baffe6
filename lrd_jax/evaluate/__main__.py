"""Rank the targets of trained runs: `python -m lrd_jax.evaluate RUN [RUN...] --protocol full`."""

from __future__ import annotations

if __name__ == "__main__":
    from lrd_jax.command_line.begin import begin

    begin()

from lrd_jax.command_line.parse import run_command
from lrd_jax.errors import UserError, quoted
from lrd_jax.evaluate.flags import EvaluateFlags, parse_flags
from lrd_jax.ranking.protocols import Protocol


def main() -> None:
    """Parse the command line, evaluate; jax is imported only after that, so that --help answers at once."""
    flags, protocol = parse_flags()
    from lrd_jax.command_line.jax_setup import set_up_jax

    set_up_jax(None)
    evaluate(flags, protocol)


def evaluate(flags: EvaluateFlags, protocol: Protocol) -> None:
    """Evaluates the runs one after the other, then prints the tables and writes the files.

    Raises:
      UserError: no run in a folder, a refit, changed data, scores that are not finite, a file that cannot be written.
    """
    import polars as pl

    from lrd_jax.config.toml_file import load_config
    from lrd_jax.errors import printable
    from lrd_jax.evaluate.report import results_frame, summarise, tables, write_parquet, write_summary
    from lrd_jax.evaluate.run_protocol import build_ranking
    from lrd_jax.runs.tables import print_table
    from lrd_jax.runs.terminal import say, warn
    from lrd_jax.training.load import check_holds_run, load_trained, refuse_untestable

    for folder in flags.runs:  # told before the long work
        check_holds_run(folder)
        refuse_untestable(load_config(folder / "config.toml"))
    hashes: dict[str, str] = {}
    frames, run = [], None
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


if __name__ == "__main__":
    run_command(main)
