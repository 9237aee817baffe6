"""A batch renumbered to the few table rows that it looks up."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from lrd_jax.data.batch import Batch, Tables
from lrd_jax.models.lazy_rows import Rows


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


def _without_padding(batch: Batch) -> Batch:
    """Zeros in place of examples of weight 0."""
    exists = batch.weights > 0
    return jax.tree.map(lambda x: jnp.where(exists.reshape(-1, *[1] * (x.ndim - 1)), x, 0), batch)


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
