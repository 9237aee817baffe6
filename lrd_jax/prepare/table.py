"""`prepare table`: any table of interactions, with or without a table of items."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from lrd_jax.errors import UserError
from lrd_jax.prepare.options import DEFAULTS, Names, Options, TimeUnit, need_out
from lrd_jax.prepare.write import write


def table(
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
    user: str = "user_id",
    item: str = "item_id",
    time: str | None = None,
    time_unit: TimeUnit | None = None,
    time_format: str | None = None,
    rating: str | None = None,
    min_rating: float | None = None,
    separator: str | None = None,
    quote: Literal["none", "double", "single"] | None = None,
    no_header: tyro.conf.FlagCreatePairsOff[bool] = False,
    items: Path | None = None,
    items_no_header: tyro.conf.FlagCreatePairsOff[bool] = False,
    item_id: str | None = None,
    attributes: Names = (),
    relations: Names = (),
    list_separator: str = "|",
    options: Options = DEFAULTS,
) -> None:
    """Any table of interactions as CSV, TSV, Parquet or JSON lines, with or without a table of items.

    Args:
      file: The interactions.
      user: Column of user ids, which may be any text.
      item: Column of item ids, which may be any text.
      time: Column of times. None: the rows are in order of time.
      time_unit: Unit of the times. None: recognised from all values: seconds, milliseconds, microseconds or nanoseconds
        since 1970, ISO dates, or dates such as 20200913.
      time_format: Format of other dates, with the codes of Python's strptime: "%a %b %d %H:%M:%S %z %Y".
      rating: Column of ratings.
      min_rating: Use only rows with at least this rating.
      separator: Separator of the fields in text files. None: a comma, a tab in .tsv and .txt, or the separator in the
        header.
      quote: Quotation marks around fields of text files; none: quotation marks are part of the text. None: double, or
        none in tab-separated .tsv and .txt.
      no_header: FILE has no header: give columns by number, as in --user 1 --item 2 --time 4.
      items: Table of items; its columns can fill the template.
      items_no_header: The table of items has no header, as for --no-header.
      item_id: Column of item ids in --items. None: named as in the interactions.
      attributes: Columns of --items to use as attributes.
      relations: Columns of --items with ids of related items.
      list_separator: Separates several values in a cell of --attributes and --relations.
      options: How to prepare the dataset.
    """
    options.check()
    need_out(options, "FILE")
    from lrd_jax.data.sources.delimited import TextLayout
    from lrd_jax.data.sources.interaction_table import InteractionColumns, ItemColumns, read_interaction_table

    if items is None and (attributes or relations or item_id is not None):
        remedy = "Set --items to the table of items"
        raise UserError("they need a table of items", field="--attributes, --relations, --item-id", remedy=remedy)
    layout = TextLayout(separator, quote, header=not no_header)
    columns = InteractionColumns(user, item, time, time_unit, rating, min_rating, layout, time_format)
    about = None
    if items is not None:
        item_id = item if item_id is None else item_id
        about = ItemColumns(
            items,
            item_id,
            attributes,
            relations,
            list_separator,
            TextLayout(separator, quote, header=not items_no_header),
        )
    raw, said = read_interaction_table(file, columns, about)
    print(*said, sep="\n")
    write(raw, options, str(file))
