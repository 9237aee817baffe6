"""Vectors for items without interactions, from the items that are most similar in text and attributes.

The similarity of two items is the mean of the cosine of their texts' embeddings, 0 where it is negative, and of the
Jaccard index of their attribute values (the values that both have over the values that either has). A new item's vector
and bias are the means of those of its `NEIGHBOURS` most similar items, weighted in proportion to the similarity; an
item that is similar to none gets the mean of all items.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import scipy.sparse

from lrd_jax.data.batch import Tables, from_host
from lrd_jax.errors import UserError
from lrd_jax.models.sequence_system import SequenceSystem
from lrd_jax.models.system import Params, RelationalSystem, System
from lrd_jax.ranking.retrieve import unit_length

NEIGHBOURS = 10
"""How many items a new item's vector is made of."""


def text_similarity(new: np.ndarray, items: np.ndarray) -> np.ndarray:
    """max(cos, 0) of texts, float32 [N, I], of embeddings float32 [N, T] and [I + 1, T], whose row 0 is padding."""
    found: np.ndarray = np.maximum(unit_length(new) @ unit_length(items[1:]).T, np.float32(0))
    return found


def attribute_overlap(new: np.ndarray, items: np.ndarray, none_entities: np.ndarray) -> np.ndarray:
    """|a ∩ b| / |a ∪ b| of the attribute values of items, float32 [N, I]; 0 where neither has any.

    Args:
      new: int32 [N, A, V], as `Corpus.item_values`.
      items: int32 [I + 1, A, V'], likewise.
      none_entities: int32 [A], which do not count.
    """
    width = int(max(new.max(initial=0), items.max(initial=0))) + 1
    ours, theirs = (_held(values, none_entities, width) for values in (new, items[1:]))
    both = (ours @ theirs.T).toarray().astype(np.float32)
    either = np.asarray(ours.sum(axis=1), np.float32)[:, None] + np.asarray(theirs.sum(axis=1), np.float32) - both
    overlap: np.ndarray = both / np.maximum(either, 1)
    return overlap


def _held(values: np.ndarray, none_entities: np.ndarray, width: int) -> scipy.sparse.csr_array:
    """1 where an item has a value, [N, width]."""
    items, attributes, places = np.nonzero((values > 0) & (values != none_entities[:, None]))
    entities = values[items, attributes, places]
    return scipy.sparse.csr_array((np.ones(len(items), np.float32), (items, entities)), (len(values), width))


def neighbours(
    text_similarity: np.ndarray, attribute_overlap: np.ndarray | None, number: int = NEIGHBOURS
) -> tuple[np.ndarray, np.ndarray]:
    """The items that new items are most similar to, and how much each of them counts.

    Args:
      text_similarity: float32 [N, I], in [0, 1].
      attribute_overlap: float32 [N, I], in [0, 1]; None: the items have no attributes, and the texts alone count.
      number: k.

    Returns:
      int32 [N, k], ids from 1, the most similar first, and float32 [N, k], weights that add up to 1, or all 0 for an
      item that is similar to none. Of equally similar items the smaller id comes first.
    """
    similarity = text_similarity if attribute_overlap is None else (text_similarity + attribute_overlap) / np.float32(2)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :number]
    weights = np.take_along_axis(similarity, order, axis=1)
    total = weights.sum(axis=1, keepdims=True)
    return (order + 1).astype(np.int32), (weights / np.where(total > 0, total, 1)).astype(np.float32)


def weighted_means(table: np.ndarray, ids: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Σ_k weight_k · table[id_k], float32 [N, ...]; where all weights are 0, the mean of all rows but 0, padding.

    Args:
      table: float32 [I + 1, ...].
      ids, weights: [N, k], of `neighbours`.
    """
    means: np.ndarray = np.einsum("nk,nk...->n...", weights, table[ids]).astype(np.float32)
    means[~weights.any(axis=1)] = table[1:].mean(axis=0)
    return means


def check_model(system: System) -> None:
    """Raises a `UserError` for models that have no item vectors."""
    if not isinstance(system, RelationalSystem | SequenceSystem):
        problem = "the model scores items by their interactions, of which new items have none"
        raise UserError(problem, remedy="Train a model with item vectors, such as kda or sasrec")


def with_new_items(
    system: System,
    params: Params,
    tables: Tables,
    ids: np.ndarray,
    weights: np.ndarray,
    *,
    item_values: np.ndarray,
    text: np.ndarray | None = None,
) -> tuple[System, Params, Tables]:
    """A model of I items with N more: items I + 1 to I + N, the entities of attribute values moved up by N.

    Scores of items that it had before stay as they were.

    Args:
      system, params, tables: the model; it is not changed.
      ids, weights: [N, k], of `neighbours`: what the new vectors and biases are made of.
      item_values: int32 [N, A, V], entities before they are moved up.
      text: float32 [N, T], embeddings, where `tables` has them.

    Raises:
      UserError: the model has no item vectors.
    """
    check_model(system)
    if isinstance(system, SequenceSystem):
        vectors = np.asarray(params["item_embeddings"])
        more = np.concatenate([vectors, weighted_means(vectors, ids, weights)])
        num_items = system.num_items + len(ids)
        tables = extended_tables(tables, item_values, text)
        return (
            dataclasses.replace(system, num_items=num_items),
            {**params, "item_embeddings": jnp.asarray(more)},
            tables,
        )
    assert isinstance(system, RelationalSystem)
    scorer, model = params["scorer"], system.scorer
    entities, bias = np.asarray(scorer["entity_embeddings"]), np.asarray(scorer["item_bias"])
    end = model.num_items + 1
    vectors = weighted_means(entities[:end], ids, weights)
    scorer = {
        **scorer,
        "entity_embeddings": jnp.asarray(np.concatenate([entities[:end], vectors, entities[end:]])),
        "item_bias": jnp.asarray(np.concatenate([bias, weighted_means(bias, ids, weights)])),
    }
    larger = model.clone(num_items=model.num_items + len(ids), num_entities=model.num_entities + len(ids))
    extended = dataclasses.replace(system, scorer=larger)
    return extended, {**params, "scorer": scorer}, extended_tables(tables, item_values, text)


def extended_tables(tables: Tables, item_values: np.ndarray, text: np.ndarray | None) -> Tables:
    """The facts of I + N items; arguments as of `with_new_items`."""
    values = extended_values(np.asarray(tables.item_values), item_values)
    if tables.text is None:
        return Tables(from_host(values), None)
    assert text is not None
    return Tables(from_host(values), from_host(np.concatenate([np.asarray(tables.text), text]).astype(np.float32)))


def extended_values(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """`Corpus.item_values` of I + N items, int32 [I + N + 1, A, V], of [I + 1, A, V'] and [N, A, V'']."""
    width = max(old.shape[2], new.shape[2])
    both = np.concatenate([np.pad(values, ((0, 0), (0, 0), (0, width - values.shape[2]))) for values in (old, new)])
    return np.where(both > 0, both + len(new), 0).astype(np.int32)
