"""The result files of a batch: rows in any order, each with the custom_id under which its text was handed in."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np

from lrd_jax.errors import UserError
from lrd_jax.text.openai_answers import UnusableAnswer, read_answer
from lrd_jax.text.vector_cache import Database

ROWS_PER_TRANSACTION = 256
_MAY_PASS = (408, 409, 429)


@dataclasses.dataclass(frozen=True)
class Results:
    """What went wrong in a batch.

    Attributes:
      failures: reasons and how many rows they hit.
      for_good: whether one of them would stay if the rows were handed in again.
    """

    failures: Counter[str]
    for_good: bool


class HasDimensions(Protocol):
    """What knows the width of vectors, or learns it from the first (None before)."""

    dimensions: int | None


def read_results(
    lines: Iterable[bytes],
    keys: frozenset[bytes],
    encoder: HasDimensions,
    database: Database,
    redact: Callable[[str], str],
) -> Results:
    """Put the vectors of an output or error file into the cache.

    Args:
      lines: JSON objects with custom_id, response (status_code and body) and error.
      keys: of the texts of the batch; rows of others are passed over.
      encoder: how wide vectors are.
      database: the cache.
      redact: takes the key out of what the server says.
    """
    failures: Counter[str] = Counter()
    for_good = False
    found: dict[bytes, np.ndarray] = {}

    def store() -> None:
        if found:
            database.put(list(found), np.stack(list(found.values())))
            found.clear()

    for line in lines:
        if not line.strip():
            continue
        try:
            key, vector = _read_row(line, encoder.dimensions)
        except _Failed as failed:
            failures[redact(str(failed))] += 1
            for_good = for_good or failed.for_good
            continue
        if key not in keys:
            failures["a row of a text that is not in the batch"] += 1
            continue
        encoder.dimensions = len(vector)
        found[key] = vector
        if len(found) >= ROWS_PER_TRANSACTION:
            store()
    store()
    return Results(failures, for_good)


class _Failed(Exception):
    def __init__(self, reason: str, *, for_good: bool = False) -> None:
        super().__init__(reason)
        self.for_good = for_good


def _read_row(line: bytes, width: int | None) -> tuple[bytes, np.ndarray]:
    try:
        row = json.loads(line)
        key = bytes.fromhex(row["custom_id"])
    except (ValueError, KeyError, TypeError) as error:
        raise _Failed("a row that does not parse") from error
    response, error = row.get("response"), row.get("error")
    status = response.get("status_code") if isinstance(response, dict) else None
    if error or status != 200:
        body = response.get("body") if isinstance(response, dict) else None
        permanent = type(status) is int and 400 <= status < 500 and status not in _MAY_PASS
        raise _Failed(_reason(error, body, status), for_good=permanent)
    try:
        vectors, _ = read_answer(response.get("body"), 1, width)
    except UnusableAnswer as unusable:
        raise _Failed(str(unusable)) from unusable
    except UserError as refused:
        raise _Failed(refused.problem, for_good=True) from refused
    return key, vectors[0]


def _reason(error: Any, body: Any, status: Any) -> str:
    inner = body.get("error") if isinstance(body, dict) else None
    for told in (inner, error):
        if isinstance(told, dict):
            message = told.get("message") or told.get("code")
            if isinstance(message, str):
                return message
    return f"status {status}"
