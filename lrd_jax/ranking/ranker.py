"""Scores and exact top-K lists for any histories; each shape is compiled once and kept."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from lrd_jax.data.batch import History, Tables
from lrd_jax.devices import data_mesh
from lrd_jax.errors import UserError
from lrd_jax.models.precision import in_float32
from lrd_jax.models.system import Params, System
from lrd_jax.ranking.histories import Histories, take
from lrd_jax.ranking.on_device import equal_blocks
from lrd_jax.terminal.lines import row_progress


class TopItems(NamedTuple):
    """The best candidates of each of B histories, best first; of equal scores, the smaller item id.

    Attributes:
      items: int32 [B, K]; 0 where a row has fewer candidates.
      scores: float32 [B, K]; -inf where a row has fewer candidates.
    """

    items: np.ndarray
    scores: np.ndarray


Found = tuple[jax.Array, jax.Array, jax.Array]
"""Items int32 [B, K], scores float32 [B, K], and whether all scores of a row are finite, bool [B]."""


class Ranker:
    """Scores and ranks items for histories with the parameters of one run.

    Rows are split over the devices and go through them in blocks of one size; lists are padded to powers of two. So
    few shapes compile. An unknown user (user 0) has the mean of all users' vectors; what that costs is measured in
    docs/how-to/unseen-users.md.
    """

    def __init__(self, system: System, params: Params, tables: Tables, *, history_length: int, num_items: int) -> None:
        """Takes what a trained run holds.

        Args:
          system: the model.
          params: of `System.init`.
          tables: item facts on the devices.
          history_length: H.
          num_items: I.
        """
        self.system, self.tables = system, tables
        self.params = with_mean_user(params)
        self.history_length, self.num_items = history_length, num_items
        self._mesh = data_mesh()
        self._score = self._compiled(functools.partial(_score, system))
        self._score_rows = self._compiled(functools.partial(_score_rows, system))
        self._top = functools.cache(lambda k: self._compiled(functools.partial(_top, system, num_items, k)))
        self._top_of_rows = functools.cache(
            lambda k: self._compiled(functools.partial(_top_of_rows, system, num_items, k))
        )

    @property
    def rows_per_block(self) -> int:
        """The most rows that go through the devices at once."""
        return int(self.system.users_per_block * self._mesh.size)

    def score(self, histories: Histories, items: np.ndarray) -> np.ndarray:
        """Scores the same items int32 [C] for every history; float32 [B, C]."""
        found = np.empty((len(histories), len(items)), np.float32)
        shared = (self.params, self.tables, self._item_blocks(items))
        for rows, users, history, _ in self._row_blocks(histories):
            found[rows] = np.asarray(self._score(shared, (users, history)))[: len(rows), : len(items)]
        return found

    def score_rows(self, histories: Histories, candidates: np.ndarray) -> np.ndarray:
        """Scores candidates int32 [B, C], which differ between histories; float32 [B, C]."""
        found = np.empty(candidates.shape, np.float32)
        chunks = self._candidate_chunks(candidates)
        for rows, users, history, padded in self._row_blocks(histories):
            scores = self._score_rows((self.params, self.tables), (users, history, chunks[padded]))
            found[rows] = np.asarray(scores)[: len(rows), : candidates.shape[1]]
        return found

    def top_items(
        self, histories: Histories, k: int, *, excluded: np.ndarray, items: np.ndarray | None = None, what: str = ""
    ) -> TopItems:
        """The K best of the same candidates for every history, exactly.

        Args:
          histories: B of them.
          k: K.
          excluded: int32 [B, E], candidates that a row does not have; 0 for padding.
          items: int32 [C], the candidates. None: the whole catalogue.
          what: in front of the progress bar.

        Raises:
          UserError: a score is not finite.
        """
        blocks = self._item_blocks(np.arange(1, self.num_items + 1, dtype=np.int32) if items is None else items)
        width = _power_of_two(min(k, blocks.size))
        top, shared = self._top(width), (self.params, self.tables, blocks)
        return self._best(histories, k, what, lambda u, h, rows: top(shared, (u, h, excluded[rows])))

    def top_of_candidates(
        self, histories: Histories, k: int, candidates: np.ndarray, *, excluded: np.ndarray, what: str = ""
    ) -> TopItems:
        """As `top_items`, of candidates int32 [B, C] that differ between histories; 0 for padding."""
        chunks = self._candidate_chunks(candidates)
        width = _power_of_two(min(k, chunks.shape[1] * chunks.shape[2]))
        top, shared = self._top_of_rows(width), (self.params, self.tables)
        return self._best(histories, k, what, lambda u, h, rows: top(shared, (u, h, excluded[rows], chunks[rows])))

    def _compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """function(shared, by_row) with the rows split over the devices."""
        specs = (P(), P("data"))
        return jax.jit(
            in_float32(jax.shard_map(function, mesh=self._mesh, in_specs=specs, out_specs=P("data"), check_vma=False))
        )

    def _best(self, histories: Histories, k: int, what: str, call: Callable[..., Found]) -> TopItems:
        best_items = np.zeros((len(histories), k), np.int32)
        best_scores = np.full((len(histories), k), -np.inf, np.float32)
        with row_progress(len(histories), what) as bar:
            for rows, users, history, padded in self._row_blocks(histories):
                items, scores, finite = jax.device_get(call(users, history, padded))
                if not finite[: len(rows)].all():
                    raise UserError("a score is not finite", remedy="Train with a smaller optim.learning_rate")
                width = min(k, items.shape[1])
                best_items[rows, :width] = items[: len(rows), :width]
                best_scores[rows, :width] = scores[: len(rows), :width]
                bar.update(len(rows))
        return TopItems(best_items, best_scores)

    def _row_blocks(self, histories: Histories) -> Iterator[tuple[np.ndarray, np.ndarray, History, np.ndarray]]:
        """Blocks of one size: their rows, users and histories, and the rows with the last repeated as padding."""
        batch, number = histories.padded(self.history_length), len(histories)
        of_device = min(self.system.users_per_block, _power_of_two(-(-number // self._mesh.size)))
        block = of_device * self._mesh.size
        for start in range(0, number, block):
            padded = np.minimum(np.arange(start, start + block), number - 1)
            yield padded[: number - start], histories.users[padded], take(batch, padded), padded

    def _item_blocks(self, items: np.ndarray) -> np.ndarray:
        """Items [C] cut into blocks [n, c], padded with 0; of a part of the catalogue, n·c is a power of two."""
        size = len(items) if len(items) == self.num_items else _power_of_two(len(items))
        number, block = equal_blocks(size, self.system.items_per_block)
        return np.pad(items.astype(np.int32), (0, number * block - len(items))).reshape(number, block)

    def _candidate_chunks(self, candidates: np.ndarray) -> np.ndarray:
        """Candidates [B, C] cut into chunks [B, n, c], padded with 0; n·c is at least the next power of two."""
        number, chunk = equal_blocks(_power_of_two(candidates.shape[1]), self.system.candidates_per_block)
        padded = np.pad(candidates.astype(np.int32), ((0, 0), (0, number * chunk - candidates.shape[1])))
        return padded.reshape(len(candidates), number, chunk)


def with_mean_user(params: Params) -> Params:
    """The parameters with the mean of all users' vectors in the row of user 0, which is padding in training."""

    def fill(path: tuple[Any, ...], value: jax.Array) -> jax.Array:
        if path[-1].key != "user_embeddings":
            return value
        return jnp.asarray(value).at[0].set(jnp.mean(value[1:], axis=0))

    filled: Params = jax.tree_util.tree_map_with_path(fill, params)
    return filled


