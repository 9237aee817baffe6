"""From `RawDataset` to a dataset folder, against plain Python, and at the edges."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import polars as pl
import pytest

from lrd_jax.data.options import PrepareOptions
from lrd_jax.data.pipeline import prepare_folder
from lrd_jax.data.raw import RawDataset
from lrd_jax.data.rechorus import read_corpus, read_texts
from lrd_jax.errors import UserError

NO_VALUES = pl.DataFrame(schema={"item": pl.String, "value": pl.String})


def make_raw(seed=0, *, numbers=False, number=400):
    """Interactions with duplicates and ties, items without interactions, repeated values and pairs."""
    rng = np.random.default_rng(seed)
    user = (lambda n: int(n) * 10**12) if numbers else (lambda n: f"ü{n} ✓")
    item = (lambda n: int(n) + 7) if numbers else (lambda n: f"B{n:03d}")
    rows = [(user(rng.integers(25)), item(rng.integers(40)), int(rng.integers(50))) for _ in range(number)]
    rows += [rows[3], rows[3], rows[10]]
    catalogue = [item(n) for n in range(60)]
    interactions = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    items = pl.DataFrame({"item": catalogue[:50], "title": [f"Item  {n}" if n % 9 else None for n in range(50)]})
    brands = [(catalogue[n], f"brand {n % 4}" if n % 3 else None) for n in range(50)] * 2
    tags = [(catalogue[int(n)], f"t{t}") for n, t in rng.integers([60, 6], size=(90, 2))]
    pairs = [(catalogue[int(a)], catalogue[int(b)]) for a, b in rng.integers(60, size=(200, 2))]
    kind = interactions.schema["item"]
    return RawDataset(
        name="made",
        interactions=interactions,
        items=items,
        attributes={
            "brand": pl.DataFrame(brands, schema={"item": kind, "value": pl.String}, orient="row"),
            "tag": pl.DataFrame(tags, schema={"item": kind, "value": pl.String}, orient="row"),
        },
        relations={"also": pl.DataFrame(pairs, schema={"item": kind, "other": kind}, orient="row")},
        template="{title}",
        origin={"source": "made up"},
    )


def slow(raw, core):
    """Interactions that remain, in the source's order."""
    rows = list(dict.fromkeys(raw.interactions.rows()))
    while True:
        users, items = Counter(row[0] for row in rows), Counter(row[1] for row in rows)
        kept = [row for row in rows if users[row[0]] >= core and items[row[1]] >= core]
        if len(kept) == len(rows):
            return rows
        rows = kept


