"""What training says of a dataset: a warning line each on stderr, and the same in results.json."""

import json

import polars as pl
import pytest

from lrd_jax.data.synthetic import write_synthetic
from tests import small_runs


@pytest.fixture
def data(tmp_path):
    return write_synthetic(tmp_path / "data", num_users=30, num_items=40, num_negatives=20)


def said(folder, data, capsys, model="popularity"):
    """{kind: notice} of a run's results.json, which stderr shows line by line."""
    small_runs.train(folder, data, model=model)
    warnings = json.loads((folder / "results.json").read_text())["warnings"]
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert told == [f"warning: {notice['text']}" for notice in warnings]
    return {notice["kind"]: notice for notice in warnings}


def change(path, **columns):
    table = pl.read_csv(path, separator="\t", infer_schema=False)
    table = table.with_columns(**columns)
    path.write_text(table.write_csv(separator="\t", quote_style="never"))


def test_nothing_to_say(tmp_path, data, capsys):
    assert said(tmp_path / "run", data, capsys) == {}


def test_all_notices_of_a_folder(tmp_path, data, capsys):
    change(data / "item_meta.csv", r_complement=pl.lit("[]"), i_category=pl.lit("0"), year=pl.lit("1999"))
    for name in ("dev.csv", "test.csv"):
        few = pl.col("neg_items").str.split(", ").list.head(4).list.join(", ") + "]"
        change(data / name, neg_items=few)
    train = pl.read_csv(data / "train.csv", separator="\t")
    first = train.filter(user_id=1).sort("time")["item_id"][0]
    target = pl.when(user_id="1").then(pl.lit(str(first))).otherwise("item_id")
    other = str([item for item in range(1, 6) if item != first][:4])
    change(data / "test.csv", item_id=target, neg_items=pl.when(user_id="1").then(pl.lit(other)).otherwise("neg_items"))
    found = said(tmp_path / "run", data, capsys)
    assert set(found) == {
        "one_by_construction", "repeated_targets", "empty_relations", "uniform_attributes", "unused_columns"
    }  # fmt: skip
    assert set(found["one_by_construction"]["rows"]) == {"HR@5", "HR@10"}
    assert found["repeated_targets"]["test"] == {"rows": 1, "share": pytest.approx(1 / 30)}
    assert found["repeated_targets"]["dev"]["rows"] == 0
    assert found["empty_relations"]["relations"] == ["complement"]
    assert found["uniform_attributes"]["attributes"] == ["category"]
    assert found["unused_columns"]["columns"] == ["year"]


def test_texts_count_for_models_that_read_them(tmp_path, data, capsys):
    change(
        data / "item_text.tsv", text=pl.when(pl.col("item_id").is_in(["3", "7"])).then(pl.lit(".")).otherwise("text")
    )
    found = said(tmp_path / "lrd", data, capsys, model="rcf_lrd")
    assert found["items_without_text"]["items"] == 2
    assert "2 of 40 items have no text (5.0%)" in found["items_without_text"]["text"]
    assert said(tmp_path / "rcf", data, capsys, model="popularity") == {}


def test_a_folder_with_escape_codes_in_its_name(tmp_path, capsys):
    data = write_synthetic(tmp_path / "data\x1b[31mred", num_users=30, num_items=40)
    small_runs.train(tmp_path / "run\x9b31mred", data, model="popularity")
    printed = capsys.readouterr()
    assert not {"\x1b", "\x9b"} & set(printed.out + printed.err)
    assert r"popularity on data\x1b[31mred: 30 users" in printed.out
    assert printed.out.splitlines()[-1] == rf"results in '{tmp_path}/run\x9b31mred'"
