"""Tables that people bring: CSV, TSV, Parquet or JSON lines, read by polars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from lrd_jax.errors import UserError

_KINDS = {".csv": "csv", ".tsv": "tsv", ".txt": "tsv", ".parquet": "parquet", ".pq": "parquet"}
_KINDS |= {".jsonl": "json", ".ndjson": "json", ".json": "json"}


def read_table(file: Path, columns: Sequence[str] | None = None, *, separator: str | None = None) -> pl.DataFrame:
    """Read a table; cells of CSV and TSV stay text, "" being null, and the others keep their types.

    Args:
      file: named .csv, .tsv, .parquet or .jsonl (.gz after a text file's), else taken for CSV.
      columns: which to read. None: all.
      separator: of the fields of a text file, one character or \\t. None: a comma, in .tsv and .txt a tab.

    Raises:
      UserError: it cannot be read, or a column is missing.
    """
    file = Path(file)
    separator = "\t" if separator == "\\t" else separator
    if separator is not None and len(separator.encode()) != 1:
        remedy = "Give one ASCII character, \\t for a tab, or replace the separator in the file"
        raise UserError(f"{separator!r} is not one character", field="--separator", remedy=remedy)
    suffixes = [suffix.lower() for suffix in file.suffixes if suffix.lower() not in (".gz", ".zst")]
    kind = _KINDS.get(suffixes[-1] if suffixes else "", "csv")
    if not file.is_file():
        raise UserError("there is no such file", file=file, remedy="Correct the path")
    try:
        if kind == "parquet":
            frame = pl.scan_parquet(file)
        elif kind == "json":
            frame = pl.scan_ndjson(file, infer_schema_length=None)
        else:
            mark = separator if separator is not None else ("\t" if kind == "tsv" else ",")
            frame = pl.scan_csv(file, separator=mark, infer_schema=False)
        found = frame.collect_schema().names()
        twice = [name for name in found if f"{name}_duplicated_0" in found]  # polars' name for the second
        if kind in ("csv", "tsv") and twice:
            raise UserError("two columns have this name", file=file, line=1, field=twice[0], remedy="Rename one")
        require_columns(file, found, columns or ())
        return frame.select(found if columns is None else columns).collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        problem = " ".join(str(error).split())[:200]
        remedy = f"Save it as a proper {kind.upper()} file, UTF-8 where it is text, or name its kind by its ending"
        raise UserError(f"it cannot be read ({problem})", file=file, remedy=remedy) from None


def require_columns(
    file: Path, found: Sequence[str], columns: Sequence[str], remedy: str = "Name another column"
) -> None:
    """Refuse a table that lacks one of the columns; `found` are those that it has."""
    for name in columns:
        if name not in found:
            remedy = f"{remedy} (found: {', '.join(found)})"
            raise UserError("the column is missing", file=file, line=1, field=name, remedy=remedy)


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
        kind = table.schema[name]
        kind = kind.inner if lists and kind == pl.List else kind
        if kind.is_nested() or kind == pl.Binary:
            remedy = "Name another column, or give it one number or text in each row" + " or a list of them" * lists
            problem = f"its cells are {table.schema[name]}"
            raise UserError(problem, file=file, field=name, remedy=remedy)


def clean_ids(values: pl.Series) -> pl.Series:
    """Whole numbers as Int64, everything else as text without blanks around it; "" and NaN are null.

    Floats that are all whole count as whole numbers: pandas makes them of those where some are missing.
    """
    if values.dtype.is_float():
        values = values.fill_nan(None)
        whole = values.cast(pl.Int64, strict=False)
        if (values.is_null() | ((whole.cast(values.dtype) == values) & (whole.abs() < 2**53)).fill_null(False)).all():
            return whole
    if values.dtype.is_integer() and values.dtype != pl.UInt64:
        return values.cast(pl.Int64)
    texts = values.cast(pl.String).str.strip_chars()
    return texts.set(texts == "", None)


def keyed_rows(table: pl.DataFrame, column: str, file: Path, remedy: str = "Name another column") -> pl.DataFrame:
    """The rows of a table that have a key, which is as `clean_ids` makes it.

    Args:
      table: from `read_table`.
      column: of the keys.
      file: for messages.
      remedy: where there is no such column.

    Raises:
      UserError: there is no such column, its cells are no single values, or two rows have the same key.
    """
    require_columns(file, table.columns, (column,), remedy)
    refuse_nested(table, (column,), file)
    keys = clean_ids(table[column])
    again = keys.is_not_null() & ~keys.is_first_distinct()
    if again.any():
        row = int(again.arg_max())
        problem = f"row {row + 1} has {keys[row]!r} a second time"
        raise UserError(problem, file=file, field=column, remedy="Keep one row for each")
    return table.with_columns(keys.alias(column)).filter(keys.is_not_null())
