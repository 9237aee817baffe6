"""Tables that people bring: CSV, TSV, Parquet or JSON lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from lrd_jax.data.sources.columns import first_row, refuse_nested, require_columns
from lrd_jax.data.sources.delimited import TextLayout, read_delimited
from lrd_jax.data.sources.json_lines import read_json
from lrd_jax.data.sources.source_ids import clean_ids, refuse_lost_digits
from lrd_jax.data.sources.text_files import name_within, plain_text
from lrd_jax.errors import UserError
from lrd_jax.files import refuse_irregular

_KINDS = {".csv": "csv", ".tsv": "tsv", ".txt": "tsv", ".parquet": "parquet", ".pq": "parquet"}
_KINDS |= {".jsonl": "json", ".ndjson": "json", ".json": "json"}


def read_table(file: Path, columns: Sequence[str] | None = None, *, layout: TextLayout | None = None) -> pl.DataFrame:
    """Read a table; cells of CSV and TSV stay text, "" or null where they are empty, and the others keep their types.

    Args:
      file: named .csv, .tsv, .parquet or .jsonl, else taken for CSV; a text file may be packed (.gz, .zip, ...).
      columns: which to read. None: all.
      layout: of a text file's fields. None: by its ending.

    Raises:
      UserError: it cannot be read, or a column is missing.
    """
    file = Path(file)
    refuse_irregular(file)
    if not file.is_file():
        raise UserError("there is no such file", file=file, remedy="Correct the path")
    kind = "csv"
    try:
        kind = _KINDS.get(Path(name_within(file)).suffix.lower(), "csv")
        if kind == "parquet":
            rows = pl.scan_parquet(file)
            found = rows.collect_schema().names()
            require_columns(file, found, columns or ())
            return rows.select(found if columns is None else columns).collect(engine="streaming")
        with plain_text(file) as path:
            if kind == "json":
                return read_json(path, file, columns)
            return read_delimited(path, file, columns, layout or TextLayout(), tabs=kind == "tsv")
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        problem = " ".join(str(error).split())[:200]
        remedy = f"Save it as a proper {kind.upper()} file, UTF-8 where it is text, or name its kind by its ending"
        raise UserError(f"it cannot be read ({problem})", file=file, remedy=remedy) from None


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
    refuse_lost_digits(table[column], file, column)
    keys = clean_ids(table[column])
    again = keys.is_not_null() & ~keys.is_first_distinct()
    if again.any():
        row = first_row(again)
        problem = f"row {row + 1} has {keys[row]!r} a second time"
        raise UserError(problem, file=file, field=column, remedy="Keep one row for each")
    return table.with_columns(keys.alias(column)).filter(keys.is_not_null())
