"""What every source ends with: the dataset folder is written, and what it holds is printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lrd_jax.data.options import PrepareOptions
from lrd_jax.prepare.options import not_published

if TYPE_CHECKING:
    from lrd_jax.data.pipeline import Prepared
    from lrd_jax.data.raw import RawDataset
    from lrd_jax.data.templates import ItemTexts


def write(raw: RawDataset, options: PrepareOptions, source: str) -> Prepared:
    """Make the dataset folder and say what it holds.

    Args:
      raw: what was read.
      options: how.
      source: where it was read, in words.

    Raises:
      UserError: no dataset can be made of it, or not in that folder.
    """
    from rich.markup import escape
    from rich.table import Table

    from lrd_jax.data.pipeline import default_folder, prepare_folder
    from lrd_jax.errors import printable, quoted
    from lrd_jax.runs.tables import print_table
    from lrd_jax.runs.terminal import say, warn

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
        print(f"{prepared.rows['history']:,} first interactions from then on are only history, neither dev nor test")
    for kind in ("attributes", "relations"):
        held = (f"{name} ({about['triples']:,} triples)" for name, about in prepared.card[kind].items())
        say(f"{kind}: {', '.join(held) or 'none'}")
    show_texts(prepared.texts, options.show)
    say(f"source: {quoted(source)}")  # plain lines: rich would wrap them
    say(f"folder: {quoted(prepared.folder)}")
    for notice in prepared.card["warnings"]:
        warn(notice["text"])
    return prepared


def show_texts(texts: ItemTexts | None, number: int) -> None:
    """Print statistics of the texts, and the first ones."""
    if texts is None:
        print("texts: none, since nothing is known of the items")
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
