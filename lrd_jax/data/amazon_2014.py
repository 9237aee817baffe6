"""Amazon product data of 2014 (McAuley et al., SIGIR 2015; He and McAuley, WWW 2016): one category's 5-core.

reviews_CATEGORY_5.json.gz has a JSON object per line, meta_CATEGORY.json.gz a Python literal per line, which is parsed
as a literal and never evaluated. The choices are those of the notebook that made the paper's datasets, and of the
published Office folder: also_bought is r_complement, also_viewed is r_substitute; i_category is the element at index 2
(from 0) of an item's first category path, missing where the path is shorter; the texts tell the path's last element.
"""

from __future__ import annotations

import ast
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl

from lrd_jax.data.amazon_source import Release, find_files
from lrd_jax.data.raw import RawDataset
from lrd_jax.data.raw_lines import Block, RawFile, concat, json_rows
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
    md5={  # not published; as others recorded them of SNAP's files (495,854,086 and 186,594,679 bytes)
        "reviews_Electronics_5.json.gz": "e4524af6c644cd044b1969bac7b62b2a",
        "meta_Electronics.json.gz": "b39b77b4c980cca078ec2b93dfcba786",
    },
)  # fmt: skip
TEMPLATE = "{title:32} {category} {brand}"
_REVIEW = {"reviewerID": pl.String, "asin": pl.String, "unixReviewTime": pl.Int64}
_ITEM = {"item": pl.String, "title": pl.String, "category": pl.String, "brand": pl.String}
_VALUE = {"item": pl.String, "value": pl.String}
_LISTS = {"item": pl.String, "other": pl.List(pl.String)}
_RELATIONS = {"complement": "also_bought", "substitute": "also_viewed"}
_CATEGORY_LEVEL = 2
_MOST_ODD = 0.01  # the share of lines above which a file is no such metadata


def read_amazon_2014(
    category: str,
    *,
    source: Path | None = None,
    reviews: Path | None = None,
    meta: Path | None = None,
) -> RawDataset:
    """Read one category.

    Only the lines of the metadata that tell of a reviewed item are parsed. The dump is known to hold a few odd lines:
    those that are no literal of a dictionary with an `asin`, and items that come a second time, are passed over and
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
    items, attributes, relations, counts = _read_metadata(meta_file, interactions["item"].unique().sort())
    origin = {
        "source": f"Amazon product data 2014, {category}, 5-core",
        "url": RELEASE.home,
        "files": {path.name: file.sha256 for path, file in ((reviews_path, reviews_file), (meta_path, meta_file))},
        **counts,
    }
    name = f"{RELEASE.name}-{category}"
    return RawDataset(name, interactions, items, attributes, relations, TEMPLATE, origin)


def _read_metadata(
    file: RawFile, known: pl.Series
) -> tuple[pl.DataFrame, dict[str, pl.DataFrame], dict[str, pl.DataFrame], dict[str, int]]:
    """Items, attributes, relations among the known items, and counts of lines."""
    counts, seen, first_odd = Counter(), set(), None
    wanted = frozenset(known)
    items, categories = [], []
    related = {name: [] for name in _RELATIONS}
    for block in file.blocks():
        lines, num_lines = _lines_of(block, known)
        counts["metadata_lines"] += num_lines
        entries = []
        for number, line in lines.iter_rows():
            entry = _literal(line)
            if entry is None:
                counts["metadata_lines_odd"] += 1
                first_odd = first_odd or number
            elif entry["asin"] in seen:
                counts["metadata_items_repeated"] += 1
            elif entry["asin"] in wanted:  # the first look may have found the id of another item in a description
                seen.add(entry["asin"])
                entries.append(entry)
        paths = [_path(entry.get("categories")) for entry in entries]
        ids = [entry["asin"] for entry in entries]
        titles, brands = ([_text(entry.get(field)) for entry in entries] for field in ("title", "brand"))
        last = [path[-1] if path else None for path in paths]
        items.append(pl.DataFrame([ids, titles, last, brands], schema=_ITEM))
        level = [path[_CATEGORY_LEVEL] if len(path) > _CATEGORY_LEVEL else None for path in paths]
        categories.append(pl.DataFrame([ids, level], schema=_VALUE))
        for name, field in _RELATIONS.items():
            lists = pl.DataFrame([ids, [_related(entry, field) for entry in entries]], schema=_LISTS)
            pairs = lists.explode("other").drop_nulls()
            related[name].append(pairs.filter(pl.col("other").is_in(known.implode())))
    if counts["metadata_lines_odd"] > _MOST_ODD * counts["metadata_lines"]:
        problem = f"{counts['metadata_lines_odd']:,} of its {counts['metadata_lines']:,} lines are no Python literals "
        problem += "of a dictionary with an 'asin'; this is the first"
        remedy = "Name the metadata of 2014, meta_CATEGORY.json.gz, or download it again"
        raise UserError(problem, file=file.path, line=first_odd, remedy=remedy)
    if not seen:
        remedy = "Name the reviews and the metadata of the same category"
        raise UserError("it tells of none of the items that were reviewed", file=file.path, remedy=remedy)
    items, categories = concat(items, _ITEM), concat(categories, _VALUE)
    attributes = {"category": categories.drop_nulls(), "brand": items.select("item", value="brand").drop_nulls()}
    relations = {name: concat(frames, {"item": pl.String, "other": pl.String}) for name, frames in related.items()}
    for name in ("metadata_lines_odd", "metadata_items_repeated"):
        counts[name] += 0
    return items, attributes, relations, dict(sorted(counts.items()))


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


def _literal(line: str) -> dict[str, Any] | None:
    """The dictionary that a line writes as a Python literal, None where it is none or has no id."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # descriptions hold backslashes that Python warns of
            value = ast.literal_eval(line.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("asin"), str) else None


def _text(value: object) -> str | None:
    """The text, halves of characters put together ("\\ud83d\\ude00" in a literal) or, where one is alone, replaced."""
    if not isinstance(value, str) or value.isascii():
        return value if isinstance(value, str) else None
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _path(categories: object) -> list[str]:
    """The first of an item's category paths."""
    first = categories[0] if isinstance(categories, list) and categories else None
    return [_text(name) for name in first if isinstance(name, str)] if isinstance(first, list) else []


def _related(entry: dict[str, Any], field: str) -> list[str]:
    related = entry.get("related")
    others = related.get(field) if isinstance(related, dict) else None
    return [_text(other) for other in others if isinstance(other, str)] if isinstance(others, list) else []
