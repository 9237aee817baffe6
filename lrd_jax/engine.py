"""Training and evaluation on the device: one jitted epoch, one jitted evaluation.

All randomness derives from (seed, stream name, epoch), so the state of a run is its `TrainState` and nothing else.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from lrd_jax.batch import Batch, History, Tables
from lrd_jax.config import OptimConfig
from lrd_jax.data.corpus import Corpus, Split
from lrd_jax.data.sampling import Sampler, build_sampler, draw_excluding, draw_triples
from lrd_jax.metrics import target_rank
from lrd_jax.models.system import Params, System

CANDIDATES_PER_BLOCK = 25


class TrainState(NamedTuple):
    """Everything that training changes: parameters and Adam's moments."""

    params: Params
    opt_state: optax.OptState


class Arrays(NamedTuple):
    """A corpus on the device.

    Attributes:
      sequence_items, sequence_times, sequence_users, sequence_offsets: see `Corpus`.
      examples: int32 [N], the training rows that have a history, each an example.
      sampler: what negatives and triples are drawn from.
      tables: item facts.
    """

    sequence_items: jax.Array
    sequence_times: jax.Array
    sequence_users: jax.Array
    sequence_offsets: jax.Array
    examples: jax.Array
    sampler: Sampler
    tables: Tables


def put_corpus(corpus: Corpus, text: np.ndarray | None, mesh: Mesh) -> Arrays:
    """Moves the corpus and the text embeddings [I + 1, T] to the devices, once."""
    rows = corpus.train_rows
    has_history = rows > corpus.sequence_offsets[corpus.sequence_users[rows]]
    arrays = Arrays(
        sequence_items=corpus.sequence_items,
        sequence_times=corpus.sequence_times,
        sequence_users=corpus.sequence_users,
        sequence_offsets=corpus.sequence_offsets,
        examples=rows[has_history],
        sampler=build_sampler(corpus),
        tables=Tables(corpus.item_values, text),
    )
    return jax.device_put(arrays, NamedSharding(mesh, P()))


def stream_key(seed: int, name: str, epoch: int = 0) -> jax.Array:
    """The key of a named random stream in an epoch."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode())), epoch)


def build_optimizer(optim: OptimConfig) -> optax.GradientTransformation:
    """Adam with L2 added to the gradient (not decoupled); parameters whose name holds "bias" are exempt."""

    def decays(params: Params) -> Params:
        return jax.tree_util.tree_map_with_path(lambda path, _: "bias" not in path[-1].key, params)

    return optax.chain(optax.add_decayed_weights(optim.l2, mask=decays), optax.adam(optim.learning_rate))


def init_state(
    system: System, optimizer: optax.GradientTransformation, arrays: Arrays, seed: int, mesh: Mesh
) -> TrainState:
    """Draws the parameters from the stream "init"."""
    params = jax.jit(system.init)(stream_key(seed, "init"), arrays.tables)  # One compilation, not dozens.
    return jax.device_put(TrainState(params, optimizer.init(params)), NamedSharding(mesh, P()))


def gather_history(arrays: Arrays, rows: jax.Array, history_length: int) -> History:
    """The last `history_length` interactions of each row's user before that row; rows int32 [B]."""
    start = arrays.sequence_offsets[arrays.sequence_users[rows]]
    length = jnp.minimum(rows - start, history_length)  # [B]
    place = jnp.arange(history_length)
    valid = place < length[:, None]  # [B, H]
    where = jnp.where(valid, rows[:, None] - length[:, None] + place, 0)
    items = jnp.where(valid, arrays.sequence_items[where], 0)
    # Whole seconds are subtracted as integers: float32 cannot tell seconds apart in a Unix time.
    seconds = jnp.where(valid, arrays.sequence_times[rows][:, None] - arrays.sequence_times[where], 0)
    intervals = jnp.maximum(jnp.log2(seconds.astype(jnp.float32) / 60 + 1e-6), 0.0)
    return History(items, intervals)


