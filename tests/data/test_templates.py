"""Item texts: the template's rules, cleaning against plain Python, bad templates."""

from __future__ import annotations

import html
import re

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrd_jax.data.templates import NO_TEXT, Column, clean, default_template, fill_template, parse_template
from lrd_jax.errors import UserError

ITEMS = pl.DataFrame(
    {
        "title": ["Toy Story", None, "  ", "Pens &amp;amp; Paper\n(12)", 'quo"te'],
        "year": [1995, None, 2001, None, 3],
        "tags": [["a", "b"], [], None, [None, " ", "c"], ["d"]],
    },
    schema_overrides={"tags": pl.List(pl.String)},
)


def texts(template, items=ITEMS):
    return fill_template(template, items).texts.to_list()


def test_what_is_written_against_a_missing_value_goes_with_it():
    expected = ["Toy Story (1995) a, b", NO_TEXT, "(2001)", "Pens & Paper (12) c", 'quo"te (3) d']
    assert texts("{title} ({year}) {tags}") == expected
    assert texts("{title}  /  by:{tags}")[:3] == ["Toy Story / by:a, b", NO_TEXT, NO_TEXT]
    assert texts("{year}-{title}")[0] == "1995-Toy Story" and texts("{year}-{title}")[2] == "2001-"


def test_counts():
    found = fill_template("{title:1} {tags}", ITEMS)
    assert found.texts.to_list() == ["Toy a, b", NO_TEXT, NO_TEXT, "Pens c", 'quo"te d']
    assert found.empty == 2 and dict(found.cut) == {"title": 2}
    words = found.statistics()["words"]
    assert words == {"least": 2, "median": 2.0, "mean": 2.33, "most": 3, "total": 7}


def test_a_title_of_exactly_the_limit_is_not_cut():
    items = pl.DataFrame({"title": [" ".join("w" * n for n in range(1, 33)), "w " * 33]})
    found = fill_template("{title:32}", items)
    assert found.texts[0] == items["title"][0] and len(found.texts[1].split()) == 32 and found.cut == {"title": 1}


def test_no_items_and_one_item():
    assert texts("{title}", ITEMS.head(0)) == []
    assert texts("{title}", ITEMS.head(1)) == ["Toy Story"]


def plain(text):
    for _ in range(3):
        text = html.unescape(text)
    text = re.sub(r"[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+", " ", text)
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\ufeff]", "", text)
    return re.sub(" +", " ", text).strip(" ")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30), min_size=1, max_size=8))
def test_cleaning_against_plain_python(values):
    found = clean(pl.Series(values, dtype=pl.String)).to_list()
    assert found == [plain(value) for value in values]
    for text in found:
        assert "\n" not in text and "\t" not in text and "  " not in text


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("AT&amp;amp;T", "AT&T"),
        ("a&nbsp;b", "a b"),
        ("Caf&eacute; &#8217;s", "Café ’s"),
        ("a\x00b\x1fc", "abc"),
        ("\ufeffe\u0301 \U0001f468\u200d\U0001f469", "e\u0301 \U0001f468\u200d\U0001f469"),
        ("R&D", "R&D"),
    ],
)
def test_cleaning(raw, cleaned):
    assert clean(pl.Series([raw])).to_list() == [cleaned]


def test_pieces():
    assert parse_template("a{x}b {y:3}", ["x", "y"]) == [["a", Column("x"), "b"], [Column("y", 3)]]


def test_columns_with_any_name_but_braces():
    names = ["Product Name", "a:b", "title", "", "x}y"]
    template = default_template(names)
    assert template == "{Product Name} {a:b} {title:32}"
    assert parse_template(template, names) == [[Column("Product Name")], [Column("a:b")], [Column("title", 32)]]
    assert parse_template("<{Product Name:3}> {a:b:4}", names) == [
        ["<", Column("Product Name", 3), ">"],
        [Column("a:b", 4)],
    ]
    assert default_template([]) == ""


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{titel}", "there is no column 'titel'. Available columns: title, year, tags"),
        ("{}", "there is no column ''"),
        ("{title:0}", "'0' is not a number of words"),
        ("{title:x}", "'x' is not a number of words. Write a number of words, as in {title:32}"),
        ("{title", "a brace in '{title' is unmatched"),
        ("title}", "is unmatched"),
        ("{{title}}", "is unmatched"),
        ("title", "the template names no column"),
        ("", "the template names no column"),
        ("{title.__class__}", "there is no column 'title.__class__'"),
    ],
)
def test_wrong_templates(template, message):
    with pytest.raises(UserError, match=re.escape(message)):
        fill_template(template, ITEMS)
