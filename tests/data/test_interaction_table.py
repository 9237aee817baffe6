"""`prepare table`: ids, times, ratings and items of any table."""

from __future__ import annotations

import datetime
import subprocess
import sys

import polars as pl
import pytest

from lrd_jax.data.interaction_table import (
    InteractionColumns,
    ItemColumns,
    parse_times,
    read_interaction_table,
)
from lrd_jax.data.options import PrepareOptions
from lrd_jax.data.pipeline import prepare_folder
from lrd_jax.data.rechorus import read_corpus, read_texts
from lrd_jax.data.table_files import clean_ids
from lrd_jax.errors import UserError

COLUMNS = InteractionColumns("user", "item", "time")


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def times(values, unit=None):
    series, found = parse_times(pl.Series(values), unit, file="f.csv", field="time")
    return series.to_list(), found


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        (["1000000000", "0"], "s"),
        ([1000000000, 0], "s"),
        (["1000000000.9", "0"], "s"),
        (["1.0e9", "0"], "s"),
        ([1000000000.5, 0.0], "s"),
        (["1000000000999", "0"], "ms"),
        ([1000000000999999, 0], "us"),
        (["1000000000999999999", "0"], "ns"),
        (["2001-09-09T01:46:40", "1970-01-01"], "iso"),
        (["2001-09-09 01:46:40.75", "1970-01-01 00:00"], "iso"),
        (["2001-09-09T01:46:40Z", "1970-01-01T01:00:00+01:00"], "iso"),
        ([datetime.datetime(2001, 9, 9, 1, 46, 40), datetime.datetime(1970, 1, 1)], "iso"),
    ],
)
def test_times(values, unit):
    assert times(values) == ([1000000000, 0], unit)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([10**9, 2 * 10**9, 10**12], r"the largest value, 1e\+12, looks like ms, the usual one like s. .*--time-unit"),
        (["0", "1e9", "1e9", "1e300"], "looks like ns, the usual one like s"),
        (["5", "inf"], "row 2 has 'inf', which is not understood"),
        ([5.0, float("nan")], "row 2 has nan"),
        (["-1e300", "5"], "row 1 has '-1e300'"),
        ([None, 5], "row 1 has None"),
        ([datetime.datetime(2001, 9, 9), None], "row 2 has None"),
        ([datetime.timedelta(1)], "its cells are Duration"),
        ([datetime.time(1)], "its cells are Time"),
    ],
)
def test_wrong_times(values, message):
    with pytest.raises(UserError, match=message):
        times(values)
    with pytest.raises(UserError, match="row 2 has 1e[+]?300"):
        times([1.0, 1e300], "s")
    assert times([10**9, 10**12], "s") == ([10**9, 10**12], "s")
    assert times([0, 0, 0, 10**12], None) == ([0, 0, 0, 10**9], "ms"), "zeros are of any unit"


def test_rows_are_counted_as_in_the_file(tmp_path):
    """Also where --min-rating takes some out."""
    columns = InteractionColumns("user", "item", "time", rating="stars", min_rating=3)
    for cells, message in (("e,f,,5", "row 3 has None"), (" ,f,3,5", "field 'user': row 3 has no id")):
        file = write(tmp_path / "t.csv", f"user,item,time,stars\na,b,1,1\nc,d,2,5\n{cells}\n")
        with pytest.raises(UserError, match=message):
            read_interaction_table(file, columns)


def test_without_times_the_card_tells_no_dates(tmp_path):
    rows = [f"u{u},i{(u + k) % 5}" for u in range(4) for k in range(4)]
    raw, said = read_interaction_table(
        write(tmp_path / "t.csv", "user,item\n" + "\n".join(rows)), InteractionColumns("user", "item")
    )
    assert said == ["no --time: the order of the file counts as time"]
    prepared = prepare_folder(raw, tmp_path / "out", PrepareOptions(core=1, negatives=1))
    card = (prepared.folder / "data_card.md").read_text()
    assert "1970" not in card and "- times: none; the order of the rows stands for them" in card
    assert "| train | 8 | 4 | 5 |" in card and "goes by the order of its rows" in card


