"""What `prepare` warns of: a line each on the terminal, and the numbers in data_card.json."""

import json
import sys

import numpy as np
import pytest

from lrd_jax.command_line.parse import run_command
from lrd_jax.data.notices import (
    corpus_notices,
    leakage,
    one_by_construction,
    texts_of_folder,
    uniform_attributes,
    unused_columns,
)
from lrd_jax.data.rechorus import read_corpus
from lrd_jax.data.splits import repeated
from lrd_jax.prepare import __main__ as prepare

from .conftest import replace

LOG = [(f"user{user}", f"i{(user + 3 * step) % 11:02d}", 100 * step + user) for user in range(10) for step in range(6)]
START = 1_600_000_000  # of its times, in seconds


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs `python -m lrd_jax.prepare` here: (exit code, warnings and errors on stderr, what stdout got)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["prepare", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            run_command(prepare.main)
            raise SystemExit(0)
        printed = capsys.readouterr()
        told = [line for line in printed.err.splitlines() if line.startswith(("warning: ", "error: "))]
        assert "Traceback" not in printed.err and "warning:" not in printed.out
        return stopped.value.code, told, printed.out

    return run


def log(folder, rows=LOG):
    folder.mkdir(exist_ok=True)
    (folder / "log.csv").write_text("user_id,item_id,time\n" + "".join(f"{u},{i},{START + t}\n" for u, i, t in rows))
    return folder / "log.csv"


def prepared(command, tmp_path, *options, rows=LOG):
    """The warnings of a prepared table on the terminal and in the card, which agree."""
    arguments = ["table", log(tmp_path, rows), "--time", "time", "--out", tmp_path / "made", *options]
    code, told, _ = command(*arguments)
    assert code == 0, told
    warnings = json.loads((tmp_path / "made/data_card.json").read_text())["warnings"]
    of_the_reader = len(told) - len(warnings)  # which come first
    assert told[of_the_reader:] == [f"warning: {notice['text']}" for notice in warnings]
    assert all("\n" not in notice["text"] for notice in warnings)
    markdown = (tmp_path / "made/data_card.md").read_text()
    assert all(f"- {notice['text']}" in markdown for notice in warnings)
    return {notice["kind"]: notice for notice in warnings}


def test_what_the_filters_removed(command, tmp_path):
    rare = [("rare", "i00", 5), ("user1", "seldom", 6), ("user1", "seldom", 6)]
    found = prepared(command, tmp_path, "--core", "3", "--negatives", "2", rows=LOG + rare)["filtered"]
    assert found["text"] == (
        "the filters removed 3 of 63 interactions (4.8%: 1 duplicates, 2 by --core 3), 1 of 11 users and 1 of 12 items"
    )
    assert (found["given"], found["duplicates"], found["by_the_core_filter"]) == (63, 1, 2)
    assert (found["users"], found["given_users"], found["items"], found["given_items"]) == (1, 11, 1, 12)
    assert "filtered" not in prepared(command, tmp_path, "--core", "3", "--negatives", "2")


def test_what_a_rating_removed(command, tmp_path):
    file = tmp_path / "rated.csv"
    rated = [(u, i, START + t, 1 if u == "user3" or i == "i00" else 5) for u, i, t in LOG]
    file.write_text("user_id,item_id,time,stars\n" + "".join(",".join(map(str, row)) + "\n" for row in rated))
    table = ["table", file, "--time", "time", "--out", tmp_path / "made", "--core", "1", "--negatives", "2"]
    code, told, _ = command(*table, "--rating", "stars", "--min-rating", "4")
    gone = sum(row[3] == 1 for row in rated)
    assert code == 0
    assert told[0] == f"warning: --min-rating removed {gone} of 60 interactions, 1 of 10 users and 1 of 11 items"
    (found,) = json.loads((tmp_path / "made/data_card.json").read_text())["warnings"][:1]
    assert found["kind"] == "below_min_rating" and found["interactions"] == {"given": 60, "removed": gone}
    code, told, _ = command(*table, "--rating", "stars", "--min-rating", "1")
    assert code == 0 and not any("--min-rating" in line for line in told)


@pytest.mark.parametrize(
    ("negatives", "figures"), [(3, ["HR@5", "HR@10"]), (4, ["HR@5", "HR@10"]), (5, ["HR@10"]), (9, ["HR@10"]), (10, [])]
)
def test_figures_that_are_one_by_construction(negatives, figures, command, tmp_path):
    more = [(f"user{user}", f"more{user}", 600) for user in range(10)]  # so that there are enough items
    found = prepared(command, tmp_path, "--core", "1", "--negatives", negatives, rows=LOG + more)
    assert [*found.get("one_by_construction", {"rows": {}})["rows"]] == figures
    if figures:
        assert found["one_by_construction"]["rows"]["HR@10"] == {"dev": 10, "test": 10}
        assert found["one_by_construction"]["least_candidates"] == {"dev": negatives + 1, "test": negatives + 1}
        assert (
            f"the number of candidates ({negatives + 1}, the target included)" in found["one_by_construction"]["text"]
        )


def test_one_by_construction_for_some_rows():
    (found,) = one_by_construction({"test": np.array([4, 5, 6, 20])}, (5, 10))
    assert found["rows"] == {"HR@5": {"test": 2}, "HR@10": {"test": 3}}
    assert found["text"].startswith("HR@5 in 2 of 4 test rows, HR@10 in 3 of 4 test rows are 1 by construction")
    assert one_by_construction({"test": np.array([6])}, (5,)) == []


def test_repeated_targets(command, tmp_path):
    again = [("user1", "i01", 600), ("user2", "i02", 601), ("user2", "i02", 602)]  # what they began with
    found = prepared(command, tmp_path, "--core", "1", "--negatives", "2", rows=LOG + again)["repeated_targets"]
    assert found["dev"] == {"rows": 1, "share": 0.1} and found["test"] == {"rows": 2, "share": 0.2}
    assert found["text"].startswith("1 of 10 dev targets (10.0%) and 2 of 10 test targets (20.0%) are items that the")
    assert "repeated_targets" not in prepared(command, tmp_path, "--core", "1", "--negatives", "2")


def test_repeated_is_of_the_same_user_and_later():
    users, items = np.array([1, 1, 1, 2, 2, 2]), np.array([7, 8, 7, 8, 8, 8])
    assert repeated(users, items).tolist() == [False, False, True, False, True, True]
    assert repeated(users[:0], items[:0]).tolist() == []


def test_leakage(command, tmp_path):
    late = [("late", f"i{item:02d}", 10_000 + item) for item in range(4)]
    found = prepared(command, tmp_path, "--core", "1", "--negatives", "2", rows=LOG + late)["leakage"]
    assert found["shares"] == {"dev": pytest.approx(10 / 11), "test": pytest.approx(10 / 11)}
    assert found["text"] == (
        "leave-one-out leaks the future: 90.9% of the test rows and 90.9% of the dev rows happened before the last "
        "training interaction; use --split temporal to avoid this"
    )
    temporal = prepared(command, tmp_path, "--core", "1", "--negatives", "2", "--split", "temporal")
    assert "leakage" not in temporal


def test_leakage_of_rows_without_times():
    (found,) = leakage({"dev": 0.25, "test": 0.5}, leave_one_out=False, timed=False)
    assert found["text"] == (
        "50.0% of the test rows and 25.0% of the dev rows happened before the last training interaction; "
        "the data has no times, so this figure uses the order of its rows"
    )
    assert leakage({"dev": 0.0, "test": 0.0}, leave_one_out=True, timed=True) == []


def test_items_without_text_and_relations_without_pairs(command, tmp_path):
    lines = [f"i{item:02d},{'Title' if item < 7 else ''},brand,{'x' if item else ''},nowhere" for item in range(11)]
    (tmp_path / "items.csv").write_text("item_id,title,brand,mark,also\n" + "\n".join(lines))
    table = ["--items", tmp_path / "items.csv", "--attributes", "brand,mark", "--template", "{title}"]
    found = prepared(command, tmp_path, "--core", "1", "--negatives", "2", *table)
    assert found["items_without_text"]["text"].startswith("4 of 11 items have no text (36.4%)")
    assert (found["items_without_text"]["items"], found["uniform_attributes"]["attributes"]) == (4, ["brand"])
    found = prepared(command, tmp_path, "--core", "1", "--negatives", "2")
    assert found["items_without_text"]["text"].startswith("11 of 11 items have no text (100.0%)")


class TestTooFewNegatives:
    ROWS = LOG + [(user, f"i{item:02d}", 700 + item) for user in ("user3", "user8") for item in range(10)]
    OPTIONS = ("--core", "1", "--negatives", "4")

    @pytest.mark.parametrize("split", ["leave-one-out", "temporal"])
    def test_users_are_named_by_the_ids_of_the_source(self, split, command, tmp_path):
        arguments = ["table", log(tmp_path, self.ROWS), "--time", "time", "--out", tmp_path / "made", *self.OPTIONS]
        code, told, _ = command(*arguments, "--split", split)
        assert code == 2 and not (tmp_path / "made").exists()
        assert told == [
            "error: field '--negatives': 4 negatives per user are too many: 2 users have fewer items without an "
            "interaction: 'user3' has 1, 'user8' has 1. Choose at most 1, or drop these users with "
            "--drop-users-with-too-few-negatives."
        ]

    def test_users_are_dropped_on_request(self, command, tmp_path):
        found = prepared(command, tmp_path, *self.OPTIONS, "--drop-users-with-too-few-negatives", rows=self.ROWS)
        assert found["dropped_users"]["users"] == ["user3", "user8"]
        assert found["dropped_users"]["text"] == (
            "dropped 2 users with fewer than 4 items left to draw negatives from: user3, user8"
        )
        raw = [line.split("\t")[0] for line in (tmp_path / "made/users.tsv").read_text().splitlines()[1:]]
        assert raw == [f"user{user}" for user in range(10) if user not in (3, 8)]
        marker = json.loads((tmp_path / "made/dataset.json").read_text())
        assert marker["drop_users_with_too_few_negatives"] is True and marker["users"] == 8
        assert (tmp_path / "made/dev.csv").read_text().count("\n") == 9

    def test_users_who_lack_items_after_a_drop_are_dropped_too(self, command, tmp_path):
        own = [("hoarder", f"own{item}", 800 + item) for item in range(2)]
        rows = [("hoarder", f"i{item:02d}", 700 + item) for item in range(11)] + own
        rows += [("second", f"i{item:02d}", 700 + item) for item in range(8)]  # leaves 5, without `own` 3
        found = prepared(command, tmp_path, *self.OPTIONS, "--drop-users-with-too-few-negatives", rows=LOG + rows)
        assert found["dropped_users"]["users"] == ["hoarder", "second"]

    def test_nobody_is_left(self, command, tmp_path):
        arguments = ["table", log(tmp_path), "--time", "time", "--out", tmp_path / "made", "--core", "1"]
        code, told, _ = command(*arguments, "--negatives", "50", "--drop-users-with-too-few-negatives")
        assert code == 2 and "no user has 50 items left to draw negatives from" in told[0]

    def test_the_notebooks_need_one_item_only(self, command, tmp_path):
        rows = LOG + [("user3", f"i{item:02d}", 700 + item) for item in range(11)]
        arguments = ["table", log(tmp_path, rows), "--time", "time", "--out", tmp_path / "made", "--core", "1"]
        code, told, _ = command(*arguments, "--like", "rechorus")
        assert code == 2 and "1 user has fewer items without an interaction: 'user3' has 0. Drop these" in told[0]
        assert command(*arguments, "--like", "rechorus", "--drop-users-with-too-few-negatives")[0] == 0


def kinds(folder):
    return {notice["kind"]: notice for notice in corpus_notices(read_corpus(folder), folder)}


class TestFolder:
    """The notices from reading a folder, for `train` and `prepare rechorus`."""

    def test_few_candidates_and_repeats(self, folder):
        found = kinds(folder)
        assert found["one_by_construction"]["least_candidates"] == {"dev": 3, "test": 3}
        assert set(found) == {"one_by_construction"}
        replace("test.csv", "1\t4\t20", "1\t1\t20")(folder)
        assert kinds(folder)["repeated_targets"]["test"] == {"rows": 1, "share": 0.5}

    def test_empty_relation(self, folder):
        for old in ("[3, 1]", "[2, 2, 5]", "[1]"):
            replace("item_meta.csv", f"\t{old}\t", "\t[]\t")(folder)
        assert kinds(folder)["empty_relations"]["relations"] == ["also"]

    def test_attribute_of_zeros(self, folder):
        for line in ("2\t1", "3\t2", "5\t1"):
            replace("item_meta.csv", f"{line}\t", f"{line[0]}\t0\t")(folder)
        assert kinds(folder)["uniform_attributes"]["attributes"] == ["color"]

    def test_an_attribute_that_only_some_items_have_is_one(self, folder):
        replace("item_meta.csv", "3\t2\t", "3\t1\t")(folder)  # color 1, or none
        assert "uniform_attributes" not in kinds(folder)
        assert uniform_attributes({"a": False}) == []

    @pytest.mark.parametrize("name", ["color", "I_color", "R_also", "relation", "i-color", "\x1b[31mred"])
    def test_columns_that_nothing_reads(self, name, folder):
        replace("item_meta.csv", "i_color", name)(folder)
        (found,) = unused_columns(folder)
        assert found["columns"] == [name] and "\x1b" not in found["text"]
        assert found["text"].endswith(
            " is not used: names of attributes must start with i_, names of relations with r_"
        )
        (folder / "item_meta.csv").unlink()
        assert unused_columns(folder) == []

    def test_texts(self, folder):
        assert texts_of_folder(folder, 5) == []
        replace("item_text.tsv", "three", ".")(folder)
        (found,) = texts_of_folder(folder, 5)
        assert found["items"] == 1 and found["text"].startswith("1 of 5 items have no text (20.0%)")

    def test_command(self, folder, command):
        """`prepare rechorus` warns of a folder that was made elsewhere, and keeps that in the card."""
        replace("item_meta.csv", "i_color", "color")(folder)
        (folder / "dev.csv").write_text((folder / "dev.csv").read_text().replace("[4, 5]", "[5, 5]"))
        code, told, _ = command("rechorus", folder, "--card")
        assert code == 0
        warnings = json.loads((folder / "data_card.json").read_text())["warnings"]
        assert told == [f"warning: {notice['text']}" for notice in warnings]
        assert {notice["kind"] for notice in warnings} == {"leakage", "one_by_construction", "unused_columns"}
