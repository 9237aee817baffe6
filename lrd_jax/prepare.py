"""Raw data -> a dataset folder: `python -m lrd_jax.prepare movielens 1m --source ml-1m.zip --out DIR`.

A source is one function here, which reads a `RawDataset` and hands it to `_write`, and one line in COMMANDS.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from lrd_jax.cli import run_command
from lrd_jax.data.options import PrepareOptions
from lrd_jax.errors import UserError

if TYPE_CHECKING:
    from lrd_jax.data.pipeline import Prepared
    from lrd_jax.data.raw import RawDataset
    from lrd_jax.data.templates import ItemTexts

Options = tyro.conf.OmitArgPrefixes[PrepareOptions]


def ml_100k(source: Path | None = None, options: Options = PrepareOptions()) -> None:
    """MovieLens-100k, as in the paper: short for `movielens 100k`.

    Args:
      source: A copy of the data: GroupLens's ml-100k.zip, its unpacked folder, recbole's ml-100k folder, or a recbole
        wheel. None: an earlier download, else GroupLens, else the recbole wheel.
      options: How.
    """
    movielens("100k", source, None, options)


def movielens(
    version: Annotated[Literal["100k", "1m", "20m", "32m"], tyro.conf.Positional],
    source: Path | None = None,
    extra: Path | None = None,
    options: Options = PrepareOptions(),
) -> None:
    """MovieLens, from GroupLens's files: years and genres are attributes.

    Args:
      version: Of GroupLens.
      source: A copy of the data: GroupLens's zip or its unpacked folder. None: an earlier download, else GroupLens.
      extra: CSV, TSV, Parquet or JSON lines with the column movieId and any others, such as director, actors and plot,
        which join the texts in the file's order.
      options: How.
    """
    options.check()
    from lrd_jax.data.movielens import check_published_sizes, read_movielens

    if extra is not None:
        _need_out(options, "--extra")
    raw, words = read_movielens(version, source, extra)
    prepared = _write(raw, options, words)
    if version == "100k":
        check_published_sizes(prepared, options)


COMMANDS = {"ml-100k": ml_100k, "movielens": movielens}


def _need_out(options: PrepareOptions, option: str) -> None:
    """Refuse to write into the cache what is not told by the folder's name."""
    if options.out is None:
        raise UserError("what it makes needs a folder of its own", field=option, remedy="Name one with --out")


def _write(raw: RawDataset, options: PrepareOptions, source: str) -> Prepared:
    """Make the dataset folder and say what it holds.

    Args:
      raw: what was read.
      options: how.
      source: where it was read, in words.
    """
    from rich.console import Console
    from rich.table import Table

    from lrd_jax.data.pipeline import default_folder, prepare_folder

    folder = options.out if options.out is not None else default_folder(raw.name, options)
    prepared = prepare_folder(raw, folder, options)
    table = Table(title=raw.name)
    counts = prepared.sizes | prepared.rows
    for name in counts:
        table.add_column(name, justify="right")
    table.add_row(*(f"{count:,}" for count in counts.values()))
    Console().print(table)
    print(f"split: {prepared.split}")
    if prepared.rows.get("history"):
        print(f"{prepared.rows['history']:,} first interactions from then on are only history, neither dev nor test")
    _show(prepared.texts, options.show)
    print(f"source: {source}")  # plain lines: rich would wrap them
    print(f"folder: {prepared.folder}")
    return prepared


def _show(texts: ItemTexts | None, number: int) -> None:
    """Print statistics of the texts, and the first ones."""
    if texts is None:
        print("texts: none, since nothing is known of the items; the LRD models need item_text.tsv")
        return
    known = len(texts.texts) - texts.empty
    print(f"texts: {known:,} of {len(texts.texts):,} items" + "".join(
        f"; {what}: median {values['median']:,.0f}, most {values['most']:,}, in all {values['total']:,}"
        for what, values in texts.statistics().items()
    ))  # fmt: skip
    for column, cut in texts.cut.items():
        if cut:
            print(f"cut: {cut:,} items in {column}")
    for item, text in enumerate(texts.texts.head(number), start=1):
        print(f"  {item}: {text}")


def main() -> None:
    """Parse the command line and prepare the dataset."""
    tyro.extras.subcommand_cli_from_dict(
        COMMANDS, prog="python -m lrd_jax.prepare", description="Make a dataset folder of raw data."
    )


if __name__ == "__main__":
    run_command(main)
