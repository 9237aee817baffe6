"""What a column of times holds -> instants in full, as `Datetime("ns")` in UTC.

Recognised from all of the column: numbers of seconds, milliseconds, microseconds or nanoseconds since 1970; ISO 8601
dates with or without a time of day; dates written as one number (20200913, 20200913192640). `form` reads any others.
"""

from __future__ import annotations

import datetime
import functools
import operator
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

import polars as pl

from lrd_jax.data.sources.columns import first_row
from lrd_jax.errors import UserError

Unit = Literal["s", "ms", "us", "ns", "iso"]
FULL = pl.Datetime("ns")
"""The type of a time in full; polars and pandas have none finer."""
FORM_EXAMPLE = "--time-format '%a %b %d %H:%M:%S %z %Y' for Sun Jul 30 07:44:10 -0700 2017"

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_MOST_SECONDS = 10**11  # the year 5138; a larger number of 2001 or later counts something smaller
_ISO = (
    r"^(?P<year>\d{4})(?:-(?P<month>\d\d)-(?P<day>\d\d)|(?P<month_>\d\d)(?P<day_>\d\d))"
    r"(?:[Tt ](?P<hour>\d\d):?(?P<minute>\d\d)(?::?(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?"
    r"\s*(?P<zone>[Zz]|UTC|GMT|[+-]\d\d(?::?\d\d)?)?)?$"
)
_DATE_NUMBER = (
    r"^(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)"
    r"(?:(?P<hour>\d\d)(?:(?P<minute>\d\d)(?:(?P<second>\d\d)(?P<fraction>\d{3})?)?)?)?$"
)
_DATE_DIGITS = (8, 10, 12, 14, 17)
_ROWS_AT_ONCE = 2**20  # since the parts of a date take more memory than the date
_NUMBER = r"^([+-]?)(\d+)(?:\.(\d*))?$"


class _Numbers(NamedTuple):
    """Numbers and the first nine digits behind their points, both Int64 [N]; null for what is no number."""

    whole: pl.Series
    nine: pl.Series


class _Column(NamedTuple):
    """A column and what messages call it; its rows are lines of the file from `first_line` on, or only numbered."""

    values: pl.Series
    file: Path
    field: str
    first_line: int | None

    def cell(self, row: int) -> str:
        return f"{'row' if self.first_line is None else 'line'} {row + (self.first_line or 1)} has {self.values[row]!r}"

    def refuse(self, wrong: pl.Series, problem: str, remedy: str) -> None:
        """Raise UserError for the first row where `wrong`, bool [N], holds."""
        if wrong.any():
            row = first_row(wrong)
            line = None if self.first_line is None else row + self.first_line
            problem = f"{self.cell(row)}, which {problem}"
            raise UserError(problem, file=self.file, line=line, field=self.field, remedy=remedy)

    def refuse_null(self, understood: pl.Series) -> None:
        wrong = understood.is_null()
        problem = "is not understood as a time"
        if wrong.any() and not wrong.all():
            problem += f", while {self.cell(first_row(~wrong))}"
        remedy = f"Correct it, or say what the column holds with --time-unit or --time-format, such as {FORM_EXAMPLE}"
        self.refuse(wrong, problem, remedy)


def parse_times(
    values: pl.Series,
    unit: Unit | None,
    *,
    form: str | None = None,
    file: Path,
    field: str,
    first_line: int | None = None,
) -> tuple[pl.Series, str]:
    """The instants, `FULL` [N], and in words what the column holds: a unit, "ISO dates", ...

    Args:
      values: numbers, text or dates; without a zone they are UTC.
      unit: of numbers, or iso. None: what all values agree on.
      form: of dates, in the letters of Python's `strptime`. None: see the module.
      file, field: for messages.
      first_line: of the file, where every row is a line.

    Raises:
      UserError: a value is missing, is not understood, does not agree with the others, or lies before 1970 or after
        2262, where 64 bits of nanoseconds end.
    """
    if unit is not None and form is not None:
        raise UserError("--time-unit is given as well", field="--time-format", remedy="Leave out one of them")
    column = _Column(values, file, field, first_line)
    if values.dtype.is_temporal():
        found, words = _of_dates(column), "ISO dates"
    elif form is not None:
        found, words = _formatted(values, form), f"dates of the form {form}"
    elif unit == "iso":
        found, words = _iso(_texts(values)), "ISO dates"
    else:
        numbers = _numbers(values)
        dates = _iso(_texts(values)) if unit is None and numbers.whole.null_count() else None
        if dates is not None and dates.count() >= max(numbers.whole.count(), 1):
            found, words = dates, "ISO dates"
        else:
            column.refuse_null(numbers.whole)
            words = _unit(column, numbers) if unit is None else unit
            if words == "date":
                found, words = _dates_as_numbers(numbers), "dates written as numbers"
            else:
                found = _nanoseconds(numbers, words)
    column.refuse_null(found)
    column.refuse(found < 0, "lies before 1970", "Correct it, or remove the row")
    return found.cast(FULL), words


