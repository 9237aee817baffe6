"""The dataset folder (ReChorus's format) -> `Corpus`.

    train.csv, dev.csv, test.csv    user_id, item_id, time; dev and test also neg_items, a JSON list
    history.csv (may be missing)    user_id, item_id, time: what later rows have in their history, itself neither
                                    trained on nor evaluated
    item_meta.csv (may be missing)  item_id; i_<attribute>: an id (0: none) or a JSON list of ids; r_<relation>: a JSON
                                    list of item ids
    item_text.tsv                   item_id, text; or the published pair NAME.text and NAME.item2index (`read_texts`)

All files are tab-separated with a header; user, item and value ids start from 1. Format: ReChorus
(github.com/THUwangcy/ReChorus, `data/`), to which we add history.csv and attributes of several values per item.
"""

from __future__ import annotations

import dataclasses
import hashlib
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lrd_jax.data import checks
from lrd_jax.data.cache import load_corpus, store_corpus
from lrd_jax.data.corpus import Corpus, Split
from lrd_jax.data.tables import Table, integer_column, list_column, parse_table, read_bytes
from lrd_jax.data.texts import read_texts as read_texts  # one module to import for the whole folder
from lrd_jax.errors import UserError
from lrd_jax.files import is_there

_TRAIN, _HISTORY, _DEV, _TEST = "train.csv", "history.csv", "dev.csv", "test.csv"
METADATA = "item_meta.csv"
_FORMAT_VERSION = 2  # raise it whenever the same bytes give another Corpus: old cache entries then miss


@dataclasses.dataclass(frozen=True)
class _Interactions:
    """One of train.csv, history.csv, dev.csv, test.csv; every array int32 [N]."""

    table: Table
    users: np.ndarray
    items: np.ndarray
    times: np.ndarray


class _Attributes(NamedTuple):
    """Names [A], item_values int32 [I + 1, A, V], none_entities int32 [A] and num_entities of a `Corpus`."""

    names: tuple[str, ...]
    item_values: np.ndarray
    none_entities: np.ndarray
    num_entities: int


def read_corpus(folder: Path, *, use_cache: bool = True) -> Corpus:
    """Read and check a dataset folder.

    Args:
      folder: the dataset folder; its name becomes the corpus's.
      use_cache: take the corpus from the cache where the same bytes were read before, and put it there otherwise.

    Returns:
      The corpus. Values that an item holds twice for an attribute, and item pairs stated twice, count once.

    Raises:
      UserError: anything missing or wrong in the files, with file, line, field and remedy.
    """
    folder = Path(folder)
    remedy = "Name a folder with train.csv, dev.csv, test.csv and item_meta.csv"
    try:
        mode = folder.stat().st_mode
    except OSError as error:
        raise UserError(f"cannot open the dataset folder ({error.strerror})", file=folder, remedy=remedy) from error
    if not stat.S_ISDIR(mode):
        raise UserError("the dataset is a file, not a folder", file=folder, remedy=remedy)
    data = {
        name: read_bytes(folder / name)
        for name in (_TRAIN, _HISTORY, _DEV, _TEST, METADATA)
        if name not in (_HISTORY, METADATA) or is_there(folder / name)
    }
    name, key = folder.resolve().name, content_hash(data)
    corpus = load_corpus(name, key) if use_cache else None
    if corpus is None:
        corpus = _build(folder, name, key, data)
        if use_cache:
            store_corpus(corpus)
    return dataclasses.replace(corpus, earlier_hash=content_hash(data, _FORMAT_VERSION - 1))


