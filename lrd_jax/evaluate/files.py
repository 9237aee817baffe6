"""Files of evaluations: Parquet and JSON, all of a file or nothing."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from lrd_jax.errors import UserError
from lrd_jax.files import write_atomically
from lrd_jax.ranking.protocols import Protocol, SplitName, TieRule
from lrd_jax.runs.folder import to_json


def write_parquet(path: Path, frame: pl.DataFrame) -> None:
    """Write a frame, all of it or nothing.

    Raises:
      UserError: the file cannot be written.
    """
    content = io.BytesIO()
    frame.write_parquet(content)
    _write(path, content.getvalue())


def write_summary(
    path: Path,
    split_name: SplitName,
    protocol: Protocol,
    ties: TieRule,
    runs: Sequence[dict[str, Any]],
    comparisons: Sequence[dict[str, Any]],
) -> None:
    """Write what the tables show as JSON, all of it or nothing.

    Raises:
      UserError: the file cannot be written.
    """
    what = {"split": split_name, "protocol": protocol.name, "candidates": protocol.description, "ties": ties}
    _write(path, (to_json({**what, "runs": runs, "comparisons": comparisons}, indent=2) + "\n").encode())


def _write(path: Path, content: bytes) -> None:
    try:
        write_atomically(path, content)
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror})", file=path, remedy="Name another file") from error