def test_columns_that_hold_no_single_values(tmp_path):
    rows = pl.DataFrame({"user": ["a"], "item": ["x"], "time": [1], "list": [["x", "y"]], "bytes": [b"\xff"]})
    rows = rows.with_columns(deep=pl.concat_list("list").reshape((1, 1, 2)), pair=pl.struct("user", "item"))
    rows.write_parquet(tmp_path / "t.parquet")
    for name in ("list", "bytes", "deep", "pair"):
        with pytest.raises(UserError, match=f"field '{name}': its cells are"):
            read_interaction_table(tmp_path / "t.parquet", InteractionColumns("user", name))
    for name in ("bytes", "deep", "pair"):
        with pytest.raises(UserError, match=f"field '{name}': its cells are .* or a list of them"):
            read_interaction_table(
                tmp_path / "t.parquet", COLUMNS, ItemColumns(tmp_path / "t.parquet", "item", relations=(name,))
            )
    raw, _ = read_interaction_table(
        tmp_path / "t.parquet", COLUMNS, ItemColumns(tmp_path / "t.parquet", "item", relations=("list",))
    )
    assert raw.relations["list"].rows() == [("x", "x"), ("x", "y")]


def test_ids_of_floats():
    """As pandas makes of whole numbers where some are missing; others stay what they are."""
    nan = float("nan")
    assert clean_ids(pl.Series([3.0, nan, None, -1.0])).to_list() == [3, None, None, -1]
    assert clean_ids(pl.Series([3.0, 1.5, nan])).to_list() == ["3.0", "1.5", None]
    assert clean_ids(pl.Series([1.0, 1e300])).dtype == clean_ids(pl.Series([1.0, float("inf")])).dtype == pl.String
    assert clean_ids(pl.Series(["1.0", " 007 ", " "])).to_list() == ["1.0", "007", None]


def test_separators(tmp_path):
    file = write(tmp_path / "t.csv", "user\titem\ttime\na,b\tx\t1\n")
    raw, _ = read_interaction_table(file, InteractionColumns("user", "item", "time", separator="\\t"))
    assert raw.interactions.rows() == [("a,b", "x", 1)]
    for separator in ("::", ""):
        with pytest.raises(UserError, match="field '--separator': '.*' is not one character"):
            read_interaction_table(file, InteractionColumns("user", "item", separator=separator))
    items = ItemColumns(write(tmp_path / "i.csv", "id,tag\nx,ab\n"), "id", ("tag",), list_separator="")
    with pytest.raises(UserError, match="field '--list-separator': it is empty"):
        read_interaction_table(write(tmp_path / "u.csv", "user,item,time\na,x,1\n"), COLUMNS, items)


def test_a_unit_that_is_given_is_not_guessed():
    assert times(["5000", "999"], "ms") == ([5, 0], "ms")
    assert times([date := datetime.date(1970, 1, 2), date], None) == ([86400, 86400], "iso")
    with pytest.raises(UserError, match="row 1 has '5000', which is not understood"):
        times(["5000"], "iso")


@pytest.mark.parametrize(
    "values", [["1", "x"], ["1", None], ["1", ""], ["2001-09-09", "soon"], ["2001-13-09"], ["nan"]]
)
def test_times_that_are_none(values):
    with pytest.raises(UserError, match="f.csv, field 'time': row .* is not understood"):
        times(values)


def test_ids_are_text(tmp_path):
    text = 'user,item,time\n007,"a, b",3\n7, é ,2\n007,x,1\n'
    raw, said = read_interaction_table(write(tmp_path / "t.csv", text), COLUMNS)
    assert raw.interactions.rows() == [("007", "a, b", 3), ("7", "é", 2), ("007", "x", 1)]
    assert said == ["time is read as s, told by its values"] and raw.template == "" and raw.name == "t"


def test_numbers_of_parquet_meet_text_of_csv(tmp_path):
    pl.DataFrame({"user": [1, 2], "item": [10, 9], "time": [5, 6]}).write_parquet(tmp_path / "t.parquet")
    items = ItemColumns(write(tmp_path / "i.csv", "id,name,near\n9,nine,10|77\n10,ten,\n"), "id", ("name",), ("near",))
    raw, _ = read_interaction_table(tmp_path / "t.parquet", COLUMNS, items)
    assert raw.interactions.rows() == [(1, "10", 5), (2, "9", 6)]
    assert raw.relations["near"].rows() == [("9", "10"), ("9", "77")] and raw.template == "{name}"
    own = ItemColumns(tmp_path / "i.parquet", "id", ("tags",), ("near",))
    table = pl.DataFrame({"id": [9, 10], "tags": [["a", "b"], None], "near": [[10], [9, 11]]})
    table.write_parquet(own.file)
    raw, _ = read_interaction_table(tmp_path / "t.parquet", COLUMNS, own)
    assert raw.interactions.rows() == [(1, 10, 5), (2, 9, 6)]
    assert raw.relations["near"].rows() == [(9, 10), (10, 9), (10, 11)]
    assert raw.attributes["tags"].rows() == [(9, "a"), (9, "b")]


