"""Reads tab-separated files as typed columns; every error gives file, line and field.

Polars does the bulk work, but not its CSV reader: quotation marks have no special meaning in these files (a single one
in an item's text would swallow the lines after it), and errors must name the line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from lrd_jax.errors import UserError, quoted
from lrd_jax.files import refuse_irregular

INT32_MAX = 2**31 - 1
_INTEGER = r"^-?(?:0|[1-9][0-9]*)$"
_BLANKS = r"[ \t\r\n]*"  # JSON's white space; \s would also match no-break spaces and vertical tabs
_INTEGER_LIST = r"^\[B(?:-?(?:0|[1-9][0-9]*)(?:B,B-?(?:0|[1-9][0-9]*))*B)?\]$".replace("B", _BLANKS)


@dataclasses.dataclass(frozen=True)
class Table:
    """A file's rows as text.

    Attributes:
      path: the file.
      cells: one string column per field, in file order, without surrounding white space.
      first_line: 1-based line of the first row.
    """

    path: Path
    cells: pl.DataFrame
    first_line: int

    def require(self, *fields: str) -> None:
        """Raises UserError if a column is missing."""
        for field in fields:
            if field not in self.cells.columns:
                found = ", ".join(map(quoted, self.cells.columns))
                remedy = f"Add it to the tab-separated first line (found: {found})"
                raise UserError("the column is missing", file=self.path, line=1, field=field, remedy=remedy)

    def refuse(self, wrong: np.ndarray | pl.Series, field: str, problem: str, remedy: str) -> None:
        """Raises UserError for the first row where `wrong` (bool [N]) is true.

        `problem` may quote the cell as {cell}, shortened if it is long.
        """
        wrong = np.asarray(wrong)
        if wrong.any():
            row = int(wrong.argmax())
            cell = self.cells[field][row]
            cell = cell if len(cell) <= 60 else cell[:57] + "..."
            message = problem.replace("{cell}", repr(cell))
            raise UserError(message, file=self.path, line=self.first_line + row, field=field, remedy=remedy)


def read_bytes(path: Path) -> bytes:
    """The file's bytes; raises UserError if it is missing, not a regular file, unreadable or empty."""
    refuse_irregular(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError("the file is missing", file=path, remedy="Add it, or choose another dataset folder") from None
    except OSError as error:
        raise UserError(f"the file cannot be read ({error.strerror})", file=path) from None
    if not data.strip():
        raise _empty(path)
    return data


def _empty(path: Path) -> UserError:
    return UserError("the file is empty", file=path, remedy="Copy or download it again")


def parse_table(path: Path, data: bytes, *, columns: Sequence[str] | None = None) -> Table:
    """Splits tab-separated UTF-8 text into string columns.

    Args:
      path: where the data came from, for messages.
      data: the file's bytes.
      columns: names of the columns of a file without a header; None: the first line is the header.

    Raises:
      UserError: the file is empty, not UTF-8 or has no rows, a line has too many or too few fields, or a column name
        appears twice.
    """
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError("the text is not UTF-8", file=path, line=line, remedy="Save the file as UTF-8") from None
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:  # only a byte order mark or Unicode white space
        raise _empty(path)
    header = 0
    if columns is None:
        columns, header = [name.strip() for name in lines[0].split("\t")], 1
        for i, name in enumerate(columns):
            if not name or name in columns[:i]:
                remedy = "Give every column its own name"
                raise UserError("a column name is empty or appears twice", file=path, line=1, field=name, remedy=remedy)
    if len(lines) == header:
        raise UserError("the file has no rows", file=path, remedy="Copy or download it again")
    fields = pl.Series("fields", lines[header:], dtype=pl.String).str.split("\t")
    num_fields = fields.list.len().to_numpy()
    wrong = num_fields != len(columns)
    if wrong.any():
        row = int(wrong.argmax())
        problem = f"the line has {num_fields[row]} tab-separated fields, not {len(columns)} ({', '.join(columns)})"
        raise UserError(problem, file=path, line=header + row + 1, remedy="Separate the fields with single tabs")
    cells = fields.to_frame().select(
        pl.col("fields").list.get(i).str.strip_chars().alias(name) for i, name in enumerate(columns)
    )
    return Table(path, cells, header + 1)


def integer_column(table: Table, field: str, *, low: int, meaning: str) -> np.ndarray:
    """A column of whole numbers as int32 [N].

    Args:
      table: the file.
      field: the column.
      low: smallest allowed value.
      meaning: what the numbers are, with article, for messages: "an item id".

    Raises:
      UserError: the column is missing, or a cell is not a whole number, is below `low`, or does not fit in 32 bits.
    """
    table.require(field)
    cells = table.cells[field]
    remedy = f"Write {meaning} as a whole number from {low} to {INT32_MAX}"
    table.refuse(~cells.str.contains(_INTEGER), field, "{cell} is not a whole number", remedy)
    values = cells.cast(pl.Int64, strict=False)  # null: does not fit in 64 bits
    table.refuse((values < low).fill_null(False), field, f"{{cell}} is below {low}", remedy)
    table.refuse((values > INT32_MAX).fill_null(True), field, "{cell} does not fit in 32 bits", remedy)
    return values.to_numpy().astype(np.int32)


def list_column(table: Table, field: str, *, meaning: str, scalars: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A column of JSON lists of ids from 1, flattened.

    Args:
      table: the file.
      field: the column.
      meaning: what the lists contain, in the plural, for messages: "item ids".
      scalars: also accept a number as a list of one, and 0 or an empty cell as the empty list.

    Returns:
      (values int32 [total], lengths int64 [N]), one length per row.

    Raises:
      UserError: the column is missing, or a list does not parse or contains an id below 1 or beyond 32 bits.
    """
    table.require(field)
    cells = table.cells[field]
    remedy = f"Write a JSON list of {meaning}, such as [3, 1, 2]" + (", or 3, or 0 for none" if scalars else "")
    if scalars:
        cells = (
            pl.select(
                pl.when(cells.is_in(["", "0"])).then(pl.lit("[]"))
                .when(cells.str.contains(_INTEGER)).then("[" + cells + "]")
                .otherwise(cells)
            ).to_series()
        )  # fmt: skip
    table.refuse(~cells.str.contains(_INTEGER_LIST), field, "{cell} is not a list of whole numbers", remedy)
    # A number of 19 digits or more may not fit the JSON reader's 64 bits.
    table.refuse(cells.str.contains("[0-9]{19}"), field, "{cell} contains a number beyond 32 bits", remedy)
    lists = cells.str.json_decode(pl.List(pl.Int64))
    table.refuse((lists.list.min() < 1).fill_null(False), field, "{cell} contains an id below 1", remedy)
    over = (lists.list.max() > INT32_MAX).fill_null(False)
    table.refuse(over, field, "{cell} contains a number beyond 32 bits", remedy)
    return lists.explode().drop_nulls().to_numpy().astype(np.int32), lists.list.len().to_numpy().astype(np.int64)
