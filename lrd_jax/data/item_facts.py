"""What a dataset folder knows of its items: titles and fields, for people to read and to filter by."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from lrd_jax.data.item_tables import FIELDS
from lrd_jax.data.templates import clean
from lrd_jax.data.texts import read_texts
from lrd_jax.errors import UserError


def read_item_facts(folder: Path, num_items: int) -> pl.DataFrame:
    """One row per item 1..I: `title` (null where nothing is known) and the columns of item_fields.jsonl.

    A field "title" is the title, with the field "year" in brackets where there is one, as MovieLens writes it. A
    dataset without fields has the item texts as titles.

    Args:
      folder: the dataset folder.
      num_items: I.

    Raises:
      UserError: the file cannot be read or a text is missing from a file of texts.
    """
    everyone = pl.DataFrame({"item_id": pl.int_range(1, num_items + 1, dtype=pl.Int32, eager=True)})
    path = folder / FIELDS
    if path.exists():
        try:
            fields = pl.read_ndjson(path, infer_schema_length=None)
        except pl.exceptions.PolarsError as error:
            problem = f"not JSON lines: {str(error).splitlines()[0]}"
            raise UserError(problem, file=path, remedy="Prepare the dataset again") from error
        if "item_id" in fields.columns:
            fields = fields.with_columns(pl.col("item_id").cast(pl.Int32)).unique("item_id", keep="first")
            facts = everyone.join(fields.drop("raw_id", strict=False), on="item_id", how="left", maintain_order="left")
            if "title" in facts.columns:
                return facts.with_columns(_title(facts)).drop("item_id")
            return facts.with_columns(title=pl.Series(_texts(folder, num_items), dtype=pl.String)).drop("item_id")
    return pl.DataFrame({"title": pl.Series(_texts(folder, num_items), dtype=pl.String)})


def _texts(folder: Path, num_items: int) -> list[str | None]:
    try:
        return list(read_texts(folder, num_items)[1:])
    except UserError:  # a dataset of ids alone is fine: its items have no titles
        return [None] * num_items


def _title(facts: pl.DataFrame) -> pl.Series:
    """The titles with years behind them, where they do not end with these already; lists are joined."""
    title = facts["title"] if facts["title"].dtype == pl.String else clean(facts["title"])
    if "year" not in facts.columns:
        return title.alias("title")
    both = pl.DataFrame({"title": title, "year": "(" + clean(facts["year"]) + ")"})
    wanted = (pl.col("year") != "()") & ~pl.col("title").str.ends_with(pl.col("year"))
    titles = pl.when(wanted).then(pl.concat_str("title", "year", separator=" ")).otherwise(pl.col("title"))
    return both.select(titles.alias("title")).to_series()
