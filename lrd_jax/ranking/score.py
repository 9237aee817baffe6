"""Scores of items for users and histories, outside any evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from lrd_jax.config.schema import Config
from lrd_jax.data.batch import History, from_host
from lrd_jax.data.corpus import Corpus
from lrd_jax.data.device import Arrays
from lrd_jax.errors import UserError
from lrd_jax.models.precision import in_float32
from lrd_jax.models.system import Params, System

_LONGEST = 2**31 - 1


class Scorer(Protocol):
    """What `score_histories` needs of a training setup.

    Attributes:
      system: the model.
      arrays: the dataset on the devices.
      config: of the run.
    """

    @property
    def system(self) -> System:
        """See above."""

    @property
    def arrays(self) -> Arrays:
        """See above."""

    @property
    def config(self) -> Config:
        """See above."""


class Histories(NamedTuple):
    """Whose scores are wanted: B users or histories.

    Attributes:
      users: int32 [B]; 0 for somebody unknown.
      items: B arrays int32 [h], oldest first.
      seconds: B arrays int64 [h], from each item to the newest.
    """

    users: np.ndarray
    items: list[np.ndarray]
    seconds: list[np.ndarray]

    @classmethod
    def of_users(cls, corpus: Corpus, users: np.ndarray) -> Histories:
        """All interactions of known users int32 [B], dev and test too."""
        parts = [slice(*corpus.sequence_offsets[user : user + 2]) for user in users]
        times = [corpus.sequence_times[part].astype(np.int64) for part in parts]
        return cls(users, [corpus.sequence_items[part] for part in parts], [time[-1:] - time for time in times])

    @classmethod
    def of_items(cls, histories: Sequence[np.ndarray], times: Sequence[Sequence[float]] | None) -> Histories:
        """Histories of nobody in particular.

        Args:
          histories: B arrays int32 [h] of items, oldest first.
          times: B sequences [h] of seconds, ascending; None: all at once.

        Raises:
          UserError: a history without items, or times that are not as many, not ascending or not finite.
        """
        for number, history in enumerate(histories):
            if not len(history):
                raise UserError(f"history {number} is empty", remedy="Give one item at least")
        if times is None:
            moments = [np.zeros(len(history), np.int64) for history in histories]
        else:
            if len(times) != len(histories) or any(len(t) != len(h) for t, h in zip(times, histories, strict=True)):
                raise UserError("the times are not as many as the items", remedy="Give a time for each item")
            moments = []
            for number, given in enumerate(times):
                values = np.asarray(given, np.float64)
                if not np.isfinite(values).all() or (np.diff(values) < 0).any():
                    raise UserError(f"the times of history {number} do not ascend", remedy="Give seconds, oldest first")
                moments.append(np.floor(values).astype(np.int64))
        users = np.zeros(len(histories), np.int32)
        return cls(users, list(histories), [time[-1:] - time for time in moments])


def score_histories(setup: Scorer, params: Params, histories: Histories, items: np.ndarray) -> np.ndarray:
    """Scores items int32 [C] for every history; float32 [B, C].

    Users are scored in blocks of one size, so that one compilation serves them all. Somebody unknown (user 0) has the
    mean of all users' vectors.
    """
    system, block = setup.system, setup.system.users_per_block
    params = _with_mean_user(params)
    batch = _padded(histories, setup.config.data.history_length)
    number, num_items = len(histories.users), len(items)
    blocks = max(1, -(-num_items // system.items_per_block))
    padded_items = np.resize(items, (blocks, -(-num_items // blocks)))

    @jax.jit
    @in_float32
    def score(params: Params, users: jax.Array, history: History, items: jax.Array, arrays: Arrays) -> jax.Array:
        encoded = system.encode(params, users, history, arrays.tables)
        rows = len(users)
        scores: jax.Array = jax.lax.map(
            lambda part: jnp.broadcast_to(
                system.score_items(params, encoded, part, arrays.tables), (rows, items.shape[1])
            ),
            items,
        )  # [blocks, B, C / blocks]
        return scores.swapaxes(0, 1).reshape(rows, -1)

    found = np.empty((number, num_items), np.float32)
    for start in range(0, number, block):
        rows = np.minimum(np.arange(start, start + block), number - 1)  # the last repeats itself as padding
        part = jax.tree.map(lambda x: x[rows], batch)  # noqa: B023
        scores = score(params, histories.users[rows], part, padded_items, setup.arrays)
        found[rows] = np.asarray(scores)[:, :num_items]
    return found


def _padded(histories: Histories, length: int) -> History:
    """The last `length` items of each history, padded at the end."""
    number = len(histories.items)
    items, seconds = np.zeros((2, number, length), np.int32)
    shortest = np.full(number, _LONGEST, np.int32)
    for row, (history, before) in enumerate(zip(histories.items, histories.seconds, strict=True)):
        kept = min(len(history), length)
        items[row, :kept] = history[len(history) - kept :]
        seconds[row, :kept] = np.minimum(before[len(history) - kept :], _LONGEST)
        gaps = -np.diff(before)
        if (gaps > 0).any():
            shortest[row] = min(int(gaps[gaps > 0].min()), _LONGEST)
    intervals = np.maximum(np.log2(seconds.astype(np.float32) / np.float32(60) + np.float32(1e-6)), np.float32(0))
    intervals = np.where(items > 0, intervals, np.float32(0))
    return History(from_host(items), from_host(intervals), from_host(seconds), from_host(shortest))


def _with_mean_user(params: Params) -> Params:
    """The parameters with the mean of all users' vectors in the row of user 0, which is padding in training."""

    def fill(path: tuple[Any, ...], value: jax.Array) -> jax.Array:
        if path[-1].key != "user_embeddings":
            return value
        return jnp.asarray(value).at[0].set(jnp.mean(value[1:], axis=0))

    filled: Params = jax.tree_util.tree_map_with_path(fill, params)
    return filled
