"""Raw data -> a dataset folder: `python -m lrd_jax.prepare movielens 1m --source ml-1m.zip --out DIR`.

A source is one function here, which reads a `RawDataset` and hands it to `_write`, and one line in COMMANDS.
"""

from __future__ import annotations

if __name__ == "__main__":
    from lrd_jax.command_line.begin import begin

    begin()

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from lrd_jax.command_line.parse import run_command
from lrd_jax.data.options import PrepareOptions
from lrd_jax.errors import UserError, quoted

if TYPE_CHECKING:
    from lrd_jax.data.pipeline import Prepared
    from lrd_jax.data.raw import RawDataset
    from lrd_jax.data.templates import ItemTexts

Names = Annotated[
    tuple[str, ...],
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="NAME,NAME,...",
        instance_from_str=lambda words: tuple(part for part in words[0].split(",") if part),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda values: [",".join(values)],
    ),
]
TimeUnit = Literal["s", "ms", "us", "ns", "iso"]
Options = tyro.conf.OmitArgPrefixes[tyro.conf.FlagCreatePairsOff[PrepareOptions]]
DEFAULTS = PrepareOptions()


def ml_100k(source: Path | None = None, options: Options = DEFAULTS) -> None:
    """MovieLens-100k, as in the paper: short for `movielens 100k`.

    Args:
      source: A copy of the data: GroupLens's ml-100k.zip, its unpacked folder, recbole's ml-100k folder, or a recbole
        wheel. None: an earlier download, else GroupLens, else the recbole wheel.
      options: How.
    """
    movielens("100k", source, None, options)


def movielens(
    version: Annotated[Literal["100k", "1m", "20m", "32m"], tyro.conf.Positional],
    source: Path | None = None,
    extra: Path | None = None,
    options: Options = DEFAULTS,
) -> None:
    """MovieLens, from GroupLens's files: years and genres are attributes.

    Args:
      version: Of GroupLens.
      source: A copy of the data: GroupLens's zip or its unpacked folder. None: an earlier download, else GroupLens.
      extra: CSV, TSV, Parquet or JSON lines with the column movieId and any others, such as director, actors and plot,
        which join the texts in the file's order.
      options: How.
    """
    options.check()
    from lrd_jax.data.sources.movielens import check_published_sizes, read_movielens

    for option, given in (("--extra", extra), ("--template", options.template)):
        if given is not None:
            _need_out(options, option)
    published = options.like == "published"
    if published and version != "100k":
        raise _not_published()
    raw, words = read_movielens(version, source, extra, published=published)
    if raw.origin.get("years") == "titles":
        print("This copy of the data holds no release dates: years are those in the titles.")
    prepared = _write(raw, options, words)
    if version == "100k":
        check_published_sizes(prepared, options)


def amazon_2014(
    category: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CATEGORY")],
    source: Path | None = None,
    reviews: Path | None = None,
    meta: Path | None = None,
    options: Options = DEFAULTS,
) -> None:
    """A category of the Amazon product data of 2014, the paper's: category, brand, also_bought and also_viewed.

    Files of 2018 are recognised and read too: category, brand, also_buy and also_view.

    Args:
      category: Such as Office_Products or Electronics.
      source: A folder with reviews_CATEGORY_5.json.gz (of 2018: CATEGORY_5.json.gz) and meta_CATEGORY.json.gz, gzipped
        or not. None: an earlier download of 2014, else snap.stanford.edu or mcauleylab.ucsd.edu.
      reviews: The file of reviews, whatever its name.
      meta: The file of metadata, whatever its name.
      options: How.
    """
    from lrd_jax.data.sources.amazon_2014 import read_amazon_2014

    _amazon(read_amazon_2014, category, source, reviews, meta, options)


def amazon_2023(
    category: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CATEGORY")],
    source: Path | None = None,
    reviews: Path | None = None,
    meta: Path | None = None,
    options: Options = DEFAULTS,
) -> None:
    """A category of Amazon Reviews'23: category, brand (the store) and, where there is any, bought_together.

    Args:
      category: Such as Office_Products or All_Beauty.
      source: A folder with CATEGORY.jsonl.gz and meta_CATEGORY.jsonl.gz, gzipped or not. None: an earlier download,
        else mcauleylab.ucsd.edu or huggingface.co.
      reviews: The file of reviews, whatever its name.
      meta: The file of metadata, whatever its name.
      options: How.
    """
    from lrd_jax.data.sources.amazon_2023 import read_amazon_2023

    _amazon(read_amazon_2023, category, source, reviews, meta, options)


def _amazon(
    read: Callable[..., RawDataset],
    category: str,
    source: Path | None,
    reviews: Path | None,
    meta: Path | None,
    options: PrepareOptions,
) -> None:
    """What both releases of Amazon's data have in common."""
    options.check()
    if reviews is not None or meta is not None:
        _need_out(options, "--reviews, --meta")
    raw = read(category, source=source, reviews=reviews, meta=meta)
    _write(raw, options, ", ".join(raw.origin["files"]))


