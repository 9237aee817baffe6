"""Text tables, written as Markdown and printed on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.markup import escape
from rich.table import Table

from lrd_jax.terminal.tables import print_table


class Grid(NamedTuple):
    """A table: the first column has row names, the others numbers."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def to_markdown(grid: Grid, *, level: int = 2) -> str:
    """The table below a heading of this level."""
    lines = [grid.header, ["---", *["---:"] * (len(grid.header) - 1)], *grid.rows]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return f"{'#' * level} {grid.title}\n\n{table}\n"


def show(grid: Grid) -> None:
    """Prints the table; at its natural width if stdout is not a terminal."""
    table = Table(title=escape(grid.title))
    for number, name in enumerate(grid.header):
        table.add_column(escape(name), justify="right" if number else "left")
    for row in grid.rows:
        table.add_row(*map(escape, row))
    print_table(table)
