from __future__ import annotations

import re

import pytest

from lrd_jax.data.rechorus import read_texts
from lrd_jax.errors import UserError

from .conftest import replace


def test_texts(folder):
    assert read_texts(folder, 5) == ["", 'one "inch', "two", "three", "four", "five"]


@pytest.fixture
def published(folder):
    (folder / "item_text.tsv").unlink()
    (folder / "Any.item2index").write_text("B7\t2\nB1\t1\nA3\t3\n")
    (folder / "Any.text").write_text('id\ttext\nA3\t"three\nB1\t one 1" \nB7\ttwo"\n')
    return folder


def test_published_texts(published):
    assert read_texts(published, 3) == ["", 'one 1"', 'two"', '"three']


BAD_TEXT = {
    "no text": (replace("item_text.tsv", "\tthree", "\t "), "item_text.tsv, field 'text': item 3 has no text"),
    "no line": (replace("item_text.tsv", "3\tthree\n", ""), "item_text.tsv, field 'text': item 3 has no text"),
    "twice": (replace("item_text.tsv", "5\tfive", "2\tfive"), "item_text.tsv, line 5, field 'item_id': '2' appears"),
    "unknown": (replace("item_text.tsv", "5\tfive", "6\tfive"), "line 5, field 'item_id': '6' is not among the 5"),
    "no column": (replace("item_text.tsv", "text", "title"), "item_text.tsv, line 1, field 'text': the column"),
    "none": (lambda folder: (folder / "item_text.tsv").unlink(), "item_text.tsv: the items have no texts"),
}


@pytest.mark.parametrize("case", BAD_TEXT)
def test_bad_texts(folder, case):
    change, message = BAD_TEXT[case]
    change(folder)
    with pytest.raises(UserError, match=re.escape(message)):
        read_texts(folder, 5)


BAD_PAIR = {
    "raw id twice": (replace("Any.text", "B7", "B1"), "Any.text, line 4, field 'id': 'B1' appears twice"),
    "raw id unknown": (replace("Any.text", "B7", "B8"), "Any.text, line 4, field 'id': 'B8' is not in Any.item2index"),
    "index twice": (
        replace("Any.item2index", "A3\t3", "A3\t1"),
        "Any.item2index, line 3, field 'item_id': '1' appears",
    ),
    "no text file": (lambda folder: (folder / "Any.text").unlink(), "Any.text: the file is missing"),
    "two pairs": (lambda folder: (folder / "B.item2index").write_text("x\t1"), "there are 2 files *.item2index"),
    "tab in the text": (replace("Any.text", " one", "one\t"), "Any.text, line 3: the line has 3 tab-separated fields"),
}


@pytest.mark.parametrize("case", BAD_PAIR)
def test_bad_published_texts(published, case):
    change, message = BAD_PAIR[case]
    change(published)
    with pytest.raises(UserError, match=re.escape(message)):
        read_texts(published, 3)
