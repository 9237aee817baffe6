"""Reads the item texts of a dataset folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from lrd_jax.data.checks import refuse_duplicates
from lrd_jax.data.tables import Table, integer_column, parse_table, read_bytes
from lrd_jax.errors import UserError
from lrd_jax.files import is_there

ITEM_TEXT = "item_text.tsv"


def read_texts(folder: Path, num_items: int) -> list[str]:
    """Texts by item id: a list of length num_items + 1 with "" at index 0.

    They come from item_text.tsv (item_id, text), or else from the pair that the LRD authors publish: NAME.text (header
    `id`, `text`; raw id and text) and NAME.item2index (no header; raw id and item id). Quotation marks have no special
    meaning.

    Args:
      folder: the dataset folder.
      num_items: the corpus's largest item id.

    Raises:
      UserError: the files are missing, a line is malformed, an id is repeated or unknown, or an item has no text.
    """
    folder = Path(folder)
    path = folder / ITEM_TEXT
    if is_there(path):
        table = parse_table(path, read_bytes(path))
        items, field = integer_column(table, "item_id", low=1, meaning="an item id"), "item_id"
    else:
        table, items = _published_pair(folder)
        field = "id"
    table.require("text")
    refuse_duplicates(table, field, items)
    remedy = "Add the item to item_meta.csv, or remove the line"
    table.refuse(items > num_items, field, f"{{cell}} is not among the {num_items} items of the dataset", remedy)
    texts = np.full(num_items + 1, "", dtype=object)
    texts[items] = table.cells["text"].to_list()
    missing = [item for item in range(1, num_items + 1) if not texts[item]]
    if missing:
        also = f" and {len(missing) - 1} more have" if len(missing) > 1 else " has"
        remedy = "Add a line with its text, or with its name if it has no text"
        raise UserError(f"item {missing[0]}{also} no text", file=table.path, field="text", remedy=remedy)
    return texts.tolist()


def _published_pair(folder: Path) -> tuple[Table, np.ndarray]:
    """The table NAME.text and the item id of each of its lines, int32 [N]."""
    indices = sorted(folder.glob("*.item2index"))
    if len(indices) != 1:
        problem = f"there are {len(indices)} files *.item2index" if indices else "the items have no texts"
        remedy = f"Add {ITEM_TEXT} with the columns item_id and text, or one pair NAME.text and NAME.item2index"
        raise UserError(problem, file=folder / ITEM_TEXT, remedy=remedy)
    index = parse_table(indices[0], read_bytes(indices[0]), columns=("id", "item_id"))
    item_ids = integer_column(index, "item_id", low=1, meaning="an item id")
    refuse_duplicates(index, "id", index.cells["id"].to_numpy())
    refuse_duplicates(index, "item_id", item_ids)
    path = indices[0].with_suffix(".text")
    table = parse_table(path, read_bytes(path))
    table.require("id", "text")
    raw_ids = table.cells.select("id")
    found = raw_ids.join(
        index.cells.select("id", item=pl.Series(item_ids)), on="id", how="left", maintain_order="left"
    )["item"]
    remedy = f"Add it to {indices[0].name}, or remove the line"
    table.refuse(found.is_null(), "id", f"{{cell}} is not in {indices[0].name}", remedy)
    return table, found.to_numpy().astype(np.int32)
