"""The body of an answer of /v1/embeddings, checked before anything of it is kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from lrd_jax.errors import UserError


class UnusableAnswer(Exception):
    """An answer that asking again may mend."""


def read_answer(body: Any, count: int, width: int | None) -> tuple[np.ndarray, int | None]:
    """The vectors of an answer in the order of its inputs.

    Format: https://platform.openai.com/docs/api-reference/embeddings/object, with encoding_format "float".

    Args:
      body: the parsed JSON.
      count: inputs of the request.
      width: T as it should be; None: not known yet.

    Returns:
      float32 [count, T], and the tokens that the server counted, if it tells.

    Raises:
      UnusableAnswer: an index is missing, comes twice or is out of range, or a vector is not one of finite numbers.
      UserError: the vectors have another width, which asking again would not mend.
    """
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list):
        raise UnusableAnswer("the answer holds no list of embeddings")
    if len(data) != count:
        raise UnusableAnswer(f"the answer holds {len(data)} embeddings for {count} texts")
    ordered: list[Any] = [None] * count
    for entry in data:
        index = entry.get("index") if isinstance(entry, dict) else None
        if type(index) is not int or not 0 <= index < count:
            raise UnusableAnswer(f"the answer holds an embedding with the index {str(index)[:20]} for {count} texts")
        if ordered[index] is not None:
            raise UnusableAnswer(f"the answer holds the index {index} twice")
        vector = entry.get("embedding")
        if not isinstance(vector, list) or not vector:
            raise UnusableAnswer(f"the embedding with the index {index} is not a list of numbers")
        ordered[index] = vector
    widths = {len(vector) for vector in ordered}
    wrong = widths - {width} if width is not None else set(sorted(widths)[1:])
    if wrong:
        raise UserError(
            f"the server answered with {wrong.pop()} dimensions, not {width or min(widths)}",
            field="--dimensions",
            remedy="Look at --model, --dimensions and --base-url: this server does not have that model in that width",
        )
    try:
        numbers = np.array(ordered)
    except (ValueError, OverflowError) as error:
        raise UnusableAnswer("an embedding is not a list of numbers") from error
    if numbers.ndim != 2 or numbers.dtype.kind not in "fiu":
        raise UnusableAnswer("an embedding is not a list of numbers")
    with np.errstate(over="ignore"):
        vectors = numbers.astype(np.float32)
    if not np.isfinite(vectors).all():
        raise UnusableAnswer("an embedding holds NaN or infinity")
    usage = body.get("usage")
    tokens = usage.get("total_tokens") if isinstance(usage, dict) else None
    return vectors, tokens if type(tokens) is int and tokens > 0 else None
