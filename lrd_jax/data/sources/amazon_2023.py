"""Amazon Reviews'23 (Hou et al., arXiv 2403.03952): one category, reviews and metadata as a JSON object per line.

Items are `parent_asin`, which the variants of a product share, as the authors recommend. Times are milliseconds.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from lrd_jax.data.raw import RawDataset
from lrd_jax.data.sources.amazon_source import Release, find_files
from lrd_jax.data.sources.raw_lines import RawFile, Schema, concat, json_rows
from lrd_jax.errors import UserError

_UCSD = "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw/"
_HUB = "https://huggingface.co/datasets/McAuley-Lab/Amazon-Reviews-2023/resolve/main/raw/"
RELEASE = Release(
    name="amazon-2023",
    home="https://amazon-reviews-2023.github.io/",
    reviews="{}.jsonl.gz",
    meta="meta_{}.jsonl.gz",
    reviews_urls=(_UCSD + "review_categories/{}.jsonl.gz", _HUB + "review_categories/{}.jsonl"),
    meta_urls=(_UCSD + "meta_categories/meta_{}.jsonl.gz", _HUB + "meta_categories/meta_{}.jsonl"),
    categories=(
        "All_Beauty", "Amazon_Fashion", "Appliances", "Arts_Crafts_and_Sewing", "Automotive", "Baby_Products",
        "Beauty_and_Personal_Care", "Books", "CDs_and_Vinyl", "Cell_Phones_and_Accessories",
        "Clothing_Shoes_and_Jewelry", "Digital_Music", "Electronics", "Gift_Cards", "Grocery_and_Gourmet_Food",
        "Handmade_Products", "Health_and_Household", "Health_and_Personal_Care", "Home_and_Kitchen",
        "Industrial_and_Scientific", "Kindle_Store", "Magazine_Subscriptions", "Movies_and_TV", "Musical_Instruments",
        "Office_Products", "Patio_Lawn_and_Garden", "Pet_Supplies", "Software", "Sports_and_Outdoors",
        "Subscription_Boxes", "Tools_and_Home_Improvement", "Toys_and_Games", "Unknown", "Video_Games",
    ),
)  # fmt: skip
TEMPLATE = "{title:32} {category} {brand}"
_REVIEW: Schema = {"user_id": pl.String, "parent_asin": pl.String, "timestamp": pl.Int64}
_ITEM: Schema = {
    "parent_asin": pl.String,
    "title": pl.String,
    "store": pl.String,
    "main_category": pl.String,
    "categories": pl.List(pl.String),
    "features": pl.List(pl.String),
    "bought_together": pl.String,  # null almost everywhere and of no documented shape: the JSON itself
}
_CATEGORY_LEVEL = 2
_ASIN = r'"([0-9A-Z]{10})"'


def read_amazon_2023(
    category: str,
    *,
    source: Path | None = None,
    reviews: Path | None = None,
    meta: Path | None = None,
) -> RawDataset:
    """Read one category.

    Attributes are category, the element at index 2 (from 0) of an item's path as for the release of 2014, and brand,
    which is the store. The only relation is bought_together; a dataset without it has none. Beside title, category (the
    path's last element) and brand, templates can use main_category and features, a list.

    Args:
      category: such as "Office_Products".
      source: a folder that holds both files.
      reviews, meta: the files, gzipped or not. None of the three: an earlier download, else the network.

    Raises:
      UserError: see `find_files` and `json_rows`; metadata of other items.
    """
    reviews_path, meta_path = find_files(RELEASE, category, source=source, reviews=reviews, meta=meta)
    reviews_file, meta_file = RawFile(reviews_path), RawFile(meta_path)
    meaning = {"user_id": "the user", "parent_asin": "the item", "timestamp": "the time"}
    interactions = concat(list(json_rows(reviews_file, _REVIEW, meaning)), _REVIEW)
    if interactions.is_empty():
        raise UserError("the file holds no reviews", file=reviews_path, remedy="Copy or download it again")
    interactions = interactions.select(
        user="user_id", item="parent_asin", time=pl.from_epoch("timestamp", time_unit="ms")
    )
    known = interactions["item"].unique()
    num_lines, kept = 0, []
    for rows in json_rows(meta_file, _ITEM, {"parent_asin": "the item"}):
        num_lines += rows.height
        kept.append(rows.filter(pl.col("parent_asin").is_in(known.implode())))
    metadata = concat(kept, _ITEM).rename({"parent_asin": "item"})
    if metadata.is_empty():
        remedy = "Name the reviews and the metadata of the same category"
        raise UserError("it tells of none of the items that were reviewed", file=meta_path, remedy=remedy)
    items = metadata.unique("item", keep="first", maintain_order=True)
    path = pl.col("categories").list.eval(pl.element().drop_nulls())
    items = items.with_columns(
        path.list.last().alias("category"),
        path.list.get(_CATEGORY_LEVEL, null_on_oob=True).alias("level"),
        pl.col("store").alias("brand"),
    )
    others = items.select("item", other=pl.col("bought_together").str.extract_all(_ASIN)).explode("other")
    others = others.with_columns(pl.col("other").str.strip_chars('"')).drop_nulls()
    others = others.filter(pl.col("other").is_in(known.implode()))
    origin = {
        "source": f"Amazon Reviews'23, {category}",
        "url": RELEASE.home,
        "files": {path.name: file.sha256 for path, file in ((reviews_path, reviews_file), (meta_path, meta_file))},
        "metadata_lines": num_lines,
        "metadata_items_repeated": metadata.height - items.height,
    }
    return RawDataset(
        name=f"{RELEASE.name}-{category}",
        interactions=interactions,
        items=items.select("item", "title", "category", "brand", "main_category", "features"),
        attributes={name: items.select("item", value=column).drop_nulls()
                    for name, column in (("category", "level"), ("brand", "brand"))},
        relations={"bought_together": others} if others.height else {},
        template=TEMPLATE,
        origin=origin,
    )  # fmt: skip
