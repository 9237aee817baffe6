"""python -m lrd_jax.prepare ml-100k: get a public dataset and make a dataset folder of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from lrd_jax.cli import run_command
from lrd_jax.errors import UserError

if TYPE_CHECKING:
    from lrd_jax.data.folder import Dates


def prepare(
    dataset: Annotated[Literal["ml-100k"], tyro.conf.Positional],
    source: Path | None = None,
    out: Path | None = None,
    seed: int = 0,
    negatives: int = 99,
    split: Literal["leave-one-out", "temporal"] = "leave-one-out",
    dev_from: str | None = None,
    test_from: str | None = None,
) -> None:
    """Get a dataset and write its folder: 5-core filter, split, negatives, relations, texts.

    Args:
      dataset: Which dataset.
      source: A copy of the data: GroupLens's ml-100k.zip, its unpacked folder, recbole's ml-100k folder, or a recbole
        wheel. None: an earlier download, else GroupLens, else the recbole wheel.
      out: Dataset folder to write. None: in the cache, where `train` looks for it.
      seed: Seed of the negatives.
      negatives: Negatives per row of dev and test.
      split: leave-one-out: each user's last interaction tests, the one before it is dev. temporal: what happened at
        --test-from or later tests, what happened from --dev-from until then is dev, and what came before trains.
      dev_from: Date such as 1998-03-01 or 1998-03-01T12:00, in UTC. None: a ninth of what precedes --test-from is dev.
      test_from: Date. None: the last tenth of the interactions tests, or with --dev-from the later half from there on.
    """
    temporal = _temporal(split, dev_from, test_from)
    from rich.console import Console
    from rich.table import Table

    from lrd_jax.data.movielens import default_folder, prepare_ml_100k

    folder = out if out is not None else default_folder(seed=seed, num_negatives=negatives, temporal=temporal)
    prepared = prepare_ml_100k(folder, source=source, seed=seed, num_negatives=negatives, temporal=temporal)
    table = Table(title=dataset)
    counts = prepared.sizes | prepared.rows
    for name in counts:
        table.add_column(name, justify="right")
    table.add_row(*(f"{count:,}" for count in counts.values()))
    Console().print(table)
    print(f"split: {prepared.split}")
    if prepared.rows.get("history"):
        print(f"{prepared.rows['history']:,} first interactions from then on are only history, neither dev nor test")
    print(f"source: {prepared.source}")  # plain lines: rich would wrap them
    print(f"folder: {prepared.folder}")


def _temporal(split: str, dev_from: str | None, test_from: str | None) -> Dates | None:
    """The dates of a temporal split, None for leave-one-out.

    Raises:
      UserError: something that is no date, or a date for leave-one-out.
    """
    from lrd_jax.data.dates import parse_date
    from lrd_jax.data.folder import Dates

    given = {"--dev-from": dev_from, "--test-from": test_from}
    if split == "temporal":
        return Dates(*(None if text is None else parse_date(text, field) for field, text in given.items()))
    for field, text in given.items():
        if text is not None:
            raise UserError("leave-one-out has no dates", field=field, remedy="Add --split temporal")
    return None


def main() -> None:
    """Parse the command line and prepare the dataset."""
    tyro.cli(prepare, prog="python -m lrd_jax.prepare")


if __name__ == "__main__":
    run_command(main)
