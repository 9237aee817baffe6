"""The k-core filter and the two ways to split interactions into train, dev and test."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from lrd_jax.data.corpus import Corpus, Split
from lrd_jax.data.dates import date_text
from lrd_jax.errors import UserError


class Dates(NamedTuple):
    """The dates of a temporal split in seconds since 1970; None for those that `complete_dates` fills in."""

    dev_from: int | None = None
    test_from: int | None = None


def filter_core(users: np.ndarray, items: np.ndarray, minimum: int) -> np.ndarray:
    """Which interactions remain after removing users and items with fewer than `minimum`, until none has fewer.

    Args:
      users, items: non-negative ids, int [N].
      minimum: the smallest number of interactions of a remaining user or item.

    Returns:
      bool [N]
    """
    keep = np.ones(len(users), bool)
    while True:
        counts = [np.bincount(ids[keep], minlength=ids.max(initial=0) + 1)[ids] for ids in (users, items)]
        remaining = keep & (np.minimum(*counts) >= minimum)
        if (remaining == keep).all():
            return keep
        keep = remaining


def repeated(users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Which interactions repeat an earlier item of the same user.

    Args:
      users, items: int [N], each user's interactions in order of time.

    Returns:
      bool [N]
    """
    _, firsts = np.unique(users.astype(np.int64) * (int(items.max(initial=0)) + 1) + items, return_index=True)
    again = np.ones(len(users), bool)
    again[firsts] = False
    return again


def items_until(corpus: Corpus, rows: np.ndarray, counted: np.ndarray | None = None) -> np.ndarray:
    """The number of distinct items that the user of each row has interacted with up to and including the row.

    Args:
      corpus: the dataset.
      rows: int [N], indices into the sequence arrays.
      counted: bool [I], which items count; None: all.

    Returns:
      int [N]
    """
    is_new = ~repeated(corpus.sequence_users, corpus.sequence_items)
    if counted is not None:
        is_new &= counted[corpus.sequence_items - 1]
    until = np.concatenate([[0], np.cumsum(is_new)])
    counts: np.ndarray = until[rows + 1] - until[corpus.sequence_offsets[corpus.sequence_users[rows]]]
    return counts


def with_all_interactions(corpus: Corpus) -> Corpus:
    """The corpus with every interaction trained on, those of history, dev and test too; dev and test have no rows."""
    rows = np.arange(len(corpus.sequence_items), dtype=np.int32)
    dev, test = (Split(rows[:0], split.negatives[:0]) for split in (corpus.dev, corpus.test))
    return dataclasses.replace(corpus, train_rows=rows, dev=dev, test=test)


def leave_one_out(users: np.ndarray, times: np.ndarray) -> dict[str, np.ndarray]:
    """Splits interactions: each user's last goes to test, the one before it to dev, the rest to train.

    A user's first interaction is always in train, because rows of dev and test need a history. A user with two
    interactions has none in dev, and a user with one has none in test either (as in ReChorus's notebooks).

    Args:
      users, times: int [N]; equal times keep their order.

    Returns:
      Row indices int [·] of "train", "dev" and "test", each sorted by time, then user, then input order.

    Raises:
      UserError: no user has three interactions.
    """
    by_user = np.lexsort((times, users))
    sorted_users = users[by_user]
    places = np.arange(len(users))
    first = np.empty(len(users), bool)
    first[by_user] = places == np.searchsorted(sorted_users, sorted_users)
    remaining = np.empty_like(places)  # number of later interactions of the same user
    remaining[by_user] = np.searchsorted(sorted_users, sorted_users, side="right") - 1 - places
    by_time = np.lexsort((users, times))
    left = np.where(first, 2, remaining)[by_time]
    parts = {"train": by_time[left > 1], "dev": by_time[left == 1], "test": by_time[left == 0]}
    if not len(parts["dev"]):
        raise UserError("no user has three interactions, so dev or test would be empty", remedy="Get more data")
    return parts


def complete_dates(times: np.ndarray, dates: Dates) -> Dates:
    """Fills in missing dates, so that 80, 10 and 10 percent of the interactions are train, dev and test.

    If test_from is given, dev is the last ninth of what precedes it. If dev_from is given, test is the later half of
    what follows it.

    Args:
      times: int [N], when each interaction happened.
      dates: the given dates.
    """
    ordered, number = np.sort(times), len(times)
    dev_from, test_from = dates
    if test_from is None:
        before = number * 8 // 10 if dev_from is None else int(np.searchsorted(ordered, dev_from))
        test_from = int(ordered[min((before + number) // 2, number - 1)])
    if dev_from is None:
        dev_from = int(ordered[np.searchsorted(ordered, test_from) * 8 // 9])
    return Dates(dev_from, test_from)


def temporal_split(users: np.ndarray, times: np.ndarray, dev_from: int, test_from: int) -> dict[str, np.ndarray]:
    """Splits interactions at two dates: train before dev_from, dev before test_from, test at test_from or later.

    A user's first interaction has no history, so it cannot be evaluated. If it happened at dev_from or later, it goes
    into "history": it is not trained on, which would leak the future, and only appears in the histories of the user's
    later interactions.

    Args:
      users, times: int [N]; equal times keep their order.
      dev_from, test_from: seconds since 1970, like `times`.

    Returns:
      Row indices int [·] of "train", "history", "dev" and "test", each sorted by time, then user, then input order.

    Raises:
      UserError: train, dev or test has no interaction.
    """
    by_time = np.lexsort((users, times))
    first = np.zeros(len(users), bool)
    first[np.unique(users[by_time], return_index=True)[1]] = True  # in the order of by_time
    ordered = times[by_time]
    train = ordered < dev_from
    test = ~train & (ordered >= test_from)
    parts = {"train": train, "history": ~train & first, "dev": ~(train | test | first), "test": test & ~first}
    for name in ("train", "dev", "test"):
        if not parts[name].any():
            raise UserError(
                f"{name} would be empty with dev from {date_text(dev_from)} and test from {date_text(test_from)}",
                field="--dev-from, --test-from",
                remedy=f"Choose dates from {date_text(ordered[0])} to {date_text(ordered[-1])}, dev's before test's",
            )
    return {name: by_time[chosen] for name, chosen in parts.items()}
