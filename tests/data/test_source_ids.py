"""Ids in one form on both sides of a join, refused where digits are lost or nothing fits."""

from __future__ import annotations

import polars as pl
import pytest

from lrd_jax.data.options import PrepareOptions
from lrd_jax.data.pipeline import prepare_folder
from lrd_jax.data.sources.interaction_table import InteractionColumns, ItemColumns, read_interaction_table
from lrd_jax.data.sources.source_ids import clean_ids, refuse_lost_digits
from lrd_jax.errors import UserError

COLUMNS = InteractionColumns("user", "item", "time")


def test_one_form():
    nan = float("nan")
    assert clean_ids(pl.Series([3.0, nan, None, -1.0])).to_list() == [3, None, None, -1]
    assert clean_ids(pl.Series([3.0, 1.5, nan])).to_list() == ["3.0", "1.5", None]
    assert clean_ids(pl.Series(["3.0", " 4.00", None, ""])).to_list() == ["3", "4", None, None]
    assert clean_ids(pl.Series(["3.0", "4", "-0.0"])).to_list() == ["3", "4", "-0"]
    for texts in (["3.0", "4.5"], ["3.0", "x"], ["3.0", "04.0"], ["3.", "4."]):
        assert clean_ids(pl.Series(texts)).to_list() == texts
    assert clean_ids(pl.Series([2**63, 1])).to_list() == [str(2**63), "1"]
    assert clean_ids(pl.Series([2**63 - 1, 1], dtype=pl.UInt64)).to_list() == [2**63 - 1, 1]
    assert clean_ids(pl.Series([2**100, -5], dtype=pl.Int128)).to_list() == [str(2**100), "-5"]
    assert clean_ids(pl.Series([7, 8], dtype=pl.Int8)).dtype == pl.Int64


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([1.0, 2.0**53]),
        pl.Series([1.5, -(2.0**60)]),
        pl.Series([1.0, 2.0**24], dtype=pl.Float32),
        pl.Series(["1.0", "7.656119796026573e+16"]),
        pl.Series(["1", "7.65612E+16"]),
        pl.Series(["1", "1.23457E+11"]),
        pl.Series(["1.0", "9007199254740992.0"]),
        pl.Series(["", "1e300"]),
    ],
)
def test_lost_digits(values):
    with pytest.raises(
        UserError, match="f.csv, field 'id': row 2 has .* has lost digits.*Export the column again as text"
    ):
        refuse_lost_digits(values, "f.csv", "id")


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([1.0, 2.0**53 - 1, None, float("nan"), float("inf")]),
        pl.Series([2**60]),
        pl.Series(["76561197960265730", "1", "1.0"]),
        pl.Series(["12e3", "ab12", "7.65612E+16"]),
        pl.Series(["1e5", "1.5", "2"]),
        pl.Series([None, None], dtype=pl.String),
    ],
)
def test_digits_that_are_there(values):
    refuse_lost_digits(values, "f.csv", "id")


def interactions(tmp_path, item="{}"):
    rows = [f"u{u},{item.format((u + k) % 9 + 1)},{100 * k}\n" for u in range(6) for k in range(5)]
    file = tmp_path / "t.csv"
    file.write_text("user,item,time\n" + "".join(rows))
    return file


def about(tmp_path, text, *, name="items.csv", **columns):
    (tmp_path / name).write_text(text)
    return ItemColumns(tmp_path / name, "item", **columns)


@pytest.mark.parametrize("ours", ["{}", "{}.0"])
@pytest.mark.parametrize("theirs", ["{}", "{}.0", "{}.00"])
def test_whole_floats_meet_whole_numbers(tmp_path, ours, theirs):
    rows = [f"{theirs.format(i)},Title {i},{theirs.format(i % 9 + 1)}|{theirs.format(2)}\n" for i in range(1, 10)]
    items = about(tmp_path, "item,title,near\n" + "".join(rows), relations=("near",))
    raw, said = read_interaction_table(interactions(tmp_path, ours), COLUMNS, items)
    assert said[-1] == "9 of 9 items are in items.csv"
    assert ("1", "2") in raw.relations["near"].rows() and ("9", "1") in raw.relations["near"].rows()
    frame = pl.DataFrame({"item": [float(i) for i in range(1, 10)] + [None], "title": "x"})
    frame.write_parquet(tmp_path / "items.parquet")
    raw, said = read_interaction_table(
        interactions(tmp_path, ours), COLUMNS, ItemColumns(tmp_path / "items.parquet", "item")
    )
    assert said[-1] == "9 of 9 items are in items.parquet"


