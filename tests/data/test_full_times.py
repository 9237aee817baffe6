"""Order and duplicates go by the time in full, whatever the source; whole seconds are taken afterwards."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrd_jax.data.options import PrepareOptions
from lrd_jax.data.pipeline import prepare_folder
from lrd_jax.data.raw import NO_TIMES, RawDataset
from lrd_jax.data.rechorus import read_corpus
from lrd_jax.data.sources.amazon_2023 import read_amazon_2023
from lrd_jax.data.sources.interaction_table import InteractionColumns, read_interaction_table
from lrd_jax.errors import UserError

OPTIONS = PrepareOptions(core=1, negatives=2)
START = 1_600_000_000
USERS, ITEMS = 4, 8


def of_each_user(folder):
    """The raw items of each user in the order that the dataset folder gives them, and their seconds."""
    corpus = read_corpus(folder, use_cache=False)
    users, items = (pl.read_csv(folder / name, separator="\t", infer_schema=False)["raw_id"] for name in
                    ("users.tsv", "items.tsv"))  # fmt: skip
    rows = zip(corpus.sequence_users, corpus.sequence_items, corpus.sequence_times, strict=True)
    found = {}
    for user, item, time in rows:
        found.setdefault(users[int(user) - 1], []).append((items[int(item) - 1], int(time)))
    return found


def prepared(rows, folder, options=OPTIONS, times="ns", origin=()):
    frame = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    if times is not None:
        frame = frame.with_columns(pl.col("time").cast(pl.Datetime(times)))
    raw = RawDataset("made", frame, pl.DataFrame({"item": ["x"]}), {}, {}, "", dict(origin))
    return prepare_folder(raw, folder, options)


@pytest.mark.parametrize(("unit", "second"), [("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_the_order_within_a_second(tmp_path, unit, second):
    """Items in the file from the newest to the oldest, two to a second."""
    rows = [(f"u{u}", f"i{u + k}", START * second + k * (second // 2) + u) for u in range(4) for k in range(6)][::-1]
    rows += [rows[0], (*rows[1][:2], rows[1][2] + 1)]  # a duplicate, and another of the same second
    done = prepared(rows, tmp_path / "out", times=unit)
    assert done.card["dropped"]["duplicates"] == 1 and done.sizes["interactions"] == 25
    expected = {f"u{u}": [(f"i{u + k}", START + k // 2) for k in range(6)] for u in range(4)}
    expected["u3"].insert(5, expected["u3"][4])
    assert of_each_user(done.folder) == expected


def test_a_tie_of_full_times_keeps_the_order_of_the_source(tmp_path):
    rows = [(user, item, START * 1000 + 250) for user in "ab" for item in "zxyw"] + [("c", "v", 0), ("c", "u", 1)]
    done = prepared(rows, tmp_path / "out", times="ms")
    assert [item for item, _ in of_each_user(done.folder)["a"]] == list("zxyw")


def test_temporal_split_with_fractions(tmp_path):
    rows = [(f"u{k % 5}", f"i{k % 24}", START * 1000 + 400 * k) for k in range(60)]
    options = PrepareOptions(core=1, negatives=1, split="temporal")
    done = prepared(rows[::-1], tmp_path / "a", options, times="ms")
    assert done.rows.keys() >= {"train", "dev", "test"} and sum(done.rows.values()) == 60
    assert done.card["leakage"]["rows_before_the_last_training_interaction"] == {"dev": 0.0, "test": 0.0}
    expected = {f"u{u}": [(f"i{k % 24}", START + 400 * k // 1000) for k in range(u, 60, 5)] for u in range(5)}
    assert of_each_user(done.folder) == expected


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.permutations(range(20)),
    fractions=st.lists(st.integers(0, 3 * 10**9), min_size=20, max_size=20, unique=True),
    kind=st.sampled_from(
        ["seconds.csv", "iso.csv", "ns.csv", "iso.jsonl", "ns.jsonl", "datetime.parquet", "ns.parquet"]
    ),
)
def test_the_order_of_rows_with_times_of_their_own_does_not_matter(tmp_path_factory, order, fractions, kind):
    folder = tmp_path_factory.mktemp("shuffled")
    times = [START * 10**9 + fraction for fraction in fractions]
    cells = {
        "seconds": [f"{time // 10**9}.{time % 10**9:09}" for time in times],
        "iso": [f"{datetime.datetime.fromtimestamp(time // 10**9, datetime.UTC):%FT%T}.{time % 10**9:09}Z"
                for time in times],
        "ns": times,
        "datetime": pl.Series(times).cast(pl.Datetime("ns")),
    }[kind.partition(".")[0]]  # fmt: skip
    table = pl.DataFrame(
        {"user": [k % USERS for k in range(20)], "item": [k % ITEMS for k in range(20)], "time": cells}
    )
    shown = []
    for name, rows in (("given", table), ("shuffled", table[list(order)])):
        file = folder / name / kind
        file.parent.mkdir()
        {"csv": rows.write_csv, "jsonl": rows.write_ndjson, "parquet": rows.write_parquet}[kind.partition(".")[2]](file)
        raw, _ = read_interaction_table(file, InteractionColumns("user", "item", "time"))
        out = prepare_folder(raw, folder / name / "out", PrepareOptions(core=1, negatives=1)).folder
        card = json.loads((out / "data_card.json").read_text())
        card["source"].pop("files")  # its hash, since the rows lie in another order
        written = ("train.csv", "dev.csv", "test.csv", "users.tsv", "items.tsv")
        shown.append([card, *((out / part).read_bytes() for part in written)])
    assert shown[0] == shown[1]
    by_time = sorted(range(20), key=lambda k: times[k])
    assert of_each_user(out) == {
        str(u): [(str(k % ITEMS), times[k] // 10**9) for k in by_time if k % USERS == u] for u in range(USERS)
    }


def test_amazon_2023(tmp_path):
    reviews = [(f"u{u}", f"B{(u + k) % 7:09}", 1_600_000_000_000 + 250 * k) for u in range(5) for k in range(5)][::-1]
    reviews += [reviews[0], (*reviews[1][:2], reviews[1][2] + 1)]
    names = ("user_id", "parent_asin", "timestamp")
    lines = [json.dumps(dict(zip(names, review, strict=True))) for review in reviews]
    (tmp_path / "Toys.jsonl").write_text("\n".join(lines))
    (tmp_path / "meta_Toys.jsonl").write_text("".join(f'{{"parent_asin": "B{i:09}"}}\n' for i in range(7)))
    done = prepare_folder(
        read_amazon_2023("Toys", source=tmp_path), tmp_path / "out", PrepareOptions(core=1, negatives=1)
    )
    assert done.card["dropped"]["duplicates"] == 1 and done.sizes["interactions"] == 26
    assert [item for item, _ in of_each_user(done.folder)["u2"]] == [f"B{(2 + k) % 7:09}" for k in range(5)]


def command(tmp_path, file, *words):
    line = [sys.executable, "-m", "lrd_jax.prepare", "table", str(file), "--core", "1", "--out", "out", *words]
    return subprocess.run(line, capture_output=True, text=True, cwd=tmp_path)


@pytest.mark.process
def test_command(tmp_path):
    """The cases that users of other recommenders reported: milliseconds, ISO fractions, dates as integers."""
    rng = np.random.default_rng(0)
    rows = [(f"u{u}", f"i{i}", k) for u in range(8) for k, i in enumerate(rng.permutation(12)[:6])]
    ways = {
        "milliseconds": lambda k: START * 1000 + 250 * k,
        "iso": lambda k: (
            f"2020-09-13T12:26:40.{250 * k % 1000:03}Z" if k < 4 else f"2020-09-13T12:26:41.{250 * k - 1000}Z"
        ),
        "dates": lambda k: 20200913 + k,
    }
    for name, write in ways.items():
        cells = [f"{user},{item},{write(k)}\n" for user, item, k in rows[::-1]]
        (tmp_path / f"{name}.csv").write_text("user_id,item_id,ts\n" + "".join(cells))
        done = command(tmp_path, f"{name}.csv", "--time", "ts", "--negatives", "2")
        assert done.returncode == 0, done.stderr
        # Two negatives and no texts are all that there is to warn of.
        warnings = [line for line in done.stderr.splitlines() if line.startswith("warning:")]
        assert len(warnings) == 2 and "no text" in done.stderr and "1 by construction" in done.stderr
        assert "recognised from its values" in done.stdout
        found = of_each_user(tmp_path / "out")
        for user in {user for user, _, _ in rows}:
            assert [item for item, _ in found[user]] == [item for other, item, _ in rows if other == user]
    assert {time for of_user in found.values() for _, time in of_user} == {1_599_955_200 + 86400 * k for k in range(6)}

    cells = [f"{user},{item},Sun Jul {10 + k} 07:44:10 -0700 2017\n" for user, item, k in rows]
    (tmp_path / "weekday.csv").write_text("user_id,item_id,ts\n" + "".join(cells))
    done = command(tmp_path, "weekday.csv", "--time", "ts", "--negatives", "2")
    assert (
        done.returncode == 2
        and "row 1 has 'Sun Jul 10 07:44:10 -0700 2017', which is not a recognised time" in done.stderr
    )
    form = "%a %b %d %H:%M:%S %z %Y"
    done = command(tmp_path, "weekday.csv", "--time", "ts", "--negatives", "2", "--time-format", form)
    assert done.returncode == 0 and f"ts is read as dates in the format {form}\n" in done.stdout, done.stderr
    card = json.loads((tmp_path / "out" / "data_card.json").read_text())
    assert card["splits"]["train"]["first"] == "2017-07-10T14:44:10"
    assert card["source"]["columns"]["time_format"] == form


@pytest.mark.parametrize(
    ("times", "warned"),
    [
        ([18518, 18519, 18520, 18600], "from 1970-01-01T05:08:38 to 1970-01-01T05:10:00"),  # days
        ([0, 1, 2, 31 * 86400 - 1], "from 1970-01-01 to 1970-01-31T23:59:59"),
        ([0, 1, 2, 31 * 86400], None),
        ([START, START, START + 1, START + 2], None),
        ([4_102_444_799, 4_102_444_800, 4_102_444_801, 4_102_444_802], None),
        ([4_102_444_800, 4_102_444_801, 4_102_444_802, 4_118_083_200], "from 2100-01-01 to 2100-07-01"),
        ([10**12] * 3 + [10**12 + 1], "from 1000000000000 s to 1000000000001 s"),
    ],
)
def test_dates_that_look_misread_are_warned_of(tmp_path, capsys, times, warned):
    rows = [("a", "x", times[0]), ("a", "y", times[1]), ("a", "z", times[2]), ("b", "w", times[3])]
    if times[-1] > 2**31 - 1:
        with pytest.raises(UserError, match=r"the time \d+ is out of range \(.* UTC\)"):
            prepared(rows, tmp_path / "out", PrepareOptions(core=1, negatives=1), times=None)
    else:
        prepared(rows, tmp_path / "out", PrepareOptions(core=1, negatives=1), times=None)
    told = [line for line in capsys.readouterr().err.splitlines() if "times are" in line]
    expected = f"warning: all times are {warned} (UTC); check the time column and its unit"
    assert told == ([] if warned is None else [expected])


def test_rows_that_stand_for_times_are_not_warned_of(tmp_path, capsys):
    rows = [("a", "x", 0), ("a", "y", 1), ("a", "z", 2), ("b", "w", 3)]
    options = PrepareOptions(core=1, negatives=1)
    prepared(rows, tmp_path / "out", options, times=None, origin={"times": NO_TIMES})
    assert "times are" not in capsys.readouterr().err
