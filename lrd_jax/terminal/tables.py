"""Tables that fit the terminal: names are shortened, numbers never; columns that do not fit are left out and listed."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from lrd_jax.errors import printable

_CUTS = ((12, 2), (4, 1))
"""Minimum length of shortened names, and of number columns that must then fit; the second pair is the fallback."""


def print_table(table: Table) -> None:
    """Prints a table; its right-justified columns are numbers.

    If stdout is not a terminal, the table has its natural width, because a file or a pipe has no width.
    """
    console = Console()
    if not console.is_terminal:
        console.width = sys.maxsize
    more = "…" if console.encoding.startswith("utf") else "."
    fitting, left_out = fit(table, console.width, more)
    widest = console.options.update(width=sys.maxsize)
    console.width = max(console.width, console.measure(fitting, options=widest).maximum)  # the terminal wraps it
    console.print(fitting)
    if left_out:
        console.print(f"columns that do not fit: {', '.join(left_out)}", markup=False, highlight=False)


def fit(table: Table, width: int, more: str = "…") -> tuple[Table, list[str]]:
    """A table with the same rows that is at most `width` wide, if possible, and the number columns that it leaves out.

    Args:
      table: a table with text cells.
      width: maximum width in characters.
      more: one character that marks shortened text.
    """
    headers = [_plain(column.header) for column in table.columns]
    cells = [[_plain(cell) for cell in column.cells] for column in table.columns]
    natural = [max(map(cell_len, (header, *column))) for header, column in zip(headers, cells, strict=True)]
    figures = [n for n, column in enumerate(table.columns) if column.justify == "right"]
    names = [n for n in range(len(natural)) if n not in figures]
    widths = dict(enumerate(natural))
    tries = [
        (cut, number) for cut, fewest in _CUTS for number in range(len(figures), min(fewest, len(figures)) - 1, -1)
    ]
    for shortest, number in tries:
        tried = _widths({n: natural[n] for n in sorted([*names, *figures[:number]])}, names, shortest, width)
        if tried is not None:
            widths = tried
            break
    title, caption = (text if text is None else Text(_plain(text)) for text in (table.title, table.caption))
    fitting = Table(title=title, caption=caption)
    for n in widths:
        justify = table.columns[n].justify
        fitting.add_column(Text(_cut(headers[n], widths[n], more)), justify=justify, no_wrap=True)
    for number, row in enumerate(table.rows):
        fitting.add_row(*(Text(_cut(cells[n][number], widths[n], more)) for n in widths), end_section=row.end_section)
    return fitting, [headers[n] for n in figures if n not in widths]


def _widths(natural: dict[int, int], names: Sequence[int], shortest: int, width: int) -> dict[int, int] | None:
    """The widths of columns, with names shortened to no less than `shortest`; None if that is not enough."""
    widths = dict(natural)
    while sum(widths.values()) + 3 * len(widths) + 1 > width:
        longest = max(names, key=widths.__getitem__, default=None)
        if longest is None or widths[longest] <= shortest:
            return None
        widths[longest] -= 1
    return widths


def _cut(text: str, width: int, more: str) -> str:
    """A text shortened to this many characters; a path keeps its end, which distinguishes runs."""
    if cell_len(text) <= width:
        return text
    is_path = "/" in text
    while text and cell_len(text) > width - 1:
        text = text[1:] if is_path else text[:-1]
    return more + text if is_path else text + more


def _plain(cell: RenderableType) -> str:
    assert isinstance(cell, str | Text)
    return printable(cell.plain if isinstance(cell, Text) else Text.from_markup(cell).plain)
