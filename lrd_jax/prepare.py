"""python -m lrd_jax.prepare ml-100k: get a public dataset and make a dataset folder of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from lrd_jax.cli import run_command


def prepare(
    dataset: Annotated[Literal["ml-100k"], tyro.conf.Positional],
    source: Path | None = None,
    out: Path | None = None,
    seed: int = 0,
    negatives: int = 99,
) -> None:
    """Get a dataset and write its folder: 5-core filter, leave-one-out split, negatives, relations, texts.

    Args:
      dataset: Which dataset.
      source: A copy of the data: GroupLens's ml-100k.zip, its unpacked folder, recbole's ml-100k folder, or a recbole
        wheel. None: an earlier download, else GroupLens, else the recbole wheel.
      out: Dataset folder to write. None: in the cache, where `train` looks for it.
      seed: Seed of the negatives.
      negatives: Negatives per user, in dev and in test each.
    """
    from rich.console import Console
    from rich.table import Table

    from lrd_jax.data.movielens import default_folder, prepare_ml_100k

    folder = out if out is not None else default_folder(seed=seed, num_negatives=negatives)
    prepared = prepare_ml_100k(folder, source=source, seed=seed, num_negatives=negatives)
    table = Table(title=dataset)
    for name in prepared.sizes:
        table.add_column(name, justify="right")
    table.add_row(*(f"{size:,}" for size in prepared.sizes.values()))
    Console().print(table)
    print(f"source: {prepared.source}")  # plain lines: rich would wrap them
    print(f"folder: {prepared.folder}")


def main() -> None:
    """Parse the command line and prepare the dataset."""
    tyro.cli(prepare, prog="python -m lrd_jax.prepare")


if __name__ == "__main__":
    run_command(main)
