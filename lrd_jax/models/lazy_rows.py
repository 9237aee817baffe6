"""Lazy updates: a step changes only the table rows that its batch looks up, so it costs as much as a batch.

`compact_batch` and `compact_sequences` renumber a batch to those rows, `take_rows` gathers them into small tables, an
ordinary update changes these, and `put_rows` writes them back. That is lazy Adam: the moments of all other rows stand
still, they get no L2, and the bias correction counts steps, not a row's updates.

Source: LazyAdam of TensorFlow Addons.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from lrd_jax.data.batch import Batch, Tables

# By path ("scorer/user_embeddings"), the ids int32 [n] of the rows of a table parameter, each at most once. Ids beyond
# the table's end are nothing to read or write.
Rows: TypeAlias = dict[str, jax.Array]
KeyPath: TypeAlias = tuple[Any, ...]  # of a leaf, as jax's tree functions give it
# (state, batch, tables, key) → (state, ...), for tables of any number of rows.
Update: TypeAlias = Callable[[Any, Batch, Tables, jax.Array], tuple[Any, ...]]
Compact: TypeAlias = Callable[[Batch, Tables], tuple[Batch, Tables, Rows]]


@jax.named_scope("lazy_rows")
def take_rows(state: Any, rows: Rows) -> Any:
    """The state with each table and its moments [N, ...] replaced by their rows [n, ...]; 0 beyond the end."""

    def take(path: KeyPath, x: jax.Array) -> jax.Array:
        ids = rows.get(_parameter(path))
        return x if ids is None else x.at[ids].get(mode="fill", fill_value=0)

    return jax.tree_util.tree_map_with_path(take, state)


@jax.named_scope("lazy_rows")
def put_rows(state: Any, small: Any, rows: Rows) -> Any:
    """The state with the rows of `take_rows` put back and all that is no table taken from `small`."""

    def put(path: KeyPath, x: jax.Array, y: jax.Array) -> jax.Array:
        ids = rows.get(_parameter(path))
        return y if ids is None else x.at[ids].set(y, mode="drop")

    return jax.tree_util.tree_map_with_path(put, state, small)


def update_lazily(update: Update, compact: Compact) -> Update:
    """Makes an update of whole tables one of the rows that the batch looks up.

    Args:
      update: its state holds parameters and what the optimizer keeps in trees of the same paths.
      compact: see `System.compact`.

    Returns:
      A function of the same arguments and results.
    """

    def update_rows(state: Any, batch: Batch, tables: Tables, key: jax.Array) -> tuple[Any, ...]:
        batch, tables, rows = compact(batch, tables)
        small, *rest = update(take_rows(state, rows), batch, tables, key)
        return put_rows(state, small, rows), *rest

    return update_rows


def compact_batch(
    batch: Batch, tables: Tables, *, num_users: int, num_items: int, num_entities: int, include_value: bool
) -> tuple[Batch, Tables, Rows]:
    """Renumbers a batch and the item facts to positions in tables that hold only the rows of this batch.

    What cannot change the losses is not looked up: examples of weight 0 and the negatives of padded history places.
    Row 0 (padding, and the value of relations without one) is always among the rows and keeps its place.

    Args:
      batch: examples by user, item and entity id.
      tables: item facts by item id.
      num_users, num_items, num_entities: see `Corpus`.
      include_value: whether the model looks up entities of attribute values.

    Returns:
      The batch and the item facts by position, and the ids int32 [n] at the positions of each table parameter, each id
      once. An id beyond the table's end marks a position that stands for no row of it.
    """
    batch = _without_padding(batch)
    user_ids, users = number_rows(batch.users, num_users + 1)

    triples, values = batch.triples, None
    if include_value:
        values = tables.item_values[batch.candidates]  # [B, C, A, V]
    elif triples is not None:
        triples = triples._replace(values=jnp.zeros_like(triples.values))
    held = triples and (triples.heads, triples.tails, triples.values)
    negatives = batch.negative_history
    if negatives is not None:
        negatives = jnp.where(batch.history.items > 0, negatives, 0)
    looked_up = batch.candidates, batch.history.items, negatives, held, values
    entity_ids, (candidates, items, negatives, held, values) = number_rows(looked_up, num_entities)

    # The scorer reads values and bias of candidates only.
    item_values = jnp.zeros((len(entity_ids), *tables.item_values.shape[1:]), jnp.int32)
    if include_value:
        item_values = item_values.at[candidates].set(values)
    is_candidate = jnp.zeros(len(entity_ids), bool).at[candidates].set(True)
    text = None if tables.text is None else tables.text.at[entity_ids].get(mode="fill", fill_value=0.0)
    compact = batch._replace(
        users=users,
        candidates=candidates,
        history=batch.history._replace(items=items),
        triples=triples and triples._replace(heads=held[0], tails=held[1], values=held[2]),
        negative_history=negatives,
    )
    rows = {
        "scorer/user_embeddings": user_ids,
        "scorer/entity_embeddings": entity_ids,
        "scorer/item_bias": jnp.where(is_candidate, entity_ids, num_items + 1),
    }
    return compact, Tables(item_values, text), rows


def compact_sequences(batch: Batch, *, num_users: int, num_items: int) -> tuple[Batch, Rows]:
    """As `compact_batch`, for a sequence model: tables of items and users and no item facts."""
    batch = _without_padding(batch)
    user_ids, users = number_rows(batch.users, num_users + 1)
    item_ids, (candidates, items) = number_rows((batch.candidates, batch.history.items), num_items + 1)
    batch = batch._replace(users=users, candidates=candidates, history=batch.history._replace(items=items))
    return batch, {"item_embeddings": item_ids, "user_embeddings": user_ids}


def number_rows(ids: Any, num_rows: int) -> tuple[jax.Array, Any]:
    """Numbers the distinct ids of a tree of int32 arrays, 0 always among them, by size.

    Args:
      ids: tree of int32 arrays of ids, 0 <= id < num_rows.
      num_rows: rows of the table that they are of.

    Returns:
      int32 [n], the distinct ids ascending, then `num_rows` in the places left over, and the tree with each id's place
      among them. n is the number of ids and one more, but at most num_rows.
    """
    flat, restore = ravel_pytree(ids)
    distinct, places = jnp.unique(
        jnp.pad(flat, (1, 0)), size=min(flat.size + 1, num_rows), fill_value=num_rows, return_inverse=True
    )
    return distinct, restore(places[1:].astype(jnp.int32))


def _without_padding(batch: Batch) -> Batch:
    """Zeros in place of examples of weight 0."""
    exists = batch.weights > 0
    kept: Batch = jax.tree.map(lambda x: jnp.where(exists.reshape(-1, *[1] * (x.ndim - 1)), x, 0), batch)
    return kept


def _parameter(path: KeyPath) -> str:
    """The path of a parameter, also where it leads to one of its moments within an optimizer's state."""
    return "/".join(entry.key for entry in path if isinstance(entry, jax.tree_util.DictKey))