def draw_batch(
    arrays: Arrays,
    rows: jax.Array,
    edges: jax.Array,
    weights: jax.Array,
    key: jax.Array,
    *,
    num_items: int,
    num_negatives: int,
    history_length: int,
    uses_triples: bool,
    uses_text: bool,
) -> Batch:
    """Completes examples into a batch: histories, negatives for users, triples and histories.

    Args:
      arrays: the corpus.
      rows, weights: [B], examples and 1 or 0 for padding.
      edges: int32 [B], stored triples.
      key: of the stream "negatives".
    """
    item_key, triple_key, history_key = jax.random.split(key, 3)
    users = arrays.sequence_users[rows]
    sampler = arrays.sampler
    negatives = draw_excluding(
        item_key, sampler.seen, jnp.broadcast_to(users[:, None], (len(rows), num_negatives)), num_items
    )
    triples = negative_history = None
    if uses_triples:
        triples = draw_triples(triple_key, sampler, edges, num_negatives, num_items)
    if uses_text:
        shape = (len(rows), history_length)
        negative_history = draw_excluding(history_key, sampler.seen, jnp.broadcast_to(users[:, None], shape), num_items)
    return Batch(
        users=users,
        candidates=jnp.concatenate([arrays.sequence_items[rows][:, None], negatives], axis=1),
        history=gather_history(arrays, rows, history_length),
        triples=triples,
        negative_history=negative_history,
        weights=weights,
    )


def loss_and_gradients(system: System, mesh: Mesh) -> Callable:
    """(params, batch, tables, key) → (gradients, sums, counts): the joint loss with the batch split over the devices.

    Every term is Σ sums / Σ counts over the whole batch, so the result does not depend on how the batch is split, up
    to the order of additions. sums and counts hold each term's two numbers.
    """

    def local(params: Params, batch: Batch, tables: Tables, key: jax.Array):
        def weighted(params: Params):
            device_key = jax.random.fold_in(key, jax.lax.axis_index("data"))
            terms = system.losses(params, batch, tables, device_key)
            sums = {name: jnp.vdot(batch.weights, values) for name, (values, _) in terms.items()}
            counts = {name: jnp.vdot(batch.weights, counts) for name, (_, counts) in terms.items()}
            counts = jax.lax.psum(jax.lax.stop_gradient(counts), "data")
            loss = sum(system.loss_weights[name] * sums[name] / jnp.maximum(counts[name], 1.0) for name in terms)
            return loss, (sums, counts)

        gradients, (sums, counts) = jax.grad(weighted, has_aux=True)(params)
        return *jax.lax.psum((gradients, sums), "data"), counts

    return jax.shard_map(local, mesh=mesh, in_specs=(P(), P("data"), P(), P()), out_specs=P(), check_vma=False)


