"""Histories of users, known or not, as the arrays that models read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lrd_jax.data.batch import History, from_host
from lrd_jax.data.corpus import Corpus
from lrd_jax.errors import UserError

_LONGEST = 2**31 - 1


class Histories(NamedTuple):
    """B users with their histories, laid end to end.

    Attributes:
      users: int32 [B]; 0 for an unknown user.
      items: int32 [N], oldest first within a user.
      times: int64 [N], seconds, ascending within a user.
      offsets: int64 [B + 1]; user b has the places offsets[b] to offsets[b + 1].
    """

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of_users(cls, corpus: Corpus, users: np.ndarray) -> Histories:
        """All interactions of known users int32 [B], those of dev and test too."""
        starts, ends = corpus.sequence_offsets[users], corpus.sequence_offsets[users + 1]
        offsets = np.concatenate([[0], np.cumsum(ends - starts, dtype=np.int64)])
        places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], ends - starts)
        return cls(users, corpus.sequence_items[places], corpus.sequence_times[places].astype(np.int64), offsets)

    @classmethod
    def of_items(cls, histories: Sequence[np.ndarray], times: Sequence[Sequence[float]] | None) -> Histories:
        """Histories of unknown users.

        Args:
          histories: B arrays int32 [h] of items, oldest first.
          times: B sequences [h] of seconds, ascending. None: all interactions at one moment.

        Raises:
          UserError: a history without items, or times that are not as many as the items, descend or are not finite.
        """
        lengths = np.array([len(history) for history in histories], np.int64)
        if not lengths.all():
            raise UserError(f"history {int(np.argmin(lengths))} is empty", remedy="Give at least one item")
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        items = np.concatenate([np.zeros(0, np.int32), *histories]).astype(np.int32)
        users = np.zeros(len(histories), np.int32)
        if times is None:
            return cls(users, items, np.zeros(len(items), np.int64), offsets)
        if [len(each) for each in times] != lengths.tolist():
            raise UserError("the times are not as many as the items", remedy="Give a time for each item")
        seconds = np.concatenate([np.zeros(0), *(np.asarray(each, np.float64) for each in times)])
        within = np.ones(len(seconds), bool)
        within[offsets[:-1]] = False  # the first of a history follows nothing
        descends = within[1:] & ~(np.diff(seconds) >= 0)
        wrong = ~np.isfinite(seconds)
        wrong[1:] |= descends
        if wrong.any():
            number = int(np.searchsorted(offsets, np.flatnonzero(wrong)[0], side="right")) - 1
            raise UserError(f"the times of history {number} do not ascend", remedy="Give seconds, oldest first")
        return cls(users, items, np.floor(seconds).astype(np.int64), offsets)

    def __len__(self) -> int:
        """B."""
        return len(self.users)

    def rows(self, rows: np.ndarray) -> Histories:
        """The histories with these numbers, int [M]; a number may come more than once."""
        starts, ends = self.offsets[rows], self.offsets[rows + 1]
        offsets = np.concatenate([[0], np.cumsum(ends - starts, dtype=np.int64)])
        places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], ends - starts)
        return Histories(self.users[rows], self.items[places], self.times[places], offsets)

    def edited(self, *, remove: np.ndarray, add: np.ndarray) -> Histories:
        """Every history without some items int32 [M], and with others int32 [N] at its end, at the newest moment.

        Raises:
          UserError: nothing is left of a history.
        """
        keep = ~np.isin(self.items, remove)
        owner = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        newest = np.zeros(len(self), np.int64)
        np.maximum.at(newest, owner, self.times)
        owners = np.concatenate([owner[keep], np.repeat(np.arange(len(self)), len(add))])
        items = np.concatenate([self.items[keep], np.tile(add, len(self))]).astype(np.int32)
        times = np.concatenate([self.times[keep], np.repeat(newest, len(add))])
        lengths = np.bincount(owners, minlength=len(self))
        if not lengths.all():
            raise UserError("nothing is left of a history", remedy="Remove fewer items")
        order = np.argsort(owners, kind="stable")
        return Histories(self.users, items[order], times[order], np.concatenate([[0], np.cumsum(lengths)]))

    def padded(self, length: int) -> History:
        """The last `length` items of each history, padded at the end; predicted at the newest interaction."""
        ends = self.offsets[1:]
        starts = np.maximum(self.offsets[:-1], ends - length)
        place = np.arange(length)[None]
        valid = place < (ends - starts)[:, None]
        where = np.where(valid, starts[:, None] + place, 0)
        newest = self.times[np.maximum(ends - 1, 0)][:, None] if len(self.times) else np.zeros((len(ends), 1), np.int64)
        filled = (x if len(x) else np.zeros(1, x.dtype) for x in (self.items, self.times))
        items, times = (x[where] for x in filled)
        seconds = np.where(valid, np.minimum(newest - times, _LONGEST), 0).astype(np.int32)
        # Whole seconds are subtracted as integers: float32 cannot tell seconds apart in a Unix time.
        intervals = np.maximum(np.log2(seconds.astype(np.float32) / np.float32(60) + np.float32(1e-6)), np.float32(0))
        items = np.where(valid, items, 0).astype(np.int32)
        intervals = np.where(valid, intervals, np.float32(0))
        return History(*map(from_host, (items, intervals, seconds, self._shortest())))

    def seen(self) -> np.ndarray:
        """All items of each history, int32 [B, E], 0 for padding; E is a power of two, so that few shapes compile."""
        lengths = np.diff(self.offsets)
        width = 1 << max(3, int(lengths.max(initial=1) - 1).bit_length())
        seen = np.zeros((len(self), width), np.int32)
        rows = np.repeat(np.arange(len(self)), lengths)
        seen[rows, np.arange(len(self.items)) - np.repeat(self.offsets[:-1], lengths)] = self.items
        return seen

    def _shortest(self) -> np.ndarray:
        """See `History.shortest`."""
        shortest = np.full(len(self), _LONGEST, np.int64)
        owner = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        gaps = np.diff(self.times)
        counts = (owner[1:] == owner[:-1]) & (gaps > 0)
        np.minimum.at(shortest, owner[1:][counts], gaps[counts])
        return np.minimum(shortest, _LONGEST).astype(np.int32)


def join(parts: Sequence[Histories]) -> Histories:
    """The histories of all parts, one after the other."""
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    users, items, times = (np.concatenate([part[column] for part in parts]) for column in range(3))
    return Histories(users, items, times, offsets)


def take(history: History, rows: np.ndarray) -> History:
    """The rows int [M] of a padded history."""
    return History(*(x[rows] for x in history))
