"""Training on the device: one jitted epoch.

All randomness derives from (seed, stream name, epoch), so the state of a run is its `TrainState` and nothing else.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from typing import NamedTuple, TypeAlias, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from lrd_jax.config.schema import OptimConfig
from lrd_jax.data.batch import Batch, Tables
from lrd_jax.data.device import Arrays, gather_history
from lrd_jax.data.sampling import Sampler, draw_excluding, draw_triples
from lrd_jax.models.lazy_rows import Rows, Update, update_lazily
from lrd_jax.models.precision import in_float32
from lrd_jax.models.system import Params, System

# A number for each loss term, [].
ByTerm: TypeAlias = dict[str, jax.Array]


class TrainState(NamedTuple):
    """Everything that training changes: parameters and Adam's moments."""

    params: Params
    opt_state: optax.OptState


# (params, batch, tables, key) → (gradients, sums, counts).
Gradients: TypeAlias = Callable[[Params, Batch, Tables, jax.Array], tuple[Params, ByTerm, ByTerm]]
# (state, arrays, seed, epoch) → (state, mean of each loss term).
Epoch: TypeAlias = Callable[[TrainState, Arrays, int | np.int32, int | np.int32], tuple[TrainState, ByTerm]]


def stream_key(seed: int | jax.Array, name: str, epoch: int | jax.Array = 0) -> jax.Array:
    """The key of a named random stream in an epoch."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode())), epoch)


def build_optimizer(optim: OptimConfig) -> optax.GradientTransformation:
    """Adam with L2 added to the gradient (not decoupled); parameters whose name holds "bias" are exempt."""

    def decays(params: Params) -> Params:
        mask: Params = jax.tree_util.tree_map_with_path(lambda path, _: "bias" not in path[-1].key, params)
        return mask

    adam = optax.chain(optax.add_decayed_weights(optim.l2, mask=decays), optax.adam(optim.learning_rate))

    def update(gradients: Params, state: optax.OptState, params: Params) -> tuple[Params, optax.OptState]:
        with jax.numpy_dtype_promotion("standard"):  # optax raises a Python number to the power of an integer
            updates, state = adam.update(gradients, state, params)
            return updates, state

    return optax.GradientTransformation(adam.init, update)


def init_state(
    system: System, optimizer: optax.GradientTransformation, arrays: Arrays, seed: int | jax.Array, mesh: Mesh
) -> TrainState:
    """Draws the parameters from the stream "init"."""
    params = jax.jit(system.init)(stream_key(seed, "init"), arrays.tables)  # One compilation, not dozens.
    state: TrainState = jax.device_put(TrainState(params, optimizer.init(params)), NamedSharding(mesh, P()))
    return state


@jax.named_scope("draw_batch")
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
        negative_history = draw_excluding(
            history_key, sampler.history_seen, jnp.broadcast_to(users[:, None], shape), num_items
        )
    return Batch(
        users=users,
        candidates=jnp.concatenate([arrays.sequence_items[rows][:, None], negatives], axis=1),
        history=gather_history(arrays, rows, history_length),
        triples=triples,
        negative_history=negative_history,
        weights=weights,
    )


def loss_and_gradients(system: System, mesh: Mesh) -> Gradients:
    """(params, batch, tables, key) → (gradients, sums, counts): the joint loss with the batch split over the devices.

    Every term is Σ sums / Σ counts over the whole batch, so the result does not depend on how the batch is split, up
    to the order of additions. sums and counts hold each term's two numbers.
    """

    def local(params: Params, batch: Batch, tables: Tables, key: jax.Array) -> tuple[Params, ByTerm, ByTerm]:
        def weighted(params: Params) -> tuple[jax.Array, tuple[ByTerm, ByTerm]]:
            device_key = jax.random.fold_in(key, jax.lax.axis_index("data"))
            terms = system.losses(params, batch, tables, device_key)
            sums = {name: jnp.vdot(batch.weights, values) for name, (values, _) in terms.items()}
            counts = {name: jnp.vdot(batch.weights, counts) for name, (_, counts) in terms.items()}
            counts = jax.lax.psum(jax.lax.stop_gradient(counts), "data")
            loss = sum(system.loss_weights[name] * sums[name] / jnp.maximum(counts[name], 1.0) for name in terms)
            return cast(jax.Array, loss), (sums, counts)

        gradients, (sums, counts) = jax.grad(weighted, has_aux=True)(params)
        gradients, sums = jax.lax.psum((gradients, sums), "data")
        return gradients, sums, counts

    sharded = jax.shard_map(local, mesh=mesh, in_specs=(P(), P("data"), P(), P()), out_specs=P(), check_vma=False)

    def split_evenly(x: jax.Array) -> jax.Array:
        """Adds rows of zeros, which have weight 0, until every device has as many."""
        return jnp.pad(x, [(0, -len(x) % mesh.size)] + [(0, 0)] * (x.ndim - 1))

    def gradients_of(params: Params, batch: Batch, tables: Tables, key: jax.Array) -> tuple[Params, ByTerm, ByTerm]:
        gradients, sums, counts = sharded(params, jax.tree.map(split_evenly, batch), tables, key)
        return gradients, sums, counts

    return gradients_of


def build_update(system: System, optimizer: optax.GradientTransformation, mesh: Mesh, *, lazy: bool = False) -> Update:
    """(state, batch, tables, key) → (state, sums, counts): one step; see `loss_and_gradients` for sums and counts.

    Args:
      system, optimizer, mesh: what is trained, how and on which devices.
      lazy: leave all table rows that the batch does not look up as they are; see `lazy_rows`.
    """
    gradients_of = loss_and_gradients(system, mesh)

    def update(state: TrainState, batch: Batch, tables: Tables, key: jax.Array) -> tuple[TrainState, ByTerm, ByTerm]:
        gradients, sums, counts = gradients_of(state.params, batch, tables, key)
        with jax.named_scope("optimizer"):
            updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
            return TrainState(optax.apply_updates(state.params, updates), opt_state), sums, counts

    @jax.named_scope("lazy_rows")
    def compact(batch: Batch, tables: Tables) -> tuple[Batch, Tables, Rows]:
        # Whole on every device: XLA would split the numbering as the batch is split, which takes a dozen exchanges.
        whole = functools.partial(jax.lax.with_sharding_constraint, shardings=NamedSharding(mesh, P()))
        batch, tables, rows = whole(system.compact(whole(batch), tables))
        return batch, tables, rows

    return update_lazily(update, compact) if lazy else update


def build_epoch(
    system: System,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    *,
    batch_size: int,
    num_negatives: int,
    history_length: int,
    num_items: int,
    lazy: bool = False,
) -> Epoch:
    """Compiles to (state, arrays, seed, epoch) → (state, mean of each loss term): a whole epoch on the device.

    Shuffle, then for each batch negatives, gradients and update, in one scan; the state is donated. The last short
    batch is filled with examples of weight 0. lazy: see `build_update`.
    """
    if not system.loss_weights:  # Popularity, ItemKNN: nothing is trained
        return jax.jit(lambda state, arrays, seed, epoch: (state, {}), donate_argnums=0)
    update = build_update(system, optimizer, mesh, lazy=lazy)

    def step(
        carry: tuple[TrainState, ByTerm, ByTerm], inputs: tuple[jax.Array, ...], arrays: Arrays
    ) -> tuple[tuple[TrainState, ByTerm, ByTerm], None]:
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
        state, step_sums, step_counts = update(state, batch, arrays.tables, dropout_key)
        add = functools.partial(jax.tree.map, jnp.add)
        return (state, add(sums, step_sums), add(counts, step_counts)), None

    @functools.partial(jax.jit, donate_argnums=0)
    @in_float32
    def epoch_on_device(
        state: TrainState, arrays: Arrays, seed: jax.Array, epoch: jax.Array
    ) -> tuple[TrainState, ByTerm]:
        num_examples = len(arrays.examples)
        num_steps = -(-num_examples // batch_size)
        shape = (num_steps, batch_size)
        keys = {name: stream_key(seed, name, epoch) for name in ("shuffle", "triples", "negatives", "dropout")}
        order = jax.random.permutation(keys["shuffle"], jnp.arange(num_examples, dtype=jnp.int32))
        order = jnp.pad(order, (0, num_steps * batch_size - num_examples))
        weights = (jnp.arange(num_steps * batch_size, dtype=jnp.int32) < num_examples).astype(jnp.float32)
        inputs = (
            arrays.examples[order].reshape(shape),
            draw_edges(keys["triples"], arrays.sampler, num_steps * batch_size).reshape(shape),
            weights.reshape(shape),
            jax.random.split(keys["negatives"], num_steps),
            jax.random.split(keys["dropout"], num_steps),
        )
        zeros = {name: jnp.zeros((), jnp.float32) for name in system.loss_weights}
        (state, sums, counts), _ = jax.lax.scan(functools.partial(step, arrays=arrays), (state, zeros, zeros), inputs)
        return state, jax.tree.map(lambda total, count: total / jnp.maximum(count, 1.0), sums, counts)

    return epoch_on_device


def draw_edges(key: jax.Array, sampler: Sampler, number: int) -> jax.Array:
    """Stored triples for an epoch, int32 [number]: without repetition where there are enough, as published."""
    if sampler.triples is None:
        return jnp.zeros(number, jnp.int32)
    num_edges = len(sampler.triples.heads)
    if number <= num_edges:
        return jax.random.permutation(key, jnp.arange(num_edges, dtype=jnp.int32))[:number]
    return jax.random.randint(key, (number,), 0, num_edges, jnp.int32)
