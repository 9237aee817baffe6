"""`prepare rechorus`: folders that are there already, checked, given texts and a card; and the maps of original ids."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from lrd_jax.data.id_maps import raw_ids
from lrd_jax.data.options import PrepareOptions
from lrd_jax.data.pipeline import prepare_folder
from lrd_jax.data.rechorus import read_texts
from lrd_jax.data.sources.rechorus_folder import complete_folder
from lrd_jax.errors import UserError
from tests.data.conftest import replace
from tests.data.test_pipeline import make_raw

ITEMS = "item_id,title,brand\n1,One &amp; only,b\n3,Three,\n2,,\n"


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def bare(folder):
    (folder / "item_text.tsv").unlink()
    return folder


def test_checking_writes_nothing(folder, bare):
    before = contents(bare)
    done = complete_folder(bare)
    assert contents(bare) == before and done.texts is None and done.found.startswith("it has no texts")
    assert (done.corpus.num_users, done.corpus.num_items) == (2, 5)


def test_a_mistake_in_the_folder_is_reported(folder):
    replace("dev.csv", "[5, 5]", "[5, 6]")(folder)
    with pytest.raises(UserError, match="dev.csv, line 3, field 'neg_items'"):
        complete_folder(folder)


def test_texts_by_the_folders_ids(bare, tmp_path):
    (tmp_path / "items.csv").write_text(ITEMS)
    done = complete_folder(bare, items=tmp_path / "items.csv", template="{title}: {brand}")
    assert read_texts(bare, 5)[1:] == ["One & only: b", ".", "Three:", ".", "."]
    assert done.texts.empty == 3
    card = json.loads((bare / "data_card.json").read_text())
    assert card["text"]["items"] == 2 and card["options"]["template"] == "{title}: {brand}"
    assert card["relations"]["also"]["triples"] == 5 and card["attributes"]["tag"]["triples"] == 6
    with pytest.raises(UserError, match="there are texts already. Replace them with --force"):
        complete_folder(bare, items=tmp_path / "items.csv")
    complete_folder(bare, items=tmp_path / "items.csv", force=True)
    assert read_texts(bare, 5)[1] == "One & only b"


def test_texts_by_the_published_ids(bare, tmp_path):
    (bare / "X.item2index").write_text("B1\t1\nB2\t2\nB3\t3\nB4\t4\nB5\t5\n")
    (tmp_path / "items.jsonl").write_text('{"asin": "B4", "title": "four"}\n{"asin": "B9", "title": "nine"}\n')
    complete_folder(bare, items=tmp_path / "items.jsonl", item_id="asin")
    assert read_texts(bare, 5)[1:] == [".", ".", ".", "four", "."]


def test_the_sources_ids_may_be_called_item_id_and_look_like_the_folders(bare, tmp_path):
    """Without --item-id the column holds the folder's ids, with it the source's."""
    (bare / "items.tsv").write_text("raw_id\titem_id\n5\t1\n4\t2\n3\t3\n2\t4\n1\t5\n")
    (tmp_path / "items.csv").write_text("item_id,raw_id,Full Title\n 1 ,x,one\n,,\n,,\n2,y,two\n")
    complete_folder(bare, items=tmp_path / "items.csv")
    assert read_texts(bare, 5)[1:] == ["one", "two", ".", ".", "."]
    complete_folder(bare, items=tmp_path / "items.csv", item_id="item_id", force=True)
    assert read_texts(bare, 5)[1:] == [".", ".", ".", "two", "one"]


@pytest.mark.parametrize(
    ("items", "item_id", "message"),
    [
        (None, None, "there is no item data. Set --items to a table with item columns"),
        ("asin,title\nB1,x\n", None, r"field 'item_id': the column is missing. .*--item-id.* \(found: asin, title\)"),
        ("asin,title\nB1,x\n", "asin", "the folder does not list the source's ids"),
        ("item_id,title\n9,x\n", None, "it has none of the items"),
        ("item_id,title\n1,x\n1,y\n", None, "row 2 repeats '1'"),
        ("item_id,title\n,x\n1,x\n 1,y\n", None, "row 3 repeats '1'"),
    ],
)
def test_wrong_items(bare, tmp_path, items, item_id, message):
    before = contents(bare)
    if items is not None:
        (tmp_path / "items.csv").write_text(items)
    with pytest.raises(UserError, match=message):
        complete_folder(bare, items=tmp_path / "items.csv" if items else None, item_id=item_id, template="{title}")
    assert contents(bare) == before


def test_another_template_for_a_folder_made_here(tmp_path):
    """As if it had been prepared with that template in the first place."""
    usual, other = PrepareOptions(core=3, negatives=5), PrepareOptions(core=3, negatives=5, template="no. {title:2}")
    expected = contents(prepare_folder(make_raw(), tmp_path / "expected", other).folder)
    folder = prepare_folder(make_raw(), tmp_path / "made", usual).folder
    complete_folder(folder, template="no. {title:2}", force=True)
    found = contents(folder)
    assert found.keys() == expected.keys()
    assert {name for name in found if found[name] != expected[name]} == set()


def test_damaged_records_of_a_folder_made_here(tmp_path):
    """An incomplete card is made again; an unreadable marker is reported."""
    folder = prepare_folder(make_raw(), tmp_path / "made", PrepareOptions(core=3, negatives=5)).folder
    (folder / "data_card.json").write_text("{}")
    complete_folder(folder, template="{title:2}", force=True)
    card = json.loads((folder / "data_card.json").read_text())
    assert card["source"]["source"] == "dataset folder" and card["dropped"] == {}
    assert "were dropped" not in (folder / "data_card.md").read_text()
    for damaged in ("{bad", "[1]"):
        (folder / "dataset.json").write_text(damaged)
        before = contents(folder)
        with pytest.raises(UserError, match="dataset.json: it cannot be read"):
            complete_folder(folder, template="{title:2}", force=True)
        assert contents(folder) == before


@pytest.mark.process
def test_command(bare, tmp_path):
    (tmp_path / "items.csv").write_text(ITEMS)
    command = [sys.executable, "-m", "lrd_jax.prepare", "rechorus", str(bare)]
    done = subprocess.run(
        [*command, "--items", str(tmp_path / "items.csv"), "--show", "1"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "2 users, 5 items, 8 interactions: 4 train, 2 dev, 2 test" in done.stdout
    assert "texts: 2 of 5 items" in done.stdout and "  1: One & only b" in done.stdout
    done = subprocess.run([*command[:-1], str(tmp_path / "none")], capture_output=True, text=True)
    assert done.returncode == 2 and "cannot open the dataset folder" in done.stderr and "Traceback" not in done.stderr


def test_original_ids_of_a_published_folder(tmp_path):
    (tmp_path / "Office.item2index").write_text("0000013714\t2\nB1\t1\n")
    assert raw_ids(tmp_path, "item", np.array([2, 1, 3])).to_list() == ["0000013714", "B1", None]
    assert raw_ids(tmp_path, "user", np.array([1])).to_list() == [None]
    (tmp_path / "Office.item2index").write_text("0000013714\t2\nB1\t2\n")
    with pytest.raises(UserError, match="Office.item2index, line 2, field 'item_id': '2' appears twice"):
        raw_ids(tmp_path, "item", np.array([1]))


def test_original_ids(tmp_path):
    (tmp_path / "users.tsv").write_text('raw_id\tuser_id\n"q\t2\nü\t1\n')
    assert raw_ids(tmp_path, "user", np.array([1, 2, 3, 1])).to_list() == ["ü", '"q', None, "ü"]
    assert raw_ids(tmp_path, "item", np.array([1, 2])).to_list() == [None, None]
    assert raw_ids(tmp_path, "user", np.array([], int)).to_list() == []
    (tmp_path / "items.tsv").write_text("raw_id\tid\nx\t1\n")
    with pytest.raises(UserError, match="items.tsv, line 1, field 'item_id': the column is missing"):
        raw_ids(tmp_path, "item", np.array([1]))
