"""The last step of every source: writes the dataset folder and prints a summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lrd_jax.data.options import PrepareOptions
from lrd_jax.prepare.options import not_published

if TYPE_CHECKING:
    from lrd_jax.data.pipeline import Prepared
    from lrd_jax.data.raw import RawDataset
    from lrd_jax.data.templates import ItemTexts


def write(raw: RawDataset, options: PrepareOptions, source: str) -> Prepared:
    """Writes the dataset folder and prints its contents.

    Args:
      raw: the data that was read.
      options: how to prepare it.
      source: the origin of the data, in words.

    Raises:
      UserError: the data gives no valid dataset, or the folder cannot be written.
    """
    from rich.markup import escape
    from rich.table import Table

    from lrd_jax.data.pipeline import default_folder, prepare_folder
    from lrd_jax.errors import printable, quoted
    from lrd_jax.terminal.lines import say, warn
    from lrd_jax.terminal.tables import print_table

    if options.like == "published" and raw.name != "ml-100k":
        raise not_published()
    folder = options.out if options.out is not None else default_folder(raw.name, options)
    prepared = prepare_folder(raw, folder, options)
    table = Table(title=escape(printable(raw.name)))
    counts = prepared.sizes | prepared.rows
    for name in counts:
        table.add_column(name, justify="right")
    table.add_row(*(f"{count:,}" for count in counts.values()))
    print_table(table)
    print(f"split: {prepared.split}")
    if prepared.rows.get("history"):
        print(f"{prepared.rows['history']:,} users' first interactions since then are only history, not dev or test")
    for kind in ("attributes", "relations"):
        held = (f"{name} ({about['triples']:,} triples)" for name, about in prepared.card[kind].items())
        say(f"{kind}: {', '.join(held) or 'none'}")
    show_texts(prepared.texts, options.show)
    say(f"source: {quoted(source)}")  # plain lines, because rich would wrap them
    say(f"folder: {quoted(prepared.folder)}")
    for notice in prepared.card["warnings"]:
        warn(notice["text"])
    return prepared


def show_texts(texts: ItemTexts | None, number: int) -> None:
    """Prints statistics of the texts, and the first texts."""
    if texts is None:
        print("texts: none, because there is no item data")
        return
    known = len(texts.texts) - texts.empty
    print(f"texts: {known:,} of {len(texts.texts):,} items" + "".join(
        f"; {what}: median {values['median']:,.0f}, most {values['most']:,}, in all {values['total']:,}"
        for what, values in texts.statistics().items()
    ))  # fmt: skip
    for column, cut in texts.cut.items():
        if cut:
            print(f"cut: {cut:,} items in {column}")
    for item, text in enumerate(texts.texts.head(number), start=1):
        print(f"  {item}: {text}")
