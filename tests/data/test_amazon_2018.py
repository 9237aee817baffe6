"""The layout of 2018, which `amazon-2014` recognises: JSON, fields beside each other, pieces of web pages in them."""

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from lrd_jax.data.options import PrepareOptions
from lrd_jax.data.pipeline import prepare_folder
from lrd_jax.data.rechorus import read_corpus, read_texts
from lrd_jax.data.sources.amazon_2014 import read_amazon_2014

REVIEWS = [("u1", "B1", 30), ("u1", "B2", 10), ("u1", "B3", 20), ("u2", "B1", 5), ("u2", "B4", 6), ("u2", "B2", 7)]
ITEMS = [
    {
        "category": ["Toys &amp; Games", "Games", "Puzzles", "<span>Jigsaw</span>"],
        "tech1": "",
        "description": ["It's \"big\""],
        "title": '<span id="productTitle" class="a-size-large">\n  Tom &amp; Jerry<br>Puzzle\n</span>',
        "also_buy": ["B2", "X9", "B2"],
        "also_view": ["B3"],
        "brand": "by\n    \n    Acme &amp; Co",
        "rank": [">#5 in Toys"],
        "price": "$5.99",
        "asin": "B1",
        "details": None,
        "verified": True,
    },
    {"asin": "B2", "title": "Plain", "category": ["Clothing", "Women", "</span></span></span>", "100% cotton"],
     "also_buy": [], "also_view": ["B1"], "brand": "Acme & Co", "price": ".a-box-inner{color:#fff}"},
    {"asin": "B3", "title": "var aPageStart = (new Date()).getTime();", "category": [], "brand": "", "also_view": []},
    {"asin": "B4", "title": None, "category": None, "also_buy": None, "also_view": "B1"},
    {"asin": "Z1", "title": "of no review", "category": ["a", "b", "c"], "also_buy": ["B1"]},
]  # fmt: skip


def write(folder: Path, name: str, items=ITEMS) -> Path:
    folder.mkdir()
    fields = {"overall": 5.0, "verified": True, "vote": "2", "style": {"Size:": " 3"}}
    reviews = ({**fields, "reviewerID": user, "asin": item, "unixReviewTime": time} for user, item, time in REVIEWS)
    (folder / name).write_bytes(gzip.compress("".join(json.dumps(review) + "\n" for review in reviews).encode()))
    text = "".join(json.dumps(item) + "\n" for item in items)
    (folder / "meta_Toys.json.gz").write_bytes(gzip.compress(text.encode()))
    return folder


@pytest.fixture(params=["Toys_5.json.gz", "reviews_Toys_5.json.gz"])
def raw(request, tmp_path):
    return read_amazon_2014("Toys", source=write(tmp_path / "dump", request.param))


def test_items_without_markup(raw):
    assert raw.items.rows() == [
        ("B1", "Tom & Jerry Puzzle", "Jigsaw", "Acme &amp; Co"),
        ("B2", "Plain", "Women", "Acme & Co"),
        ("B3", None, None, ""),
        ("B4", None, None, None),
    ]
    assert raw.attributes["category"].rows() == [("B1", "Puzzles")]


def test_relations_are_named_as_in_the_file(raw):
    assert {name: pairs.rows() for name, pairs in raw.relations.items()} == {
        "also_buy": [("B1", "B2"), ("B1", "B2")],
        "also_view": [("B1", "B3"), ("B2", "B1")],
    }
    assert raw.name == "amazon-2018-Toys" and raw.origin["source"] == "Amazon review data 2018, Toys"
    assert (raw.origin["metadata_lines"], raw.origin["metadata_lines_odd"]) == (5, 0)


def test_a_dataset_of_it(raw, tmp_path):
    folder = prepare_folder(raw, tmp_path / "data", PrepareOptions(core=1, negatives=1)).folder
    corpus = read_corpus(folder)
    assert corpus.item_relations == ("also_buy", "also_view") and corpus.attributes == ("category", "brand")
    assert corpus.triples.tolist() == [[1, 1, 2], [1, 2, 3], [2, 2, 1]]
    assert read_texts(folder, 4)[1:] == ["Tom & Jerry Puzzle Jigsaw Acme & Co", "Plain Women Acme & Co", ".", "."]
    brands = pl.read_csv(folder / "item_meta.csv", separator="\t")["i_brand"].to_list()
    assert brands == [1, 1, 0, 0], "the same brand, escaped or not"


def test_lists_that_are_empty_everywhere_are_still_of_2018(tmp_path):
    items = [{"asin": item, "title": item, "category": [], "also_buy": [], "also_view": []} for item in ("B1", "B2")]
    raw = read_amazon_2014("Toys", source=write(tmp_path / "dump", "Toys_5.json.gz", items))
    assert {name: len(pairs) for name, pairs in raw.relations.items()} == {"also_buy": 0, "also_view": 0}
