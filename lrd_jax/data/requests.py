"""Requests and lists in files: CSV, Parquet and JSON lines, read and written part by part."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from lrd_jax.errors import UserError
from lrd_jax.files import refuse_irregular

ROWS_PER_PART = 2048
KINDS = (".csv", ".parquet", ".jsonl")
SEPARATOR = "|"
"""Between the items of a history in a CSV file."""


def check_kind(path: Path, option: str) -> None:
    """Refuse a file name whose ending is not one of `KINDS`.

    Raises:
      UserError: see above.
    """
    if path.suffix not in KINDS:
        raise UserError(f"cannot tell the format of {path.name}", field=option, remedy=f"Name it {' or *'.join(KINDS)}")


def read_requests(path: Path) -> Iterator[pl.DataFrame]:
    """The rows of a file, in parts: `user` (String), or `history` (List of String) and perhaps `times` (of Float64).

    In CSV a history is the items' ids with | between them, and so are the times.

    Raises:
      UserError: the file cannot be read, has neither or both columns, or a cell is empty.
    """
    refuse_irregular(path)
    try:
        rows = _scan(path)
        names = rows.collect_schema().names()
        if ("user" in names) == ("history" in names):
            found = ", ".join(names)
            problem = f"expected a column user or a column history, found {found}"
            raise UserError(
                problem, file=path, remedy="Name the column of user ids user, or that of item lists history"
            )
        done = 0
        for part in rows.select(_columns(names, rows.collect_schema())).collect_batches(chunk_size=ROWS_PER_PART):
            _refuse_empty(part, path, done)
            done += len(part)
            yield part
    except (OSError, pl.exceptions.PolarsError) as error:
        problem = f"cannot be read: {str(error).splitlines()[0]}"
        raise UserError(problem, file=path, remedy="Check the path and the format") from error


def write_parts(path: Path, frames: Iterable[pl.DataFrame]) -> int:
    """Writes frames of the same columns one after the other; the file appears only when all are there.

    Returns:
      The number of rows.

    Raises:
      UserError: the file cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=f".{path.name}.") as folder:
            rows = 0
            for number, frame in enumerate(frames):
                frame.write_parquet(Path(folder) / f"part-{number:06}.parquet")
                rows += len(frame)
            whole = Path(folder) / f"whole{path.suffix}"
            _sink(pl.scan_parquet(Path(folder) / "part-*.parquet"), whole)
            os.replace(whole, path)
            return rows
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror})", file=path, remedy="Name another file") from error


def _scan(path: Path) -> pl.LazyFrame:
    if path.suffix == ".csv":
        return pl.scan_csv(path, infer_schema=False)  # ids stay as they are written
    return pl.scan_parquet(path) if path.suffix == ".parquet" else pl.scan_ndjson(path)


def _sink(rows: pl.LazyFrame, path: Path) -> None:
    if path.suffix == ".csv":
        rows.sink_csv(path)
    elif path.suffix == ".parquet":
        rows.sink_parquet(path)
    else:
        rows.sink_ndjson(path)


def _columns(names: list[str], schema: pl.Schema) -> list[pl.Expr]:
    if "user" in names:
        return [pl.col("user").cast(pl.String)]
    columns = [("history", pl.String)] + ([("times", pl.Float64)] if "times" in names else [])
    return [
        (pl.col(name).str.split(SEPARATOR) if schema[name] == pl.String else pl.col(name)).cast(pl.List(kind))
        for name, kind in columns
    ]


def _refuse_empty(part: pl.DataFrame, path: Path, done: int) -> None:
    for name in part.columns:
        column = part[name]
        empty = column.is_null() if column.dtype == pl.String else column.is_null() | (column.list.len() == 0)
        if empty.any():
            row = done + int(empty.arg_true()[0]) + 1
            raise UserError(f"row {row} is empty", file=path, field=name, remedy="Fill the cell, or remove the row")
