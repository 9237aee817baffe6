"""What targets are ranked against: a file here for each protocol, which `plugins.PROTOCOLS` lists."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from lrd_jax.config.schema import Section
from lrd_jax.data.corpus import Corpus

if TYPE_CHECKING:  # --help needs the options only, so jax is imported where it is used
    from jax.sharding import Mesh

    from lrd_jax.models.system import System

SplitName = Literal["dev", "test"]
TieRule = Literal["average", "pessimistic"]
"""Where a target stands among candidates of the same score: in their middle, or behind all of them. There is no rule in
its favour, by which a model that scores everything alike would be perfect."""


class Evaluation(NamedTuple):
    """The evaluation of a split, ready to run.

    Attributes:
      counts: (params, arrays, *by_row, *shared) → the `lrd_jax.ranking.metrics.Counts` of these rows; jitted.
      by_row: arrays [N, ...] on the host, of which a part of the rows is passed at a time; first the split's rows.
      shared: arrays that are the same for all rows.
    """

    counts: Callable[..., Any]
    by_row: tuple[np.ndarray, ...]
    shared: tuple[Any, ...] = ()


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
    def build(self, system: System, corpus: Corpus, split: SplitName, *, mesh: Mesh, history_length: int) -> Evaluation:
        """The evaluation of a split, to be compiled when it is first called.

        Args:
          system: the model.
          corpus: the dataset.
          split: which rows.
          mesh, history_length: for the functions of `lrd_jax.ranking.on_device`.

        Raises:
          UserError: the options do not fit the dataset.
        """
