"""Frames of the user's, handed to what reads files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from lrd_jax.errors import UserError


@contextlib.contextmanager
def frames_named(temporary: Path) -> Iterator[None]:
    """Names the frame in an error of a file in a temporary folder, which is gone when the message is read."""
    try:
        yield
    except UserError as error:
        if error.file is None or Path(error.file).parent != temporary:
            raise
        frame = Path(error.file).stem
        raise UserError(error.problem, file=frame, field=error.field, remedy=error.remedy) from error


def to_parquet(frame: Any, folder: Path, name: str) -> Path:
    """Writes a polars or pandas frame to a Parquet file."""
    if not isinstance(frame, pl.DataFrame):
        if not (hasattr(frame, "columns") and hasattr(frame, "to_numpy")):
            raise UserError(f"{name} is a {type(frame).__name__}", remedy="Give a polars or pandas frame")
        columns = {}
        for column in frame.columns:
            values = frame[column].to_numpy()
            columns[str(column)] = values.tolist() if values.dtype == object else values
        frame = pl.DataFrame(columns, strict=False, nan_to_null=True)
    path = folder / f"{name}.parquet"
    frame.write_parquet(path)
    return path
