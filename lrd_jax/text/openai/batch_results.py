"""The result files of a batch: rows in any order, each with the custom_id under which its text was handed in."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np

from lrd_jax.errors import UserError
from lrd_jax.text.openai.answers import RETRY_STATUSES, ZEROS, ServerError, UnusableAnswer, read_answer
from lrd_jax.text.openai.vector_cache import Database

ROWS_PER_TRANSACTION = 256


@dataclasses.dataclass(frozen=True)
class Results:
    """What went wrong in a batch.

    Attributes:
      failures: reasons that belong to no text of ours, and how often they came.
      by_text: why a text has no vector, by its key.
      refused: the texts that would be refused again if they were handed in again.
      ended: whether the batch as a whole failed for good.
    """

    failures: Counter[str] = dataclasses.field(default_factory=Counter)
    by_text: dict[bytes, str] = dataclasses.field(default_factory=dict)
    refused: set[bytes] = dataclasses.field(default_factory=set)
    ended: bool = False

    def __or__(self, other: Results) -> Results:
        """Both of them."""
        return Results(
            self.failures + other.failures,
            self.by_text | other.by_text,
            self.refused | other.refused,
            self.ended or other.ended,
        )


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
    results = Results()
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
            reason = redact(str(failed))
            if failed.key not in keys:
                results.failures[reason] += 1
                continue
            results.by_text[failed.key] = reason
            if failed.for_good:
                results.refused.add(failed.key)
            continue
        if key not in keys:
            results.failures["a row of a text that is not in the batch"] += 1
            continue
        encoder.dimensions = len(vector)
        found[key] = vector
        if len(found) >= ROWS_PER_TRANSACTION:
            store()
    store()
    return results


class _Failed(Exception):
    def __init__(self, reason: str, key: bytes | None = None, *, for_good: bool = False) -> None:
        super().__init__(reason)
        self.key, self.for_good = key, for_good


def _read_row(line: bytes, width: int | None) -> tuple[bytes, np.ndarray]:
    try:
        row = json.loads(line)
        key = bytes.fromhex(row["custom_id"])
    except (ValueError, KeyError, TypeError) as error:
        raise _Failed("a row that does not parse") from error
    response, failure = row.get("response"), row.get("error")
    status = response.get("status_code") if isinstance(response, dict) else None
    if failure or status != 200:
        body = response.get("body") if isinstance(response, dict) else None
        permanent = type(status) is int and 400 <= status < 500 and status not in RETRY_STATUSES
        raise _Failed(_reason(failure, body, status), key, for_good=permanent)
    try:
        answer = read_answer(response.get("body"), 1, width)
    except UnusableAnswer as unusable:
        raise _Failed(str(unusable), key) from unusable
    except ServerError as refused:
        raise _Failed(refused.words, key, for_good=not refused.retry) from refused
    except UserError as refused:
        raise _Failed(refused.problem, key, for_good=True) from refused
    if answer.problems:
        problem = answer.problems[0]
        raise _Failed(f"the server answered with {problem}", key, for_good=problem == ZEROS)
    return key, answer.vectors[0]


def _reason(error: Any, body: Any, status: Any) -> str:
    inner = body.get("error") if isinstance(body, dict) else None
    for held in (inner, error):
        if isinstance(held, dict):
            message = held.get("message") or held.get("code")
            if isinstance(message, str):
                return message
    return f"status {status}"
