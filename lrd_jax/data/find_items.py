"""Finds the item that a person means: by id, by exact title, else by the most similar title."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from lrd_jax.errors import UserError
from lrd_jax.terminal.lines import say

LEAST_SIMILAR = 75.0
"""The lowest similarity, in percent, at which a title counts as a match."""
LEAST_AHEAD = 5.0
"""How much more similar, in percentage points, the best title must be than the second."""
_CHOICES = 5


class Match(NamedTuple):
    """An item that was found.

    Attributes:
      item: its own id, from 1.
      how: "id", "title" or "similar title".
      similarity: of the titles, 0 to 100.
    """

    item: int
    how: str
    similarity: float


class ItemFinder:
    """Looks items up by what a person types."""

    def __init__(self, ids: pl.Series, titles: pl.Series) -> None:
        """Takes the source's ids, String [I], and the titles, String [I], null where there is none."""
        self._ids: list[str] = ids.to_list()
        self._titles: list[str | None] = titles.to_list()
        self._by_id = {raw: number for number, raw in enumerate(self._ids, 1)}
        self._by_title: dict[str, list[int]] = {}
        for number, title in enumerate(self._titles, 1):
            if title:
                self._by_title.setdefault(_normalised(title), []).append(number)

    def find(self, text: str) -> Match:
        """The item that a text names.

        Raises:
          UserError: no item is similar enough, or several are; the message lists the nearest.
        """
        text = text.strip()
        if text in self._by_id:
            return Match(self._by_id[text], "id", 100.0)
        exact = self._by_title.get(_normalised(text), [])
        if len(exact) == 1:
            return Match(exact[0], "title", 100.0)
        if exact:
            raise self._refuse(f"{len(exact)} items have the title {text!r}", exact)
        nearest = self.search(text, _CHOICES)
        close = [match for match in nearest if match.similarity >= LEAST_SIMILAR]
        if not close:
            raise self._refuse(f"no item has an id or a title like {text!r}", [match.item for match in nearest])
        if len(close) > 1 and close[0].similarity < close[1].similarity + LEAST_AHEAD:
            raise self._refuse(f"{text!r} could be several items", [match.item for match in close])
        return close[0]

    def search(self, text: str, number: int) -> list[Match]:
        """The `number` titles most similar to a text, best first; titles that contain it lead.

        Source: rapidfuzz's `WRatio`, the better of whole and partial matches of letters and words.
        """
        from rapidfuzz import process

        wanted = _normalised(text)
        if not wanted or not self._by_title:
            return []
        found = process.extract(wanted, list(self._by_title), scorer=_similarity, limit=number)
        return [Match(item, "similar title", score) for title, score, _ in found for item in self._by_title[title]][
            :number
        ]

    def name(self, item: int) -> str:
        """The title of an item with its id, or its id alone."""
        title, raw = self._titles[item - 1], self._ids[item - 1]
        return f"{title} [{raw}]" if title else str(raw)

    def id_of(self, item: int) -> str:
        """The source's id of an item."""
        return self._ids[item - 1]

    def _refuse(self, problem: str, items: list[int]) -> UserError:
        choices = ", ".join(self.name(item) for item in items[:_CHOICES])
        return UserError(problem, remedy=f"Choose one by its id: {choices}" if choices else "Give the item's id")


def named_items(finder: ItemFinder, names: Sequence[str]) -> list[str]:
    """The source's ids of items that a person named; says which item was meant where the name was not exact.

    Raises:
      UserError: no item or several could be meant.
    """
    found = []
    for name in names:
        match = finder.find(name)
        if match.how == "similar title":
            say(f"{name!r} is taken as {finder.name(match.item)} ({match.similarity:.0f}% similar)")
        found.append(finder.id_of(match.item))
    return found


def _normalised(title: str) -> str:
    return " ".join(title.casefold().split())


def _similarity(one: str, other: str, *, score_cutoff: float | None = None) -> float:
    """Whole titles count more than parts of them: "Star Wars" is nearer to "Star Wars (1977)" than to "Star"."""
    from rapidfuzz import fuzz  # --help needs no titles

    value = 0.8 * fuzz.WRatio(one, other) + 0.2 * fuzz.ratio(one, other)
    return value if score_cutoff is None or value >= score_cutoff else 0.0
