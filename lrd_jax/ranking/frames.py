"""Top-K lists as a frame in the source's ids."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
import polars as pl

from lrd_jax.errors import UserError
from lrd_jax.ranking.ranker import TopItems


def allowed_items(facts: pl.DataFrame, where: pl.Expr) -> np.ndarray:
    """The own ids, int32 [C], of the items whose facts fulfil an expression.

    Args:
      facts: a row per item, as `read_item_facts` gives.
      where: a polars expression over its columns, such as `pl.col("year").cast(int) > 1990`.

    Raises:
      UserError: the expression does not fit the columns, or no item fulfils it.
    """
    try:
        kept = facts.with_row_index("_item", offset=1).filter(where)["_item"].to_numpy().astype(np.int32)
    except pl.exceptions.PolarsError as error:
        remedy = f"The columns are {', '.join(facts.columns)}"
        raise UserError(f"the filter does not fit the items: {str(error).splitlines()[0]}", remedy=remedy) from error
    if not len(kept):
        raise UserError("no item fulfils the filter", remedy="Widen the filter")
    return kept


def conditions(facts: pl.DataFrame, texts: Sequence[str]) -> pl.Expr:
    """The expression that texts FIELD=VALUE stand for: all must hold; of a list field, one value must be equal.

    Raises:
      UserError: an unknown field, or a value that no item has.
    """
    held = []
    for text in texts:
        field, _, value = text.partition("=")
        if field not in facts.columns:
            remedy = f"The fields are {', '.join(facts.columns)}"
            raise UserError(f"items have no field {field!r}", field="--filter", remedy=remedy)
        column = facts[field]
        values = column.explode() if column.dtype == pl.List else column
        known = values.drop_nulls().cast(pl.String).value_counts(sort=True)[column.name]
        if value not in known:
            nearest = difflib.get_close_matches(value, known.to_list(), n=3, cutoff=0.4) or known.head(3).to_list()
            remedy = f"Perhaps you mean {', '.join(f'{field}={one}' for one in nearest)}"
            raise UserError(f"no item has {text!r}", field="--filter", remedy=remedy)
        is_list = column.dtype == pl.List
        condition = pl.col(field).cast(pl.List(pl.String)).list.contains(value) if is_list else None
        held.append(pl.col(field).cast(pl.String) == value if condition is None else condition)
    return pl.all_horizontal(held)


def lists_frame(rows: pl.Series, top: TopItems, ids: pl.Series, titles: pl.Series) -> pl.DataFrame:
    """One row per recommended item.

    Args:
      rows: [B], what names each list; its name is that of the frame's first column.
      top: the lists.
      ids: String [I], the source's ids of the items.
      titles: String [I].

    Returns:
      The column of `rows`, then rank (from 1), item, title, score. A list may be shorter than K where candidates are
      few.
    """
    held = top.items > 0
    row, place = np.nonzero(held)
    items = pl.Series(top.items[held] - 1)
    return pl.DataFrame(
        [
            rows.gather(row),
            pl.Series("rank", place + 1, dtype=pl.Int32),
            ids.gather(items).alias("item"),
            titles.gather(items).alias("title"),
            pl.Series("score", top.scores[held], dtype=pl.Float32),
        ]
    )
