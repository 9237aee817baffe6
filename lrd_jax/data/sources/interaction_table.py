"""Any table of interactions, with or without one of items -> `RawDataset`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import polars as pl

from lrd_jax.data.item_tables import RESERVED
from lrd_jax.data.raw import NO_TIMES, RawDataset
from lrd_jax.data.sources.columns import first_row, refuse_nested, require_columns
from lrd_jax.data.sources.delimited import TextLayout
from lrd_jax.data.sources.downloads import digest
from lrd_jax.data.sources.source_ids import (
    check_attribute,
    check_relation,
    clean_ids,
    refuse_lost_digits,
    refuse_strangers,
)
from lrd_jax.data.sources.table_files import keyed_rows, read_table
from lrd_jax.data.sources.times import Unit, parse_times
from lrd_jax.data.templates import default_template
from lrd_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class InteractionColumns:
    """Where a table of interactions has what.

    Attributes:
      user, item: names of the columns of ids, whatever they look like.
      time: None: the order of the file counts, and the rows' numbers are their times.
      time_unit: None: told by the values.
      rating, min_rating: only rows whose rating is at least this count.
      layout: of a text file.
      time_format: of dates, as `parse_times` takes it.
    """

    user: str
    item: str
    time: str | None = None
    time_unit: Unit | None = None
    rating: str | None = None
    min_rating: float | None = None
    layout: TextLayout = TextLayout()
    time_format: str | None = None


@dataclasses.dataclass(frozen=True)
class ItemColumns:
    """Where a table of items has what; every column but the id and the relations can fill a template.

    Attributes:
      file: the table.
      item: name of the column of ids.
      attributes, relations: names of columns, each a value or several of them, or ids of items.
      list_separator: between several values in a cell of a text file.
      layout: of a text file.
    """

    file: Path
    item: str
    attributes: tuple[str, ...] = ()
    relations: tuple[str, ...] = ()
    list_separator: str = "|"
    layout: TextLayout = TextLayout()


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
      UserError: a file or a column is missing, a cell cannot be understood, or the two files have no ids in common.
    """
    file = Path(file)
    interactions, said, removed = _read_interactions(file, columns)
    files = {file.name: digest(file, "sha256")}
    origin: dict[str, Any] = {"source": "table", "files": files, **_described(columns)}
    origin |= {"times": NO_TIMES} if columns.time is None else {}
    origin |= {"below_min_rating": removed} if removed else {}
    if items is None:
        known = pl.DataFrame({"item": interactions["item"].unique(maintain_order=True)})
        return RawDataset(file.stem, interactions, known, {}, {}, "", origin), said
    known, attributes, relations = _read_items(items)
    if known.schema["item"] != interactions.schema["item"]:  # numbers in one file, text in the other
        interactions = interactions.with_columns(pl.col("item").cast(pl.String))
        known = known.with_columns(pl.col("item").cast(pl.String))
        attributes = {name: frame.with_columns(pl.col("item").cast(pl.String)) for name, frame in attributes.items()}
        relations = {name: frame.with_columns(pl.col("item").cast(pl.String)) for name, frame in relations.items()}
    touched = interactions["item"].unique(maintain_order=True)
    remedy = "Name the column of the same ids with --item-id, or write the ids alike in both files"
    found = refuse_strangers(touched, known["item"], items.file, items.item, remedy)
    said.append(f"{found:,} of {len(touched):,} items are in {items.file.name}")
    for name, frame in attributes.items():
        check_attribute(name, frame, touched, items.file)
    everything = pl.concat([known["item"], touched])
    for name, frame in relations.items():
        check_relation(name, frame["other"], everything, items.file)
        others = pl.col("other").cast(everything.dtype, strict=False)
        relations[name] = frame.with_columns(others).drop_nulls()
    files[items.file.name] = digest(items.file, "sha256")
    raw = RawDataset(file.stem, interactions, known, attributes, relations, default_template(known.columns[1:]), origin)
    return raw, said


