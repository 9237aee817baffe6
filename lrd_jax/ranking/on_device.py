"""Evaluation on the device: how many candidates outrank the target, for every row of a split in one jitted call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from lrd_jax.data.device import Arrays, gather_history
from lrd_jax.models.precision import in_float32
from lrd_jax.models.system import Params, System
from lrd_jax.ranking.metrics import Counts, target_counts
from lrd_jax.ranking.protocols import Candidates, Catalogue

_CANDIDATES_HELD = 1 << 26  # ids of a whole catalogue for the users of a block, 256 MB


def build_evaluation(
    system: System, mesh: Mesh, *, history_length: int
) -> Callable[[Params, Arrays, jax.Array, jax.Array], Counts]:
    """Compiles to (params, arrays, rows [N], negatives [N, n]) → counts: the targets against these negatives.

    Rows are split over the devices, mapped in blocks of users, and scored in chunks of candidates, so memory grows
    neither with users nor with candidates. Rows and candidates of the last short blocks are padding; so is a negative
    of 0.
    """

    def block(params: Params, arrays: Arrays, rows: jax.Array, negatives: jax.Array) -> Counts:
        return _count(system, params, arrays, rows, negatives, history_length)

    def evaluate(params: Params, arrays: Arrays, rows: jax.Array, negatives: jax.Array) -> Counts:
        found: Counts = _over_rows(block, mesh, system.users_per_block, (params, arrays), (rows, negatives))
        return found

    return jax.jit(in_float32(evaluate))


def build_counts(system: System, mesh: Mesh, candidates: Candidates, *, history_length: int) -> Callable[..., Counts]:
    """Compiles to (params, arrays, *by_row, *shared) → counts: the targets against the candidates of a protocol.

    The last two are parts of `Candidates.by_row`, and `Candidates.shared`. Rows are blocked as in `build_evaluation`.
    """
    count = _count_items if isinstance(candidates, Catalogue) else _count

    def block(params: Params, arrays: Arrays, rows: jax.Array, found: jax.Array) -> Counts:
        return count(system, params, arrays, rows, found, history_length)

    return over_candidates(block, mesh, candidates, system.users_per_block)


def over_candidates(
    block: Callable[..., Any], mesh: Mesh, candidates: Candidates, most_users: int
) -> Callable[..., Any]:
    """Compiles to (params, arrays, *by_row, *shared) → what `block` finds, of all rows.

    Args:
      block: (params, arrays, rows [B], what `Candidates.of_rows` gives for them) → arrays [B, ...].
      mesh: the devices.
      candidates: of a protocol.
      most_users: B at most.
    """

    def of_block(params: Params, arrays: Arrays, shared: tuple[Any, ...], *by_row: jax.Array) -> Any:
        return block(params, arrays, by_row[0], candidates.of_rows(arrays, *by_row, *shared))

    def evaluate(params: Params, arrays: Arrays, *inputs: jax.Array) -> Any:
        by_row, shared = inputs[: len(candidates.by_row)], inputs[len(candidates.by_row) :]
        users = users_per_block(most_users, len(arrays.tables.item_values) - 1)
        return _over_rows(of_block, mesh, users, (params, arrays, shared), by_row)

    return jax.jit(in_float32(evaluate))


def users_per_block(most: int, num_items: int) -> int:
    """Rows of a block against a whole catalogue: as many as wanted, or as few as keep [B, I] small."""
    return max(1, min(most, _CANDIDATES_HELD // num_items))


def equal_blocks(number: int, most: int) -> tuple[int, int]:
    """Into how many blocks of which size to cut a number of things, `most` in each at most; the last may be short."""
    num_blocks = max(1, -(-number // most))
    return num_blocks, max(1, -(-number // num_blocks))


def _over_rows(
    block: Callable[..., Any], mesh: Mesh, users_per_block: int, shared: tuple[Any, ...], by_row: tuple[Any, ...]
) -> Any:
    """Calls block(*shared, *parts of by_row) for blocks of rows, split over the devices; the last are padded with 0.

    The blocks are of equal size, `users_per_block` at most.
    """
    number = len(by_row[0])
    num_blocks, block_size = equal_blocks(-(-number // mesh.size), users_per_block)

    def local(shared: tuple[Any, ...], by_row: tuple[Any, ...]) -> Any:
        blocks = jax.tree.map(lambda x: x.reshape(num_blocks, block_size, *x.shape[1:]), by_row)
        found = jax.lax.map(lambda parts: block(*shared, *parts), blocks)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), found)

    sharded = jax.shard_map(local, mesh=mesh, in_specs=(P(), P("data")), out_specs=P("data"), check_vma=False)
    padding = num_blocks * block_size * mesh.size - number
    padded = jax.tree.map(lambda x: jnp.pad(x, ((0, padding), *((0, 0) for _ in x.shape[1:]))), by_row)
    return jax.tree.map(lambda x: x[:number], sharded(shared, padded))


def _count(
    system: System, params: Params, arrays: Arrays, rows: jax.Array, negatives: jax.Array, history_length: int
) -> Counts:
    """The targets of one block's rows [B] against negatives [B, n], 0 for padding."""
    users = arrays.sequence_users[rows]
    encoded = system.encode(params, users, gather_history(arrays, rows, history_length), arrays.tables)
    chunks = _in_chunks(system, arrays, rows, negatives)
    num_chunks, _, candidates_per_block = chunks.shape
    is_target = (jnp.arange(candidates_per_block, dtype=jnp.int32) == 0)[None]  # in the first chunk

    def add_chunk(
        carry: tuple[jax.Array, Counts], chunk: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, Counts], None]:
        target_scores, counts = carry
        candidates, is_first = chunk
        scores = system.score(params, encoded, candidates, arrays.tables)  # [B, candidates_per_block]
        target_scores = jnp.where(is_first, scores[:, 0], target_scores)
        valid = (candidates > 0) & ~(is_first & is_target)
        found = jax.vmap(target_counts)(target_scores, scores, valid)
        counts = Counts(counts.greater + found.greater, counts.equal + found.equal, counts.finite & found.finite)
        return (target_scores, counts), None

    zeros = jnp.zeros(len(rows), jnp.int32)
    start = (jnp.zeros(len(rows), jnp.float32), Counts(zeros, zeros, jnp.ones(len(rows), bool)))
    (_, counts), _ = jax.lax.scan(add_chunk, start, (chunks, jnp.arange(num_chunks, dtype=jnp.int32) == 0))
    return counts


