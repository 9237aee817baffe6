"""Checks of a dataset folder beyond the types of its columns. Each function raises UserError or does nothing.

Shapes: N rows of the table; flattened lists are pairs (values [total], lengths [N]).
"""

from __future__ import annotations

import numpy as np

from lrd_jax.data.tables import INT32_MAX, Table
from lrd_jax.errors import UserError

# Ids need not be consecutive, but a table indexed by them must not be almost empty.
_SPARE_IDS, _IDS_PER_USE = 1_000_000, 10


def refuse_duplicates(table: Table, field: str, ids: np.ndarray) -> None:
    """Rejects an id that an earlier row has; ids int [N]."""
    again = np.ones(len(ids), bool)
    again[np.unique(ids, return_index=True)[1]] = False
    table.refuse(again, field, "{cell} appears twice", "Keep one line per id")


def refuse_sparse_ids(table: Table, field: str, ids: np.ndarray, num_rows: int) -> None:
    """Rejects ids int [N] with gaps so large that tables indexed by them would exhaust the memory."""
    remedy = "Number the ids from 1 without large gaps"
    too_large = ids > _SPARE_IDS + _IDS_PER_USE * num_rows
    table.refuse(too_large, field, f"{{cell}} is far too large for {num_rows} interactions", remedy)


def refuse_empty_history(table: Table, is_first: np.ndarray) -> None:
    """Rejects an evaluation row that is its user's first interaction; is_first bool [N]."""
    remedy = "Give the user an interaction in train.csv or history.csv at or before this time, or remove the line"
    table.refuse(is_first, "user_id", "user {cell} has no earlier interaction, so there is no history", remedy)


def refuse_unknown(table: Table, field: str, items: np.ndarray, lengths: np.ndarray, num_items: int) -> None:
    """Rejects lists with an item id above the largest one in the interactions and the metadata."""
    unknown = items > num_items
    if unknown.any():
        problem = f"item {items[unknown.argmax()]} is unknown: the largest item id is {num_items}"
        remedy = "Add the item to item_meta.csv, or remove it here"
        table.refuse(_any_in_row(unknown, lengths), field, problem, remedy)


def refuse_wrong_negatives(
    table: Table, negatives: np.ndarray, lengths: np.ndarray, targets: np.ndarray, num_items: int
) -> None:
    """Rejects negatives that differ in number, are missing, unknown, or equal to the target (targets int32 [N])."""
    field = "neg_items"
    table.refuse(lengths == 0, field, "the list has no negatives", "Give every line the same number of negatives")
    wrong = lengths != lengths[0]
    if wrong.any():
        problem = f"the list has {lengths[wrong.argmax()]} negatives, but the first line has {lengths[0]}"
        table.refuse(wrong, field, problem, "Give every line the same number of negatives")
    refuse_unknown(table, field, negatives, lengths, num_items)
    is_target = (negatives.reshape(len(lengths), -1) == targets[:, None]).any(axis=1)
    if is_target.any():
        problem = f"item {targets[is_target.argmax()]} is both the target and a negative"
        table.refuse(is_target, field, problem, "Replace it by an item that the user has not interacted with")


def refuse_too_many_entities(table: Table, field: str, num_entities: int, num_stored: int) -> None:
    """Rejects attribute values so large that the entity table would exhaust the memory, or its ids 32 bits.

    Args:
      table: item_meta.csv.
      field: the attribute's column.
      num_entities: entity ids in use, including those of this column.
      num_stored: items and values that the file actually contains.
    """
    if num_entities > min(INT32_MAX, _SPARE_IDS + _IDS_PER_USE * num_stored):
        problem = f"items and attribute values would need {num_entities} entity ids"
        raise UserError(problem, file=table.path, field=field, remedy="Number each attribute's values from 1")


def _any_in_row(flags: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Whether any flag in each row's list is true: bool [total], [N] -> bool [N]."""
    rows = np.repeat(np.arange(len(lengths)), lengths)
    return np.bincount(rows, weights=flags, minlength=len(lengths)) > 0
