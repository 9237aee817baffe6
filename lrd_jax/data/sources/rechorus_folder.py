"""Checks an existing dataset folder, and adds texts and a data card."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lrd_jax.data.card import CARD_JSON, card_files, card_of_texts, data_card
from lrd_jax.data.corpus import Corpus
from lrd_jax.data.folder import MARKER, tsv_bytes
from lrd_jax.data.id_maps import raw_ids
from lrd_jax.data.item_tables import FIELDS, RESERVED
from lrd_jax.data.notices import card_notices, corpus_notices
from lrd_jax.data.rechorus import read_corpus, read_texts
from lrd_jax.data.sources.source_ids import refuse_strangers
from lrd_jax.data.sources.table_files import keyed_rows, read_table
from lrd_jax.data.templates import NO_TEXT, ItemTexts, default_template, fill_template
from lrd_jax.data.texts import ITEM_TEXT
from lrd_jax.errors import UserError
from lrd_jax.files import write_atomically

_CARD_PARTS = {"name", "source", "options", "sizes", "dropped", "splits", "relations", "attributes", "text", "leakage"}


@dataclasses.dataclass(frozen=True)
class Completed:
    """The result of `complete_folder`.

    Attributes:
      corpus: the dataset.
      texts: the texts that were written; None: none.
      found: whether there were texts before, in words.
      card: the data card.
    """

    corpus: Corpus
    texts: ItemTexts | None
    found: str
    card: dict[str, Any]


def complete_folder(
    folder: Path,
    *,
    items: Path | None = None,
    item_id: str | None = None,
    template: str | None = None,
    force: bool = False,
    write_card: bool = False,
) -> Completed:
    """Checks a dataset folder; with `items` or `template`, writes its item_text.tsv and data card.

    Args:
      folder: a folder in ReChorus's format (`read_corpus`).
      items: table of items. None: the folder's item_fields.jsonl, if it exists.
      item_id: its column with the ids of the source, which the folder's items.tsv or NAME.item2index must contain.
        None: item_id, with the folder's ids.
      template: template of the texts. None: all columns.
      force: replace existing texts.
      write_card: write the data card even without new texts.

    Raises:
      UserError: the folder or the table has a mistake, there are texts already, or the folder cannot be written.
    """
    folder = Path(folder)
    corpus = read_corpus(folder)
    try:
        earlier, found = read_texts(folder, corpus.num_items)[1:], "it has texts already"
    except UserError as error:
        earlier, found = [], f"it has no texts: {error.problem}"
    texts, files = None, {}
    card = _earlier_card(folder) or corpus_card(corpus, earlier)
    if items is not None or template is not None:
        if (folder / ITEM_TEXT).exists() and not force:
            raise UserError("there are texts already", file=folder / ITEM_TEXT, remedy="Replace them with --force")
        fields = _fields(folder, corpus.num_items, items, item_id)
        template = default_template(fields.columns) if template is None else template
        texts = fill_template(template, fields)
        rows = pl.DataFrame({"item_id": pl.int_range(1, corpus.num_items + 1, eager=True), "text": texts.texts})
        card |= {"options": {**card["options"], "template": template}, "text": card_of_texts(texts, corpus.num_items)}
        files = {ITEM_TEXT: tsv_bytes(rows)} | _marker_file(folder, template)
    known_before = [notice for notice in card.get("warnings", []) if notice["kind"] == "dropped_users"]
    card |= {"warnings": [*known_before, *card_notices(card), *corpus_notices(corpus, folder)]}
    if files or write_card:
        _write(folder, files | card_files(card))
    return Completed(corpus, texts, found, card)


def _earlier_card(folder: Path) -> dict[str, Any] | None:
    """The card of a folder that this program made; None for any other folder, or if the card is damaged."""
    if not (folder / MARKER).exists():
        return None
    try:
        card = json.loads((folder / CARD_JSON).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return card if isinstance(card, dict) and _CARD_PARTS <= card.keys() else None


def _marker_file(folder: Path, template: str) -> dict[str, bytes]:
    """dataset.json with the new template; nothing for a folder without dataset.json."""
    if not (folder / MARKER).exists():
        return {}
    try:
        marker = dict(json.loads((folder / MARKER).read_text(encoding="utf-8"))) | {"template": template}
    except (OSError, ValueError, TypeError):
        remedy = "Remove it to treat the folder as your own, or prepare the dataset again"
        raise UserError("it cannot be read", file=folder / MARKER, remedy=remedy) from None
    return {MARKER: (json.dumps(marker, indent=2, ensure_ascii=False) + "\n").encode()}


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes or replaces files, each completely or not at all."""
    for name, content in files.items():
        try:
            write_atomically(folder / name, content)
        except OSError as error:
            raise UserError(f"it cannot be written ({error.strerror})", file=folder / name) from None


