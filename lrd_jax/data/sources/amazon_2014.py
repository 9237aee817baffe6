"""Amazon product data of 2014 (McAuley et al., SIGIR 2015; He and McAuley, WWW 2016): one category's 5-core.

reviews_CATEGORY_5.json.gz has a JSON object per line, meta_CATEGORY.json.gz a Python literal per line, which is parsed
as a literal and never evaluated. The choices are those of the notebook that made the paper's datasets, and of the
published Office folder: also_bought is r_complement, also_viewed is r_substitute; i_category is the element at index 2
(from 0) of an item's first category path, missing where the path is shorter; the texts tell the path's last element.

The release of 2018 (Ni et al., EMNLP 2019) has one JSON object per line: category is one path, also_buy and also_view
stand beside it and give r_also_buy and r_also_view, and fields hold pieces of the web pages that they were cut out of.
Which release a file is of is seen by its fields.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl

from lrd_jax.data.raw import RawDataset
from lrd_jax.data.sources.amazon_source import Release, find_files
from lrd_jax.data.sources.markup import plain_text, unescape
from lrd_jax.data.sources.raw_lines import Block, RawFile, Schema, concat, json_rows
from lrd_jax.errors import UserError

_SNAP = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/"
_UCSD = "https://mcauleylab.ucsd.edu/public_datasets/data/amazon/categoryFiles/"
RELEASE = Release(
    name="amazon-2014",
    home="https://jmcauley.ucsd.edu/data/amazon/",
    reviews="reviews_{}_5.json.gz",
    meta="meta_{}.json.gz",
    reviews_urls=(_SNAP + "reviews_{}_5.json.gz", _UCSD + "reviews_{}_5.json.gz"),
    meta_urls=(_SNAP + "meta_{}.json.gz", _UCSD + "meta_{}.json.gz"),
    categories=(
        "Amazon_Instant_Video", "Apps_for_Android", "Automotive", "Baby", "Beauty", "Books", "CDs_and_Vinyl",
        "Cell_Phones_and_Accessories", "Clothing_Shoes_and_Jewelry", "Digital_Music", "Electronics",
        "Grocery_and_Gourmet_Food", "Health_and_Personal_Care", "Home_and_Kitchen", "Kindle_Store", "Movies_and_TV",
        "Musical_Instruments", "Office_Products", "Patio_Lawn_and_Garden", "Pet_Supplies", "Sports_and_Outdoors",
        "Tools_and_Home_Improvement", "Toys_and_Games", "Video_Games",
    ),
    other_reviews=("{}_5.json.gz",),  # of 2018
    md5={  # not published; as others recorded them of SNAP's files (495,854,086 and 186,594,679 bytes)
        "reviews_Electronics_5.json.gz": "e4524af6c644cd044b1969bac7b62b2a",
        "meta_Electronics.json.gz": "b39b77b4c980cca078ec2b93dfcba786",
    },
)  # fmt: skip
TEMPLATE = "{title:32} {category} {brand}"
_REVIEW: Schema = {"reviewerID": pl.String, "asin": pl.String, "unixReviewTime": pl.Int64}
_ITEM: Schema = {"item": pl.String, "title": pl.String, "category": pl.String, "brand": pl.String}
_VALUE: Schema = {"item": pl.String, "value": pl.String}
_LISTS: Schema = {"item": pl.String, "other": pl.List(pl.String)}
_RELATIONS = {
    "2014": {"complement": "also_bought", "substitute": "also_viewed"},
    "2018": {"also_buy": "also_buy", "also_view": "also_view"},
}
_ONLY_2018 = frozenset({"category", "also_buy", "also_view"})
_HOMES = {"2014": RELEASE.home, "2018": "https://nijianmo.github.io/amazon/"}
_NAMES = {"2014": "Amazon product data 2014, {}, 5-core", "2018": "Amazon review data 2018, {}"}
_CATEGORY_LEVEL = 2
_MOST_ODD = 0.01  # the share of lines above which a file is no such metadata


def read_amazon_2014(
    category: str,
    *,
    source: Path | None = None,
    reviews: Path | None = None,
    meta: Path | None = None,
) -> RawDataset:
    """Read one category, of 2014 or of 2018.

    Only the lines of the metadata that tell of a reviewed item are parsed. The dump is known to hold a few odd lines:
    those that are no dictionary with an `asin`, and items that come a second time, are passed over and
    counted in `origin`. A review that cannot be read is an error.

    Args:
      category: such as "Office_Products" or "Electronics".
      source: a folder that holds both files.
      reviews, meta: the files, gzipped or not. None of the three: an earlier download, else the network.

    Raises:
      UserError: see `find_files` and `json_rows`; metadata that is no such file or of other items.
    """
    reviews_path, meta_path = find_files(RELEASE, category, source=source, reviews=reviews, meta=meta)
    reviews_file, meta_file = RawFile(reviews_path), RawFile(meta_path)
    meaning = {"reviewerID": "the user", "asin": "the item", "unixReviewTime": "the time"}
    frames = [
        rows.select(user="reviewerID", item="asin", time="unixReviewTime")
        for rows in json_rows(reviews_file, _REVIEW, meaning)
    ]
    interactions = concat(frames, {"user": pl.String, "item": pl.String, "time": pl.Int64})
    if interactions.is_empty():
        raise UserError("the file holds no reviews", file=reviews_path, remedy="Copy or download it again")
    year, items, attributes, relations, counts = _read_metadata(meta_file, interactions["item"].unique().sort())
    origin = {
        "source": _NAMES[year].format(category),
        "url": _HOMES[year],
        "files": {path.name: file.sha256 for path, file in ((reviews_path, reviews_file), (meta_path, meta_file))},
        **counts,
    }
    return RawDataset(f"amazon-{year}-{category}", interactions, items, attributes, relations, TEMPLATE, origin)


def _read_metadata(
    file: RawFile, known: pl.Series
) -> tuple[str, pl.DataFrame, dict[str, pl.DataFrame], dict[str, pl.DataFrame], dict[str, int]]:
    """The year of the release, items, attributes, relations among the known items, and counts of lines."""
    counts: Counter[str] = Counter()
    seen: set[str] = set()
    first_odd, year = None, "2014"
    wanted = frozenset(known)
    of_items, of_categories = [], []
    related: dict[str, list[pl.DataFrame]] = {field: [] for fields in _RELATIONS.values() for field in fields.values()}
    for block in file.blocks():
        lines, num_lines = _lines_of(block, known)
        counts["metadata_lines"] += num_lines
        entries = []
        for number, line in lines.iter_rows():
            entry = _entry(line)
            if entry is None:
                counts["metadata_lines_odd"] += 1
                first_odd = first_odd or number
            elif entry["asin"] in seen:
                counts["metadata_items_repeated"] += 1
            elif entry["asin"] in wanted:  # the first look may have found the id of another item in a description
                seen.add(entry["asin"])
                entries.append(entry)
        year = "2018" if any(_ONLY_2018 & entry.keys() for entry in entries) else year
        paths = [_path(entry) for entry in entries]
        ids = [entry["asin"] for entry in entries]
        titles, brands = ([clean(entry) for entry in entries] for clean in (_title, _brand))
        last = [path[-1] if path else None for path in paths]
        of_items.append(pl.DataFrame([ids, titles, last, brands], schema=_ITEM))
        level = [path[_CATEGORY_LEVEL] if len(path) > _CATEGORY_LEVEL else None for path in paths]
        of_categories.append(pl.DataFrame([ids, level], schema=_VALUE))
        for field, frames in related.items():
            lists = pl.DataFrame([ids, [_related(entry, field) for entry in entries]], schema=_LISTS)
            pairs = lists.explode("other").drop_nulls()
            frames.append(pairs.filter(pl.col("other").is_in(known.implode())))
    if counts["metadata_lines_odd"] > _MOST_ODD * counts["metadata_lines"]:
        problem = (
            f"{counts['metadata_lines_odd']:,} of its {counts['metadata_lines']:,} lines are neither Python literals "
        )
        problem += "nor JSON of a dictionary with an 'asin'; this is the first"
        remedy = "Name the metadata of 2014 or 2018, meta_CATEGORY.json.gz, or download it again"
        raise UserError(problem, file=file.path, line=first_odd, remedy=remedy)
    if not seen:
        remedy = "Name the reviews and the metadata of the same category"
        raise UserError("it tells of none of the items that were reviewed", file=file.path, remedy=remedy)
    items, categories = concat(of_items, _ITEM), concat(of_categories, _VALUE)
    attributes = {"category": categories.drop_nulls(), "brand": items.select("item", value="brand").drop_nulls()}
    pair: Schema = {"item": pl.String, "other": pl.String}
    relations = {name: concat(related[field], pair) for name, field in _RELATIONS[year].items()}
    for name in ("metadata_lines_odd", "metadata_items_repeated"):
        counts[name] += 0
    return year, items, attributes, relations, dict(sorted(counts.items()))


def _lines_of(block: Block, known: pl.Series) -> tuple[pl.DataFrame, int]:
    """(number, line) of the lines that name a known item as their own or name none, and how many lines there are.

    The id is looked for before anything is parsed, since most of a dump's items are not in the 5-core and parsing a
    literal takes a hundred times as long.
    """
    text = block.data.decode("utf-8", errors="replace")
    lines = pl.DataFrame({"line": text.split("\n")}, schema={"line": pl.String})
    lines = lines.with_row_index("number", offset=block.first_line).filter(pl.col("line").str.contains(r"\S"))
    lines = lines.with_columns(ids=pl.col("line").str.extract_all(r"""['"]asin['"]\s*:\s*u?['"][^'"]*['"]"""))
    ids = lines.select("number", pl.col("ids").alias("id")).explode("id")
    ids = ids.with_columns(pl.col("id").str.extract(r"""['"]([^'"]*)['"]$"""))
    theirs = ids.filter(pl.col("id").is_in(known.implode()))["number"]
    chosen = lines.filter((pl.col("ids").list.len() == 0) | pl.col("number").is_in(theirs.implode()))
    return chosen.select("number", "line"), lines.height