def _read_interactions(
    file: Path, columns: InteractionColumns
) -> tuple[pl.DataFrame, list[str], dict[str, dict[str, int]]]:
    """user, item and time as in `RawDataset`, in words what was decided on the way, and what --min-rating removed."""
    if (columns.rating is None) != (columns.min_rating is None):
        raise UserError("--rating and --min-rating need each other", remedy="Give both or none")
    wanted = [columns.user, columns.item, columns.time, columns.rating]
    names = list(dict.fromkeys(name for name in wanted if name is not None))
    table, said = read_table(file, names, layout=columns.layout), []
    refuse_nested(table, names, file)
    interactions = pl.DataFrame(
        {name: _ids(table[column], file, column) for name, column in (("user", columns.user), ("item", columns.item))}
    )
    if columns.time is not None:
        times, meaning = parse_times(
            table[columns.time], columns.time_unit, form=columns.time_format, file=file, field=columns.time
        )
        given = columns.time_unit is not None or columns.time_format is not None
        said.append(f"{columns.time} is read as {meaning}" + ("" if given else ", recognised from its values"))
        interactions = interactions.with_columns(times.alias("time"))
    removed = {}
    if columns.rating is not None:
        kept = interactions.filter(_ratings(table[columns.rating], file, columns.rating) >= columns.min_rating)
        before, after = (
            {"interactions": len(frame), "users": frame["user"].n_unique(), "items": frame["item"].n_unique()}
            for frame in (interactions, kept)
        )
        removed = {name: {"given": number, "removed": number - after[name]} for name, number in before.items()}
        interactions = kept
        how_many = f"{len(interactions):,} of {len(table):,} rows have"
        said.append(f"{how_many} {columns.rating} {columns.min_rating:g} or more")
    if columns.time is None:
        said.append("no --time: the order of the file counts as time")
        interactions = interactions.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("time"))
    return interactions, said, removed


def _ratings(values: pl.Series, file: Path, field: str) -> pl.Series:
    numbers = values.str.strip_chars() if values.dtype == pl.String else values
    numbers = numbers.cast(pl.Float64, strict=False)
    numbers = numbers.set(~numbers.is_finite(), None)
    if numbers.null_count():
        row = first_row(numbers.is_null())
        problem = f"row {row + 1} has {values[row]!r}, which is not a number"
        raise UserError(problem, file=file, field=field, remedy="Correct it, or leave out --rating and --min-rating")
    return numbers


def _ids(values: pl.Series, file: Path, field: str) -> pl.Series:
    refuse_lost_digits(values, file, field)
    ids = clean_ids(values)
    if ids.null_count():
        row = first_row(ids.is_null()) + 1
        raise UserError(f"row {row} has no id", file=file, field=field, remedy="Fill it in, or remove the row")
    return ids


def _described(columns: InteractionColumns) -> dict[str, dict[str, str | float | bool]]:
    """The choices that the values alone do not tell, for the data card."""
    chosen = dataclasses.asdict(columns)
    chosen |= chosen.pop("layout")
    chosen["header"] = None if columns.layout.header else False
    return {"columns": {name: value for name, value in chosen.items() if value is not None}}


def _read_items(
    columns: ItemColumns,
) -> tuple[pl.DataFrame, dict[str, pl.DataFrame], dict[str, pl.DataFrame]]:
    """The items with their columns of text, attributes and relations, as in `RawDataset`, but others of any type."""
    file = Path(columns.file)
    if not columns.list_separator:
        raise UserError("it is empty", field="--list-separator", remedy="Give a character, such as |")
    of_lists = [*columns.attributes, *columns.relations]
    table = keyed_rows(read_table(file, layout=columns.layout), columns.item, file)
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
            if column == "other":
                refuse_lost_digits(flat[column], file, name)
            frames[name] = flat.with_columns(clean_ids(flat[column]).alias(column)).drop_nulls()
    attributes = {name: frame.with_columns(pl.col("value").cast(pl.String)) for name, frame in attributes.items()}
    texts = [name for name in table.columns if name != columns.item and name not in columns.relations]
    return table.select(ids, *(name for name in texts if name not in ("item", *RESERVED))), attributes, relations
