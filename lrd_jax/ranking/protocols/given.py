"""The protocol "given": the negatives of the dataset folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lrd_jax.data.corpus import Corpus
from lrd_jax.ranking.protocols import Evaluation, Protocol, SplitName

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from lrd_jax.models.system import System


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

    def build(self, system: System, corpus: Corpus, split: SplitName, *, mesh: Mesh, history_length: int) -> Evaluation:
        """See `Protocol`."""
        from lrd_jax.ranking.on_device import build_evaluation

        return Evaluation(build_evaluation(system, mesh, history_length=history_length), self._listed(corpus, split))

    def _listed(self, corpus: Corpus, split: SplitName) -> tuple[np.ndarray, np.ndarray]:
        rows = getattr(corpus, split)
        return rows.rows, rows.negatives