def corpus_card(corpus: Corpus, texts: Sequence[str]) -> dict[str, Any]:
    """The data card of a dataset, from the contents of its folder only.

    Args:
      corpus: the dataset.
      texts: texts of all items; empty: there are none.
    """
    parts = {"train": corpus.train_rows, "dev": corpus.dev.rows, "test": corpus.test.rows}
    others = np.setdiff1d(np.arange(len(corpus.sequence_items)), np.concatenate(list(parts.values())))
    splits = {**parts, "history": others}
    last_of_user = corpus.sequence_offsets[2:] - 1
    leave_one_out = len(corpus.test.rows) <= corpus.num_users and np.isin(corpus.test.rows, last_of_user).all()
    sizes = {"users": corpus.num_users, "items": corpus.num_items, "interactions": len(corpus.sequence_items)}
    marker = {"name": corpus.name, "source": "dataset folder", "content_sha256": corpus.content_hash, **sizes}
    marker |= {"split": "leave-one-out" if leave_one_out else "as given", "negatives": corpus.test.negatives.shape[1]}
    attributes, relations = {}, {}
    for place, name in enumerate(corpus.attributes):
        owners, slots = np.nonzero(corpus.holds_value[:, place])
        values = corpus.item_values[owners, place, slots]
        attributes[name] = pl.DataFrame({"item_id": owners, "value_id": values})
    for relation, name in enumerate(corpus.item_relations, start=1):
        of_relation = corpus.triples[corpus.triples[:, 1] == relation]
        relations[name] = pl.DataFrame({"item_id": of_relation[:, 0], "other_id": of_relation[:, 2]})
    column = pl.Series("text", texts, dtype=pl.String)
    known = ItemTexts(column, int((column == NO_TEXT).sum()), {}) if len(column) else None
    arrays = (corpus.sequence_users, corpus.sequence_items, corpus.sequence_times)
    return data_card(marker, {}, splits, *arrays, attributes, relations, known)


def _fields(folder: Path, num_items: int, file: Path | None, item_id: str | None) -> pl.DataFrame:
    """The item data, one row per item from item 1 on, without ids."""
    if file is None:
        file = folder / FIELDS
        if not file.exists():
            remedy = "Set --items to a table with item columns"
            raise UserError("there is no item data", file=file, field="--template", remedy=remedy)
    key = "item_id" if item_id is None else item_id
    table = keyed_rows(read_table(file), key, file, "Set --item-id to the column of ids")
    table = table.drop([name for name in RESERVED if name != key], strict=False).rename({key: "item_id"})
    table = table.with_columns(pl.col("item_id").cast(pl.String))
    ids = np.arange(1, num_items + 1)
    keys = pl.Series(ids).cast(pl.String) if item_id is None else raw_ids(folder, "item", ids)
    if not keys.count():
        remedy = "Use the folder's item_id as the key of the table, or add items.tsv with raw_id and item_id"
        raise UserError("the folder does not list the source's ids", file=folder / "items.tsv", remedy=remedy)
    refuse_strangers(keys.drop_nulls(), table["item_id"], file, key, "Choose another column, or match the ids")
    rows = keys.alias("item_id").to_frame().join(table, on="item_id", how="left", maintain_order="left")
    return rows.drop("item_id")
