"""The protocol "sampled": negatives drawn anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from lrd_jax.data.corpus import Corpus
from lrd_jax.data.splits import items_until
from lrd_jax.errors import UserError
from lrd_jax.ranking.protocols import Listed, Protocol, SplitName

if TYPE_CHECKING:
    import jax

    from lrd_jax.data.device import Arrays


class Sampled(Protocol):
    """Items drawn anew, without replacement, among those that the user did not have before the row."""

    negatives: int = Field(99, ge=1)
    """How many for each row."""
    sampling: Literal["uniform", "popularity"] = "uniform"
    """All items alike, or in proportion to their training interactions."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Of the draw, which is the same for every run on a dataset."""

    @property
    def name(self) -> str:
        """See `Protocol`."""
        return f"sampled-{self.negatives}-{self.sampling}-seed{self.seed}"

    @property
    def description(self) -> str:
        """See `Protocol`."""
        how = {"uniform": "uniformly", "popularity": "by popularity"}[self.sampling]
        return f"{self.negatives} sampled negatives, drawn {how}, seed {self.seed}"

    def num_candidates(self, corpus: Corpus, split: SplitName) -> np.ndarray:
        """See `Protocol`."""
        return np.full(len(getattr(corpus, split).rows), 1 + self.negatives)

    def candidates(self, corpus: Corpus, split: SplitName) -> Listed:
        """See `Protocol`."""
        import jax

        from lrd_jax.models.simple import item_counts
        from lrd_jax.ranking.candidates import draw_negatives

        rows = getattr(corpus, split).rows
        weights = np.ones(corpus.num_items) if self.sampling == "uniform" else item_counts(corpus)[1:]
        self._check_enough(corpus, rows, weights > 0)
        with np.errstate(divide="ignore"):
            log_weights = np.log(weights).astype(np.float32)

        def of_rows(arrays: Arrays, rows: jax.Array, log_weights: jax.Array, key: jax.Array) -> jax.Array:
            return draw_negatives(key, arrays, rows, log_weights, self.negatives)

        return Listed(of_rows, (rows,), (log_weights, jax.random.key(self.seed)))

    def _check_enough(self, corpus: Corpus, rows: np.ndarray, drawable: np.ndarray) -> None:
        """Refuses more negatives than some row leaves; drawable bool [I]: items with a weight."""
        left = int(drawable.sum() - items_until(corpus, rows, drawable).max())
        if left < self.negatives:
            kind = "untouched items" if self.sampling == "uniform" else "untouched items that training holds"
            raise UserError(
                f"{self.negatives} negatives are too many: some user of {corpus.name} leaves only {left} {kind}",
                field="--negatives",
                remedy=f"Give at most {left}" if left > 0 else "Choose another --protocol",
            )
