"""What is read from a raw dump of 2023."""

import gzip
import json
import re

import polars as pl
import pytest

from lrd_jax.data.sources.amazon_2023 import RELEASE, read_amazon_2023
from lrd_jax.errors import UserError

REVIEWS = [
    {"user_id": "u1", "parent_asin": "0000013714", "asin": "x", "timestamp": 2999, "rating": 5.0, "text": "\u00e9"},
    {"user_id": "u1", "parent_asin": "B000000001", "timestamp": 2001, "verified_purchase": True, "images": []},
    {"user_id": "u2", "parent_asin": "B000000001", "timestamp": 1000},
    {"user_id": "u1", "parent_asin": "B000000002", "timestamp": 2999},
]
ITEMS = [
    {"parent_asin": "0000013714", "title": "Caf&eacute; &amp; bar", "store": " A &amp; B ", "main_category": "Office",
     "categories": ["Office", "Paper", "Cards", "Gold"], "features": ["small", "red"], "price": "$1", "details": {}},
    {"parent_asin": "B000000009", "title": "nobody's"},
    {"parent_asin": "B000000001", "title": "", "store": None, "categories": [], "features": [], "price": 2.5,
     "bought_together": ["0000013714", "B000000009", "B000000002"]},
    {"parent_asin": "0000013714", "title": "again"},
    {"parent_asin": "B000000002", "categories": ["Office", "Paper"], "bought_together": {"B000000001": {"n": 1}}},
]  # fmt: skip


def write(folder, reviews=REVIEWS, items=ITEMS, packed=True):
    folder.mkdir(exist_ok=True)
    for name, entries in (("Office_Products.jsonl", reviews), ("meta_Office_Products.jsonl", items)):
        data = "".join(json.dumps(entry) + "\n" for entry in entries).encode()
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(data, mtime=0) if packed else data)
    return folder


@pytest.fixture(params=[True, False], ids=["gzipped", "plain"])
def raw(request, tmp_path):
    return read_amazon_2023("Office_Products", source=write(tmp_path / "dump", packed=request.param))


def test_times_are_milliseconds(raw):
    """The pipeline orders by them and takes whole seconds afterwards (tests/data/test_full_times.py)."""
    assert raw.interactions.with_columns(pl.col("time").dt.epoch("ms")).rows() == [
        ("u1", "0000013714", 2999),
        ("u1", "B000000001", 2001),
        ("u2", "B000000001", 1000),
        ("u1", "B000000002", 2999),
    ]


def test_items(raw):
    assert raw.items.rows(named=True) == [
        {"item": "0000013714", "title": ITEMS[0]["title"], "category": "Gold", "brand": " A &amp; B ",
         "main_category": "Office", "features": ["small", "red"]},
        {"item": "B000000001", "title": "", "category": None, "brand": None, "main_category": None, "features": []},
        {"item": "B000000002", "title": None, "category": "Paper", "brand": None, "main_category": None,
         "features": None},
    ]  # fmt: skip


def test_attributes_and_relations(raw):
    assert {name: frame.rows() for name, frame in raw.attributes.items()} == {
        "category": [("0000013714", "Cards")],
        "brand": [("0000013714", " A &amp; B ")],
    }
    assert {name: frame.rows() for name, frame in raw.relations.items()} == {
        "bought_together": [
            ("B000000001", "0000013714"),
            ("B000000001", "B000000002"),
            ("B000000002", "B000000001"),
        ]
    }
    assert (raw.origin["metadata_lines"], raw.origin["metadata_items_repeated"]) == (5, 1)


def test_without_bought_together_there_is_no_relation(tmp_path):
    items = [{**item, "bought_together": None} for item in ITEMS]
    assert read_amazon_2023("Office_Products", source=write(tmp_path / "dump", items=items)).relations == {}


BAD = {
    "no item": ({"reviews": [{"user_id": "u", "timestamp": 3}]}, "line 1, field 'parent_asin': the item is missing"),
    "no reviews": ({"reviews": []}, "Office_Products.jsonl.gz: the file is empty"),
    "not metadata": ({"items": REVIEWS[:1] + [{}]}, "line 2, field 'parent_asin': the item is missing"),
    "others": ({"items": ITEMS[1:2]}, "meta_Office_Products.jsonl.gz: it describes none of the reviewed items"),
    "2014's times": ({"reviews": [{**REVIEWS[0], "timestamp": "x"}]}, "line 1: the line is not a JSON object"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(tmp_path, case):
    files, message = BAD[case]
    with pytest.raises(UserError, match=re.escape(message)):
        read_amazon_2023("Office_Products", source=write(tmp_path / "dump", **files))


def test_second_address_where_the_first_fails(tmp_path, monkeypatch):
    import io
    import urllib.error
    import urllib.request

    folder, asked = write(tmp_path / "dump"), []

    def serve(url, timeout):
        asked.append(url)
        if "ucsd" in url:
            raise urllib.error.URLError("down")
        name = url.rsplit("/", 1)[1]
        answer = io.BytesIO(gzip.decompress((folder / f"{name}.gz").read_bytes()))
        answer.headers = {}
        return answer

    monkeypatch.setattr(urllib.request, "urlopen", serve)
    assert read_amazon_2023("Office_Products").interactions.height == 4
    assert [url.split("/")[2] for url in asked] == ["mcauleylab.ucsd.edu", "huggingface.co"] * 2
    assert len(set(RELEASE.categories)) == 34
