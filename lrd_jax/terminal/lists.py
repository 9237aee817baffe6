"""Lists and reasons as tables on the terminal."""

from __future__ import annotations

import polars as pl
from rich.markup import escape
from rich.table import Table

from lrd_jax.errors import printable
from lrd_jax.terminal.tables import print_table

_ITEMS, _RELATIONS = 3, 2
"""How many history items are shown of each recommended item, and how many relations of each; the rest is added up."""


def print_lists(lists: pl.DataFrame, title: str, before: pl.DataFrame | None = None) -> None:
    """Print one list.

    Args:
      lists: what `Run.recommend` returns, of one user or history.
      title: above the table.
      before: the whole ranking before the history was changed. None: it was not.
    """
    table = Table(title=escape(printable(title)))
    ranks = {} if before is None else dict(before.select("item", "rank").iter_rows())
    for name in ("rank", *(() if before is None else ("rank before",))):
        table.add_column(name, justify="right")
    table.add_column("item")
    table.add_column("title")
    table.add_column("score", justify="right")
    for row in lists.iter_rows(named=True):
        earlier = () if before is None else (str(ranks.get(row["item"], "-")),)
        name = escape(printable(row["title"] or ""))
        table.add_row(str(row["rank"]), *earlier, escape(printable(row["item"])), name, f"{row['score']:.3f}")
    print_table(table)


def print_reasons(reasons: pl.DataFrame) -> None:
    """Print the strongest reasons of each item of one list; `reasons` is what `Run.explain` returns, with ranks."""
    relational = reasons["relation"].null_count() < len(reasons)
    table = Table(title="why: what adds up to the score" if relational else "why: score with the item minus without it")
    table.add_column("rank", justify="right")
    table.add_column("recommended")
    table.add_column("because of")
    if relational:
        table.add_column("mostly through")
    table.add_column("adds", justify="right")
    for (rank,), of_item in reasons.sort("rank", maintain_order=True).group_by("rank", maintain_order=True):
        first = of_item.row(0, named=True)
        which = (str(rank), escape(printable(first["candidate_title"] or first["candidate"])))
        by_item = of_item.group_by("place", maintain_order=True).agg(
            pl.col("item", "title").first(), pl.col("contribution").sum()
        )
        by_item = by_item.sort(pl.col("contribution").abs(), descending=True, maintain_order=True)
        rest = by_item.slice(_ITEMS)
        middle = ("",) if relational else ()
        if relational:
            table.add_row(*which, "(no history: taste and popularity)", "", f"{first['baseline']:+.3f}")
        for row in by_item.head(_ITEMS).iter_rows(named=True):
            because = escape(printable(row["title"] or row["item"]))
            through = (_through(of_item.filter(pl.col("place") == row["place"])),) if relational else ()
            table.add_row(*which, because, *through, f"{row['contribution']:+.3f}")
        if relational and len(rest):
            table.add_row(*which, f"({len(rest)} more items)", *middle, f"{rest['contribution'].sum():+.3f}")
        table.add_section()
    print_table(table)


def _through(reasons: pl.DataFrame) -> str:
    """The relations through which one history item adds most."""
    strongest = reasons.sort(pl.col("contribution").abs(), descending=True, maintain_order=True).head(_RELATIONS)
    return escape(
        ", ".join(f"{name} {value:+.2f}" for name, value in strongest.select("relation", "contribution").rows())
    )