def content_hash(data: Mapping[str, bytes], version: int = _FORMAT_VERSION) -> str:
    """SHA-256 (hex) over the files' names and bytes and the version of what is made of them."""
    digest = hashlib.sha256(f"lrd_jax corpus {version}\n".encode())
    for name, content in data.items():
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _build(folder: Path, name: str, key: str, data: Mapping[str, bytes]) -> Corpus:
    parts = {name: _interactions(folder / name, content) for name, content in data.items() if name != METADATA}
    meta = parse_table(folder / METADATA, data[METADATA]) if METADATA in data else None
    meta_items = np.zeros(0, np.int32) if meta is None else integer_column(meta, "item_id", low=1, meaning="an item id")
    if meta is not None:
        checks.refuse_duplicates(meta, "item_id", meta_items)

    users, items, times = (
        np.concatenate([getattr(part, field) for part in parts.values()]) for field in ("users", "items", "times")
    )
    for part in parts.values():
        checks.refuse_sparse_ids(part.table, "user_id", part.users, len(users))
        checks.refuse_sparse_ids(part.table, "item_id", part.items, len(users))
    if meta is not None:
        checks.refuse_sparse_ids(meta, "item_id", meta_items, len(users) + len(meta_items))
    num_users, num_items = int(users.max()), int(max(items.max(), meta_items.max(initial=0)))
    order = np.lexsort((times, users))  # stable: ties keep train, history, dev, test, then file order
    row_of = np.empty(len(order), np.int32)
    row_of[order] = np.arange(len(order), dtype=np.int32)
    offsets = np.searchsorted(users[order], np.arange(num_users + 2)).astype(np.int32)
    ends = np.cumsum([len(part.users) for part in parts.values()])
    rows_of = dict(zip(parts, np.split(row_of, ends[:-1]), strict=True))

    def evaluation(name: str) -> Split:
        part, rows = parts[name], rows_of[name]
        checks.refuse_empty_history(part.table, rows == offsets[part.users])
        flat, lengths = list_column(part.table, "neg_items", meaning="item ids")
        checks.refuse_wrong_negatives(part.table, flat, lengths, part.items, num_items)
        return Split(rows=rows, negatives=flat.reshape(len(rows), -1))

    item_relations, triples = _item_relations(meta, meta_items, num_items)
    attributes = _attributes(meta, meta_items, num_items)
    return Corpus(
        name=name,
        content_hash=key,
        num_users=num_users,
        num_items=num_items,
        num_entities=attributes.num_entities,
        item_relations=item_relations,
        attributes=attributes.names,
        sequence_items=items[order],
        sequence_times=times[order],
        sequence_users=users[order],
        sequence_offsets=offsets,
        train_rows=np.sort(rows_of[_TRAIN]),
        dev=evaluation(_DEV),
        test=evaluation(_TEST),
        triples=triples,
        item_values=attributes.item_values,
        none_entities=attributes.none_entities,
    )


def _interactions(path: Path, data: bytes) -> _Interactions:
    table = parse_table(path, data)
    return _Interactions(
        table,
        users=integer_column(table, "user_id", low=1, meaning="a user id"),
        items=integer_column(table, "item_id", low=1, meaning="an item id"),
        times=integer_column(table, "time", low=0, meaning="seconds since 1970"),
    )


def _item_relations(meta: Table | None, heads: np.ndarray, num_items: int) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the item-item relations and their triples, int32 [E, 3]."""
    columns = _columns(meta, "r_")
    triples = [np.zeros((0, 3), np.int32)]
    for relation, column in enumerate(columns, start=1):
        assert meta is not None  # since it has columns
        tails, lengths = list_column(meta, column, meaning="item ids")
        checks.refuse_unknown(meta, column, tails, lengths, num_items)
        pairs = _unique_rows(np.stack([np.repeat(heads, lengths), tails], axis=1))
        triples.append(np.insert(pairs, 1, relation, axis=1))
    return tuple(column[2:] for column in columns), np.concatenate(triples).astype(np.int32)


def _attributes(meta: Table | None, items: np.ndarray, num_items: int) -> _Attributes:
    """The attributes, value v of each being entity none + v, where `none` follows all values of those before it."""
    columns = _columns(meta, "i_")
    none_entities, num_entities, edges, width = [], 1 + num_items, [], 1
    for column in columns:
        assert meta is not None  # since it has columns
        values, lengths = list_column(meta, column, meaning="value ids", scalars=True)
        owners, values = _unique_rows(np.stack([np.repeat(items, lengths), values], axis=1)).T
        counts = np.bincount(owners, minlength=num_items + 1)
        by_owner = np.argsort(owners, kind="stable")
        owners, values = owners[by_owner], values[by_owner]
        slots = np.arange(len(owners)) - (np.cumsum(counts) - counts)[owners]  # position among the item's own values
        edges.append((owners, slots, values.astype(np.int64) + num_entities))
        width = max(width, int(counts.max()))
        none_entities.append(num_entities)
        num_entities += 1 + int(values.max(initial=0))
        checks.refuse_too_many_entities(meta, column, num_entities, num_items + sum(len(e[0]) for e in edges))
    item_values = np.zeros((num_items + 1, len(columns), width), np.int32)
    item_values[1:, :, 0] = none_entities
    for attribute, (owners, slots, entities) in enumerate(edges):
        item_values[owners, attribute, slots] = entities
    names = tuple(column[2:] for column in columns)
    return _Attributes(names, item_values, np.array(none_entities, np.int32), num_entities)


def _columns(meta: Table | None, prefix: str) -> list[str]:
    return [] if meta is None else [column for column in meta.cells.columns if column.startswith(prefix)]


def _unique_rows(pairs: np.ndarray) -> np.ndarray:
    """The rows of int32 [N, 2] without repetitions, in their first order."""
    _, first = np.unique(pairs[:, 0].astype(np.int64) << 32 | pairs[:, 1], return_index=True)
    return pairs[np.sort(first)]