def test_ratings_and_the_order_of_the_file(tmp_path):
    file = write(tmp_path / "t.tsv", "user\titem\tstars\na\tx\t5\na\ty\t3.5\na\tz\t4\n")
    columns = InteractionColumns("user", "item", rating="stars", min_rating=4)
    raw, said = read_interaction_table(file, columns)
    assert raw.interactions.rows() == [("a", "x", 0), ("a", "z", 1)]
    assert said == ["2 of 3 rows have stars 4 or more", "no --time: the order of the file counts as time"]
    with pytest.raises(UserError, match="--rating and --min-rating need each other"):
        read_interaction_table(file, InteractionColumns("user", "item", rating="stars"))


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("user,item\na,x\n", COLUMNS, r"line 1, field 'time': the column is missing. .*\(found: user, item\)"),
        ("", COLUMNS, "it cannot be read"),
        ("user,item,item\na,x,1\n", COLUMNS, "line 1, field 'item': two columns have this name"),
        ("user,item,time\na,x,1,2\n", COLUMNS, "it cannot be read"),
        (
            "user,item,time,r\na,x,1,good\n",
            InteractionColumns("user", "item", "time", None, "r", 1),
            "row 1 has 'good'",
        ),
    ],
)
def test_wrong_tables(tmp_path, text, columns, message):
    with pytest.raises(UserError, match=message):
        read_interaction_table(write(tmp_path / "t.csv", text), columns)
    with pytest.raises(UserError, match="there is no such file"):
        read_interaction_table(tmp_path / "none.csv", columns)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ("name\nx\n", "field 'id': the column is missing"),
        ("id,name\nx,1\nx,2\n", "row 2 has 'x' a second time"),
        ("id,name\nq,1\n", "it knows none of the items"),
    ],
)
def test_wrong_items(tmp_path, items, message):
    file = write(tmp_path / "t.csv", "user,item,time\na,x,1\n")
    with pytest.raises(UserError, match=message):
        read_interaction_table(file, COLUMNS, ItemColumns(write(tmp_path / "i.csv", items), "id"))


def prepare(*words, cwd):
    command = [sys.executable, "-m", "lrd_jax.prepare", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


def test_command(tmp_path):
    rows = [f"u{u},i{(u + 3 * k) % 11},{1000 + 10 * k + u}" for u in range(12) for k in range(5)]
    write(tmp_path / "log.csv", "who,what,when\n" + "\n".join(rows) + "\n")
    table = [f"i{i}\tItem {i}\t{'A' if i % 2 else 'B'}\ti{(i + 1) % 11};i{(i + 2) % 11}" for i in range(10)]
    write(tmp_path / "items.tsv", "id\ttitle\tbrand\tnear\n" + "\n".join(table) + "\n")
    words = ["table", "log.csv", "--user", "who", "--item", "what", "--time", "when", "--items", "items.tsv"]
    words += ["--item-id", "id", "--attributes", "brand", "--relations", "near", "--list-separator", ";"]
    words += ["--core", 2, "--negatives", 3]
    done = prepare(*words, "--out", "data", "--template", "{brand}: {title}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "when is read as s, told by its values\n10 of 11 items are in items.tsv" in done.stdout
    corpus = read_corpus(tmp_path / "data")
    assert corpus.attributes == ("brand",) and corpus.item_relations == ("near",) and len(corpus.triples) == 20
    assert sorted(read_texts(tmp_path / "data", 11)[1:])[:3] == [".", "A: Item 1", "A: Item 3"]
    assert prepare(*words, cwd=tmp_path).returncode == 2, "without --out"
    done = prepare("table", "log.csv", "--relations", "near", "--out", "x", cwd=tmp_path)
    assert done.returncode == 2 and "only a table of items has them" in done.stderr
    done = prepare("tabel", "log.csv", cwd=tmp_path)
    assert done.returncode == 2 and "table" in done.stderr and "Traceback" not in done.stderr