def files(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def table(folder, name):
    header, *lines = (folder / name).read_text().splitlines()
    return [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]


@pytest.mark.parametrize("numbers", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_against_plain_python(tmp_path, seed, numbers):
    raw = make_raw(seed, numbers=numbers)
    prepared = prepare_folder(raw, tmp_path / "made", PrepareOptions(core=4, negatives=5))
    folder = prepared.folder
    rows = slow(raw, 4)
    users, items = ({n: i for i, n in enumerate(sorted({row[k] for row in rows}), start=1)} for k in (0, 1))
    assert prepared.sizes == {"users": len(users), "items": len(items), "interactions": len(rows)}
    maps = {
        name: {row["raw_id"]: int(row[f"{name}_id"]) for row in table(folder, f"{name}s.tsv")}
        for name in ("user", "item")
    }
    assert maps == {"user": {str(k): v for k, v in users.items()}, "item": {str(k): v for k, v in items.items()}}

    expected = {"train": [], "dev": [], "test": []}
    for user in users:
        own = sorted((row for row in rows if row[0] == user), key=lambda row: row[2])  # stable
        for place, row in enumerate(own):
            split = {0: "test", 1: "dev"}.get(len(own) - 1 - place, "train") if place else "train"
            expected[split].append((users[user], items[row[1]], row[2]))
    for split, wanted in expected.items():
        found = [(int(r["user_id"]), int(r["item_id"]), int(r["time"])) for r in table(folder, f"{split}.csv")]
        assert sorted(found) == sorted(wanted)
        assert [(time, user) for user, _, time in found] == sorted((time, user) for user, _, time in found)

    metadata = {int(row["item_id"]): row for row in table(folder, "item_meta.csv")}
    names = {(row["attribute"], row["value_id"]): row["value"] for row in table(folder, "values.tsv")}
    for item, number in items.items():
        brands = {v for i, v in raw.attributes["brand"].rows() if i == item and v}
        assert {names.get(("brand", metadata[number]["i_brand"]))} - {None} == brands
        tags = list(dict.fromkeys(v for i, v in raw.attributes["tag"].rows() if i == item))
        assert [names["tag", str(v)] for v in json.loads(metadata[number]["i_tag"])] == tags
        pairs = [b for a, b in raw.relations["also"].rows() if a == item and b in items and b != a]
        assert json.loads(metadata[number]["r_also"]) == [items[b] for b in dict.fromkeys(pairs)]
    of_brand = [name for (attribute, _), name in names.items() if attribute == "brand"]
    assert of_brand == sorted(of_brand)

    corpus = read_corpus(folder)
    assert len(corpus.sequence_items) == len(rows)
    known = dict(raw.items.rows())
    titles = ["." if known.get(item) is None else known[item].replace("  ", " ") for item in sorted(items)]
    assert read_texts(folder, corpus.num_items)[1:] == titles
    card = prepared.card
    assert card["text"]["empty"] == titles.count(".") and card["dropped"]["duplicates"] == len(raw.interactions) - len(
        set(raw.interactions.rows())
    )
    assert card["relations"]["also"]["triples"] == len(corpus.triples)
    assert card["attributes"]["tag"]["triples"] == np.count_nonzero(corpus.holds_value[:, 1])
    assert card["sizes"]["density"] == pytest.approx(len(rows) / len(users) / len(items))


def test_two_runs_give_the_same_bytes(tmp_path):
    options = PrepareOptions(core=3, negatives=5)
    first = files(prepare_folder(make_raw(), tmp_path / "a", options).folder)
    again = files(prepare_folder(make_raw(), tmp_path / "b" / "c", options).folder)
    assert first == again
    assert all(str(tmp_path).encode() not in content for content in first.values())
    other = files(prepare_folder(make_raw(), tmp_path / "a", PrepareOptions(core=3, negatives=5, seed=1)).folder)
    assert {name for name in first if first[name] != other[name]} == {
        "dev.csv", "test.csv", "dataset.json", "data_card.json", "data_card.md",
    }  # fmt: skip


def test_temporal(tmp_path):
    options = PrepareOptions(core=1, negatives=5, split="temporal", dev_from="1970-01-01T00:00:30")
    prepared = prepare_folder(make_raw(number=300), tmp_path / "made", options)
    marker = json.loads((prepared.folder / "dataset.json").read_text())
    assert marker["dev_from"] == "1970-01-01T00:00:30" and prepared.split.startswith("temporal, dev from 1970")
    assert "All training interactions happened before" in (prepared.folder / "data_card.md").read_text()
    assert prepared.card["leakage"]["rows_before_the_last_training_interaction"] == {"dev": 0.0, "test": 0.0}
    corpus = read_corpus(prepared.folder)
    assert corpus.sequence_times[corpus.train_rows].max() < 30 <= corpus.sequence_times[corpus.dev.rows].min()


def test_leakage_is_measured(tmp_path):
    """Two users: one acts at 1, 2, 3, the other at 11, 12, 13, 14."""
    rows = [("a", "x", 1), ("a", "y", 2), ("a", "z", 3), ("b", "x", 11), ("b", "y", 12), ("b", "z", 13), ("b", "w", 14)]
    interactions = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    more = pl.DataFrame({"user": ["c"] * 4, "item": ["q", "r", "s", "t"], "time": [0, 1, 2, 3]})
    nothing = pl.DataFrame({"item": ["x"]})
    raw = RawDataset("tiny", pl.concat([interactions, more]), nothing, {}, {}, "", {})
    prepared = prepare_folder(raw, tmp_path / "tiny", PrepareOptions(core=1, negatives=1))
    shares = prepared.card["leakage"]["rows_before_the_last_training_interaction"]
    assert shares == {"dev": pytest.approx(2 / 3), "test": pytest.approx(2 / 3)}  # b trains until 12
    assert not (prepared.folder / "item_text.tsv").exists() and not (prepared.folder / "item_meta.csv").exists()
    assert "0 items have a text" in (prepared.folder / "data_card.md").read_text()
    assert read_corpus(prepared.folder).num_items == 8


def raw_of(rows, schema=("user", "item", "time")):
    interactions = pl.DataFrame(rows, schema=list(schema), orient="row")
    return RawDataset("bad", interactions, pl.DataFrame({"item": ["x"]}), {}, {}, "", {})


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([("a", "x", 1)], {}, "no users and items with at least 5 interactions are left"),
        ([("a", "x", 1)], {"core": 1}, "no user has three interactions"),
        ([("a", "x", 1), (None, "y", 2)], {}, "1 interactions have no user; the first is number 2"),
        ([("a", "x", 1), ("b", "y", None)], {}, "have no time"),
        ([("a", "x", 1), ("a", "y\tz", 1)], {}, r"the item id 'y\\tz' contains a tab or a line break"),
        ([("a", "x", -1)], {}, "the time -1 is out of range"),
        ([("a", "x", 2**31)], {}, "the time 2147483648 is out of range.*--time-unit"),
        ([("a", "x", 1), ("a", "y", 2), ("a", "z", 3)], {"core": 1}, "99 negatives per user are too many"),
        ([("a", "x", 1)], {"core": 0}, "'--core': 0 is too small"),
        ([("a", "x", 1)], {"seed": -1}, "'--seed': -1 is too small"),
        ([("a", "x", 1)], {"negatives": 0}, "'--negatives': 0 is too small"),
        ([("a", "x", 1)], {"test_from": "2000-01-01"}, "leave-one-out has no dates"),
        ([("a", "x", 1)], {"like": "rechorus", "split": "temporal"}, "the notebooks use only leave-one-out"),
    ],
)
def test_what_no_dataset_can_be_made_of(tmp_path, rows, options, message):
    with pytest.raises(UserError, match=message):
        prepare_folder(raw_of(rows), tmp_path / "bad", PrepareOptions(**options))
    assert not list(tmp_path.iterdir())


def test_no_interactions(tmp_path):
    raw = RawDataset("none", make_raw().interactions.head(0), make_raw().items, {"brand": NO_VALUES}, {}, "{title}", {})
    with pytest.raises(UserError, match="there are no interactions"):
        prepare_folder(raw, tmp_path / "none", PrepareOptions())


def test_a_folder_that_may_not_be_replaced_is_reported_before_any_work(tmp_path):
    (tmp_path / "mine").mkdir()
    PrepareOptions(out=tmp_path / "mine").check()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match="it exists and was not made by this program. Choose another folder"):
        PrepareOptions(out=tmp_path / "mine").check()
    (tmp_path / "mine" / "dataset.json").write_text("{}")
    PrepareOptions(out=tmp_path / "mine").check()


def test_an_unknown_column_is_reported_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match="there is no column 'brand'. Available columns: title"):
        prepare_folder(make_raw(), tmp_path / "made", PrepareOptions(core=2, negatives=5, template="{brand}"))
    assert not list(tmp_path.iterdir())
