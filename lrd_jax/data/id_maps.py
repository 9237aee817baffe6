"""The ids of the source behind a dataset folder's own: users.tsv and items.tsv (raw_id, user_id or item_id)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from lrd_jax.data.tables import integer_column, parse_table, read_bytes


def raw_ids(folder: Path, kind: Literal["user", "item"], ids: np.ndarray) -> pl.Series:
    """The source's ids of users or items, String [N]; null for an id that the map lacks, and without a map.

    Args:
      folder: the dataset folder.
      kind: of what.
      ids: int [N], from 1.

    Raises:
      UserError: the map cannot be read.
    """
    path = Path(folder) / f"{kind}s.tsv"
    if not path.exists():
        return pl.repeat(None, len(ids), dtype=pl.String, eager=True)
    table = parse_table(path, read_bytes(path))
    table.require("raw_id")
    own = pl.DataFrame({"id": integer_column(table, f"{kind}_id", low=1, meaning=f"a {kind} id")})
    own = own.with_columns(table.cells["raw_id"]).unique("id", keep="first", maintain_order=True)
    wanted = pl.DataFrame({"id": np.asarray(ids, np.int32)})
    return wanted.join(own, on="id", how="left", maintain_order="left")["raw_id"]
