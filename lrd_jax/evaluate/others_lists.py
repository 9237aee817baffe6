"""Lists that other systems made: CSV, TSV, Parquet or JSON lines with the ids of the source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from lrd_jax.data.corpus import Corpus
from lrd_jax.data.id_maps import source_ids
from lrd_jax.data.sources.columns import refuse_nested, require_columns
from lrd_jax.data.sources.source_ids import clean_ids, refuse_lost_digits
from lrd_jax.data.sources.table_files import read_table
from lrd_jax.errors import UserError
from lrd_jax.evaluate.lists import Lists
from lrd_jax.ranking.protocols import SplitName


class OthersLists(NamedTuple):
    """The lists of one system, for the rows of a split.

    Attributes:
      name: the file, and the system where the file holds several.
      model: what the column `model` says, else "lists".
      lists: [N, L], on the host; L is the length of the longest, scores are NaN where there are none.
    """

    name: str
    model: str
    lists: Lists


def read_lists(file: Path, corpus: Corpus, folder: Path, split_name: SplitName) -> list[OthersLists]:
    """The lists in a file: columns user, item, and rank or score; perhaps row, run, model and split.

    The order is that of rank (any ascending numbers), else of descending scores, where of items with the same score
    the one with the lower number in the dataset comes first. Columns raw_user and raw_item, where they are filled, go
    before user and item, so that what `evaluate --lists` writes can be read. A user's list is for all rows of the user,
    unless a column `row` says for which row of the split, from 1. Several values of `run` are several systems.

    Args:
      file: the table.
      corpus, folder: the dataset and its folder.
      split_name: which rows the lists are for.

    Raises:
      UserError: the file cannot be read, a column is missing, or a row is wrong: an id that the dataset does not have,
        an item or a rank that a list has twice, an empty cell, or a rank or score that is no finite number.
    """
    table = read_table(file)
    user, item = (_id_column(table, kind) for kind in ("user", "item"))
    require_columns(file, table.columns, (user, item), "Name the columns user and item")
    if table.is_empty():
        raise UserError("the file has no lists", file=file, remedy="Add rows, or leave the file out")
    refuse_nested(table, [name for name in _KNOWN if name in table.columns], file)
    if "split" in table.columns:
        wrong = table["split"].cast(pl.String) != split_name
        _refuse(wrong, file, "split", table["split"], f"is not {split_name}", "Name their split with --split")
    columns: dict[str, pl.Series] = {
        "line": pl.Series(np.arange(len(table))),
        "user": _own_ids(table[user], "user", corpus, file, folder),
        "item": _own_ids(table[item], "item", corpus, file, folder),
        **{name: _numbers(table[name], file) for name in _numbered(table, file)},
    }
    users_of_rows = corpus.sequence_users[getattr(corpus, split_name).rows]
    if "row" in table.columns:
        columns["row"] = _rows(table["row"], columns["user"], users_of_rows, file)
    cells = pl.DataFrame(columns)
    return [
        OthersLists(name, model, _as_lists(cells[lines], users_of_rows, file, table[item]))
        for name, model, lines in _systems(table, file)
    ]


_KNOWN = ("user", "item", "raw_user", "raw_item", "rank", "score", "row", "run", "model", "split")


def _numbered(table: pl.DataFrame, file: Path) -> list[str]:
    """The columns that order the lists, rank before score; scores beside ranks may all be missing."""
    found = [name for name in ("rank", "score") if name in table.columns]
    if not found:
        require_columns(file, table.columns, ("rank",), "Add the column rank, or score")
    return [name for name in found if found == ["score"] or name == "rank" or table[name].null_count() < len(table)]


def _id_column(table: pl.DataFrame, kind: str) -> str:
    raw = f"raw_{kind}"
    return raw if raw in table.columns and table[raw].null_count() < len(table) else kind


def _systems(table: pl.DataFrame, file: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    """The name, the model and the rows of each system in the file."""
    runs = table["run"] if "run" in table.columns else pl.repeat("", len(table), eager=True)
    runs = runs.cast(pl.String).fill_null("")
    names = runs.unique(maintain_order=True).to_list()
    for run in names:
        lines = np.flatnonzero((runs == run).to_numpy())
        model = table["model"][int(lines[0])] if "model" in table.columns else None
        yield (f"{file}: {run}" if len(names) > 1 else str(file)), str(model or "lists"), lines


def _own_ids(values: pl.Series, kind: Literal["user", "item"], corpus: Corpus, file: Path, folder: Path) -> pl.Series:
    """The dataset's own ids of a column of ids of the source, int32."""
    refuse_lost_digits(values, file, values.name)
    wanted = clean_ids(values).cast(pl.String)
    _refuse(wanted.is_null(), file, values.name, values, "is empty", "Give every row its id, or remove the row")
    own = np.arange(1, (corpus.num_users if kind == "user" else corpus.num_items) + 1, dtype=np.int32)
    known = pl.DataFrame({"raw": source_ids(folder, kind, own), "id": own})
    found = wanted.to_frame("raw").join(known, on="raw", how="left", maintain_order="left")["id"]
    examples = ", ".join(map(repr, known["raw"].drop_nulls().head(3)))
    remedy = f"Give ids as the source of {folder} has them, such as {examples}, or remove the row"
    _refuse(found.is_null(), file, values.name, values, f"is no {kind} of the dataset", remedy)
    return found


