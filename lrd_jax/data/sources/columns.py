"""What the columns of a table that people bring must be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from polars.datatypes import DataTypeClass

from lrd_jax.errors import UserError


def require_columns(
    file: Path, found: Sequence[str], columns: Sequence[str], remedy: str = "Name another column", line: int = 1
) -> None:
    """Refuse a table that lacks one of the columns; `found` are those that its line `line` names."""
    for name in columns:
        if name not in found:
            listed = ", ".join(found[:50]) + (", ..." if len(found) > 50 else "")
            remedy = f"{remedy} (found: {listed})"
            raise UserError("the column is missing", file=file, line=line, field=name, remedy=remedy)


def first_row(wrong: pl.Series) -> int:
    """The first row where `wrong`, bool [N], holds; there is one."""
    row = wrong.arg_max()
    assert row is not None
    return row


def refuse_nested(table: pl.DataFrame, columns: Sequence[str], file: Path, *, lists: bool = False) -> None:
    """Refuse columns of a Parquet or JSON file whose cells are no single values, such as lists, or bytes.

    Args:
      table: from `read_table`.
      columns: that must be plain.
      file: for messages.
      lists: lists of single values are fine.

    Raises:
      UserError: one is not.
    """
    for name in columns:
        kind: pl.DataType | DataTypeClass = table.schema[name]
        kind = kind.inner if lists and isinstance(kind, pl.List) else kind
        if kind.is_nested() or kind == pl.Binary:
            remedy = "Name another column, or give it one number or text in each row" + " or a list of them" * lists
            problem = f"its cells are {table.schema[name]}"
            raise UserError(problem, file=file, field=name, remedy=remedy)
