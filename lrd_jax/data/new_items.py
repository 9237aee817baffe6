"""Items that a dataset does not have, from a table: ids, texts, and attribute values as the dataset names them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from lrd_jax.data.corpus import Corpus
from lrd_jax.data.notices import name_some
from lrd_jax.data.sources.columns import first_row
from lrd_jax.data.sources.source_ids import clean_ids, refuse_lost_digits
from lrd_jax.data.sources.table_files import read_table
from lrd_jax.data.templates import clean
from lrd_jax.errors import UserError, told_of
from lrd_jax.terminal.lines import warn

_SEPARATOR = "|"
_IDS, _TEXTS = ("item", "item_id"), ("text", "title")
_FRAME = Path("the new items")


class NewItems(NamedTuple):
    """N new items.

    Attributes:
      ids: String [N], of the source.
      texts: String [N], none empty.
      item_values: int32 [N, A, V], as `Corpus.item_values`: entities of the corpus, the attribute's "none" alone where
        nothing is known.
      facts: the table's rows in the columns of the dataset's facts.
    """

    ids: pl.Series
    texts: pl.Series
    item_values: np.ndarray
    facts: pl.DataFrame


def read_new_items(path: str | Path) -> pl.DataFrame:
    """Reads a table of new items: CSV, TSV, Parquet or JSON lines.

    Args:
      path: a file with the columns item (or item_id), text (or title), and attributes named as the dataset's, several
        values of a cell being a list or text with | between them.

    Raises:
      UserError: it cannot be read, or a column, an id or a text is missing.
    """
    path = Path(path)
    frame = read_table(path)
    with told_of(path):
        _ids_and_texts(frame)
    return frame


def check_new_items(
    frame: pl.DataFrame,
    *,
    item_ids: pl.Series,
    facts: pl.DataFrame,
    corpus: Corpus,
    entities: Mapping[str, Mapping[str, int]],
) -> NewItems:
    """What a frame says of new items. Warns of values that no item of the dataset has: they count as none.

    Args:
      frame: as `read_new_items` gives.
      item_ids: String [I], the dataset's items.
      facts: [I], what is known of them.
      corpus: the dataset.
      entities: of `value_entities`.

    Raises:
      UserError: a column is missing or unknown, an id is missing, there twice or in the dataset, or a text is missing.
    """
    ids, texts = _ids_and_texts(frame)
    known = {*_IDS, *_TEXTS, *corpus.attributes, *facts.columns}
    if unknown := [name for name in frame.columns if name not in known]:
        columns = ", ".join(["item", "text", "title", *corpus.attributes])
        raise UserError("the dataset has no such attribute", field=unknown[0], remedy=f"The columns can be {columns}")
    if (there := ids.is_in(item_ids.implode())).any():
        problem = f"the dataset has the item {ids.filter(there)[0]} already"
        raise UserError(problem, field=_first(frame, _IDS), remedy="Leave it out, or give it another id")
    return NewItems(ids, texts, _item_values(frame, corpus, entities), _facts(frame, texts, facts))


def _ids_and_texts(frame: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
    """The ids and the texts, String [N] each."""
    field = _first(frame, _IDS)
    refuse_lost_digits(frame[field], _FRAME, field)
    ids = clean_ids(frame[field]).cast(pl.String).alias("item")
    if not len(ids):
        raise UserError("there are no new items", remedy="Give a row for each")
    if ids.null_count():
        raise UserError(f"row {first_row(ids.is_null()) + 1} has no id", field=field, remedy="Fill it in")
    if not (first := ids.is_first_distinct()).all():
        problem = f"the item {ids.filter(~first)[0]} is there twice"
        raise UserError(problem, field=field, remedy="Keep one row for each item")
    field = _first(frame, _TEXTS)
    texts = clean(frame[field]).alias("text")
    if (texts == "").any():
        problem = f"the item {ids.filter(texts == '')[0]} has no text"
        raise UserError(problem, field=field, remedy="Fill it in; where nothing is known, its name will do")
    return ids, texts


def _first(frame: pl.DataFrame, names: tuple[str, ...]) -> str:
    """The first of these columns that the frame has."""
    for name in names:
        if name in frame.columns:
            return name
    found = ", ".join(frame.columns)
    raise UserError(
        "the column is missing", field=names[0], remedy=f"Name a column {' or '.join(names)} (found: {found})"
    )


def _item_values(frame: pl.DataFrame, corpus: Corpus, entities: Mapping[str, Mapping[str, int]]) -> np.ndarray:
    number = len(frame)
    held: list[list[list[int]]] = []  # [A][N][V]
    for name, none in zip(corpus.attributes, corpus.none_entities.tolist(), strict=True):
        if name not in frame.columns:
            held.append([[none]] * number)
            continue
        names = [list(dict.fromkeys(values)) for values in _values(frame[name])]
        if unknown := sorted({value for values in names for value in values if value not in entities[name]}):
            warn(f"new items: no item of the dataset has the {name} {name_some(unknown)}: taken for none")
        found = [[entities[name][value] for value in values if value in entities[name]] for values in names]
        held.append([values or [none] for values in found])
    width = max([corpus.item_values.shape[2], *(len(values) for of_items in held for values in of_items)])
    item_values = np.zeros((number, len(held), width), np.int32)
    for attribute, of_items in enumerate(held):
        for item, values in enumerate(of_items):
            item_values[item, attribute, : len(values)] = values
    return item_values


def _values(column: pl.Series) -> list[list[str]]:
    """The names of the values of each item; numbers as text, blanks folded."""
    if column.dtype == pl.String:
        column = column.str.split(_SEPARATOR)
    elif not isinstance(column.dtype, pl.List):
        column = pl.select(pl.concat_list(clean_ids(column).cast(pl.String))).to_series()
    rows = pl.DataFrame({"row": pl.int_range(len(column), eager=True), "value": column}).explode("value")
    rows = rows.with_columns(clean(rows["value"]).alias("value")).filter(pl.col("value") != "")
    found: list[list[str]] = [[] for _ in range(len(column))]
    for row, value in rows.iter_rows():
        found[row].append(value)
    return found


def _facts(frame: pl.DataFrame, texts: pl.Series, facts: pl.DataFrame) -> pl.DataFrame:
    """The new items' rows of `facts`: null where the frame says nothing or something of another type."""
    columns = []
    for name, kind in facts.schema.items():
        column = frame[name] if name in frame.columns else pl.Series([None] * len(frame), dtype=kind)
        if name == "title" and name not in frame.columns:
            column = texts
        elif isinstance(kind, pl.List) and not isinstance(column.dtype, pl.List):
            column = pl.Series(_values(column), dtype=pl.List(pl.String))
        elif not isinstance(kind, pl.List) and isinstance(column.dtype, pl.List):
            column = column.list.first()
        columns.append(column.cast(kind, strict=False).alias(name))
    return pl.DataFrame(columns)