def recbole(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    attributes: Names | None = None,
    relations: Names | None = None,
    max_relations: int = 8,
    time_unit: TimeUnit | None = None,
    time_format: str | None = None,
    options: Options = DEFAULTS,
) -> None:
    """A folder of RecBole's atomic files: .inter, and where they are there .item, for texts, and .kg with .link.

    Items that share a tail of the knowledge graph get it as an attribute's value; edges between items are relations.

    Args:
      folder: Which; holds one .inter file.
      attributes: Columns of .item to take as attributes. None: those whose values items share.
      relations: Relations of the knowledge graph to take, as .kg calls them. None: those with the most edges.
      max_relations: How many relations of the graph at most, where none are named; 0: none.
      time_unit: Of the field timestamp. None: told by all its values, as `table` does.
      time_format: Of dates in the field timestamp, as for `table`.
      options: How.
    """
    options.check()
    if max_relations < 0:
        raise UserError(f"{max_relations} is no number of them", field="--max-relations", remedy="Give 0 or more")
    _need_out(options, "recbole")
    from lrd_jax.data.sources.recbole import read_recbole

    raw = read_recbole(
        folder,
        attributes=attributes,
        relations=relations,
        max_relations=max_relations,
        time_unit=time_unit,
        time_format=time_format,
    )
    _write(raw, options, str(folder))


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
      time: Column of times. None: the order of the file counts.
      time_unit: Of the times. None: told by all the values: seconds, milliseconds, microseconds or nanoseconds since
        1970, ISO dates, or dates such as 20200913.
      time_format: Of dates in any other form, in the letters of Python's strptime: "%a %b %d %H:%M:%S %z %Y".
      rating: Column of ratings.
      min_rating: Only rows of this rating or a higher one count.
      separator: Of the fields of text files. None: a comma, in .tsv and .txt a tab, or what else the header has.
      quote: The marks around fields of text files; none: quotation marks are part of the text. None: double, in
        tab-separated .tsv and .txt none.
      no_header: The first line of FILE is a row: its columns go by number, as in --user 1 --item 2 --time 4.
      items: Table of items; its columns can fill the template.
      items_no_header: The first line of --items is a row, as for --no-header.
      item_id: Its column of ids. None: as in the interactions.
      attributes: Columns of items whose values become attributes.
      relations: Columns of items that name other items.
      list_separator: Between several values in a cell of --attributes and --relations.
      options: How.
    """
    options.check()
    _need_out(options, "FILE")
    from lrd_jax.data.sources.delimited import TextLayout
    from lrd_jax.data.sources.interaction_table import InteractionColumns, ItemColumns, read_interaction_table

    if items is None and (attributes or relations or item_id is not None):
        remedy = "Name the table of items with --items"
        raise UserError("only a table of items has them", field="--attributes, --relations, --item-id", remedy=remedy)
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
    _write(raw, options, str(file))


def rechorus(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    items: Path | None = None,
    item_id: str | None = None,
    template: str | None = None,
    show: int = 0,
    force: tyro.conf.FlagCreatePairsOff[bool] = False,
    card: tyro.conf.FlagCreatePairsOff[bool] = False,
) -> None:
    """A dataset folder in ReChorus's format: checked, and on request completed in place with texts and a data card.

    Args:
      folder: With train.csv, dev.csv and test.csv.
      items: CSV, TSV, Parquet or JSON lines of what is known of the items. None: the folder's item_fields.jsonl.
      item_id: Its column of ids: the source's own, which items.tsv or NAME.item2index in the folder translates. None:
        item_id, the folder's.
      template: Of the texts, as in "{title:32} {category} {brand}". None: all columns of --items.
      show: Print the first so many texts.
      force: Replace texts that are there.
      card: Write the data card; new texts bring it in any case.
    """
    from lrd_jax.data.sources.rechorus_folder import complete_folder
    from lrd_jax.runs.terminal import say, warn

    done = complete_folder(folder, items=items, item_id=item_id, template=template, force=force, write_card=card)
    corpus = done.corpus
    print(
        f"{corpus.num_users:,} users, {corpus.num_items:,} items, {len(corpus.sequence_items):,} interactions: "
        f"{len(corpus.train_rows):,} train, {len(corpus.dev.rows):,} dev, {len(corpus.test.rows):,} test"
    )
    say(
        f"attributes: {', '.join(corpus.attributes) or 'none'}; relations: {', '.join(corpus.item_relations) or 'none'}"
    )
    if done.texts is None:
        print(done.found)
    else:
        _show(done.texts, show)
    say(f"folder: {quoted(folder)}")
    for notice in done.card["warnings"]:
        warn(notice["text"])


COMMANDS = {
    "ml-100k": ml_100k,
    "movielens": movielens,
    "amazon-2014": amazon_2014,
    "amazon-2023": amazon_2023,
    "recbole": recbole,
    "table": table,
    "rechorus": rechorus,
}


def _not_published() -> UserError:
    remedy = "Choose rechorus, or prepare movielens 100k"
    return UserError(
        "only MovieLens-100k has relations and texts of the published notebook", field="--like", remedy=remedy
    )


def _need_out(options: PrepareOptions, option: str) -> None:
    """Refuse to write into the cache what is not told by the folder's name."""
    if options.out is None:
        raise UserError("what it makes needs a folder of its own", field=option, remedy="Name one with --out")


def _write(raw: RawDataset, options: PrepareOptions, source: str) -> Prepared:
    """Make the dataset folder and say what it holds.

    Args:
      raw: what was read.
      options: how.
      source: where it was read, in words.
    """
    from rich.markup import escape
    from rich.table import Table

    from lrd_jax.data.pipeline import default_folder, prepare_folder
    from lrd_jax.errors import printable
    from lrd_jax.runs.tables import print_table
    from lrd_jax.runs.terminal import say, warn

    if options.like == "published" and raw.name != "ml-100k":
        raise _not_published()
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
    _show(prepared.texts, options.show)
    say(f"source: {quoted(source)}")  # plain lines: rich would wrap them
    say(f"folder: {quoted(prepared.folder)}")
    for notice in prepared.card["warnings"]:
        warn(notice["text"])
    return prepared


def _show(texts: ItemTexts | None, number: int) -> None:
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


def main() -> None:
    """Parse the command line and prepare the dataset."""
    tyro.extras.subcommand_cli_from_dict(
        COMMANDS, prog="python -m lrd_jax.prepare", description="Make a dataset folder of raw data."
    )


if __name__ == "__main__":
    run_command(main)