def _texts(values: pl.Series) -> pl.Series:
    return values.cast(pl.String).str.strip_chars()


def _of_dates(column: _Column) -> pl.Series:
    """Nanoseconds of a column of dates, or of dates with their time of day, Int64."""
    kind = column.values.dtype
    if kind not in (pl.Date, pl.Datetime):
        remedy = "Name a column of dates with their times, or of numbers"
        raise UserError(f"its cells are {kind}", file=column.file, field=column.field, remedy=remedy)
    counts = column.values.to_physical().cast(pl.Int64)  # of days or of the unit, in UTC
    if kind == pl.Date:
        return _nanoseconds(_Numbers(86400 * counts, 0 * counts), "s")
    assert isinstance(kind, pl.Datetime)
    return _nanoseconds(_Numbers(counts, 0 * counts), kind.time_unit)


def _nanoseconds(numbers: _Numbers, unit: str) -> pl.Series:
    """Nanoseconds since 1970, Int64; null for what 64 bits do not hold."""
    each = 10**9 // _PER_SECOND[unit]
    most = (2**63 - 1) // each - 1
    whole = numbers.whole.set((numbers.whole > most) | (numbers.whole < -most), None)
    return whole * each + numbers.nine * each // 10**9


def _numbers(values: pl.Series) -> _Numbers:
    """Numbers as they are written, digit by digit: a float does not hold the nanoseconds of our days."""
    if values.dtype.is_float():
        return _of_floats(values)
    if values.dtype.is_integer():
        whole = values.cast(pl.Int64, strict=False)
        return _Numbers(whole, whole * 0)
    texts = _texts(values)
    sign, whole, nine = (texts.str.extract(_NUMBER, part) for part in (1, 2, 3))
    whole = whole.cast(pl.Int64, strict=False)
    nine = nine.fill_null("").str.pad_end(9, "0").str.head(9).cast(pl.Int64)
    below = (sign == "-").fill_null(False)  # as a whole number below it and what is added to that
    whole, nine = (-whole - (nine > 0).cast(pl.Int64)).zip_with(below, whole), (-nine % 10**9).zip_with(below, nine)
    if not whole.null_count():
        return _Numbers(whole, nine)
    floats, other = _of_floats(texts.cast(pl.Float64, strict=False)), whole.is_null()  # such as 1.6e9
    return _Numbers(floats.whole.zip_with(other, whole), floats.nine.zip_with(other, nine))


def _of_floats(values: pl.Series) -> _Numbers:
    values = values.cast(pl.Float64)
    values = values.set(~values.is_finite() | (values.abs() >= 2**63), None)
    whole = values.floor()
    return _Numbers(whole.cast(pl.Int64), ((values - whole) * 1e9).floor().cast(pl.Int64))


def _unit(column: _Column, numbers: _Numbers) -> str:
    """What every number but 0 tells: "date", or by its size a unit.

    Below 10¹¹ it is seconds, below 10¹⁴ milliseconds, below 10¹⁷ microseconds, then nanoseconds. Where half or more of
    the numbers that could be dates from 1900 to 2100 exist in the calendar, they are: of other numbers at most 4% do.

    Raises:
      UserError: they do not tell the same.
    """
    whole = numbers.whole
    could_be = _could_be_dates(whole)
    is_date = _dates_as_numbers(numbers).is_not_null() if could_be.any() else could_be
    if could_be.any() and 2 * is_date.sum() >= could_be.sum():
        usual, other = "date", ~is_date
    else:
        above = whole.filter(whole > 0)
        middle: Any = above.median() if len(above) else 0
        usual = _unit_of(middle)
        place = list(_PER_SECOND).index(usual)
        low, high = _MOST_SECONDS * 1000 ** (place - 1) if place else 0, min(_MOST_SECONDS * 1000**place, 2**63 - 1)
        other = (whole > 0) & ((whole < low) | (whole >= high))
    if other.any():
        alike = column.cell(first_row(~other & (whole > 0)))
        problem = f"looks like {_unit_of(whole[first_row(other)])}, but {alike}, which looks like "
        remedy = "Correct the values, or say what they are with --time-unit or --time-format"
        column.refuse(other, problem + ("a date" if usual == "date" else usual), remedy)
    return usual


