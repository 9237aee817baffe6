"""Negatives of dev and test rows: items that the user interacts with in no split, drawn once and kept in the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from scipy.sparse import csr_array

from lrd_jax.data.splits import repeated
from lrd_jax.errors import UserError
from lrd_jax.terminal.lines import row_progress

_CELLS = 2**22  # (row, item) pairs in memory at once while negatives are drawn, 32 MiB of float64
_LARGE_CATALOGUE = 8192  # above this many items, rejection sampling is faster than one key per (row, item) pair


def short_of_items(
    users: np.ndarray, items: np.ndarray, evaluated: np.ndarray, num_items: int, needed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The users with too few items left to draw negatives from, ascending, int [S], and how many are left, int [S].

    Args:
      users, items: int [N], all interactions.
      evaluated: users for whom negatives are drawn, possibly repeated.
      num_items: number of items that negatives are drawn from.
      needed: minimum number of items that must be left.
    """
    touched = np.bincount(users[~repeated(users, items)], minlength=int(users.max(initial=0)) + 1)
    evaluated = np.unique(evaluated)
    left = num_items - touched[evaluated]
    return evaluated[left < needed], left[left < needed]


def notebook_items(splits: Mapping[str, np.ndarray], users: np.ndarray, items: np.ndarray, times: np.ndarray) -> int:
    """Number of items that the published notebooks draw from: those left after dropping each user's first interaction.

    Args:
      splits: rows of each file.
      users, items, times: int [N].
    """
    ordered = np.concatenate(list(splits.values()))
    ordered = ordered[np.lexsort((ordered, times[ordered], users[ordered]))]
    later = ordered[np.flatnonzero(users[ordered][1:] == users[ordered][:-1]) + 1]
    return len(np.unique(items[later]))


