"""Evaluation on the device: the target's rank among its candidates, for every row of a split in one jitted call."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from lrd_jax.arrays import Arrays, gather_history
from lrd_jax.metrics import target_rank
from lrd_jax.models.system import Params, System
from lrd_jax.precision import in_float32


def build_evaluation(
    system: System, mesh: Mesh, *, history_length: int
) -> Callable[[Params, Arrays, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """Compiles to (params, arrays, rows, negatives) → (ranks, finite): the target's rank in every row of a split.

    Rows are split over the devices, mapped in blocks of users, and scored in chunks of candidates, so memory grows
    neither with users nor with candidates. Rows and candidates of the last short blocks are padding.

    The compiled function takes int32 rows [N] and negatives [N, n] and returns float32 ranks [N] (ties: the average
    rank) and whether every score was finite [N].
    """
    users_per_block = system.users_per_block

    def rank_block(params: Params, arrays: Arrays, rows: jax.Array, negatives: jax.Array):
        users = arrays.sequence_users[rows]
        encoded = system.encode(params, users, gather_history(arrays, rows, history_length), arrays.tables)
        # The target leads the first chunk; 0 is padding.
        candidates = jnp.concatenate([arrays.sequence_items[rows][:, None], negatives], axis=1)
        candidates_per_block = min(system.candidates_per_block, candidates.shape[1])
        num_chunks = -(-candidates.shape[1] // candidates_per_block)
        candidates = jnp.pad(candidates, ((0, 0), (0, num_chunks * candidates_per_block - candidates.shape[1])))
        chunks = candidates.reshape(len(rows), num_chunks, candidates_per_block).swapaxes(0, 1)

        def add_chunk(carry: tuple, chunk: tuple):
            target_scores, ranks, finite = carry
            candidates, is_first = chunk
            scores = system.score(params, encoded, candidates, arrays.tables)  # [B, candidates_per_block]
            target_scores = jnp.where(is_first, scores[:, 0], target_scores)
            valid = (candidates > 0) & ~(is_first & (jnp.arange(candidates_per_block) == 0))
            ranks += jax.vmap(target_rank)(target_scores, scores, valid) - 1.0
            finite &= jnp.all(jnp.isfinite(scores) | (candidates == 0), axis=1)
            return (target_scores, ranks, finite), None

        start = (jnp.zeros(len(rows)), jnp.ones(len(rows)), jnp.ones(len(rows), bool))
        (_, ranks, finite), _ = jax.lax.scan(add_chunk, start, (chunks, jnp.arange(num_chunks) == 0))
        return ranks, finite

    def local(params: Params, arrays: Arrays, rows: jax.Array, negatives: jax.Array):
        blocks = (rows.reshape(-1, users_per_block), negatives.reshape(-1, users_per_block, negatives.shape[1]))
        ranks, finite = jax.lax.map(lambda block: rank_block(params, arrays, *block), blocks)
        return ranks.reshape(-1), finite.reshape(-1)

    sharded = jax.shard_map(
        local, mesh=mesh, in_specs=(P(), P(), P("data"), P("data")), out_specs=P("data"), check_vma=False
    )

    @jax.jit
    @in_float32
    def evaluate(params: Params, arrays: Arrays, rows: jax.Array, negatives: jax.Array):
        padding = -len(rows) % (users_per_block * mesh.size)
        padded = jnp.pad(rows, (0, padding)), jnp.pad(negatives, ((0, padding), (0, 0)))
        ranks, finite = sharded(params, arrays, *padded)
        return ranks[: len(rows)], finite[: len(rows)]

    return evaluate
