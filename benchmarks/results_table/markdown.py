"""Markdown tables as docs/results.md has them: figures without the zero before the point, between markers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lrd_jax.errors import UserError

_TABLE = re.compile(r"(?P<start><!-- table: (?P<name>[\w-]+) -->\n\n).*?(?P<end>\n\n<!-- end -->)", re.S)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    text = ["|" + "|".join(f" {cell} " if cell else " " for cell in line) + "|" for line in [header, *rows]]
    return "\n".join([text[0], "|" + "---|" * len(header), *text[1:]])


def figure(value: float) -> str:
    """.4063 of 0.40634."""
    return f"{value:.4f}".removeprefix("0")


def cells(spread: Mapping[str, Mapping[str, Any]], metrics: Iterable[str]) -> list[str]:
    """Mean ± standard deviation of each metric, without the latter where there is one seed."""
    chosen = (spread[metric] for metric in metrics)
    return [figure(v["mean"]) + ("" if v["std"] is None else f" ± {figure(v['std'])}") for v in chosen]


def signed(interval: Sequence[float]) -> str:
    """-0.0124 to +0.0035."""
    return "{:+.4f} to {:+.4f}".format(*interval)


def has_tables(page: str) -> bool:
    """Whether the page has a place for a table."""
    return _TABLE.search(page) is not None


def fill(page: str, tables: Mapping[str, str]) -> str:
    """The page with each table between `<!-- table: NAME -->` and `<!-- end -->` as it is now.

    Raises:
      UserError: the page names an unknown table.
    """

    def table(match: re.Match[str]) -> str:
        if match["name"] not in tables:
            raise UserError(f"there is no table {match['name']!r}", remedy=f"The tables are {', '.join(tables)}")
        return match["start"] + tables[match["name"]] + match["end"]

    return _TABLE.sub(table, page)
