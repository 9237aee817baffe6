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
    """A frame of polars or pandas as a file."""
    path = folder / f"{name}.parquet"
    as_frame(frame, name).write_parquet(path)
    return path


def as_frame(frame: Any, name: str) -> pl.DataFrame:
    """A frame of polars or pandas as one of polars; `name` is for the message.

    Raises:
      UserError: it is neither.
    """
    if isinstance(frame, pl.DataFrame):
        return frame
    if not (hasattr(frame, "columns") and hasattr(frame, "to_numpy")):
        raise UserError(f"{name} is a {type(frame).__name__}", remedy="Give a frame of polars or pandas")
    columns = {}
    for column in frame.columns:
        values = frame[column].to_numpy()
        columns[str(column)] = values.tolist() if values.dtype == object else values
    return pl.DataFrame(columns, strict=False, nan_to_null=True)
