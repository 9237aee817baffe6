"""The distinct texts of a paid encoder: which are in the cache, and which must be requested."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from lrd_jax.terminal.lines import warn
from lrd_jax.text.openai.packing import Tokenizer
from lrd_jax.text.openai.vector_cache import Database, vector_key
from lrd_jax.text.options import MAX_INPUT_TOKENS


@dataclasses.dataclass(frozen=True)
class Asked:
    """Distinct texts, in order of first appearance.

    Attributes:
      texts: N texts, cut if too long.
      tokens: number of tokens of each, or an upper bound.
      keys: cache key of each.
      rows: int64 [M], for each input text its position among the distinct ones; -1: blank, not requested.
      num_cut: number of distinct texts that were cut.
    """

    texts: list[str]
    tokens: list[int]
    keys: list[bytes]
    rows: np.ndarray
    num_cut: int

    def missing(self, there: dict[bytes, int]) -> list[int]:
        """Positions of the texts with keys that are not in `there`."""
        return [place for place, key in enumerate(self.keys) if key not in there]

    def spread(self, vectors: np.ndarray) -> np.ndarray:
        """Copies the vectors [N, T] of the distinct texts to all input texts: [M, T], zeros for blank texts."""
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
    """Cuts the texts and removes blanks and duplicates.

    Args:
      texts: M texts.
      tokenizer: tokenizer of the model.
      model, dimensions, service, generation: see `vector_key`.
      max_tokens: maximum number of tokens of a text.
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
    """The keys with vectors in the cache, each with its width; only vectors with width `width` count, if given."""
    widths = database.widths(asked.keys)
    return {key: found for key, found in widths.items() if width in (None, found)}


def unit_length(vectors: np.ndarray) -> np.ndarray:
    """Scales rows to length 1, for servers that do not; rows within 0.1% of it stay unchanged."""
    lengths = np.sqrt(np.einsum("nt,nt->n", vectors, vectors, dtype=np.float64))  # [N]
    off = np.flatnonzero((np.abs(lengths - 1) > 1e-3) & (lengths > 0))
    vectors = vectors.copy()
    vectors[off] = vectors[off] / lengths[off, None]
    return vectors


def warn_of_estimate(tokenizer: Tokenizer, max_tokens: int = MAX_INPUT_TOKENS) -> None:
    """Warns if token counts are only upper bounds."""
    if tokenizer.problem is not None:
        warn(
            f"{tokenizer.problem}, so tokens are estimated by UTF-8 bytes, an upper bound (English text has about a"
            f" quarter as many tokens), and texts are cut at {max_tokens:,} bytes"
        )
