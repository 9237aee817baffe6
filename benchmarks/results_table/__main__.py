"""`python -m benchmarks.results_table`: show, write and check the tables of docs/results.md, collect runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks.results_table.collect import add_evaluations, add_runs
from benchmarks.results_table.markdown import fill, has_tables
from benchmarks.results_table.store import FOLDER, read_outcomes, read_store, target_popularity, write_store
from lrd_jax.command_line.parse import run_command
from lrd_jax.errors import UserError
from lrd_jax.study.cells import parse_folders, read_variants
from lrd_jax.study.popularity import by_popularity
from lrd_jax.study.report import build_report, markdown_report

ROOT = FOLDER.parents[1]
Words = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=FOLDER ...")]


def show() -> None:
    """Print every table."""
    for name, table in _tables().items():
        print(f"<!-- table: {name} -->\n\n{table}\n")


def collect(
    folder: tyro.conf.Positional[Path],
    name: str,
    variant: str | None = None,
    data: Words = (),
    evaluations: tuple[Path, ...] = (),
) -> None:
    """Add the finished runs of a folder to the tables; runs of the same names are replaced.

    Args:
      folder: Of a study (DATASET/VARIANT/seedN), of DATASET folders, or of one run.
      name: What the study is called in the tables.
      variant: What a run is called whose path does not say it. None: as the study.
      data: Where datasets lie that the tables do not know yet and that are not where the runs say.
      evaluations: Files that `evaluate --json` wrote of these runs.
    """
    store = add_runs(read_store(), folder, name, parse_folders(data), variant)
    for file in evaluations:
        store = add_evaluations(store, file, name)
    write_store(store)
    print(f"{len(store.runs)} runs and {len(store.evaluations)} lines of evaluations in {FOLDER}")


def write() -> None:
    """Write the tables into the pages that have a place for them."""
    for page, text in _pages().items():
        page.write_text(text)


def check() -> None:
    """Compare the pages with the tables; exit code 2 where they differ."""
    for page, text in _pages().items():
        if text != page.read_text():
            remedy = "Run python -m benchmarks.results_table write"
            raise UserError("the tables are not those of docs/results", file=page, remedy=remedy)


def report(study: tyro.conf.Positional[str], variants: Path, datasets: tuple[str, ...] = ("ml-100k", "office")) -> None:
    """Print what `lrd_jax.study table` writes into table.md, of stored runs: tests and slices are computed again.

    Args:
      study: Its name in the tables.
      variants: The study's TOML file of variants.
      datasets: Which.
    """
    store = read_store()
    outcomes = read_outcomes(store, study, datasets, read_variants(variants))
    if not outcomes:
        known = ", ".join(store.runs["study"].unique().sort())
        raise UserError(f"there are no runs of {study!r}", file=FOLDER / "runs.parquet", remedy=f"There are {known}")
    seeds = sorted({seed for outcome in outcomes for seed in outcome.results})
    command = f"python -m benchmarks.results_table report {study} --variants {variants}"
    found, failures = build_report(outcomes, seeds, command=command)
    if failures:
        raise UserError("; ".join(map(str, failures.values())).rstrip("."))
    found["by_popularity"] = by_popularity(outcomes, partial(target_popularity, store))
    print(markdown_report(found))


def _pages() -> dict[Path, str]:
    """What each page with tables should hold."""
    tables = _tables()
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]
    return {page: fill(page.read_text(), tables) for page in pages if has_tables(page.read_text())}


def _tables() -> dict[str, str]:
    from benchmarks.results_table.tables import TABLES

    store = read_store()
    return {name: table(store) for name, table in TABLES.items()}


def main() -> None:
    """Parse the command line and run the command."""
    commands = {"show": show, "collect": collect, "write": write, "check": check, "report": report}
    description = "The runs behind docs/results.md, kept in docs/results, and the page's tables made of them."
    tyro.extras.subcommand_cli_from_dict(commands, prog="python -m benchmarks.results_table", description=description)


if __name__ == "__main__":
    run_command(main)
