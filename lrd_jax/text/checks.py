"""Embeddings that say nothing about their items: vectors of zeros, one vector for all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lrd_jax.runs.terminal import warn


def warn_of_empty(embeddings: np.ndarray, source: str, texts: Sequence[str] | None = None) -> None:
    """Warn of items whose vectors an LRD model learns nothing from, with their number and the first of them.

    Args:
      embeddings: [I + 1, T], row 0 being padding.
      source: where they are from, for the message.
      texts: of items 0.. (0 is padding), where they are known; a blank one is supposed to have a vector of zeros.
    """
    num_items = len(embeddings) - 1
    zeros = [item for item in np.flatnonzero(~embeddings.any(axis=1)) if item]
    blank = [item for item, text in enumerate(texts or []) if item and not text.strip()]
    if blank:
        warn(
            f"{len(blank):,} of {num_items:,} items have no text (the first: item {blank[0]}): their vectors are zeros"
        )
    if zeros := [item for item in zeros if item not in set(blank)]:
        whose = "items with a text" if texts else "items"
        warn(
            f"{source}: {len(zeros):,} of {num_items:,} {whose} have a vector of zeros (the first: item {zeros[0]}), so"
            " an LRD model learns nothing from their texts"
        )
    elif num_items - len(blank) > 1 and (texts is None or len(set(texts[1:])) > 1) and _all_the_same(embeddings[1:]):
        warn(f"{source}: all {num_items:,} items have the same vector, so an LRD model learns nothing from their texts")


def _all_the_same(rows: np.ndarray) -> bool:
    return bool((rows == rows[0]).all())