def _unit_of(number: float) -> str:
    return next((name for i, name in enumerate(_PER_SECOND) if number < _MOST_SECONDS * 1000**i), "ns")


def _could_be_dates(whole: pl.Series) -> pl.Series:
    """Which numbers have a year from 1900 to 2100 in front and as many digits as a date."""
    ranges = ((1900 * 10 ** (digits - 4), 2101 * 10 ** (digits - 4) - 1) for digits in _DATE_DIGITS)
    return functools.reduce(operator.or_, (whole.is_between(*ends) for ends in ranges))


def _dates_as_numbers(numbers: _Numbers) -> pl.Series:
    """Nanoseconds of dates written as numbers, such as 20200913 and 20200913192640, Int64; null for what is none."""
    dates = numbers.whole.set(~_could_be_dates(numbers.whole) | (numbers.nine > 0), None)
    return _of_parts(dates.cast(pl.String), _DATE_NUMBER)


def _iso(texts: pl.Series) -> pl.Series:
    """Nanoseconds of dates in ISO 8601, Int64; null for what is none."""
    return _of_parts(texts, _ISO)


def _of_parts(texts: pl.Series, pattern: str) -> pl.Series:
    """Nanoseconds of the dates whose parts a pattern names, Int64; null where it finds none, or one that is no day."""
    blocks = (texts.slice(start, _ROWS_AT_ONCE) for start in range(0, max(len(texts), 1), _ROWS_AT_ONCE))
    return pl.concat(_of_block(block, pattern) for block in blocks)


def _of_block(texts: pl.Series, pattern: str) -> pl.Series:
    parts = (
        texts.str.extract_groups(pattern)
        .struct.unnest()
        .with_columns(
            pl.lit(None, pl.String).alias(name) for name in ("zone", "month_", "day_") if f"<{name}>" not in pattern
        )
    )
    day = pl.concat_str("year", pl.coalesce("month", "month_"), pl.coalesce("day", "day_"))
    clock = pl.concat_str(pl.col(name).fill_null("00") for name in ("hour", "minute", "second"))
    local = (day + clock).str.to_datetime("%Y%m%d%H%M%S", strict=False, time_unit="us").dt.epoch("s")
    zone = pl.col("zone").str.extract_groups(r"^([+-]\d\d):?(\d\d)?$")
    hours, minutes = (zone.struct.field(part).cast(pl.Int64).fill_null(0) for part in ("1", "2"))
    offset = 3600 * hours + 60 * pl.when(pl.col("zone").str.starts_with("-")).then(-minutes).otherwise(minutes)
    nine = pl.col("fraction").fill_null("").str.pad_end(9, "0").str.head(9).cast(pl.Int64)
    return _nanoseconds(_Numbers(*parts.select(local - offset, nine.alias("nine"))), "s")


def _formatted(values: pl.Series, form: str) -> pl.Series:
    """Nanoseconds of dates that Python's `strptime` reads, Int64; null for what it does not.

    Raises:
      UserError: a form that it does not know, or one with %Z, of which it knows few names.
    """
    if "%Z" in form.replace("%%", ""):
        remedy = "Write the name itself, such as UTC, where it is always the same; %z reads offsets such as +0200"
        raise UserError("%Z, names of time zones, is not understood", field="--time-format", remedy=remedy)
    texts = _texts(values).str.replace(r"^(\d+)\.0+$", "${1}")  # pandas makes 20200913.0 where some are missing
    known = {text: _since_1970(text, form) for text in texts.drop_nulls().unique()}
    return (
        texts.to_frame("text")
        .select(pl.col("text").replace_strict(list(known), list(known.values()), default=None, return_dtype=pl.Int64))
        .to_series()
    )


def _since_1970(text: str, form: str) -> int | None:
    """Nanoseconds of a date, None where it is not of the form or too far away."""
    try:
        date = datetime.datetime.strptime(text, form)
    except (ValueError, re.error) as error:
        if isinstance(error, re.error) or "in format" in str(error):
            remedy = f"Give it in the letters of Python's strptime, such as {FORM_EXAMPLE}"
            raise UserError(f"{form!r} is not understood ({error})", field="--time-format", remedy=remedy) from None
        return None
    date = date.replace(tzinfo=datetime.UTC) if date.tzinfo is None else date
    since = date - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    nanoseconds = (86400 * since.days + since.seconds) * 10**9 + since.microseconds * 1000
    return nanoseconds if abs(nanoseconds) < 2**63 else None
