"""Which interactions stay, and which of them train, are dev and test: the k-core filter and the two splits."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from lrd_jax.data.corpus import Corpus, Split
from lrd_jax.data.dates import date_text
from lrd_jax.errors import UserError


class Dates(NamedTuple):
    """Where a temporal split cuts: seconds since 1970, or None for what `complete_dates` fills in."""

    dev_from: int | None = None
    test_from: int | None = None


def filter_core(users: np.ndarray, items: np.ndarray, minimum: int) -> np.ndarray:
    """Which interactions remain when users and items with fewer than `minimum` of them go, until none has fewer.

    Args:
      users, items: non-negative ids, int [N].
      minimum: interactions that every user and item must keep.

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
    """Which interactions are with an item that their user had before.

    Args:
      users, items: int [N], every user's interactions in the order of time.

    Returns:
      bool [N]
    """
    _, firsts = np.unique(users.astype(np.int64) * (int(items.max(initial=0)) + 1) + items, return_index=True)
    again = np.ones(len(users), bool)
    again[firsts] = False
    return again


def items_until(corpus: Corpus, rows: np.ndarray, counted: np.ndarray | None = None) -> np.ndarray:
    """How many different items the user of each row has had until the row, its target included.

    Args:
      corpus: the dataset.
      rows: int [N], of the sequence arrays.
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
    """Split interactions: each user's last goes to test, the one before it to dev, the rest to train.

    A user's first is always trained on, since a row of dev or test needs a history: who has two interactions has none
    in dev, and who has one has none in test either (as in ReChorus's notebooks).

    Args:
      users, times: int [N]; equal times keep their order.

    Returns:
      Row indices int [·] of "train", "dev" and "test", each sorted by time, then user, then first order.

    Raises:
      UserError: no user has the three interactions that fill all of them.
    """
    by_user = np.lexsort((times, users))
    sorted_users = users[by_user]
    places = np.arange(len(users))
    first = np.empty(len(users), bool)
    first[by_user] = places == np.searchsorted(sorted_users, sorted_users)
    remaining = np.empty_like(places)  # interactions of the same user that come later
    remaining[by_user] = np.searchsorted(sorted_users, sorted_users, side="right") - 1 - places
    by_time = np.lexsort((users, times))
    left = np.where(first, 2, remaining)[by_time]
    parts = {"train": by_time[left > 1], "dev": by_time[left == 1], "test": by_time[left == 0]}
    if not len(parts["dev"]):
        raise UserError("no user has three interactions, so that dev or test would be empty", remedy="Get more data")
    return parts


def complete_dates(times: np.ndarray, dates: Dates) -> Dates:
    """Fill in the dates that are not given: 80, 10 and 10 percent of the interactions train, are dev and test.

    Beside a given test_from, dev is the last ninth of what comes before it; beside a given dev_from, the later half of
    what follows tests.

    Args:
      times: int [N], when each interaction happened.
      dates: what is given.
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
    """Split interactions at two dates: train before dev_from, dev before test_from, test at test_from or later.

    A user's first interaction has no history to be ranked with. From dev_from on it is put into "history", neither
    trained on, which would tell of the future, nor evaluated: it only stands in the histories of the user's later ones.

    Args:
      users, times: int [N]; equal times keep their order.
      dev_from, test_from: seconds since 1970, as `times`.

    Returns:
      Row indices int [·] of "train", "history", "dev" and "test", each sorted by time, then user, then first order.

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
                f"nothing is left for {name} with dev from {date_text(dev_from)} and test from {date_text(test_from)}",
                field="--dev-from, --test-from",
                remedy=f"Choose dates from {date_text(ordered[0])} to {date_text(ordered[-1])}, dev's before test's",
            )
    return {name: by_time[chosen] for name, chosen in parts.items()}