def _in_chunks(system: System, arrays: Arrays, rows: jax.Array, negatives: jax.Array) -> jax.Array:
    """The candidates of a block's rows; int32 [chunks, B, C], the target leading the first chunk, 0 for padding."""
    candidates = jnp.concatenate([arrays.sequence_items[rows][:, None], negatives], axis=1)
    num_chunks, candidates_per_block = equal_blocks(candidates.shape[1], system.candidates_per_block)
    candidates = jnp.pad(candidates, ((0, 0), (0, num_chunks * candidates_per_block - candidates.shape[1])))
    return candidates.reshape(len(rows), num_chunks, candidates_per_block).swapaxes(0, 1)


def score_listed(
    system: System, params: Params, arrays: Arrays, rows: jax.Array, negatives: jax.Array, history_length: int
) -> tuple[jax.Array, jax.Array]:
    """The candidates of a block's rows [B], and their scores; int32 and float32 [B, C], the target first, 0: padding.

    Args:
      system, params, arrays: of the model and the dataset.
      rows: int32 [B].
      negatives: int32 [B, n], 0 for padding.
      history_length: H.
    """
    users = arrays.sequence_users[rows]
    encoded = system.encode(params, users, gather_history(arrays, rows, history_length), arrays.tables)
    chunks = _in_chunks(system, arrays, rows, negatives)
    scores = jax.lax.map(lambda chunk: system.score(params, encoded, chunk, arrays.tables), chunks)
    return chunks.swapaxes(0, 1).reshape(len(rows), -1), scores.swapaxes(0, 1).reshape(len(rows), -1)


def _count_items(
    system: System, params: Params, arrays: Arrays, rows: jax.Array, out: jax.Array, history_length: int
) -> Counts:
    """The targets of one block's rows [B] against all items but those `left_out` [B, I], scored for all rows at once.

    The target's score is taken from among all scores, not computed by itself: another product would round otherwise,
    and items that are exactly alike would no longer tie.
    """
    scores = score_catalogue(system, params, arrays, rows, out.shape[1], history_length)
    return count_catalogue(scores, arrays.sequence_items[rows], out)


def count_catalogue(scores: jax.Array, targets: jax.Array, out: jax.Array) -> Counts:
    """Counts [B] from the scores of all items [B, I], the targets [B] and which items are left out [B, I]."""
    target_scores = jnp.take_along_axis(scores, targets[:, None] - 1, axis=1)[:, 0]
    return jax.vmap(target_counts)(target_scores, scores, out == 0)


def score_catalogue(
    system: System, params: Params, arrays: Arrays, rows: jax.Array, num_items: int, history_length: int
) -> jax.Array:
    """Scores of the items 1..I for the rows [B] of a block; float32 [B, I]."""
    users = arrays.sequence_users[rows]
    encoded = system.encode(params, users, gather_history(arrays, rows, history_length), arrays.tables)
    num_blocks, items_per_block = equal_blocks(num_items, system.items_per_block)
    # The last item repeats itself as padding.
    items = jnp.minimum(1 + jnp.arange(num_blocks * items_per_block, dtype=jnp.int32), num_items)

    def score_block(items: jax.Array) -> jax.Array:
        scores = system.score_items(params, encoded, items, arrays.tables)
        return jnp.broadcast_to(scores, (len(rows), items_per_block))

    blocks = items.reshape(num_blocks, items_per_block)
    scores: jax.Array = jax.lax.map(score_block, blocks)  # [blocks, B, items_per_block]
    return scores.swapaxes(0, 1).reshape(len(rows), -1)[:, :num_items]
