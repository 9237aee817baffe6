"""Items similar to items, by a trained run: `python -m lrd_jax.similar RUN --item "Toy Story (1995)"`."""

from __future__ import annotations

if __name__ == "__main__":
    from lrd_jax.command_line.begin import begin

    begin()

import dataclasses
import inspect
from pathlib import Path
from typing import Annotated

import tyro

from lrd_jax.command_line.parse import run_command
from lrd_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class SimilarFlags:
    """List the items most similar to an item: by the model's item vectors, through each of its relations, by text."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder of `train`."""
    item: tuple[str, ...]
    """Items, by id or title."""
    by: tuple[str, ...] = ()
    """vectors, text, or names of relations such as also_buy or "latent 1". Nothing: all that the run has."""
    k: int = 10
    """How many items are listed."""
    output: Path | None = None
    """CSV, Parquet or JSON-lines file. None: tables on the terminal."""
    data: Annotated[Path | None, tyro.conf.arg(name="data.path", metavar="FOLDER")] = None
    """Where the run's dataset is now, for one that was moved. None: where it was in training."""


def main() -> None:
    """Parse the command line, list; jax is imported only after that, so that --help answers at once."""
    flags = tyro.cli(SimilarFlags, prog="python -m lrd_jax.similar", description=inspect.getdoc(SimilarFlags))
    if flags.k < 1:
        raise UserError(f"expected a number from 1, got {flags.k}", field="--k")
    from lrd_jax.command_line.jax_setup import set_up_jax

    set_up_jax(None)
    similar(flags)


def similar(flags: SimilarFlags) -> None:
    """Lists the neighbours of each item by each way of comparing, as tables or in one file.

    Raises:
      UserError: no run in the folder, an unknown item, or a way of comparing that the run does not have.
    """
    import polars as pl

    from lrd_jax.api.run import load_run
    from lrd_jax.data.find_items import named_items
    from lrd_jax.data.requests import check_kind, write_parts
    from lrd_jax.errors import quoted
    from lrd_jax.terminal.lines import say
    from lrd_jax.terminal.lists import print_lists

    if flags.output is not None:
        check_kind(flags.output, "--output")
    run = load_run(flags.run, data=flags.data)
    items = named_items(run.dataset.finder, flags.item)
    frames = []
    for by in flags.by or run.comparisons:
        found = run.similar(items, by=by, k=flags.k)
        frames.append(found.with_columns(by=pl.lit(by)))
        if flags.output is None:
            for item in items:
                name = run.dataset.finder.name(int(run.dataset.own_ids("item", [item])[0]))
                of_item = found.filter(pl.col("item") == item)
                print_lists(of_item.select("rank", "title", "score", item="similar"), f"{name}, by {by}")
    if flags.output is not None:
        say(f"{write_parts(flags.output, [pl.concat(frames)]):,} rows in {quoted(flags.output)}")


if __name__ == "__main__":
    run_command(main)
