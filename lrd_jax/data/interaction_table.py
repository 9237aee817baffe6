"""Any table of interactions, with or without one of items -> `RawDataset`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import polars as pl

from lrd_jax.data.downloads import digest
from lrd_jax.data.item_tables import RESERVED
from lrd_jax.data.raw import NO_TIMES, RawDataset
from lrd_jax.data.table_files import clean_ids, keyed_rows, read_table, refuse_nested, require_columns
from lrd_jax.data.templates import default_template
from lrd_jax.errors import UserError

Unit = Literal["s", "ms", "us", "ns", "iso"]

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DATE_FORMATS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S%.f")
_MOST_SECONDS = 10**11  # the year 5138; a larger number of 2001 or later counts something smaller


@dataclasses.dataclass(frozen=True)
class InteractionColumns:
    """Where a table of interactions has what.

    Attributes:
      user, item: names of the columns of ids, whatever they look like.
      time: None: the order of the file counts, and the rows' numbers are their times.
      time_unit: None: told by the values.
      rating, min_rating: only rows whose rating is at least this count.
      separator: of the fields of a text file; None: by its ending.
    """

    user: str
    item: str
    time: str | None = None
    time_unit: Unit | None = None
    rating: str | None = None
    min_rating: float | None = None
    separator: str | None = None


@dataclasses.dataclass(frozen=True)
class ItemColumns:
    """Where a table of items has what; every column but the id and the relations can fill a template.

    Attributes:
      file: the table.
      item: name of the column of ids.
      attributes, relations: names of columns, each a value or several of them, or ids of items.
      list_separator: between several values in a cell of a text file.
      separator: of the fields of a text file; None: by its ending.
    """

    file: Path
    item: str
    attributes: tuple[str, ...] = ()
    relations: tuple[str, ...] = ()
    list_separator: str = "|"
    separator: str | None = None


def read_interaction_table(
    file: Path, columns: InteractionColumns, items: ItemColumns | None = None
) -> tuple[RawDataset, list[str]]:
    """Read interactions, and what is known of the items.

    Args:
      file: CSV, TSV, Parquet or JSON lines (`read_table`).
      columns: of the interactions.
      items: of the items; None: nothing is known.

    Returns:
      The data, and in words what was decided on the way.

    Raises:
      UserError: a file or a column is missing, or a cell cannot be understood.
    """
    file = Path(file)
    if (columns.rating is None) != (columns.min_rating is None):
        raise UserError("--rating and --min-rating need each other", remedy="Give both or none")
    names = [columns.user, columns.item, columns.time, columns.rating]
    names = list(dict.fromkeys(name for name in names if name is not None))
    table, said = read_table(file, names, separator=columns.separator), []
    refuse_nested(table, names, file)
    interactions = pl.DataFrame(
        {name: _ids(table[column], file, column) for name, column in (("user", columns.user), ("item", columns.item))}
    )
    if columns.time is not None:
        times, unit = parse_times(table[columns.time], columns.time_unit, file=file, field=columns.time)
        told = "" if columns.time_unit is not None else ", told by its values"
        said.append(f"{columns.time} is read as {'ISO dates' if unit == 'iso' else unit}{told}")
        interactions = interactions.with_columns(times.alias("time"))
    if columns.rating is not None:
        interactions = interactions.filter(_numbers(table[columns.rating], file, columns.rating) >= columns.min_rating)
        kept = f"{len(interactions):,} of {len(table):,} rows have"
        said.append(f"{kept} {columns.rating} {columns.min_rating:g} or more")
    if columns.time is None:
        said.append("no --time: the order of the file counts as time")
        interactions = interactions.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("time"))
    origin = {"source": "table", "files": {file.name: digest(file, "sha256")}, **_described(columns)}
    origin |= {"times": NO_TIMES} if columns.time is None else {}
    if items is None:
        known = pl.DataFrame({"item": interactions["item"].unique(maintain_order=True)})
        return RawDataset(file.stem, interactions, known, {}, {}, "", origin), said
    known, attributes, relations = _read_items(items)
    if known.schema["item"] != interactions.schema["item"]:  # numbers in one file, text in the other
        interactions = interactions.with_columns(pl.col("item").cast(pl.String))
        known = known.with_columns(pl.col("item").cast(pl.String))
        attributes = {name: frame.with_columns(pl.col("item").cast(pl.String)) for name, frame in attributes.items()}
        relations = {name: frame.with_columns(pl.all().cast(pl.String)) for name, frame in relations.items()}
    touched = interactions.select(pl.col("item").unique())
    found = touched.join(known, on="item", how="semi")
    said.append(f"{len(found):,} of {len(touched):,} items are in {items.file.name}")
    if not len(found):
        remedy = "Name the column of the same ids with --item-id"
        raise UserError(
            "it knows none of the items of the interactions", file=items.file, field=items.item, remedy=remedy
        )
    origin["files"][items.file.name] = digest(items.file, "sha256")
    raw = RawDataset(file.stem, interactions, known, attributes, relations, default_template(known.columns[1:]), origin)
    return raw, said


def parse_times(values: pl.Series, unit: Unit | None, *, file: Path, field: str) -> tuple[pl.Series, Unit]:
    """Whole seconds since 1970, Int64 [N], and the unit that they were in; fractions are dropped.

    Args:
      values: numbers, text or dates.
      unit: None: ISO dates where the first value is one, else by the largest number: below 10¹¹ seconds, below 10¹⁴
        milliseconds, below 10¹⁷ microseconds, then nanoseconds; the median of what is above 0 must tell the same.
      file, field: for messages.

    Raises:
      UserError: a value is missing or is none of that, or the values are of different units.
    """
    if values.dtype.is_temporal():
        if values.dtype not in (pl.Date, pl.Datetime):
            remedy = "Name a column of dates with their times, or of numbers"
            raise UserError(f"its cells are {values.dtype}", file=file, field=field, remedy=remedy)
        _refuse_null(values, values, file, field)
        zone = "UTC" if getattr(values.dtype, "time_zone", None) else None
        return values.cast(pl.Datetime("us", zone)).dt.epoch("s"), "iso"
    if unit is None:
        first = values.drop_nulls().head(1).cast(pl.String)
        unit = "iso" if len(first) and not _is_number(first[0]) else None
    if unit == "iso":
        return _seconds_of_dates(values.cast(pl.String), file, field), "iso"
    numbers = values.cast(pl.Int64, strict=False) if not values.dtype.is_float() else values
    if numbers.null_count() > values.null_count() or numbers.dtype.is_float():
        numbers = _numbers(values, file, field)
    _refuse_null(values, numbers, file, field)
    if unit is None:
        unit, usual = (_unit_of(number or 0) for number in (numbers.max(), numbers.filter(numbers > 0).median()))
        if unit != usual:
            problem = f"the largest value, {numbers.max():g}, looks like {unit}, the usual one like {usual}"
            raise UserError(problem, file=file, field=field, remedy="Mend the values, or name their --time-unit")
    if numbers.dtype.is_float():
        _refuse_null(values, numbers.set(abs(numbers) >= 2**63, None), file, field)
        return (numbers / _PER_SECOND[unit]).floor().cast(pl.Int64), unit
    return numbers // _PER_SECOND[unit], unit


def _unit_of(number: float) -> Unit:
    return next((name for i, name in enumerate(_PER_SECOND) if number < _MOST_SECONDS * 1000**i), "ns")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _seconds_of_dates(texts: pl.Series, file: Path, field: str) -> pl.Series:
    """Dates with or without time of day; UTC unless they name another offset."""
    texts = texts.str.strip_chars().str.replace(r"^(\d{4}-\d{2}-\d{2}) ", "${1}T").str.replace(r"Z$", "+00:00")
    frame = texts.alias("text").to_frame()
    naive = [pl.col("text").str.to_datetime(form, strict=False, time_unit="us") for form in _DATE_FORMATS]
    zoned = [pl.col("text").str.to_datetime(f"{form}%#z", strict=False, time_unit="us") for form in _DATE_FORMATS[1:]]
    seconds = frame.select(
        pl.coalesce(*(date.dt.epoch("s") for date in naive), *(date.dt.epoch("s") for date in zoned)).alias("time")
    )["time"]
    _refuse_null(texts, seconds, file, field)
    return seconds


def _numbers(values: pl.Series, file: Path, field: str) -> pl.Series:
    numbers = values.cast(pl.Float64, strict=False)
    numbers = numbers.set(~numbers.is_finite(), None)
    _refuse_null(values, numbers, file, field)
    return numbers


def _refuse_null(values: pl.Series, understood: pl.Series, file: Path, field: str) -> None:
    if understood.null_count():
        row = int(understood.is_null().arg_max())
        problem = f"row {row + 1} has {values[row]!r}, which is not understood"
        raise UserError(problem, file=file, field=field, remedy="Mend it, or see --time-unit and --min-rating")


def _ids(values: pl.Series, file: Path, field: str) -> pl.Series:
    ids = clean_ids(values)
    if ids.null_count():
        row = int(ids.is_null().arg_max()) + 1
        raise UserError(f"row {row} has no id", file=file, field=field, remedy="Fill it in, or remove the row")
    return ids


def _described(columns: InteractionColumns) -> dict[str, str | float]:
    """The choices that the values alone do not tell, for the data card."""
    chosen = dataclasses.asdict(columns)
    return {"columns": {name: value for name, value in chosen.items() if value is not None}}


def _read_items(
    columns: ItemColumns,
) -> tuple[pl.DataFrame, dict[str, pl.DataFrame], dict[str, pl.DataFrame]]:
    """The items with their columns of text, attributes and relations, as in `RawDataset`."""
    file = Path(columns.file)
    if not columns.list_separator:
        raise UserError("it is empty", field="--list-separator", remedy="Give a character, such as |")
    of_lists = [*columns.attributes, *columns.relations]
    table = keyed_rows(read_table(file, separator=columns.separator), columns.item, file)
    require_columns(file, table.columns, of_lists)
    refuse_nested(table, of_lists, file, lists=True)
    table = table.with_columns(
        pl.col(name).str.split(columns.list_separator) for name in of_lists if table.schema[name] == pl.String
    )
    ids = pl.col(columns.item).alias("item")
    attributes = {name: table.select(ids, value=pl.col(name)) for name in columns.attributes}
    relations = {name: table.select(ids, other=pl.col(name)) for name in columns.relations}
    for frames, column in ((attributes, "value"), (relations, "other")):
        for name, frame in frames.items():
            flat = frame.explode(column) if frame.schema[column] == pl.List else frame
            frames[name] = flat.with_columns(clean_ids(flat[column]).alias(column)).drop_nulls()
    attributes = {name: frame.with_columns(pl.col("value").cast(pl.String)) for name, frame in attributes.items()}
    kind = table.schema[columns.item]
    relations = {
        name: frame.with_columns(pl.col("other").cast(kind, strict=False)).drop_nulls()
        for name, frame in relations.items()
    }
    texts = [name for name in table.columns if name != columns.item and name not in columns.relations]
    return table.select(ids, *(name for name in texts if name not in ("item", *RESERVED))), attributes, relations
