"""Reads tables as one JSON object per line, one JSON list of objects, or one Python dictionary per line."""

from __future__ import annotations

import ast
import json
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from lrd_jax.data.sources.columns import require_columns
from lrd_jax.data.sources.text_files import refuse_other_encodings
from lrd_jax.errors import UserError

_TOO_LONG = 2**127  # above the range of polars' widest integers
_REMEDY = "Fix or remove it; each line must have one object with the column names as keys"


def read_json(path: Path, file: Path, columns: Sequence[str] | None) -> pl.DataFrame:
    """Reads a table; the type of a column follows from all its values.

    Python reads what polars rejects: Python dictionaries ({'user': u'x'}; as literals, never evaluated), NaN, which
    becomes missing, and whole numbers of more than 38 digits, which become text.

    Args:
      path: plain UTF-8 (`lrd_jax.data.sources.text_files.plain_text`).
      file: the path as the user gave it.
      columns: the columns to read. None: all.

    Raises:
      UserError: the file is not UTF-8, a line is not an object, or a column is missing.
      pl.exceptions.PolarsError: the values of a column have incompatible types.
    """
    is_list = _is_list(path)
    try:
        rows = pl.read_json(path, infer_schema_length=None).lazy() if is_list else _scan(path)
        return _selected(rows, file, columns)
    except pl.exceptions.PolarsError:
        refuse_other_encodings(path, file)
    with tempfile.TemporaryDirectory(prefix="lrd_jax-") as workspace, path.open(encoding="utf-8") as text:
        rewritten = Path(workspace) / "rewritten.jsonl"
        with rewritten.open("w", encoding="utf-8") as out:
            for entry in _of_list(text.read(), file) if is_list else _of_lines(text, file):
                wanted = entry if columns is None else {name: entry.get(name) for name in columns if name in entry}
                out.write(_json({**dict.fromkeys(entry), **wanted}) + "\n")
        return _selected(_scan(rewritten), file, columns)


def _scan(path: Path) -> pl.LazyFrame:
    return pl.scan_ndjson(path, infer_schema_length=None)


def _selected(rows: pl.LazyFrame, file: Path, columns: Sequence[str] | None) -> pl.DataFrame:
    found = rows.collect_schema().names()
    require_columns(file, found, columns or ())
    return rows.select(found if columns is None else columns).collect(engine="streaming")


def _is_list(path: Path) -> bool:
    with path.open("rb") as data:
        return data.read(4096).lstrip().startswith(b"[")


def _of_lines(lines: Iterator[str], file: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line, parse_constant=lambda _: None)
        except (ValueError, RecursionError) as error:
            entry = _literal(line)
            if entry is None:
                problem = f"the line is neither a JSON object nor a Python dictionary ({_reason(error)})"
                raise UserError(problem, file=file, line=number, remedy=_REMEDY) from None
        if not isinstance(entry, dict):
            raise UserError("the line is not an object", file=file, line=number, remedy=_REMEDY)
        yield entry


def _reason(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__


def _of_list(text: str, file: Path) -> Iterator[dict[str, Any]]:
    try:
        entries = json.loads(text, parse_constant=lambda _: None)
    except json.JSONDecodeError as error:
        raise UserError(f"it is not JSON ({error.msg})", file=file, line=error.lineno, remedy=_REMEDY) from None
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise UserError(f"entry {number} of the list is not an object", file=file, remedy=_REMEDY)
        yield entry


def _literal(line: str) -> Any:
    """The value of a line that is a Python literal; None if it is not one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # texts contain backslashes that Python warns about
            return ast.literal_eval(line.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _json(entry: dict[str, Any]) -> str:
    text = json.dumps({name: _plain(value) for name, value in entry.items()}, ensure_ascii=False, default=str)
    # Surrogate pairs ("\\ud83d\\ude00") are joined, and lone surrogates replaced.
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, int) and abs(value) >= _TOO_LONG else value
