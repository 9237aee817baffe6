"""Ids and titles of what is served, as dictionaries: a request looks up a few, not a column."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np

from lrd_jax.api.dataset import Dataset
from lrd_jax.ranking.histories import Histories
from lrd_jax.serve.asked import Person
from lrd_jax.serve.refusals import Refused

_LEAST_SIMILAR = 60.0
"""The lowest similarity, in percent, of a title that does not hold what is searched for."""


class Catalogue:
    """The items and users of a dataset.

    Attributes:
      num_items, num_users: I and U.
    """

    def __init__(self, dataset: Dataset) -> None:
        """Reads them."""
        self._corpus, self._finder = dataset.corpus, dataset.finder
        self._ids, self._titles = dataset.item_ids.to_list(), dataset.facts["title"].to_list()
        self._items = {raw: number for number, raw in enumerate(self._ids, 1)}
        self._users = {raw: number for number, raw in enumerate(dataset.user_ids.to_list(), 1)}
        self._folded = [(number, title.casefold()) for number, title in enumerate(self._titles, 1) if title]
        self.num_items, self.num_users = len(self._items), len(self._users)

    def named(self, item: int) -> dict[str, Any]:
        """Id and title of an own id."""
        return {"item": self._ids[item - 1], "title": self._titles[item - 1]}

    def items(self, raw: Sequence[str], field: str) -> np.ndarray:
        """The own ids, int32 [N], of the source's ids.

        Raises:
          Refused: one is unknown.
        """
        own = [self._items.get(one, 0) for one in raw]
        if 0 in own:
            number = own.index(0)
            raise Refused(404, f"There is no item {raw[number]!r}.", f"{field}.{number}" if field != "item" else field)
        return np.array(own, np.int32)

    def history(self, person: Person) -> Histories:
        """The one history, B = 1, of a known user or of anybody.

        Raises:
          Refused: an unknown id, both or neither of user and history, or times that do not fit the history.
        """
        if (person.user is None) == (person.history is None):
            raise Refused(422, "Give either user or history.", "history")
        if person.user is not None:
            if person.times is not None:
                raise Refused(422, "Times belong to a history; leave them out.", "times")
            if person.user not in self._users:
                raise Refused(404, f"There is no user {person.user!r}.", "user")
            return Histories.of_users(self._corpus, np.array([self._users[person.user]], np.int32))
        items, times = self.items(person.history or (), "history"), person.times
        if times is not None and len(times) != len(items):
            raise Refused(422, f"There are {len(times)} times for {len(items)} items.", "times")
        for number in range(1, len(times or ())):
            if times is not None and times[number] < times[number - 1]:
                raise Refused(422, "The times do not ascend; give the oldest first.", f"times.{number}")
        return Histories.of_items([items], None if times is None else [times])

    def search(self, query: str, limit: int) -> list[dict[str, Any]]:
        """The items that a text may mean: the one with that id, titles that hold it, titles like it, ids that begin so.

        Of the titles that hold it, those lead in which it begins the title, then a word; then short ones.
        """
        wanted = " ".join(query.casefold().split())
        if not wanted:
            return []
        found = {number: 100.0 for number in [self._items.get(query.strip(), 0)] if number}
        holding = [(_place(title, wanted), len(title), number) for number, title in self._folded if wanted in title]
        found |= {number: 100.0 for _, _, number in heapq.nsmallest(limit, holding)}
        if len(found) < limit:
            for match in self._finder.search(query, limit):
                if match.similarity >= _LEAST_SIMILAR:
                    found.setdefault(match.item, match.similarity)
        if not found:
            begin = (number for raw, number in self._items.items() if raw.startswith(query.strip()))
            found = {number: 100.0 for number, _ in zip(begin, range(limit), strict=False)}
        return [{**self.named(item), "similarity": score} for item, score in list(found.items())[:limit]]


def _place(title: str, text: str) -> int:
    """0 where the title begins with the text, 1 where a word does, else 2."""
    return 0 if title.startswith(text) else 1 if f" {text}" in title else 2
