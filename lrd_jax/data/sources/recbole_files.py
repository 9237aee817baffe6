"""One of RecBole's atomic files as text columns: tab-separated, the header `name:type`."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from pathlib import Path

import polars as pl

from lrd_jax.data.sources.columns import first_row
from lrd_jax.data.sources.source_ids import clean_ids, refuse_lost_digits
from lrd_jax.data.sources.text_files import utf8
from lrd_jax.data.sources.times import Unit, parse_times
from lrd_jax.data.tables import parse_table, read_bytes
from lrd_jax.errors import UserError

_TYPES = ("token", "token_seq", "float", "float_seq")


@dataclasses.dataclass(frozen=True)
class AtomicFile:
    """A file's fields.

    Attributes:
      path: the file.
      types: of each field, in file order: token, token_seq, float or float_seq.
      cells: a String column per field, named without its type.
      sha256: hexadecimal, of the file.
    """

    path: Path
    types: dict[str, str]
    cells: pl.DataFrame
    sha256: str

    def tokens(self, field: str) -> pl.Series:
        """A field of ids, String [N], as `clean_ids` makes them.

        Raises:
          UserError: there is no such field, a cell is empty, or a float has lost digits of an id.
        """
        cells = self._column(field)
        self._refuse(cells == "", field, "the cell is empty", "Give every line an id")
        refuse_lost_digits(cells, self.path, field)
        return clean_ids(cells)

    def times(self, field: str, unit: Unit | None, form: str | None) -> pl.Series:
        """A field of times, Datetime [N]; see `parse_times`.

        Raises:
          UserError: there is no such field, or a cell is no time.
        """
        return parse_times(self._column(field), unit, form=form, file=self.path, field=field, first_line=2)[0]

    def _column(self, field: str) -> pl.Series:
        if field not in self.cells.columns:
            remedy = f"Name it in the first line (found: {', '.join(self.cells.columns)})"
            raise UserError("the field is missing", file=self.path, line=1, field=field, remedy=remedy)
        return self.cells[field]

    def _refuse(self, wrong: pl.Series, field: str, problem: str, remedy: str) -> None:
        if wrong.any():
            raise UserError(
                problem, file=self.path, line=2 + first_row(wrong.fill_null(True)), field=field, remedy=remedy
            )


def read_atomic(path: Path) -> AtomicFile:
    """Read a file.

    Raises:
      UserError: it cannot be read, is empty, is neither UTF-8 nor marked as UTF-16 or UTF-32, a line has too many or
        too few fields, or the header tells no types.
    """
    data = read_bytes(path)
    cells = _split(path, utf8(data, path))
    types = {}
    for heading in cells.columns:
        name, _, kind = heading.rpartition(":")
        if not name or kind not in _TYPES:
            remedy = f"Write it as name:type, the type one of {', '.join(_TYPES)}"
            raise UserError("the heading tells no type", file=path, line=1, field=heading, remedy=remedy)
        types[name] = kind
    if len(types) < cells.width:
        raise UserError("a field's name comes twice", file=path, line=1, remedy="Give every field its own name")
    named = cells.rename(dict(zip(cells.columns, types, strict=True)))
    return AtomicFile(path, types, named, hashlib.sha256(data).hexdigest())


def _split(path: Path, data: bytes) -> pl.DataFrame:
    """The cells as text, without blanks around. Polars splits; `parse_table` tells what is wrong where it cannot."""
    data = data.rstrip(b"\r\n")
    try:
        cells = pl.read_csv(io.BytesIO(data), separator="\t", quote_char=None, infer_schema=False)
    except pl.exceptions.PolarsError:
        return parse_table(path, data).cells
    lines = data.count(b"\n")
    # It takes a line with too few fields as one with empty ones, and gives a second column of a name another.
    whole = cells.height == lines > 0 and data.count(b"\t") == (lines + 1) * (cells.width - 1)
    if not whole or any(f"{name}_duplicated_0" in cells.columns for name in cells.columns):
        return parse_table(path, data).cells
    return cells.select(pl.all().fill_null("").str.strip_chars())