def _numbers(values: pl.Series, file: Path) -> pl.Series:
    numbers = values.cast(pl.Float64, strict=False)
    wrong = ~numbers.is_finite().fill_null(False)
    _refuse(wrong, file, values.name, values, "is no finite number", f"Give every row its {values.name}")
    return numbers


def _rows(values: pl.Series, users: pl.Series, users_of_rows: np.ndarray, file: Path) -> pl.Series:
    """The column `row` as int64; of a row that belongs to the user."""
    rows = values.cast(pl.Int64, strict=False).fill_null(0)
    inside = rows.is_between(1, len(users_of_rows)).to_numpy()
    right = inside & (users_of_rows[np.where(inside, rows.to_numpy() - 1, 0)] == users.to_numpy())
    remedy = f"Number the rows of the split from 1 to {len(users_of_rows)}, or leave the column out"
    _refuse(pl.Series(~right), file, "row", values, "is no row of the user's", remedy)
    return rows


def _as_lists(cells: pl.DataFrame, users_of_rows: np.ndarray, file: Path, raw_items: pl.Series) -> Lists:
    """The lists of one system in the order of the rows of the split."""
    key = "row" if "row" in cells.columns else "user"
    by_rank = "rank" in cells.columns
    ordered = cells.sort(key, "rank") if by_rank else cells.sort(key, "score", "item", descending=[False, True, False])
    for name, what in (("item", "item"), ("rank", "rank")):
        if name in cells.columns:
            again = cells.select(again=~pl.struct(key, name).is_first_distinct())["again"]
            wrong = pl.Series(np.isin(np.arange(len(raw_items)), cells.filter(again)["line"].to_numpy()))
            shown = raw_items if name == "item" else None
            _refuse(wrong, file, name, shown, f"has the same {what} as an earlier row of its list", "Keep one of them")
    ordered = ordered.with_columns(place=pl.int_range(pl.len()).over(key))
    keys, lists_of = np.unique(ordered[key].to_numpy(), return_inverse=True)
    length = int(ordered["place"].max()) + 1  # type: ignore[arg-type]
    items = np.zeros((len(keys) + 1, length), np.int32)  # the last is for rows without
    scores = np.full(items.shape, np.nan, np.float32)
    items[lists_of, ordered["place"].to_numpy()] = ordered["item"].to_numpy()
    if "score" in cells.columns:
        scores[lists_of, ordered["place"].to_numpy()] = ordered["score"].to_numpy()
    wanted = np.arange(1, len(users_of_rows) + 1) if key == "row" else users_of_rows
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    places = np.where(keys[places] == wanted, places, len(keys))
    return Lists(items[places], scores[places])


def _refuse(
    wrong: pl.Series, file: Path, field: str, values: pl.Series | None, problem: str, remedy: str | None = None
) -> None:
    """Raises a `UserError` for the first row where `wrong` holds."""
    if wrong.any():
        row = int(wrong.fill_null(False).arg_max())  # type: ignore[arg-type]
        cell = "" if values is None or values[row] is None else f", {str(values[row])[:60]!r},"
        raise UserError(f"row {row + 1}{cell} {problem}", file=file, field=field, remedy=remedy)
