"""The body of an answer of /v1/embeddings, checked before anything of it is kept."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import numpy as np

from lrd_jax.errors import UserError

FINAL_CODES = (
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "account_deactivated",
)
"""Codes of errors that waiting does not help, although some of them come with status 429."""
RETRY_STATUSES = (408, 409, 429)
ZEROS = "a vector of zeros"
_RETRY_WORDS = re.compile(r"rate.?limit|overload|try again|temporar|time.?out|timed out|unavailable", re.IGNORECASE)


class UnusableAnswer(Exception):
    """An answer that may be usable when it is asked for once more."""


class ServerError(Exception):
    """An error object that came in place of embeddings, with status 200.

    Attributes:
      words: the server's.
      error: its error object.
      status: the HTTP status that the error names, if it does.
      retry: whether the error says that it will pass.
    """

    def __init__(self, words: str, error: dict[str, Any], status: int | None, *, retry: bool) -> None:
        """Keep the parts."""
        super().__init__(words)
        self.words, self.error, self.status, self.retry = words, error, status, retry


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a server answered to a request.

    Attributes:
      vectors: by the number of the input, finite and not zero, float32 [T].
      problems: what is wrong with the embeddings of the other inputs.
      tokens: as the server counted them; None: it did not say.
    """

    vectors: dict[int, np.ndarray]
    problems: dict[int, str]
    tokens: int | None


def read_answer(body: Any, count: int, width: int | None) -> Answer:
    """The vectors of an answer by the number of the input; where no entry has an index, they are taken in order.

    Format: https://platform.openai.com/docs/api-reference/embeddings/object, with encoding_format "float".

    Args:
      body: the parsed JSON.
      count: inputs of the request.
      width: T as it should be; None: not known yet.

    Raises:
      UnusableAnswer: there are too few or too many entries, or an index comes twice or is out of range.
      ServerError: the answer is an error.
      UserError: the vectors have another width, or entries lack an index, which does not change when asked again.
    """
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list):
        if (error := _error_in(body)) is not None:
            raise error
        raise UnusableAnswer("the answer holds no list of embeddings")
    if len(data) != count:
        raise UnusableAnswer(f"the answer holds {len(data)} embeddings for {count} texts")
    vectors: dict[int, np.ndarray] = {}
    problems: dict[int, str] = {}
    for index, entry in zip(_indices(data), data, strict=True):
        read = _read_vector(entry)
        if isinstance(read, str):
            problems[index] = read
        else:
            vectors[index] = read
    widths = sorted({len(vector) for vector in vectors.values()})
    wrong = [found for found in widths if found != (width or widths[0])]
    if wrong:
        raise UserError(
            f"the server answered with {wrong[0]} dimensions, not {width or widths[0]}",
            field="--dimensions",
            remedy="Check --model, --dimensions and --base-url; if the server has another model under this name now,"
            " ask for all texts again with --force",
        )
    usage = body.get("usage")
    tokens = usage.get("total_tokens") if isinstance(usage, dict) else None
    return Answer(vectors, problems, tokens if type(tokens) is int and tokens > 0 else None)


def _indices(data: list[Any]) -> list[int]:
    """The number of the input of each entry."""
    count = len(data)
    indices = [entry.get("index") if isinstance(entry, dict) else None for entry in data]
    if all(index is None for index in indices):
        return list(range(count))
    if None in indices or (count > 1 and len(set(map(str, indices))) == 1):
        held = "some embeddings without an index" if None in indices else f"{count} embeddings with the same index"
        remedy = "Ask for one text at a time with --request-inputs 1"
        raise UserError(f"the answer of the server holds {held}, so their order is not known", remedy=remedy)
    numbers: list[int] = []
    for index in indices:
        if type(index) is not int or not 0 <= index < count:
            raise UnusableAnswer(f"the answer holds an embedding with the index {str(index)[:20]} for {count} texts")
        numbers.append(index)
    if len(set(numbers)) < count:
        raise UnusableAnswer("the answer holds an index twice")
    return numbers


def _read_vector(entry: Any) -> np.ndarray | str:
    """The vector of an entry, float32 [T], or what is wrong with it."""
    listed = entry.get("embedding") if isinstance(entry, dict) else None
    if not isinstance(listed, list) or not listed:
        return "no list of numbers"
    try:
        numbers = np.array(listed)
    except (ValueError, OverflowError):
        return "no list of numbers"
    if numbers.ndim != 1 or numbers.dtype.kind not in "fiu":
        return "no list of numbers"
    with np.errstate(over="ignore"):
        vector = numbers.astype(np.float32)
    if not np.isfinite(vector).all():
        return "NaN or infinity in the vector"
    return vector if vector.any() else ZEROS


def _error_in(body: Any) -> ServerError | None:
    """The error that an answer without embeddings holds, in the forms in which servers give it."""
    if not isinstance(body, dict):
        return None
    errors = body.get("errors")
    for held in (body.get("error"), errors[0] if isinstance(errors, list) and errors else errors, body):
        if isinstance(held, str) and held:
            held = {"message": held}
        if not isinstance(held, dict) or not held.keys() & {"message", "detail", "code"}:
            continue
        words = held.get("message") or held.get("detail") or held
        words = words if isinstance(words, str) else json.dumps(words)
        codes = [held.get("code"), held.get("type"), held.get("status")]
        status = next((int(code) for code in map(str, codes) if re.fullmatch(r"[1-5]\d\d", code)), None)
        passing = status is not None and (status in RETRY_STATUSES or status >= 500)
        retry = passing or bool(_RETRY_WORDS.search(f"{words} {codes}"))
        return ServerError(words, held, status, retry=retry and not is_final(held))
    return None


def is_final(error: Any) -> bool:
    """Whether an error object says that the account, not the moment, is the reason."""
    return isinstance(error, dict) and bool({str(error.get("code")), str(error.get("type"))} & set(FINAL_CODES))
