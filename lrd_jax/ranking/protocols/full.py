"""The protocol "full": every item of the catalogue."""

from __future__ import annotations

import functools

import numpy as np

from lrd_jax.data.corpus import Corpus
from lrd_jax.data.splits import items_until
from lrd_jax.ranking.protocols import Catalogue, Protocol, SplitName


class Full(Protocol):
    """Every item, except those that the user had before the row."""

    keep_seen: bool = False
    """Keep the items that the user had before the row."""

    @property
    def name(self) -> str:
        """See `Protocol`."""
        return "full-keep-seen" if self.keep_seen else "full"

    @property
    def description(self) -> str:
        """See `Protocol`."""
        return f"all items, those seen before {'kept' if self.keep_seen else 'excluded'}"

    def num_candidates(self, corpus: Corpus, split: SplitName) -> np.ndarray:
        """See `Protocol`."""
        rows = getattr(corpus, split).rows
        if self.keep_seen:
            return np.full(len(rows), corpus.num_items)
        return 1 + corpus.num_items - items_until(corpus, rows)

    def candidates(self, corpus: Corpus, split: SplitName) -> Catalogue:
        """See `Protocol`."""
        from lrd_jax.ranking.candidates import left_out  # here, since --help does without jax

        of_rows = functools.partial(left_out, num_items=corpus.num_items, keep_seen=self.keep_seen)
        return Catalogue(of_rows, (getattr(corpus, split).rows,))
