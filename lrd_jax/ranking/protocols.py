"""What targets are ranked against, by name: sampled and full figures must never be mixed up."""

from __future__ import annotations

import dataclasses
from typing import Literal

SplitName = Literal["dev", "test"]
Sampling = Literal["uniform", "popularity"]
TieRule = Literal["average", "pessimistic"]
"""Where a target stands among candidates of the same score: in their middle, or behind all of them. There is no rule in
its favour, by which a model that scores everything alike would be perfect."""


@dataclasses.dataclass(frozen=True)
class Given:
    """The negatives that the dataset folder lists."""

    @property
    def name(self) -> str:
        """For files and columns."""
        return "given"

    @property
    def description(self) -> str:
        """For titles."""
        return "given candidates"


@dataclasses.dataclass(frozen=True)
class Sampled:
    """Negatives drawn anew among the items that the user had not touched before the row, without replacement.

    Attributes:
      negatives: how many for each row.
      sampling: all items alike, or in proportion to their training interactions.
      seed: of the draw; the same for every model.
    """

    negatives: int = 99
    sampling: Sampling = "uniform"
    seed: int = 0

    @property
    def name(self) -> str:
        """For files and columns."""
        return f"sampled-{self.negatives}-{self.sampling}-seed{self.seed}"

    @property
    def description(self) -> str:
        """For titles."""
        how = {"uniform": "uniformly", "popularity": "by popularity"}[self.sampling]
        return f"{self.negatives} sampled negatives, drawn {how}, seed {self.seed}"


@dataclasses.dataclass(frozen=True)
class Full:
    """Every item of the catalogue.

    Attributes:
      keep_seen: also those that the user had touched before the row.
    """

    keep_seen: bool = False

    @property
    def name(self) -> str:
        """For files and columns."""
        return "full-keep-seen" if self.keep_seen else "full"

    @property
    def description(self) -> str:
        """For titles."""
        return f"all items, those seen before {'kept' if self.keep_seen else 'excluded'}"


Protocol = Given | Sampled | Full
