"""A loaded run that answers batches of requests; only one thread at a time may ask it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lrd_jax.api.run import Run, load_run
from lrd_jax.ranking.histories import Histories, join
from lrd_jax.serve.asked import MOST_EXPLAINED, MOST_HISTORY, MOST_K, MOST_SCORED
from lrd_jax.serve.batching import Work
from lrd_jax.serve.catalogue import Catalogue
from lrd_jax.serve.explanations import explanations

_LEVELS = (16, 128)
"""Lengths of lists that are compiled; others are cut from these."""
_MOST_ROWS = 64
_MOST_EXPLAINED_ROWS = 4


class Asked(NamedTuple):
    """One request of a batch.

    Attributes:
      history: B = 1.
      k: how many items the list has.
      exclude_seen: whether it has none of the history.
      items: int32 [C], to score or explain.
    """

    history: Histories
    k: int = 0
    exclude_seen: bool = True
    items: np.ndarray = np.zeros(0, np.int32)


class Served:
    """A run with all it needs to answer.

    Attributes:
      run: the run.
      catalogue: its items and users.
    """

    def __init__(self, run: Run) -> None:
        """Takes a loaded run."""
        self.run, self.catalogue = run, Catalogue(run.dataset)
        longest = int(np.diff(run.dataset.corpus.sequence_offsets).max())
        self._width = 1 << (max(longest, MOST_HISTORY) - 1).bit_length()
        self._rows = run.ranker.rows_per_block
        self._most = min(self._rows, _MOST_ROWS)

    @classmethod
    def load(cls, folder: Path, data: Path | None) -> Served:
        """Loads a run folder.

        Raises:
          UserError: as `load_run`.
        """
        return cls(load_run(folder, data=data))

    @property
    def similar_by(self) -> tuple[str, ...]:
        """By what items can be compared."""
        held = self.run.setup.arrays.tables.text is not None
        return ("vectors", *(("text",) if held else ()), *self.run.relations)

    def recommend(self, k: int) -> Work:
        """Lists, of `Asked` with this k or another of its level."""
        level = min(_level(k), self.catalogue.num_items)
        return Work((id(self), "recommend", level), self._most, lambda asked: self._recommend(asked, level))

    def score(self, number: int) -> Work:
        """Scores of so many items."""
        level = _level(number)
        return Work((id(self), "score", level), self._most, lambda asked: self._score(asked, level))

    def explain(self) -> Work:
        """Reasons."""
        return Work((id(self), "explain"), _MOST_EXPLAINED_ROWS, self._explain)

    def similar(self, by: str, k: int) -> Work:
        """The k items most similar to an item, by its id of the source."""
        return Work((id(self), "similar", by, k), _MOST_ROWS, lambda items: self._similar(items, by, k))

    def warm_up(self) -> None:
        """Compiles every shape that requests have."""
        one = Asked(Histories.of_items([np.ones(1, np.int32)], None), k=1, items=np.ones(1, np.int32))
        # Models without relations are explained by the scores of as many histories as theirs have items.
        explained = min(self._rows, _MOST_EXPLAINED_ROWS * self.run.config.data.history_length)
        rows = 1
        while rows <= max(self._most, explained):
            self._score([one] * rows, _LEVELS[0])
            if rows <= self._most:
                self._score([one] * rows, _LEVELS[1])
                for level in _LEVELS:
                    self._recommend([one] * rows, min(level, self.catalogue.num_items))
            rows *= 2
        self._explain([one])

    def _recommend(self, asked: Sequence[Asked], level: int) -> list[list[dict[str, Any]]]:
        histories = join([one.history for one in asked])
        excluded = np.zeros((len(asked), self._width), np.int32)
        for row, one in enumerate(asked):
            if one.exclude_seen:
                excluded[row, : len(one.history.items)] = one.history.items
        top = self.run.ranker.top_items(histories, level, excluded=excluded)
        return [
            [
                {"rank": rank, **self.catalogue.named(item), "score": score}
                for rank, (item, score) in enumerate(zip(items[: one.k], scores[: one.k], strict=True), 1)
                if item > 0
            ]
            for one, items, scores in zip(asked, top.items.tolist(), top.scores.tolist(), strict=True)
        ]

    def _score(self, asked: Sequence[Asked], level: int) -> list[list[dict[str, Any]]]:
        scores = self.run.ranker.score_rows(join([one.history for one in asked]), _padded(asked, level)).tolist()
        return [
            [
                {"rank": None, **self.catalogue.named(item), "score": score}
                for item, score in zip(one.items.tolist(), row, strict=False)
            ]
            for one, row in zip(asked, scores, strict=True)
        ]

    def _explain(self, asked: Sequence[Asked]) -> list[list[dict[str, Any]]]:
        histories = join([one.history for one in asked])
        frame = self.run.reasons.explain(histories, _padded(asked, MOST_EXPLAINED))
        found = explanations(frame, self.catalogue)
        return [[found[row, item] for item in one.items.tolist()] for row, one in enumerate(asked)]

    def _similar(self, items: Sequence[str], by: str, k: int) -> list[list[dict[str, Any]]]:
        different = list(dict.fromkeys(items))
        lists: dict[str, list[dict[str, Any]]] = {item: [] for item in different}
        for row in self.run.similar(different, by=by, k=k).iter_rows(named=True):
            about = {"rank": row["rank"], "item": row["similar"], "title": row["title"], "score": row["score"]}
            lists[row["item"]].append(about)
        return [lists[item] for item in items]


def _level(number: int) -> int:
    return next(level for level in _LEVELS if level >= number)


def _padded(asked: Sequence[Asked], width: int) -> np.ndarray:
    """The items of each as int32 [B, width], 0 for padding."""
    items = np.zeros((len(asked), width), np.int32)
    for row, one in enumerate(asked):
        items[row, : len(one.items)] = one.items
    return items


assert max(MOST_K, MOST_SCORED) <= _LEVELS[-1]
