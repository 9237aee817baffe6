"""Warns about uninformative embeddings: zero vectors, or the same vector for all items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lrd_jax.terminal.lines import warn


def warn_of_empty(embeddings: np.ndarray, source: str, texts: Sequence[str] | None = None) -> None:
    """Warns about items with vectors from which an LRD model learns nothing; gives their number and the first one.

    Args:
      embeddings: [I + 1, T], row 0 is padding.
      source: origin of the embeddings, for the message.
      texts: texts of items 0.. (0 is padding), if known; items with a blank text are expected to have zero vectors.
    """
    num_items = len(embeddings) - 1
    zeros = [item for item in np.flatnonzero(~embeddings.any(axis=1)) if item]
    blank = [item for item, text in enumerate(texts or []) if item and not text.strip()]
    if blank:
        warn(f"{len(blank):,} of {num_items:,} items have no text (first: item {blank[0]}), so their vectors are zero")
    if zeros := [item for item in zeros if item not in set(blank)]:
        whose = "items with a text" if texts else "items"
        warn(
            f"{source}: {len(zeros):,} of {num_items:,} {whose} have a zero vector (first: item {zeros[0]}), so"
            " an LRD model learns nothing from their texts"
        )
    elif num_items - len(blank) > 1 and (texts is None or len(set(texts[1:])) > 1) and _all_the_same(embeddings[1:]):
        warn(f"{source}: all {num_items:,} items have the same vector, so an LRD model learns nothing from their texts")


def _all_the_same(rows: np.ndarray) -> bool:
    return bool((rows == rows[0]).all())
