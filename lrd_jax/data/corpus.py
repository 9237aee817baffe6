"""The frozen arrays that everything downstream reads."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Split:
    """Evaluation rows, one per (user, target), dev or test; one per user with leave-one-out, any number with a date.

    Attributes:
      rows: int32 [N], indices into the sequence arrays of `Corpus`; the target is sequence_items[row] and its history
        is what the same user's rows before it hold.
      negatives: int32 [N, n], the given negative items of each row, duplicates kept.
    """

    rows: np.ndarray
    negatives: np.ndarray


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A dataset as NumPy arrays; 32-bit integers on purpose, ranges checked when read.

    Users and items have ids from 1; row 0 of any table indexed by them is padding.

    Attributes:
      name: the dataset folder's name.
      content_hash: SHA-256 (hex) of the files it was read from.
      num_users, num_items: largest ids.
      num_entities: rows of the entity table: 1 + num_items + for each attribute one for "none" and one for each value.
        Entities 1..num_items are the items, then come each attribute's "none" and its values in turn, as published.
      item_relations: names of the item-item relations (columns r_*, without the prefix), in file order.
      attributes: names of the attribute relations (columns i_*, without the prefix), in file order.
      sequence_items, sequence_times, sequence_users: int32 [M], every interaction of train, history, dev and test,
        grouped by user and, within a user, stably sorted by time (ties keep the order train, history, dev, test, then
        file order).
        Times are in seconds.
      sequence_offsets: int32 [U + 2]; user u's rows are sequence_offsets[u]:sequence_offsets[u + 1].
      train_rows: int32 [N], rows (indices into the sequence arrays) of all interactions of train.csv, ascending.
      dev, test: the evaluation splits.
      triples: int32 [E, 3], (head item, relation, tail item) of the item-item relations; relation 1 is the first of
        item_relations (0 is the virtual relation).
      item_values: int32 [I + 1, A, V], entity ids of each item's values per attribute, padded with 0 at the end; an
        item without a value has the attribute's "none" alone.
      none_entities: int32 [A], the entity that stands for "none" of each attribute. No triple is made of it.
      earlier_hash: what `content_hash` was before "none" had entities of its own; "" where it is not known.
    """

    name: str
    content_hash: str
    num_users: int
    num_items: int
    num_entities: int
    item_relations: tuple[str, ...]
    attributes: tuple[str, ...]
    sequence_items: np.ndarray
    sequence_times: np.ndarray
    sequence_users: np.ndarray
    sequence_offsets: np.ndarray
    train_rows: np.ndarray
    dev: Split
    test: Split
    triples: np.ndarray
    item_values: np.ndarray
    none_entities: np.ndarray
    earlier_hash: str = ""

    @property
    def num_defined_relations(self) -> int:
        """The virtual relation, the item-item relations and the attribute relations."""
        return 1 + len(self.item_relations) + len(self.attributes)

    @property
    def num_stored_triples(self) -> int:
        """Item-item triples plus (item, attribute, value) triples."""
        return len(self.triples) + int(np.count_nonzero(self.holds_value))

    @property
    def holds_value(self) -> np.ndarray:
        """Which places of item_values hold a value, neither padding nor "none"; bool [I + 1, A, V]."""
        held: np.ndarray = (self.item_values > 0) & (self.item_values != self.none_entities[:, None])
        return held
