"""What is known of the items -> item_meta.csv, the names of its values, and the fields that fill templates."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from lrd_jax.data.folder import json_lists
from lrd_jax.data.templates import clean

FIELDS = "item_fields.jsonl"
"""A line of JSON per item: item_id, raw_id and the columns that texts are made of."""
RESERVED = ("item_id", "raw_id")
"""Columns of FIELDS that no column of a source may be called."""
VALUES = "values.tsv"
"""attribute, value_id, value: the names of what the i_ columns of item_meta.csv hold as numbers."""


def attribute_values(ids: pl.DataFrame, attributes: Mapping[str, pl.DataFrame]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The values of the items under ids of their own, from 1 in the order of their names, for each attribute.

    Args:
      ids: raw_id and item_id of the items that remain.
      attributes: as in `RawDataset`.

    Returns:
      Edges: attribute, item_id, value_id, each once, in the order of the source; and names: attribute, value_id, value.
    """
    edges, names = [_empty(item_id=pl.Int64, value_id=pl.Int64)], [_empty(value_id=pl.Int64, value=pl.String)]
    for attribute, values in attributes.items():
        known = values.join(ids, left_on="item", right_on="raw_id", how="inner", maintain_order="left")
        known = known.select("item_id", clean(known["value"]).alias("value")).filter(pl.col("value") != "")
        known = known.unique(maintain_order=True)
        of_values = known.select(pl.col("value").unique().sort()).with_row_index("value_id", offset=1)
        of_values = of_values.select(pl.lit(attribute).alias("attribute"), pl.col("value_id").cast(pl.Int64), "value")
        coded = known.join(of_values, on="value", how="left", maintain_order="left")
        edges.append(coded.select("attribute", "item_id", "value_id"))
        names.append(of_values)
    return pl.concat(edges), pl.concat(names)


def _empty(**columns: type[pl.DataType]) -> pl.DataFrame:
    return pl.DataFrame(schema={"attribute": pl.String, **columns})


def related_items(ids: pl.DataFrame, relations: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The pairs of remaining items that a relation holds between, each once, without items related to themselves.

    Args:
      ids: raw_id and item_id of the items that remain.
      relations: as in `RawDataset`.

    Returns:
      relation, item_id, other_id, in the order of the source.
    """
    pairs = [pl.DataFrame(schema={"relation": pl.String, "item_id": pl.Int64, "other_id": pl.Int64})]
    other_ids = ids.select(pl.col("raw_id"), pl.col("item_id").alias("other_id"))
    for relation, frame in relations.items():
        known = frame.join(ids, left_on="item", right_on="raw_id", how="inner", maintain_order="left")
        known = known.join(other_ids, left_on="other", right_on="raw_id", how="inner", maintain_order="left")
        known = known.select(pl.lit(relation).alias("relation"), "item_id", "other_id")
        pairs.append(known.filter(pl.col("item_id") != pl.col("other_id")).unique(maintain_order=True))
    return pl.concat(pairs)


def item_metadata(
    num_items: int, attributes: Mapping[str, pl.DataFrame], relations: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    """The table item_meta.csv: item_id, i_NAME, r_NAME.

    An attribute of which every item has at most one value is a column of numbers, 0 for none; any other one of lists.

    Args:
      num_items: items have ids from 1 to this.
      attributes: {name: item_id, value_id}.
      relations: {name: item_id, other_id}.
    """
    everyone = pl.DataFrame({"item_id": pl.int_range(1, num_items + 1, eager=True, dtype=pl.Int64)})
    table = everyone
    for prefix, frames, column in (("i_", attributes, "value_id"), ("r_", relations, "other_id")):
        for name, edges in frames.items():
            held = edges.group_by("item_id", maintain_order=True).agg(column)
            lists = everyone.join(held, on="item_id", how="left", maintain_order="left")[column]
            if prefix == "i_" and (lists.list.len() <= 1).all():
                values = lists.list.first().fill_null(0)
            else:
                values = json_lists(lists.fill_null(pl.Series([[]], dtype=lists.dtype)))
            table = table.with_columns(values.alias(prefix + name))
    return table


def item_fields(ids: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """item_id, raw_id and all columns of text, a row for each remaining item, nulls where nothing is known."""
    columns = [name for name in items.columns if name != "item"]
    joined = ids.join(items, left_on="raw_id", right_on="item", how="left", maintain_order="left")
    return joined.select("item_id", "raw_id", *columns)
