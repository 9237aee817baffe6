"""What targets are ranked against: a file here for each protocol, which `plugins.PROTOCOLS` lists."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from lrd_jax.config.schema import Section
from lrd_jax.data.corpus import Corpus

SplitName = Literal["dev", "test"]
TieRule = Literal["average", "pessimistic"]
"""Where a target stands among candidates of the same score: in their middle, or behind all of them. There is no rule in
its favour, by which a model that scores everything alike would be perfect."""


@dataclasses.dataclass(frozen=True)
class Candidates:
    """What the target of each row of a split is ranked against: a pure function for the device, and its arrays.

    One of the two classes below says what the function returns. Arrays reach it by its arguments, never by closure.

    Attributes:
      of_rows: (arrays, *by_row, *shared) → the candidates of B rows; arrays are `lrd_jax.data.device.Arrays`.
      by_row: arrays [N, ...] on the host, of which a part of the rows is passed at a time; first the split's rows.
      shared: arrays that are the same for all rows.
    """

    of_rows: Callable[..., Any]
    by_row: tuple[np.ndarray, ...]
    shared: tuple[Any, ...] = ()


class Listed(Candidates):
    """Some items for each row: `of_rows` gives int32 [B, n] without the target, 0 for padding; duplicates count."""


class Catalogue(Candidates):
    """All items but some: `of_rows` gives int8 [B, I], of the items 1..I, 1 for those left out, the target among them.

    The target is a candidate all the same.
    """


class Protocol(Section, abc.ABC):
    """What targets are ranked against; its fields are options of `python -m lrd_jax.evaluate`.

    The docstring's first line and those below the fields are shown by --help.
    """

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """For files and columns. It tells every option, so that figures of two protocols are never mixed up."""

    @property
    @abc.abstractmethod
    def description(self) -> str:
        """For titles; as exact as the name."""

    @abc.abstractmethod
    def num_candidates(self, corpus: Corpus, split: SplitName) -> np.ndarray:
        """How many candidates the target of each row of a split is ranked among, itself included: int [N]."""

    @abc.abstractmethod
    def candidates(self, corpus: Corpus, split: SplitName) -> Candidates:
        """What the target of each row of a split is ranked against: `Listed` or `Catalogue`.

        Args:
          corpus: the dataset.
          split: which rows.

        Raises:
          UserError: the options do not fit the dataset.
        """