@pytest.mark.parametrize(
    ("ours", "theirs", "shown"),
    [
        ("{:05}", "{}", "they have '00001', the table has '1'"),
        ("{}", "{:05}", "they have '1', the table has '00001'"),
        ("I{}", "i{}", "they have 'I1', the table has 'i1'"),
        ("{}.5", "{}", "they have '1.5', the table has '1'"),
    ],
)
def test_ids_that_do_not_meet_are_shown(tmp_path, ours, theirs, shown):
    items = about(tmp_path, "item,title\n" + "".join(f"{theirs.format(i)},x\n" for i in range(1, 10)))
    with pytest.raises(UserError, match=f"items.csv, field 'item': it has none .*: {shown}. .*--item-id"):
        read_interaction_table(interactions(tmp_path, ours), COLUMNS, items)


def test_lost_digits_wherever_ids_stand(tmp_path):
    for name, line in (("item", "7.65612E+16,1,2"), ("user", "1,7.65612E+16,2")):
        file = tmp_path / "lost.csv"
        file.write_text(f"item,user,time\n{line}\n")
        with pytest.raises(UserError, match=f"lost.csv, field '{name}': row 1 has 7.65612E"):
            read_interaction_table(file, COLUMNS)
    frame = pl.DataFrame({"item": [1, 2], "near": [[1.0], [2.0**60]]})
    frame.write_parquet(tmp_path / "items.parquet")
    items = ItemColumns(tmp_path / "items.parquet", "item", relations=("near",))
    with pytest.raises(UserError, match="items.parquet, field 'near': row 2 has .* lost digits"):
        read_interaction_table(interactions(tmp_path), COLUMNS, items)


def test_ids_of_jsonl_beyond_64_bits(tmp_path):
    rows = [
        f'{{"user": {2**63 + u}, "item": {10**45 + (u + k) % 9}, "time": {k}}}\n' for u in range(6) for k in range(5)
    ]
    (tmp_path / "t.jsonl").write_text("".join(rows))
    raw, _ = read_interaction_table(tmp_path / "t.jsonl", COLUMNS)
    done = prepare_folder(raw, tmp_path / "out", PrepareOptions(core=1, negatives=2))
    assert done.sizes == {"users": 6, "items": 9, "interactions": 30}
    assert (tmp_path / "out" / "users.tsv").read_text().splitlines()[1] == f"{2**63}\t1"
    assert (tmp_path / "out" / "items.tsv").read_text().splitlines()[1] == f"{10**45}\t1"


def test_relations_that_hold_no_ids(tmp_path, capsys):
    rows = [f"{i},Title {i},Title {i % 9 + 1}|Title 2,{i % 9 + 1}|{'77' if i < 4 else 2}\n" for i in range(1, 10)]
    text = "item,title,named,near\n" + "".join(rows)
    with pytest.raises(UserError) as caught:
        read_interaction_table(interactions(tmp_path), COLUMNS, about(tmp_path, text, relations=("named",)))
    assert str(caught.value).startswith(
        f"{tmp_path}/items.csv, field 'named': none of its values is the id of an item: "
        "it has 'Title 2', 'Title 3', 'Title 4', the ids are '1', '2', '3'"
    )
    assert capsys.readouterr().err == ""
    raw, _ = read_interaction_table(interactions(tmp_path), COLUMNS, about(tmp_path, text, relations=("near",)))
    assert len(raw.relations["near"]) == 18
    share = "relation near: 16.7% of its values are not item ids (such as '77') and are left out"
    assert capsys.readouterr().err == f"warning: {share}\n"
    frame = pl.DataFrame({"item": range(1, 10), "near": [["one", "two"]] * 9})  # ids are numbers, the values are not
    frame.write_parquet(tmp_path / "items.parquet")
    pl.read_csv(interactions(tmp_path)).write_parquet(tmp_path / "t.parquet")
    items = ItemColumns(tmp_path / "items.parquet", "item", relations=("near",))
    with pytest.raises(UserError, match="it has 'one', 'two', the ids are '1', '2', '3'"):
        read_interaction_table(tmp_path / "t.parquet", COLUMNS, items)


def test_attributes_that_no_item_has(tmp_path, capsys):
    rows = [f"{i},{'' if i < 10 else 'A'},{'B' if i % 3 else ''},\n" for i in range(1, 13)]
    text = "item,strange,brand,empty\n" + "".join(rows)
    message = "field 'strange': no item of the interactions has a value: it has 'A' for '10', '11', '12', the inter"
    with pytest.raises(UserError, match=message):
        read_interaction_table(interactions(tmp_path), COLUMNS, about(tmp_path, text, attributes=("strange",)))
    with pytest.raises(UserError, match="field 'empty': no item of the interactions has a value: it is empty"):
        read_interaction_table(interactions(tmp_path), COLUMNS, about(tmp_path, text, attributes=("empty",)))
    read_interaction_table(interactions(tmp_path), COLUMNS, about(tmp_path, text, attributes=("brand",)))
    told = "attribute brand: 33.3% of the items of the interactions have no value"
    assert capsys.readouterr().err == f"warning: {told}\n"