def _entry(line: str) -> dict[str, Any] | None:
    """The dictionary that a line writes as JSON or as a Python literal, None where it is neither or has no id."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = _literal(line)
    return value if isinstance(value, dict) and isinstance(value.get("asin"), str) else None


def _literal(line: str) -> object:
    """What a line writes as a Python literal, None where it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # descriptions hold backslashes that Python warns of
            return ast.literal_eval(line.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _title(entry: dict[str, Any]) -> str | None:
    """The title; None for the script of a page that stands in its place in some lines of 2018."""
    title = _text(entry.get("title"))
    return None if title is not None and "getTime()" in title else title


def _brand(entry: dict[str, Any]) -> str | None:
    """The brand, without the "by" that some lines of 2018 have on a line of its own before it."""
    brand = _text(entry.get("brand"))
    return brand if brand is None else re.sub(r"^\s*by\s*\n\s*", "", brand)


def _text(value: object) -> str | None:
    """A text as `_clean` makes it, None for what is none."""
    return _clean(value) if isinstance(value, str) else None


def _clean(text: str) -> str:
    """The text without HTML, and halves of characters put together, or replaced where one is alone."""
    if not text.isascii():  # such as "\ud83d\ude00" in a literal
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return plain_text(text) if "<" in unescape(text) else text


def _path(entry: dict[str, Any]) -> list[str]:
    """The first of an item's category paths; in 2018 features follow it, behind an element of HTML tags only."""
    paths = entry.get("categories") or [entry.get("category")]
    first = paths[0] if isinstance(paths, list) else None
    names = [_clean(name) for name in first if isinstance(name, str)] if isinstance(first, list) else []
    return list(itertools.takewhile(lambda name: name != "", names))


def _related(entry: dict[str, Any], field: str) -> list[str]:
    """The ids that an item lists in a field, within `related` in 2014, beside it in 2018."""
    related = entry.get("related", entry)
    others = related.get(field) if isinstance(related, dict) else None
    return [_clean(other) for other in others if isinstance(other, str)] if isinstance(others, list) else []