def _power_of_two(number: int) -> int:
    """The smallest power of two that is at least `number`."""
    return 1 << max(0, number - 1).bit_length()


def _score(system: System, shared: tuple[Params, Tables, jax.Array], by_row: tuple[jax.Array, History]) -> jax.Array:
    """Scores blocks of items [n, c] for users [B]; [B, n·c]."""
    (params, tables, blocks), (users, history) = shared, by_row
    encoded = system.encode(params, users, history, tables)
    shape = (len(users), blocks.shape[1])
    scores: jax.Array = jax.lax.map(
        lambda items: jnp.broadcast_to(system.score_items(params, encoded, items, tables), shape), blocks
    )
    return scores.swapaxes(0, 1).reshape(len(users), -1)


def _score_rows(
    system: System, shared: tuple[Params, Tables], by_row: tuple[jax.Array, History, jax.Array]
) -> jax.Array:
    """Scores chunks of each row's candidates [B, n, c]; [B, n·c]."""
    (params, tables), (users, history, chunks) = shared, by_row
    encoded = system.encode(params, users, history, tables)
    scores: jax.Array = jax.lax.map(lambda part: system.score(params, encoded, part, tables), chunks.swapaxes(0, 1))
    return scores.swapaxes(0, 1).reshape(len(users), -1)


