"""Maps a dataset folder's own ids to the ids of the source.

Folders made by `prepare` have users.tsv and items.tsv (raw_id, user_id or item_id); those that the LRD authors publish
have NAME.item2index and perhaps NAME.user2index (no header; raw id and id).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from lrd_jax.data.checks import refuse_duplicates
from lrd_jax.data.tables import Table, integer_column, parse_table, read_bytes
from lrd_jax.errors import UserError
from lrd_jax.files import is_there


def raw_ids(folder: Path, kind: Literal["user", "item"], ids: np.ndarray) -> pl.Series:
    """The source's ids of users or items, String [N]; null for an id that is not in the map, or if there is no map.

    Args:
      folder: the dataset folder.
      kind: users or items.
      ids: int [N], from 1.

    Raises:
      UserError: the map cannot be read or contains an id twice, or there are several maps.
    """
    table = _map(Path(folder), kind)
    if table is None:
        return pl.repeat(None, len(ids), dtype=pl.String, eager=True)
    table.require("raw_id")
    field = f"{kind}_id"
    own = integer_column(table, field, low=1, meaning=f"a {kind} id")
    refuse_duplicates(table, field, own)
    known = pl.DataFrame({"id": own}).with_columns(table.cells["raw_id"])
    wanted = pl.DataFrame({"id": np.asarray(ids, np.int32)})
    return wanted.join(known, on="id", how="left", maintain_order="left")["raw_id"]


def source_ids(folder: Path, kind: Literal["user", "item"], ids: np.ndarray) -> pl.Series:
    """As `raw_ids`, and the folder's own ids where it has no map: String [N]."""
    raw = raw_ids(folder, kind, ids)
    return raw if raw.null_count() < len(raw) or not len(raw) else pl.Series(ids).cast(pl.String)


def _map(folder: Path, kind: str) -> Table | None:
    path = folder / f"{kind}s.tsv"
    if is_there(path):
        return parse_table(path, read_bytes(path))
    published = sorted(folder.glob(f"*.{kind}2index"))
    if len(published) > 1:
        raise UserError(f"there are {len(published)} files *.{kind}2index", file=path, remedy="Keep one of them")
    if not published:
        return None
    return parse_table(published[0], read_bytes(published[0]), columns=("raw_id", f"{kind}_id"))