def build_epoch(
    system: System,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    *,
    batch_size: int,
    num_negatives: int,
    history_length: int,
    num_items: int,
) -> Callable[[TrainState, Arrays, int, int], tuple[TrainState, dict[str, jax.Array]]]:
    """Compiles to (state, arrays, seed, epoch) → (state, mean of each loss term): a whole epoch on the device.

    Shuffle, then for each batch negatives, gradients and update, in one scan; the state is donated. The last short
    batch is filled with examples of weight 0.
    """
    gradients_of = loss_and_gradients(system, mesh)
    batch_size += -batch_size % mesh.size if batch_size > mesh.size else mesh.size - batch_size

    def step(carry: tuple, inputs: tuple, arrays: Arrays):
        state, sums, counts = carry
        rows, edges, weights, negatives_key, dropout_key = inputs
        batch = draw_batch(
            arrays,
            rows,
            edges,
            weights,
            negatives_key,
            num_items=num_items,
            num_negatives=num_negatives,
            history_length=history_length,
            uses_triples="kg" in system.loss_weights,
            uses_text="lrd" in system.loss_weights,
        )
        gradients, step_sums, step_counts = gradients_of(state.params, batch, arrays.tables, dropout_key)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        state = TrainState(optax.apply_updates(state.params, updates), opt_state)
        add = functools.partial(jax.tree.map, jnp.add)
        return (state, add(sums, step_sums), add(counts, step_counts)), None

    @functools.partial(jax.jit, donate_argnums=0)
    def epoch_on_device(state: TrainState, arrays: Arrays, seed: jax.Array, epoch: jax.Array):
        num_examples = len(arrays.examples)
        num_steps = -(-num_examples // batch_size)
        shape = (num_steps, batch_size)
        keys = {name: stream_key(seed, name, epoch) for name in ("shuffle", "triples", "negatives", "dropout")}
        order = jax.random.permutation(keys["shuffle"], num_examples)
        order = jnp.pad(order, (0, num_steps * batch_size - num_examples))
        weights = (jnp.arange(num_steps * batch_size) < num_examples).astype(jnp.float32)
        inputs = (
            arrays.examples[order].reshape(shape),
            draw_edges(keys["triples"], arrays.sampler, num_steps * batch_size).reshape(shape),
            weights.reshape(shape),
            jax.random.split(keys["negatives"], num_steps),
            jax.random.split(keys["dropout"], num_steps),
        )
        zeros = {name: jnp.zeros(()) for name in system.loss_weights}
        (state, sums, counts), _ = jax.lax.scan(functools.partial(step, arrays=arrays), (state, zeros, zeros), inputs)
        return state, jax.tree.map(lambda total, count: total / jnp.maximum(count, 1.0), sums, counts)

    return epoch_on_device


def draw_edges(key: jax.Array, sampler: Sampler, number: int) -> jax.Array:
    """Stored triples for an epoch, int32 [number]: without repetition where there are enough, as published."""
    if sampler.triples is None:
        return jnp.zeros(number, jnp.int32)
    num_edges = len(sampler.triples.heads)
    if number <= num_edges:
        return jax.random.permutation(key, num_edges)[:number].astype(jnp.int32)
    return jax.random.randint(key, (number,), 0, num_edges)


def build_evaluation(
    system: System, mesh: Mesh, *, history_length: int
) -> Callable[[Params, Arrays, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """Compiles to (params, arrays, rows, negatives) → (ranks, finite): the target's rank in every row of a split.

    Rows are split over the devices, mapped in blocks of users, and scored in chunks of candidates, so memory grows
    neither with users nor with candidates. Rows and candidates of the last short blocks are padding.

    The compiled function takes int32 rows [N] and negatives [N, n] and returns float32 ranks [N] (ties: the average
    rank) and whether every score was finite [N].
    """

    # 8 users x 25 candidates stay in a core's cache through all passes; an accelerator wants more at once.
    users_per_block = 8 if jax.default_backend() == "cpu" else 256

    def rank_block(params: Params, arrays: Arrays, rows: jax.Array, negatives: jax.Array):
        users = arrays.sequence_users[rows]
        history = gather_history(arrays, rows, history_length)
        # The target leads the first chunk; 0 is padding.
        candidates = jnp.concatenate([arrays.sequence_items[rows][:, None], negatives], axis=1)
        num_chunks = -(-candidates.shape[1] // CANDIDATES_PER_BLOCK)
        candidates = jnp.pad(candidates, ((0, 0), (0, num_chunks * CANDIDATES_PER_BLOCK - candidates.shape[1])))
        chunks = candidates.reshape(len(rows), num_chunks, CANDIDATES_PER_BLOCK).swapaxes(0, 1)

        def add_chunk(carry: tuple, chunk: tuple):
            target_scores, ranks, finite = carry
            candidates, is_first = chunk
            scores = system.score(params, users, candidates, history, arrays.tables)  # [B, CANDIDATES_PER_BLOCK]
            target_scores = jnp.where(is_first, scores[:, 0], target_scores)
            valid = (candidates > 0) & ~(is_first & (jnp.arange(CANDIDATES_PER_BLOCK) == 0))
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
    def evaluate(params: Params, arrays: Arrays, rows: jax.Array, negatives: jax.Array):
        padding = -len(rows) % (users_per_block * mesh.size)
        padded = jnp.pad(rows, (0, padding)), jnp.pad(negatives, ((0, padding), (0, 0)))
        ranks, finite = sharded(params, arrays, *padded)
        return ranks[: len(rows)], finite[: len(rows)]

    return evaluate


def put_split(split: Split, mesh: Mesh) -> tuple[jax.Array, jax.Array]:
    """Moves a split's rows and negatives to the devices, once."""
    return jax.device_put((split.rows, split.negatives), NamedSharding(mesh, P()))