def _top(
    system: System,
    num_items: int,
    k: int,
    shared: tuple[Params, Tables, jax.Array],
    by_row: tuple[jax.Array, History, jax.Array],
) -> Found:
    """The best of blocks of items [n, c], the same for all rows."""
    (params, tables, blocks), (users, history, excluded) = shared, by_row
    encoded = system.encode(params, users, history, tables)
    is_out = _is_out(excluded, num_items)

    def add(best: Found, items: jax.Array) -> tuple[Found, None]:
        scores = jnp.broadcast_to(system.score_items(params, encoded, items, tables), (len(users), len(items)))
        return _merge(best, jnp.broadcast_to(items[None], scores.shape), scores, is_out[:, items]), None

    return jax.lax.scan(add, _nothing(len(users), k), blocks)[0]


def _top_of_rows(
    system: System,
    num_items: int,
    k: int,
    shared: tuple[Params, Tables],
    by_row: tuple[jax.Array, History, jax.Array, jax.Array],
) -> Found:
    """The best of chunks of each row's candidates [B, n, c]."""
    (params, tables), (users, history, excluded, chunks) = shared, by_row
    encoded = system.encode(params, users, history, tables)
    is_out = _is_out(excluded, num_items)

    def add(best: Found, items: jax.Array) -> tuple[Found, None]:
        scores = system.score(params, encoded, items, tables)
        return _merge(best, items, scores, jnp.take_along_axis(is_out, items, axis=1)), None

    return jax.lax.scan(add, _nothing(len(users), k), chunks.swapaxes(0, 1))[0]


def _is_out(excluded: jax.Array, num_items: int) -> jax.Array:
    """bool [B, I + 1] of item ids [B, E]; item 0, padding, is out always."""
    rows = jnp.arange(len(excluded), dtype=jnp.int32)[:, None]
    return jnp.zeros((len(excluded), num_items + 1), bool).at[:, 0].set(True).at[rows, excluded].set(True)


def _nothing(number: int, k: int) -> Found:
    items = jnp.zeros((number, k), jnp.int32)
    return items, jnp.full((number, k), -jnp.inf, jnp.float32), jnp.ones(number, bool)


def _merge(best: Found, items: jax.Array, scores: jax.Array, is_out: jax.Array) -> Found:
    """The best so far and the candidates [B, c] that are not out; equal scores keep the order in which they came."""
    best_items, best_scores, finite = best
    finite &= jnp.all(is_out | jnp.isfinite(scores), axis=1)
    scores = jnp.where(scores == 0, 0.0, scores)  # -0.0 is no less than 0.0
    scores = jnp.concatenate([best_scores, jnp.where(is_out, -jnp.inf, scores)], axis=1)
    items = jnp.concatenate([best_items, jnp.where(is_out, 0, items)], axis=1)
    best_scores, places = jax.lax.top_k(scores, best_items.shape[1])
    return jnp.take_along_axis(items, places, axis=1), best_scores, finite
