"""The protocol "given": the negatives of the dataset folder."""

from __future__ import annotations

import numpy as np

from lrd_jax.data.corpus import Corpus
from lrd_jax.ranking.protocols import Listed, Protocol, SplitName


class Given(Protocol):
    """The dataset's neg_items."""

    @property
    def name(self) -> str:
        """See `Protocol`."""
        return "given"

    @property
    def description(self) -> str:
        """See `Protocol`."""
        return "given candidates"

    def num_candidates(self, corpus: Corpus, split: SplitName) -> np.ndarray:
        """See `Protocol`."""
        rows, negatives = self._listed(corpus, split)
        return np.full(len(rows), 1 + negatives.shape[1])

    def candidates(self, corpus: Corpus, split: SplitName) -> Listed:
        """See `Protocol`."""
        return Listed(lambda arrays, rows, negatives: negatives, self._listed(corpus, split))

    def _listed(self, corpus: Corpus, split: SplitName) -> tuple[np.ndarray, np.ndarray]:
        rows = getattr(corpus, split)
        return rows.rows, rows.negatives
