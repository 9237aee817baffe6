"""Raw dumps through the command, against a slow plain reading of the same files."""

import ast
import collections
import gzip
import json
import shutil
import sys

import polars as pl
import pytest

from benchmarks.raw_amazon import DumpSizes, pair_core, write_dump
from lrd_jax.command_line.parse import run_command
from lrd_jax.data.rechorus import read_corpus
from lrd_jax.prepare import __main__ as prepare

from . import test_amazon_2023, test_recbole

SIZES = DumpSizes(users=120, items=240, reviews=1500, metadata=400)


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dump")
    write_dump(folder, "Electronics", SIZES)
    return folder


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs `python -m lrd_jax.prepare` here: (exit code, stdout and stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["prepare", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            run_command(prepare.main)
            raise SystemExit(0)
        printed = capsys.readouterr()
        return stopped.value.code, printed.out + printed.err

    return run


def table(path):
    return pl.read_csv(path, separator="\t", quote_char=None, infer_schema=False)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestAmazon2014:
    def test_against_a_plain_reading(self, dump, tmp_path, command):
        code, printed = command("amazon-2014", "Electronics", "--source", dump, "--out", tmp_path / "out")
        assert code == 0, printed

        with gzip.open(dump / "reviews_Electronics_5.json.gz", "rt", encoding="utf-8") as file:
            reviews = [json.loads(line) for line in file]
        with gzip.open(dump / "meta_Electronics.json.gz", "rt", encoding="utf-8") as file:
            entries = {entry["asin"]: entry for entry in map(ast.literal_eval, file)}
        items = sorted({review["asin"] for review in reviews})
        users = sorted({review["reviewerID"] for review in reviews})
        by_user = collections.defaultdict(list)
        for review in reviews:
            by_user[review["reviewerID"]].append((review["unixReviewTime"], items.index(review["asin"]) + 1))

        out = tmp_path / "out"
        assert table(out / "items.tsv")["raw_id"].to_list() == items and len(items) == SIZES.items
        assert table(out / "users.tsv")["raw_id"].to_list() == users and len(users) == SIZES.users
        for name, place in (("test", -1), ("dev", -2)):
            found = {row["user_id"]: row["item_id"] for row in table(out / f"{name}.csv").iter_rows(named=True)}
            for number, user in enumerate(users, start=1):
                history = sorted(by_user[user], key=lambda review: review[0])  # equal times in the order of the file
                assert found[str(number)] == str(history[place][1])
        meta = table(out / "item_meta.csv")
        assert meta.columns == ["item_id", "i_category", "i_brand", "r_complement", "r_substitute"]
        names = {
            (row["attribute"], row["value_id"]): row["value"] for row in table(out / "values.tsv").iter_rows(named=True)
        }
        for row, item in zip(meta.iter_rows(named=True), items, strict=True):
            entry = entries[item]
            for column, field in (("r_complement", "also_bought"), ("r_substitute", "also_viewed")):
                others = dict.fromkeys(other for other in entry["related"][field] if other in items and other != item)
                assert json.loads(row[column]) == [items.index(other) + 1 for other in others]
            path = entry["categories"][0]
            assert names.get(("category", row["i_category"])) == (path[2] if len(path) > 2 else None)
            brand = entry.get("brand")
            assert names.get(("brand", row["i_brand"])) == (brand and brand.replace("&amp;", "&"))
        texts = dict(table(out / "item_text.tsv").rows())
        some = entries[items[0]]
        expected = " ".join([some["title"], some["categories"][0][-1], some.get("brand", "")])
        assert texts["1"] == expected.replace("&amp;", "&").strip()
        assert read_corpus(out).num_items == SIZES.items

    def test_same_bytes_from_another_place(self, dump, tmp_path, command):
        shutil.copytree(dump, tmp_path / "copy")
        for name, source in (("one", dump), ("two", tmp_path / "copy")):
            assert command("amazon-2014", "Electronics", "--source", source, "--out", tmp_path / name)[0] == 0
        assert contents(tmp_path / "one") == contents(tmp_path / "two")
        card = json.loads((tmp_path / "one" / "data_card.json").read_text())
        assert set(card["source"]["files"]) == {"reviews_Electronics_5.json.gz", "meta_Electronics.json.gz"}

    def test_a_cut_file_leaves_nothing_behind(self, dump, tmp_path, command):
        shutil.copytree(dump, tmp_path / "copy")
        file = tmp_path / "copy" / "meta_Electronics.json.gz"
        file.write_bytes(file.read_bytes()[:-100])
        code, printed = command("amazon-2014", "Electronics", "--source", file.parent, "--out", tmp_path / "out")
        assert code == 2 and "meta_Electronics.json.gz: its gzip data ends too early" in printed
        assert "Traceback" not in printed and not (tmp_path / "out").exists()

    def test_other_files_need_a_folder_of_their_own(self, dump, command):
        code, printed = command("amazon-2014", "Electronics", "--source", dump, "--meta", dump / "x.gz")
        assert code == 2 and "--out" in printed


def test_prepare_amazon_2023(tmp_path, command):
    entries = [
        {"user_id": f"u{user}", "parent_asin": f"B00000000{item}", "timestamp": 1000 * (user * item % 7 + item)}
        for user in range(6)
        for item in range(6)
    ]
    items = [{"parent_asin": f"B00000000{item}", "title": f"T{item}", "features": ["a", "b"]} for item in range(5)]
    test_amazon_2023.write(tmp_path / "dump", reviews=entries, items=items)
    arguments = ["amazon-2023", "Office_Products", "--source", tmp_path / "dump", "--out", tmp_path / "out"]
    arguments += ["--core", "1", "--negatives", "1", "--template", "{title} {features}"]
    code, printed = command(*arguments)
    assert code == 2 and "negatives" in printed  # everybody has everything
    extra = {"user_id": "one", "parent_asin": "B0000000XX", "timestamp": 10}
    test_amazon_2023.write(tmp_path / "dump", reviews=[*entries, extra], items=items)
    code, printed = command(*arguments)
    assert code == 0, printed
    assert table(tmp_path / "out" / "item_text.tsv")["text"].to_list() == [f"T{item} a, b" for item in range(5)] + [
        ".",
        ".",
    ]


def test_prepare_recbole(tmp_path, command):
    folder = tmp_path / "atomic"
    folder.mkdir()
    inter = "user_id:token\titem_id:token\ttimestamp:float\n"
    inter += "".join(
        f"u{user}\t{item}\t{place}\n"
        for user in range(4)
        for place, item in enumerate(["007", "a", "b", "c"][: 3 + user % 2])
    )
    files = {"inter": inter, "item": test_recbole.ITEM, "kg": test_recbole.KG, "link": test_recbole.LINK}
    for kind, text in files.items():
        (folder / f"tiny.{kind}").write_text(text, encoding="utf-8")
    arguments = ["recbole", folder, "--core", "1", "--negatives", "1"]
    assert command(*arguments)[0] == 2  # no --out
    (folder / "tiny.inter").write_text(inter + "v\td\t1\n")
    code, printed = command(*arguments, "--out", tmp_path / "out", "--relations", "film.film.sequel,film.film.actor")
    assert code == 0, printed
    meta = table(tmp_path / "out" / "item_meta.csv")
    assert meta.columns == ["item_id", "i_year", "i_class", "i_actor", "r_sequel"]
    assert table(tmp_path / "out" / "items.tsv")["raw_id"].to_list() == ["007", "a", "b", "c", "d"]
    assert meta["r_sequel"].to_list() == ["[2]", "[3]", "[]", "[]", "[]"]
    assert meta["i_actor"].to_list() == ["1", "1", "1", "0", "0"]
    code, printed = command(*arguments, "--out", tmp_path / "other", "--relations", "actor")
    assert code == 2 and "there is no relation 'actor' of items" in printed


@pytest.mark.parametrize("sizes", [(120, 240, 1500), (10, 10, 50), (50, 12, 250)])
def test_the_made_dump_is_a_core(sizes):
    import numpy as np

    users, items = pair_core(*sizes, np.random.default_rng(0))
    assert len(users) == len(items) == sizes[2]
    assert len(set(zip(users.tolist(), items.tolist(), strict=True))) == sizes[2]
    for ids, number in ((users, sizes[0]), (items, sizes[1])):
        counts = np.bincount(ids)
        assert len(counts) == number and counts.min() >= 5


def test_a_dump_that_cannot_be_is_refused(tmp_path):
    for sizes in (DumpSizes(10, 10, 49, 10), DumpSizes(10, 10, 60, 10), DumpSizes(10, 10, 50, 9)):
        with pytest.raises(ValueError):
            write_dump(tmp_path, "X", sizes)