def sample_negatives(touched: csr_array, users: np.ndarray, num_negatives: int, rng: np.random.Generator) -> np.ndarray:
    """Draws items without an interaction of the user, uniformly and without replacement, for each entry of `users`.

    Up to 8,192 items, every (row, item) pair gets a random key, and the smallest keys are drawn. This produced the
    negatives of the published results of this package, so the bytes must not change. For larger catalogues, where this
    would take minutes, rejection sampling draws items for a row until enough are distinct and without an interaction;
    rows of users with too few items left for that use keys too.

    Args:
      touched: bool [U + 1, I + 1], whether the user interacted with the item; item 0 is padding and never drawn.
      users: int [N], possibly repeated; faster if sorted.
      num_negatives: negatives per entry.
      rng: random generator.

    Returns:
      int32 [N, num_negatives]

    Raises:
      UserError: a user has interacted with so many items that fewer than num_negatives are left.
    """
    width = touched.shape[1]
    untouched = width - 1 - np.diff(touched.indptr)[users]
    least = int(untouched.min(initial=width))
    if least < num_negatives:
        problem = f"{num_negatives} negatives per user are too many: only {least} items are left for one user"
        raise UserError(problem, field="negatives", remedy=f"Choose at most {least}")
    negatives = np.empty((len(users), num_negatives), np.int32)
    by_key = np.ones(len(users), bool)
    if width > _LARGE_CATALOGUE:
        by_key = (untouched < width // 2) | (num_negatives > width // 16)
        rows = np.flatnonzero(~by_key)
        touched.sort_indices()
        owners = np.repeat(np.arange(touched.shape[0], dtype=np.int64), np.diff(touched.indptr))
        taken = owners * width + touched.indices  # ascending
        for block in _blocks(rows, 2 * num_negatives):
            negatives[block] = _draw_and_refuse(taken, width, users[block], num_negatives, rng)
    for block in _blocks(np.flatnonzero(by_key), width):
        negatives[block] = _smallest_keys(touched[users[block]].toarray(), num_negatives, rng)
    return negatives


def _blocks(rows: np.ndarray, cells: int) -> Iterator[np.ndarray]:
    """Blocks of rows that fit in memory with this many cells per row; shows a progress bar."""
    size = max(1, _CELLS // cells)
    with row_progress(len(rows), "negatives") as progress:
        for start in range(0, len(rows), size):
            yield rows[start : start + size]
            progress.update(min(size, len(rows) - start))


def notebook_negatives(
    touched: csr_array, users: np.ndarray, num_items: int, num_negatives: int, rng: np.random.RandomState
) -> np.ndarray:
    """Draws as the notebooks of ReChorus and the LRD authors do: with replacement, redrawing the user's own items.

    With their seed, their order of rows (by time) and their order of splits (test before dev), it reproduces their
    negatives exactly; `data/MovieLens.ipynb` of github.com/ysh-1998/LRD shows some.

    Args:
      touched: bool [U + 1, I + 1], whether the user interacted with the item.
      users: int [N], the rows in order of time.
      num_items: items are drawn from 1 to this.
      num_negatives: negatives per row.
      rng: NumPy's legacy generator, which the notebooks use.

    Returns:
      int32 [N, num_negatives]

    Raises:
      UserError: a user has interacted with all of these items.
    """
    if len(users) and int(np.diff(touched.indptr)[users].max()) >= num_items:
        problem = "a user has interacted with every item, so no negative is left"
        raise UserError(problem, field="--like", remedy="Raise --core, or leave out --like rechorus")
    negatives = rng.randint(1, num_items + 1, (len(users), num_negatives))
    starts, indices = touched.indptr, touched.indices
    for row, user in enumerate(users):
        seen = indices[starts[user] : starts[user + 1]]
        for place in np.flatnonzero(np.isin(negatives[row], seen)):
            while negatives[row, place] in seen:
                negatives[row, place] = rng.randint(1, num_items + 1)
    return negatives.astype(np.int32)


def _smallest_keys(refused: np.ndarray, num_negatives: int, rng: np.random.Generator) -> np.ndarray:
    """A uniform draw in random order from the false entries of each row of bool [B, I + 1]: int64 [B, n]."""
    refused[:, 0] = True
    keys = np.where(refused, np.inf, rng.random(refused.shape))
    smallest = np.argpartition(keys, num_negatives - 1, axis=1)[:, :num_negatives]
    order = np.argsort(np.take_along_axis(keys, smallest, axis=1), axis=1)
    return np.take_along_axis(smallest, order, axis=1)


def _draw_and_refuse(
    taken: np.ndarray, width: int, users: np.ndarray, num_negatives: int, rng: np.random.Generator
) -> np.ndarray:
    """Like `_smallest_keys`, but by rejection from draws with replacement: int32 [B, n].

    A row keeps its first n draws that are distinct and without an interaction. A row with fewer is redrawn completely,
    with more draws. This stays uniform, because the rule treats all allowed items of a row the same.

    Args:
      taken: int64, user · width + item of all interactions, ascending.
      width: number of items plus one for the padding.
      users: int [B].
      num_negatives, rng: see `sample_negatives`.
    """
    negatives = np.empty((len(users), num_negatives), np.int32)
    missing, number = np.arange(len(users)), num_negatives + num_negatives // 8 + 8
    while len(missing):
        drawn = rng.integers(1, width, size=(len(missing), number), dtype=np.int32)
        keys = users[missing, None].astype(np.int64) * width + drawn
        found = np.searchsorted(taken, keys)
        refused = taken[np.minimum(found, len(taken) - 1)] == keys
        order = np.argsort(drawn, axis=1, kind="stable")
        ordered = np.take_along_axis(drawn, order, axis=1)
        again = np.zeros_like(refused)
        again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
        repeated = np.empty_like(refused)
        np.put_along_axis(repeated, order, again, axis=1)
        kept = ~(refused | repeated)
        enough = kept.sum(axis=1) >= num_negatives
        kept &= enough[:, None] & (np.cumsum(kept, axis=1, dtype=np.int32) <= num_negatives)
        negatives[missing[enough]] = drawn[kept].reshape(-1, num_negatives)
        missing, number = missing[~enough], 2 * number
    return negatives
