"""`prepare table`: ids, times, ratings and items of any table."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import polars as pl
import pytest

from lrd_jax.data.options import PrepareOptions
from lrd_jax.data.pipeline import prepare_folder
from lrd_jax.data.rechorus import read_corpus, read_texts
from lrd_jax.data.sources.delimited import TextLayout
from lrd_jax.data.sources.interaction_table import (
    InteractionColumns,
    ItemColumns,
    read_interaction_table,
)
from lrd_jax.errors import UserError

COLUMNS = InteractionColumns("user", "item", "time")


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def seconds(raw):
    """The interactions, their times as seconds with fractions."""
    return raw.interactions.with_columns(pl.col("time").dt.epoch("us") / 1e6).rows()


def test_rows_are_counted_as_in_the_file(tmp_path):
    """Also where --min-rating takes some out."""
    columns = InteractionColumns("user", "item", "time", rating="stars", min_rating=3)
    for cells, message in (("e,f,,5", "row 3 has None"), (" ,f,3,5", "field 'user': row 3 has no id")):
        file = write(tmp_path / "t.csv", f"user,item,time,stars\na,b,1,1\nc,d,2,5\n{cells}\n")
        with pytest.raises(UserError, match=message):
            read_interaction_table(file, columns)


def test_without_times_the_card_gives_no_dates(tmp_path):
    rows = [f"u{u},i{(u + k) % 5}" for u in range(4) for k in range(4)]
    raw, said = read_interaction_table(
        write(tmp_path / "t.csv", "user,item\n" + "\n".join(rows)), InteractionColumns("user", "item")
    )
    assert said == ["no --time: the order of the file counts as time"]
    prepared = prepare_folder(raw, tmp_path / "out", PrepareOptions(core=1, negatives=1))
    card = (prepared.folder / "data_card.md").read_text()
    assert "1970" not in card and "- times: none; the order of the rows stands for them" in card
    assert "| train | 8 | 4 | 5 |" in card and "use the order of its rows" in card


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


def test_separators(tmp_path):
    file = write(tmp_path / "t.csv", "user\titem\ttime\na,b\tx\t1\n")
    raw, _ = read_interaction_table(file, InteractionColumns("user", "item", "time", layout=TextLayout("\\t")))
    assert seconds(raw) == [("a,b", "x", 1)]
    for separator in ("::", ""):
        with pytest.raises(UserError, match="field '--separator': '.*' is not one character"):
            read_interaction_table(file, InteractionColumns("user", "item", layout=TextLayout(separator)))
    items = ItemColumns(write(tmp_path / "i.csv", "id,tag\nx,ab\n"), "id", ("tag",), list_separator="")
    with pytest.raises(UserError, match="field '--list-separator': it is empty"):
        read_interaction_table(write(tmp_path / "u.csv", "user,item,time\na,x,1\n"), COLUMNS, items)


def test_ids_are_text(tmp_path):
    text = 'user,item,time\n007,"a, b",3\n7, é ,2\n007,x,1\n'
    raw, said = read_interaction_table(write(tmp_path / "t.csv", text), COLUMNS)
    assert seconds(raw) == [("007", "a, b", 3), ("7", "é", 2), ("007", "x", 1)]
    assert said == ["time is read as s, recognised from its values"] and raw.template == "" and raw.name == "t"


def test_numbers_of_parquet_meet_text_of_csv(tmp_path):
    pl.DataFrame({"user": [1, 2], "item": [10, 9], "time": [5, 6]}).write_parquet(tmp_path / "t.parquet")
    items = ItemColumns(write(tmp_path / "i.csv", "id,name,near\n9,nine,10|77\n10,ten,\n"), "id", ("name",), ("near",))
    raw, _ = read_interaction_table(tmp_path / "t.parquet", COLUMNS, items)
    assert seconds(raw) == [(1, "10", 5), (2, "9", 6)]
    assert raw.relations["near"].rows() == [("9", "10"), ("9", "77")] and raw.template == "{name}"
    own = ItemColumns(tmp_path / "i.parquet", "id", ("tags",), ("near",))
    table = pl.DataFrame({"id": [9, 10], "tags": [["a", "b"], None], "near": [[10], [9, 11]]})
    table.write_parquet(own.file)
    raw, _ = read_interaction_table(tmp_path / "t.parquet", COLUMNS, own)
    assert seconds(raw) == [(1, 10, 5), (2, 9, 6)]
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
        ("", COLUMNS, "the file is empty"),
        ("user,item,item\na,x,1\n", COLUMNS, "line 1, field 'item': two columns have this name"),
        ("user,item,time\na,x,1,2\n", COLUMNS, "line 2: the line has 4 fields, not 3"),
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
        ("id,name\nx,1\nx,2\n", "row 2 repeats 'x'"),
        ("id,name\nq,1\n", "it has none of the items .*: they have 'x', the table has 'q'"),
    ],
)
def test_wrong_items(tmp_path, items, message):
    file = write(tmp_path / "t.csv", "user,item,time\na,x,1\n")
    with pytest.raises(UserError, match=message):
        read_interaction_table(file, COLUMNS, ItemColumns(write(tmp_path / "i.csv", items), "id"))


def prepare(*words, cwd):
    command = [sys.executable, "-m", "lrd_jax.prepare", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


@pytest.mark.process
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
    assert "when is read as s, recognised from its values\n10 of 11 items are in items.tsv" in done.stdout
    corpus = read_corpus(tmp_path / "data")
    assert corpus.attributes == ("brand",) and corpus.item_relations == ("near",) and len(corpus.triples) == 20
    assert sorted(read_texts(tmp_path / "data", 11)[1:])[:3] == [".", "A: Item 1", "A: Item 3"]
    assert prepare(*words, cwd=tmp_path).returncode == 2, "without --out"
    done = prepare("table", "log.csv", "--relations", "near", "--out", "x", cwd=tmp_path)
    assert done.returncode == 2 and "they need a table of items" in done.stderr
    done = prepare("tabel", "log.csv", cwd=tmp_path)
    assert done.returncode == 2 and "table" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.process
def test_command_with_files_as_people_save_them(tmp_path):
    rows = [f"u{u}\ti{(u + 3 * k) % 11}\t{1000 * k}\t" + ('"artist' if (u, k) in ((1, 1), (2, 1)) else "artist")
            for u in range(12) for k in range(5)]  # fmt: skip
    text = "user_id\titem_id\ttime\tartist\n" + "\n".join(rows) + "\n"
    words = ["--time", "time", "--core", 1, "--negatives", 3, "--out", "out"]

    def check(name, *more):
        done = prepare("table", name, *words, *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert len(read_corpus(tmp_path / "out").sequence_items) == 60

    write(tmp_path / "log.tsv", text)
    check("log.tsv")
    write(tmp_path / "log.csv", text.replace("\t", ","))
    done = prepare("table", "log.csv", *words, cwd=tmp_path)
    assert done.returncode == 2 and "log.csv, line 8: a quotation mark opens a field, and on line 13" in done.stderr
    check("log.csv", "--quote", "none")
    (tmp_path / "utf16.csv").write_bytes(text.encode("utf-16"))
    check("utf16.csv", "--quote", "none")
    with zipfile.ZipFile(tmp_path / "log.tsv.zip", "w") as archive:
        archive.write(tmp_path / "log.tsv", "log.tsv")
    check("log.tsv.zip")
    write(tmp_path / "bare.txt", text.partition("\n")[2])
    done = prepare("table", "bare.txt", *words, cwd=tmp_path)
    assert done.returncode == 2 and "add --no-header and give columns by number" in done.stderr
    write(tmp_path / "bare_items.csv", "".join(f"i{i},Title {i},i{(i + 1) % 11}\n" for i in range(11)))
    words = ["--time", "3", *words[2:]]
    items = ["--items", "bare_items.csv", "--items-no-header", "--item-id", "1", "--relations", "3"]
    check("bare.txt", "--no-header", "--user", "1", "--item", "2", *items, "--template", "{2}")
    corpus = read_corpus(tmp_path / "out")
    assert corpus.item_relations == ("3",) and "Title 4" in read_texts(tmp_path / "out", corpus.num_items)
    lines = [line.split("\t") for line in rows]
    write(
        tmp_path / "log.json", "".join(f"{{'a': u'{u}', 'b': u'{i}', 'c': {t}, 'd': False}}\n" for u, i, t, _ in lines)
    )
    check("log.json", "--user", "a", "--item", "b", "--time", "c")
