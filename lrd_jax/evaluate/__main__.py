"""Rank the targets of trained runs: `python -m lrd_jax.evaluate RUN [RUN...] --protocol full`."""

from __future__ import annotations

if __name__ == "__main__":
    from lrd_jax.command_line.begin import begin

    begin()

from lrd_jax.command_line.parse import run_command
from lrd_jax.errors import quoted
from lrd_jax.evaluate.flags import EvaluateFlags, parse_flags
from lrd_jax.ranking.protocols import Protocol


def main() -> None:
    """Parse the command line, evaluate; jax is imported only after that, so that --help answers at once."""
    flags, protocol = parse_flags()
    from lrd_jax.command_line.jax_setup import set_up_jax

    set_up_jax(None)
    evaluate(flags, protocol)


def evaluate(flags: EvaluateFlags, protocol: Protocol) -> None:
    """Evaluates the runs one after the other, then others' lists; prints the tables and writes the files.

    Raises:
      UserError: no run in a folder, a refit, changed data, scores that are not finite, lists that do not fit the
        dataset, a file that cannot be written.
    """
    import polars as pl

    from lrd_jax.config.toml_file import load_config
    from lrd_jax.evaluate.evaluations import evaluations
    from lrd_jax.evaluate.files import write_parquet
    from lrd_jax.evaluate.lists import lists_frame
    from lrd_jax.evaluate.show import show
    from lrd_jax.terminal.lines import say
    from lrd_jax.training.load import check_holds_run, refuse_untestable

    for folder in flags.runs:  # before the long work
        check_holds_run(folder)
        refuse_untestable(load_config(folder / "config.toml"))
    done = list(evaluations(flags, protocol))
    if flags.out is not None:
        write_parquet(flags.out, pl.concat([one.ranks for one in done], how="vertical_relaxed"))
    if flags.lists is not None:
        frames = [lists_frame(one.subject, one.ranks, one.lists) for one in done if one.lists is not None]
        write_parquet(flags.lists, pl.concat(frames, how="vertical_relaxed"))
        say(f"top-{max(flags.at)} lists in {quoted(flags.lists)}")
    show(done, flags, protocol)


if __name__ == "__main__":
    run_command(main)
