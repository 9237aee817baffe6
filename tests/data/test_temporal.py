"""The temporal split: by hand, against plain Python, and through the commands."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from lrd_jax.data.dates import date_text, parse_date
from lrd_jax.data.folder import write_interactions
from lrd_jax.data.id_maps import raw_ids
from lrd_jax.data.options import PrepareOptions
from lrd_jax.data.pipeline import default_folder
from lrd_jax.data.rechorus import read_corpus
from lrd_jax.data.splits import Dates, complete_dates, temporal_split
from lrd_jax.errors import UserError

SMALL = ["--model.name", "kda", "--model.num-layers", "0", "--model.embedding-dim", "8", "--data.history-length", "2"]
SMALL += ["--optim.batch-size", "8192", "--run.epochs", "1", "--run.cpu-devices", "2"]


def command(module, *arguments, cwd):
    words = [sys.executable, "-m", f"lrd_jax.{module}", *map(str, arguments)]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=120)


def slow_split(users, times, dev_from, test_from):
    """Interaction by interaction, in the order in which they happened."""
    parts, known = {"train": [], "history": [], "dev": [], "test": []}, set()
    for time, user, row in sorted(zip(times.tolist(), users.tolist(), range(len(users)), strict=True)):
        if time < dev_from:
            parts["train"].append(row)
        elif user not in known:
            parts["history"].append(row)
        else:
            parts["dev" if time < test_from else "test"].append(row)
        known.add(user)
    return parts


@pytest.mark.parametrize("seed", range(5))
def test_matches_plain_python(seed):
    rng = np.random.default_rng(seed)
    users, times = rng.integers(1, 40, size=300), rng.integers(0, 50, size=300)  # ties at the dates too
    times += users // 4  # some users come late
    parts = temporal_split(users, times, 30, 42)
    assert {name: rows.tolist() for name, rows in parts.items()} == slow_split(users, times, 30, 42)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(300))


def test_ties_at_the_dates_and_users_who_come_late():
    users = np.array([1, 1, 1, 1, 2, 2, 2, 3, 4])
    times = np.array([9, 10, 19, 20, 20, 20, 21, 15, 19])
    parts = temporal_split(users, times, 10, 20)
    assert {name: rows.tolist() for name, rows in parts.items()} == {
        "train": [0],
        "history": [7, 8, 4],  # user 2's earlier in the file, of two at once
        "dev": [1, 2],
        "test": [3, 5, 6],
    }


@pytest.mark.parametrize(
    ("dev_from", "test_from", "empty"),
    [(0, 5, "train"), (5, 5, "dev"), (7, 3, "dev"), (5, 11, "test"), (11, 12, "dev"), (0, 0, "train")],
)
def test_a_split_without_interactions(dev_from, test_from, empty):
    with pytest.raises(UserError, match=rf"{empty} would be empty with dev from 1970-01-01.*from 1970-01-01 to"):
        temporal_split(np.ones(11, int), np.arange(11), dev_from, test_from)


def test_only_first_interactions_leave_nothing_to_test():
    with pytest.raises(UserError, match="test would be empty"):
        temporal_split(np.array([1, 1, 2, 3]), np.array([0, 1, 2, 3]), 1, 2)


def test_dates_that_are_not_given():
    times = np.random.default_rng(0).permutation(900)
    assert complete_dates(times, Dates()) == (720, 810)
    assert complete_dates(times, Dates(test_from=450)) == (400, 450)
    assert complete_dates(times, Dates(dev_from=500)) == (500, 700)
    assert complete_dates(times, Dates(7, 3)) == (7, 3)
    for given in (Dates(-5), Dates(5000), Dates(None, -5), Dates(None, 5000)):
        with pytest.raises(UserError, match="would be empty"):
            temporal_split(np.ones(900, int), times, *complete_dates(times, given))


def test_dates():
    assert parse_date("1998-03-01", "") == parse_date("1998-03-01T00:00", "") == 888710400
    assert parse_date("1998-03-01T12:00", "") == parse_date("1998-03-01T14:00+02:00", "") == 888710400 + 12 * 3600
    assert parse_date("1970-01-01T00:00:01.5", "") == 2
    assert date_text(888710400) == "1998-03-01" and date_text(888710400 + 61) == "1998-03-01T00:01:01"
    for wrong in ("", "yesterday", "1998-02-30", "01.03.1998", "888710400000", "0001-01-01T00:00+14:00"):
        with pytest.raises(
            UserError, match="--test-from.*is not a date. Write it as 1998-03-01 or as 1998-03-01T12:00"
        ):
            parse_date(wrong, "--test-from")


def test_negatives_are_new_for_every_row(tmp_path):
    rng = np.random.default_rng(2)
    users, items, times = np.repeat(np.arange(1, 21), 10), rng.integers(1, 61, size=200), rng.integers(100, size=200)
    items[0] = 60
    write_interactions(tmp_path, temporal_split(users, times, 40, 70), users, items, times, 20, 0)
    corpus = read_corpus(tmp_path)
    for split in (corpus.dev, corpus.test):
        of_user = {}
        for row, negatives in zip(split.rows, split.negatives.tolist(), strict=True):
            user = corpus.sequence_users[row]
            assert len(set(negatives)) == 20 and not set(negatives) & set(items[users == user])
            of_user.setdefault(user, []).append(tuple(negatives))
        assert max(map(len, of_user.values())) > 2
        assert all(len(set(draws)) == len(draws) for draws in of_user.values())


@pytest.mark.process
def test_from_the_data_to_a_trained_model(raw, tmp_path):
    """All training interactions happened before anything that is evaluated, and every row gets a rank."""
    arguments = ["--split", "temporal", "--dev-from", "1998-04-15T06:00", "--test-from", "1998-04-19", "--negatives", 9]
    done = command("prepare", "ml-100k", "--out", tmp_path / "ml", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "split: temporal, dev from 1998-04-15T06:00:00 UTC, test from 1998-04-19 UTC" in done.stdout
    marker = json.loads((tmp_path / "ml" / "dataset.json").read_text())
    recorded = ("temporal", "1998-04-15T06:00:00", "1998-04-19")
    assert (marker["split"], marker["dev_from"], marker["test_from"]) == recorded

    corpus = read_corpus(tmp_path / "ml")
    dev_from, test_from = (parse_date(date, "") for date in recorded[1:])
    times = corpus.sequence_times
    assert (corpus.num_users, corpus.num_items, len(times)) == (943, 1349, 99287)
    assert np.array_equal(corpus.train_rows, np.flatnonzero(times < dev_from))
    first = corpus.sequence_offsets[corpus.sequence_users]
    later = np.flatnonzero((times >= dev_from) & (np.arange(len(times)) > first))
    assert np.array_equal(np.sort(np.concatenate([corpus.dev.rows, corpus.test.rows])), later)
    assert times[corpus.dev.rows].max() < test_from <= times[corpus.test.rows].min()
    new = len(times) - len(corpus.train_rows) - len(later)
    assert new > 0 and f"{new} users' first interactions since then are only history" in done.stdout

    done = command("train", "--data.path", tmp_path / "ml", "--run.workdir", tmp_path / "run", *SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "run" / "ranks.npz", allow_pickle=False) as ranks:
        for name, split in (("dev", corpus.dev), ("test", corpus.test)):
            assert np.array_equal(ranks[f"{name}_users"], corpus.sequence_users[split.rows])
            raw_users = raw_ids(tmp_path / "ml", "user", ranks[f"{name}_users"])
            assert ranks[f"{name}_raw_users"].tolist() == raw_users.to_list()
            assert ranks[f"{name}_ranks"].min() >= 1 and ranks[f"{name}_ranks"].max() <= 10


@pytest.mark.process
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--split", "temporal", "--test-from", "March"],
            "'--test-from': 'March' is not a date. Write it as 1998-03-01",
        ),
        (["--test-from", "1998-03-01"], "'--test-from': leave-one-out has no dates. Add --split temporal."),
        (["--split", "temporal", "--dev-from", "1990-01-01"], "train would be empty with dev from 1990-01-01"),
    ],
)
def test_command_with_wrong_dates(raw, tmp_path, arguments, message):
    done = command("prepare", "ml-100k", "--out", tmp_path / "ml", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "ml").exists()


def test_every_split_has_its_folder():
    def name(**options):
        return default_folder("ml-100k", PrepareOptions(**options)).name

    assert name() == default_folder("ml-100k").name == "ml-100k"
    assert name(split="temporal", test_from="1998-03-01T12:00") == "ml-100k-temporal-test-from-1998-03-01T120000"
    assert name(split="temporal") == "ml-100k-temporal"
    assert name(split="temporal", dev_from="1970-01-02", seed=2) == (
        "ml-100k-temporal-dev-from-1970-01-02-seed2-negatives99"
    )
    assert name(core=10, like="rechorus") == "ml-100k-core10-like-rechorus"
