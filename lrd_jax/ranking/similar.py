"""Items similar to an item: by the model's vectors, through a relation, or by text."""

from __future__ import annotations

import numpy as np

from lrd_jax.errors import UserError
from lrd_jax.models.sequence_system import SequenceSystem
from lrd_jax.models.simple import ItemKNNSystem
from lrd_jax.models.system import Params, RelationalSystem, System
from lrd_jax.ranking.retrieve import unit_length


def item_vectors(system: System, params: Params, num_items: int) -> np.ndarray:
    """The model's vectors of all items, float32 [I + 1, D], row 0 is padding.

    Raises:
      UserError: the model has no item vectors.
    """
    if isinstance(system, RelationalSystem):
        return np.asarray(params["scorer"]["entity_embeddings"])[: num_items + 1]
    if isinstance(system, SequenceSystem):
        return np.asarray(params["item_embeddings"])
    raise UserError("the model has no item vectors", remedy="Choose by='text' or another run")


def cosines(vectors: np.ndarray, items: np.ndarray) -> np.ndarray:
    """The cosines of items int [B] with all items, float32 [B, I]; vectors float32 [I + 1, D]."""
    unit = unit_length(vectors)
    found: np.ndarray = unit[items] @ unit[1:].T
    return found


def knn_cosines(params: Params, items: np.ndarray, num_items: int) -> np.ndarray:
    """ItemKNN's similarities of items int [B] to all items, float32 [B, I]; 0 for those that are no neighbours."""
    found = np.zeros((len(items), num_items + 1), np.float32)
    neighbours, similarities = np.asarray(params["neighbours"])[items], np.asarray(params["similarities"])[items]
    np.put_along_axis(found, neighbours, similarities, axis=1)
    return found[:, 1:]


def triple_scores(
    system: RelationalSystem, params: Params, relation: int, items: np.ndarray, item_values: np.ndarray
) -> np.ndarray:
    """How well (item, relation, other) holds for the model: head · (rel_r + ent[value]) · tail, float32 [B, I].

    Args:
      system: the model.
      params: its parameters.
      relation: r; for an attribute relation, the value is the tail's, the mean over several.
      items: int [B], heads.
      item_values: int32 [I + 1, A, V].

    Source: Eq. 15.
    """
    scorer = params["scorer"]
    entities, relations = np.asarray(scorer["entity_embeddings"]), np.asarray(scorer["relation_embeddings"])
    num_items = system.scorer.num_items
    vector = np.broadcast_to(relations[relation], (num_items, relations.shape[1]))
    if system.scorer.include_value:
        attribute = relation - 1 - system.scorer.num_item_relations
        if 0 <= attribute < system.scorer.num_attributes:
            values = item_values[1:, attribute]  # [I, V]
            held = (values > 0)[..., None]
            total = np.where(held, entities[values], 0).sum(axis=1)
            vector = vector + total / np.maximum(held.sum(axis=1), 1)
        else:
            vector = vector + entities[0]
    scores: np.ndarray = entities[items] @ (vector * entities[1 : num_items + 1]).T
    return scores


def similarities(
    system: System,
    params: Params,
    items: np.ndarray,
    *,
    by: str,
    relations: tuple[str, ...],
    item_values: np.ndarray,
    text: np.ndarray | None,
) -> np.ndarray:
    """How similar all items are to items int [B], float32 [B, I].

    Args:
      system, params: the model.
      items: own ids.
      by: "vectors", "text", or the name of a relation.
      relations: names of the model's relations.
      item_values: int32 [I + 1, A, V].
      text: float32 [I + 1, T]; needed by "text".

    Raises:
      UserError: the model has no such vectors or relation.
    """
    num_items = len(item_values) - 1
    if by == "text":
        assert text is not None
        return cosines(text, items)
    if by == "vectors":
        if isinstance(system, ItemKNNSystem):
            return knn_cosines(params, items, num_items)
        return cosines(item_vectors(system, params, num_items), items)
    if by not in relations or not isinstance(system, RelationalSystem):
        choices = ("vectors", "text", *(relations if isinstance(system, RelationalSystem) else ()))
        raise UserError(f"items cannot be compared by {by!r}", remedy=f"Choose one of {', '.join(choices)}")
    return triple_scores(system, params, relations.index(by), items, item_values)
