"""The texts that an encoder which costs money has to ask for, and those whose vectors are in the cache."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from lrd_jax.runs.terminal import warn
from lrd_jax.text.openai.packing import Tokenizer
from lrd_jax.text.openai.vector_cache import Database, vector_key
from lrd_jax.text.options import MAX_INPUT_TOKENS


@dataclasses.dataclass(frozen=True)
class Asked:
    """Distinct texts, in the order in which they first come.

    Attributes:
      texts: N of them, cut where they were too long.
      tokens: of each, or an upper bound.
      keys: of each, in the cache.
      rows: int64 [M], for each text given its place among the distinct ones; -1: blank, not to be asked for.
      num_cut: how many distinct texts were cut.
    """

    texts: list[str]
    tokens: list[int]
    keys: list[bytes]
    rows: np.ndarray
    num_cut: int

    def missing(self, there: dict[bytes, int]) -> list[int]:
        """Places of the texts whose keys are not `there`."""
        return [place for place, key in enumerate(self.keys) if key not in there]

    def spread(self, vectors: np.ndarray) -> np.ndarray:
        """The vectors [N, T] of the distinct texts, for each text given: [M, T], zeros where it is blank."""
        spread = np.zeros((len(self.rows), vectors.shape[1]), np.float32)
        asked = self.rows >= 0
        spread[asked] = vectors[self.rows[asked]]
        return spread


def what_to_ask(
    texts: Sequence[str],
    tokenizer: Tokenizer,
    *,
    model: str,
    dimensions: int | None,
    service: str | None,
    generation: int = 0,
    max_tokens: int = MAX_INPUT_TOKENS,
) -> Asked:
    """Cut the texts and make each that is not blank stand once.

    Args:
      texts: M texts.
      tokenizer: of the model.
      model, dimensions, service, generation: as `vector_key`.
      max_tokens: where a text is cut.
    """
    given = list(dict.fromkeys(texts))
    counts = tokenizer.count(given)
    cut = {
        text: tokenizer.cut(text, max_tokens) for text, count in zip(given, counts, strict=True) if count > max_tokens
    }
    places: dict[str, int] = {}
    rows = np.empty(len(texts), np.int64)
    for row, text in enumerate(texts):
        sent = cut.get(text, text)
        rows[row] = places.setdefault(sent, len(places)) if sent.strip() else -1
    distinct = list(places)
    key_of = functools.partial(vector_key, model=model, dimensions=dimensions, service=service, generation=generation)
    return Asked(
        texts=distinct,
        tokens=tokenizer.count(distinct),
        keys=[key_of(text) for text in distinct],
        rows=rows,
        num_cut=len({sent for sent in cut.values() if sent in places}),
    )


def already_there(database: Database, asked: Asked, width: int | None) -> dict[bytes, int]:
    """The keys whose vectors are in the cache, each with its width; another width than `width` does not count."""
    widths = database.widths(asked.keys)
    return {key: found for key, found in widths.items() if width in (None, found)}


def unit_length(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1, for servers that do not see to it; a row that is within 0.1% of it stays as it is."""
    lengths = np.sqrt(np.einsum("nt,nt->n", vectors, vectors, dtype=np.float64))  # [N]
    off = np.flatnonzero((np.abs(lengths - 1) > 1e-3) & (lengths > 0))
    vectors = vectors.copy()
    vectors[off] = vectors[off] / lengths[off, None]
    return vectors


def warn_of_estimate(tokenizer: Tokenizer, max_tokens: int = MAX_INPUT_TOKENS) -> None:
    """Warn where tokens are not counted but bounded."""
    if tokenizer.problem is not None:
        warn(
            f"{tokenizer.problem}, so tokens are estimated by UTF-8 bytes, an upper bound (English has about a"
            f" quarter), and texts are cut at {max_tokens:,} bytes"
        )
