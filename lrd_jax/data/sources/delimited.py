"""Reads CSV, TSV and other delimited text as text cells.

Polars reads the files that it reads correctly: those without quotation marks, or with marks that open and close on the
same line. All other files, and those that polars rejects, are read record by record with Python's `csv`. That is
slower, but errors name the line, and an unintended field over several lines is detected.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import polars as pl

from lrd_jax.data.sources.columns import require_columns
from lrd_jax.data.sources.text_files import refuse_other_encodings
from lrd_jax.errors import UserError
from lrd_jax.terminal.lines import warn

Quote = Literal["none", "double", "single"]

_MARKS = {"none": None, "double": '"', "single": "'"}
_SEPARATORS = (",", "\t", ";", "|")
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # Excel writes it before the header
_DATA = re.compile(r"[+-]?\d+(\.\d+)?|\d{4}-\d\d-\d\d.*")  # values that are not column names
_RECORDS_AT_ONCE = 100_000
_NO_LINE_HAS = "\x1f"


@dataclasses.dataclass(frozen=True)
class TextLayout:
    """The format of the fields in a text file.

    Attributes:
      separator: one character or \\t. None: as given by a first line such as sep=;, else a comma, or a tab in .tsv and
        .txt; if the header does not contain it, the tab, comma, semicolon or bar in the header.
      quote: the quotation marks around fields. None: none for tab-separated .tsv and .txt files, else double.
      header: whether the first line has the column names. False: the columns are named 1, 2, ...
    """

    separator: str | None = None
    quote: Quote | None = None
    header: bool = True


@dataclasses.dataclass(frozen=True)
class _Form:
    """The `TextLayout` determined for one file.

    Attributes:
      file: the path as the user gave it.
      separator: one character.
      mark: the quotation mark; None: quotation marks have no special meaning.
      certain: whether the user chose the mark.
      blanks: whether a space follows the first separator.
      skipped: number of lines before the first row.
      names: the column names; empty until they are known.
    """

    file: Path
    separator: str
    mark: str | None
    certain: bool
    blanks: bool
    skipped: int
    names: tuple[str, ...] = ()


def read_delimited(
    path: Path, file: Path, columns: Sequence[str] | None, layout: TextLayout, *, tabs: bool
) -> pl.DataFrame:
    """Reads a table as text; an empty cell is null or "". Ignores white space around column names, and blank lines.

    Args:
      path: plain UTF-8 (`lrd_jax.data.sources.text_files.plain_text`).
      file: the path as the user gave it.
      columns: the columns to read. None: all that have a name.
      layout: format of the file.
      tabs: whether the file's extension implies tab-separated fields.

    Raises:
      UserError: the file is empty or not UTF-8, a column is missing or repeated, a line has too many fields, a
        quotation mark is not closed, or a field that spans several lines may be a mistake.
    """
    csv.field_size_limit(2**31 - 1)  # for the whole process; some texts exceed Python's limit of 131,072 characters
    try:
        form = _decided(path, file, layout, tabs)
        chosen = _chosen(form, columns, layout)
        rows = _read_fast(path, form, chosen)
        rows = _read_slowly(path, form, chosen) if rows is None else rows
    except UnicodeDecodeError:
        refuse_other_encodings(path, file)
        raise
    return rows.rename(dict(zip(rows.columns, (form.names[i] for i in chosen), strict=True)))


def _decided(path: Path, file: Path, layout: TextLayout, tabs: bool) -> _Form:
    separator = "\t" if layout.separator == "\\t" else layout.separator
    if separator is not None and len(separator.encode()) != 1:
        remedy = "Give one ASCII character (\\t for a tab), or replace the separator in the file"
        raise UserError(f"{separator!r} is not one character", field="--separator", remedy=remedy)
    with path.open(encoding="utf-8", newline="") as lines:
        told, first, skipped = None, next(lines, ""), 0
        while first and (not first.strip() or (told := _SEPARATOR_LINE.fullmatch(first.rstrip("\r\n")))):
            separator = told[1] if told and separator is None else separator
            told, first, skipped = None, next(lines, ""), skipped + 1
        if not first:
            raise UserError("the file is empty", file=file, remedy="Copy or download it again")
        if separator is None:
            usual = "\t" if tabs else ","
            separator = next((mark for mark in (usual, *_SEPARATORS) if mark in first), usual)
        mark = _MARKS[layout.quote or ("none" if tabs and separator == "\t" else "double")]
        blanks = first.partition(separator)[2].startswith(" ")
        form = _Form(file, separator, mark, layout.quote is not None, blanks, skipped)
        _, num_lines, cells = next(_records(itertools.chain((first,), lines), form))
    if layout.header:
        return dataclasses.replace(form, skipped=skipped + num_lines, names=tuple(cell.strip() for cell in cells))
    return dataclasses.replace(form, names=tuple(str(i) for i in range(1, len(cells) + 1)))


def _chosen(form: _Form, columns: Sequence[str] | None, layout: TextLayout) -> list[int]:
    """The positions of the columns to read; warns if the header looks like a row."""
    line = max(form.skipped, 1)
    for i, name in enumerate(form.names):
        if name and name in form.names[:i]:
            raise UserError("two columns have this name", file=form.file, line=line, field=name, remedy="Rename one")
    data = [name for name in form.names if layout.header and _DATA.fullmatch(name)]
    remedy = "Choose another column"
    if data:
        remedy = "If the file has no header, add --no-header and give columns by number, as in --user 1 --item 2"
    require_columns(form.file, form.names, columns or (), remedy, line)
    if long := [name for name in data if len(name) > 4]:
        warn(f"{form.file}: the first line is read as the header but looks like a row ({long[0]}); see --no-header")
    wanted = [name for name in form.names if name] if columns is None else columns
    return [form.names.index(name) for name in wanted]


def _read_fast(path: Path, form: _Form, chosen: Sequence[int]) -> pl.DataFrame | None:
    """The chosen columns, read by polars; None if it would not read them correctly."""
    scan = functools.partial(pl.scan_csv, path, has_header=False, skip_lines=form.skipped, infer_schema=False)
    try:
        lines = scan(separator=_NO_LINE_HAS, quote_char=None, schema={"line": pl.String})
        marked, short = _facts(lines, form)
        if marked is None:
            return None
        schema = dict.fromkeys(map(str, range(len(form.names))), pl.String)
        mark = form.mark if marked else None
        rows = scan(separator=form.separator, quote_char=mark, schema=schema)
        wanted = [str(i) for i in chosen]
        table = rows.select(wanted).collect(engine="streaming")
        if table.select(_blank().any()).item():  # the other columns show whether the line is blank
            table = rows.filter(~_blank()).select(wanted).collect(engine="streaming")
    except pl.exceptions.PolarsError:
        return None
    _warn_of_short_lines(short, form)
    return table


def _facts(lines: pl.LazyFrame, form: _Form) -> tuple[bool | None, list[int]]:
    """Whether lines have quotation marks, and which lines without them have too few fields.

    The first is None if a line has too many fields (polars ignores them in columns that are not read), or quotation
    marks that are not in pairs around its fields.
    """
    line, most = pl.col("line"), len(form.names) - 1
    is_marked = pl.lit(False) if form.mark is None else line.str.contains(form.mark, literal=True)
    number = line.str.count_matches(form.separator, literal=True)
    plain = lines.with_row_index("number", offset=form.skipped + 1).filter(~is_marked, number != most)
    uneven = plain.select("number", breaks=number, filled=line.str.contains(r"\S")).collect(engine="streaming")
    if (uneven["breaks"] > most).any():
        return None, []
    short = uneven.filter("filled")["number"].to_list()
    if form.mark is None:
        return False, short
    mark, separator = form.mark, re.escape(form.separator)
    field = f"(?:{mark}(?:[^{mark}]|{mark}{mark})*{mark}|[^{mark}{separator}]*)"
    even = line.str.contains(f"^{field}(?:{separator}{field}){{0,{most}}}$")
    found = lines.filter(is_marked).select(pl.len(), even.all().alias("even")).collect(engine="streaming")
    return (found["len"][0] > 0) if found["even"][0] else None, short


def _warn_of_short_lines(lines: Sequence[int], form: _Form) -> None:
    if lines:
        what = "1 line has" if len(lines) == 1 else f"{len(lines):,} lines have"
        fields = f"fewer than {len(form.names)} fields (first: line {lines[0]})"
        warn(f"{form.file}: {what} {fields}; missing fields are read as empty")


def _blank() -> pl.Expr:
    return pl.all_horizontal(pl.all().str.strip_chars().fill_null("") == "")


def _read_slowly(path: Path, form: _Form, chosen: Sequence[int]) -> pl.DataFrame:
    """The chosen columns, record by record.

    Raises:
      UserError: see `_records`; also if a line has too many fields.
    """
    width, schema, short = len(form.names), {str(i): pl.String for i in chosen}, []
    frames = [pl.DataFrame(schema=schema)]
    with path.open(encoding="utf-8", newline="") as source:
        records = _records(itertools.islice(source, form.skipped, None), form)
        while block := list(itertools.islice(records, _RECORDS_AT_ONCE)):
            rows = []
            for line, _, cells in block:
                if len(cells) > width:
                    problem = f"the line has {len(cells)} fields, not {width} ({', '.join(form.names)})"
                    remedy = "Fix the line, or set --separator or --quote"
                    raise UserError(problem, file=form.file, line=line, remedy=remedy)
                if any(cell.strip() for cell in cells):
                    short += [line] if len(cells) < width else []
                    rows.append([cells[i] if i < len(cells) else None for i in chosen])
            frames.append(pl.DataFrame(rows, schema=schema, orient="row"))
    _warn_of_short_lines(short, form)
    return pl.concat(frames)


def _records(lines: Iterator[str], form: _Form) -> Iterator[tuple[int, int, list[str]]]:
    """For each record, the number of its first line, its number of lines, and its fields.

    Raises:
      UserError: a quotation mark is not closed or closed too early, or the lines of a record could also be separate
        rows.
    """
    taken: list[str] = []
    first = form.skipped + 1

    def followed() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line

    marks = {"quoting": csv.QUOTE_NONE} if form.mark is None else {"quotechar": form.mark}
    reader = csv.reader(
        followed(),
        delimiter=form.separator,
        strict=True,
        skipinitialspace=form.blanks and form.mark is not None,
        **marks,
    )
    remedy = "If quotation marks are part of the text, add --quote none; if they enclose fields, double the other ones"
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            problem = "a quotation mark that opens a field is not closed"
            if "end of data" not in str(error):
                where = f"on line {first + len(taken) - 1}" if len(taken) > 1 else "here"
                problem = f"a quotation mark opens a field, and {where} text follows the closing one"
            raise UserError(problem, file=form.file, line=first, remedy=remedy) from None
        if fields is None:
            return
        if len(taken) > 1 and not form.certain and len(form.names) > 1:
            whole = [line.count(form.separator) == len(form.names) - 1 for line in taken if line.strip()]
            if whole[0] and whole[-1] and 2 * sum(whole) >= len(whole):
                problem = f"this and the next {len(taken) - 1} lines are one row if quotation marks enclose fields, "
                problem += "and separate rows if not"
                remedy = "Choose --quote double or --quote none"
                raise UserError(problem, file=form.file, line=first, remedy=remedy)
        yield first, len(taken), fields
        first += len(taken)
        taken.clear()
