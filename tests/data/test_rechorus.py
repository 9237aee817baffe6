from __future__ import annotations

import bisect
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from lrd_jax.data.cache import cache_dir
from lrd_jax.data.corpus import Corpus, Split
from lrd_jax.data.device import gather_history, put_corpus
from lrd_jax.data.rechorus import read_corpus, read_texts
from lrd_jax.devices import data_mesh
from lrd_jax.errors import UserError

from .conftest import replace

OFFICE = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "office"
office = pytest.mark.skipif(not OFFICE.is_dir(), reason="the Office files are not on this machine")


def equal(a, b):
    """Same values, dtypes and shapes, through nested dataclasses."""
    if dataclasses.is_dataclass(a):
        return all(equal(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return a == b


def slow_corpus(folder: Path, read: Corpus) -> Corpus:
    """What `read_corpus` does, row by row in plain Python, without the hashes."""

    def rows(name):
        header, *lines = [line.split("\t") for line in (folder / name).read_text().splitlines()]
        return [dict(zip(header, line, strict=True)) for line in lines]

    events, targets = [], {"dev": [], "test": []}
    for split in ("train", "history", "dev", "test"):
        for row in rows(f"{split}.csv") if (folder / f"{split}.csv").exists() else ():
            events.append((int(row["user_id"]), int(row["time"]), len(events), int(row["item_id"]), split))
            if split in targets:
                targets[split].append((len(events) - 1, json.loads(row["neg_items"])))
    events.sort()  # by user, time, then order of reading
    row_of = {event[2]: row for row, event in enumerate(events)}
    num_users = max(event[0] for event in events)
    meta = rows("item_meta.csv")
    num_items = max([event[3] for event in events] + [int(row["item_id"]) for row in meta])
    relations = [name for name in meta[0] if name.startswith("r_")]
    attributes = [name for name in meta[0] if name.startswith("i_")]
    triples = []
    for number, name in enumerate(relations, start=1):
        for row in meta:
            for tail in dict.fromkeys(json.loads(row[name])):
                triples.append((int(row["item_id"]), number, tail))
    values, nones = {}, []
    base = num_items + 1  # of the attribute: its "none", after which its values come
    for number, name in enumerate(attributes):
        largest = 0
        nones.append(base)
        for item in range(1, num_items + 1):
            values[item, number] = [base]
        for row in meta:
            cell = json.loads(row[name])
            cell = cell if isinstance(cell, list) else [cell] if cell else []
            values[int(row["item_id"]), number] = [base + value for value in dict.fromkeys(cell)] or [base]
            largest = max([largest, *cell])
        base += largest + 1
    item_values = np.zeros((num_items + 1, len(attributes), max(map(len, values.values()))), np.int32)
    for (item, number), entities in values.items():
        item_values[item, number, : len(entities)] = entities

    def int32(x):
        return np.array(x, np.int32)

    def split(name):
        return Split(int32([row_of[i] for i, _ in targets[name]]), int32([negatives for _, negatives in targets[name]]))

    return Corpus(
        name=folder.name,
        content_hash=read.content_hash,
        num_users=num_users,
        num_items=num_items,
        num_entities=base,
        item_relations=tuple(name[2:] for name in relations),
        attributes=tuple(name[2:] for name in attributes),
        sequence_items=int32([event[3] for event in events]),
        sequence_times=int32([event[1] for event in events]),
        sequence_users=int32([event[0] for event in events]),
        sequence_offsets=int32([bisect.bisect_left(events, (user,)) for user in range(num_users + 2)]),
        train_rows=int32([row for row, event in enumerate(events) if event[4] == "train"]),
        dev=split("dev"),
        test=split("test"),
        triples=int32(triples).reshape(-1, 3),
        item_values=item_values,
        none_entities=int32(nones),
        earlier_hash=read.earlier_hash,
    )


def test_tiny_by_hand(folder):
    corpus = read_corpus(folder)
    assert (corpus.name, corpus.num_users, corpus.num_items) == ("tiny", 2, 5)
    assert corpus.sequence_items.tolist() == [1, 2, 3, 4, 3, 1, 2, 4]  # ties at 20: train, dev, test; at 5: file order
    assert corpus.sequence_offsets.tolist() == [0, 0, 4, 8]
    assert corpus.train_rows.tolist() == [0, 1, 4, 5]
    assert corpus.dev.rows.tolist() == [2, 6] and corpus.test.rows.tolist() == [3, 7]
    assert corpus.dev.negatives.tolist() == [[4, 5], [5, 5]]
    assert corpus.triples.tolist() == [[2, 1, 3], [2, 1, 1], [3, 1, 2], [3, 1, 5], [5, 1, 1]]
    assert corpus.attributes == ("color", "tag") and corpus.num_entities == 1 + 5 + 3 + 4
    assert corpus.none_entities.tolist() == [6, 9]
    assert corpus.item_values[2].tolist() == [[7, 0, 0], [11, 10, 0]]
    assert corpus.item_values[5].tolist() == [[7, 0, 0], [10, 12, 11]]
    # Item 1 is not in item_meta.csv, item 4 has 0 and an empty list: "none" of both attributes.
    assert corpus.item_values[[1, 4]].tolist() == 2 * [[[6, 0, 0], [9, 0, 0]]]
    assert not corpus.item_values[0].any()
    assert corpus.num_stored_triples == 5 + 3 + 6


@pytest.mark.parametrize("seed", range(3))
def test_matches_plain_python(tmp_path, seed):
    rng = np.random.default_rng(seed)
    folder = tmp_path / "random"
    folder.mkdir()
    num_users, num_items = 15, 25

    def ids(high, size):
        return rng.integers(1, high + 1, size=size).tolist()

    first = [
        f"{user}\t{item}\t0" for user, item in zip(range(1, num_users + 1), ids(num_items, num_users), strict=True)
    ]
    rest = zip(ids(num_users, 80), ids(num_items, 80), ids(9, 80), strict=True)  # few different times: many ties
    train = "\n".join(["user_id\titem_id\ttime", *first, *("\t".join(map(str, row)) for row in rest)])
    (folder / "train.csv").write_text(train + "\n")
    if seed:
        lines = [f"{user}\t{rng.integers(10)}\t{user}" for user in ids(num_users, 20)]
        (folder / "history.csv").write_text("\n".join(["item_id\ttime\tuser_id", *lines]))
    for split in ("dev", "test"):
        lines = ["time\tneg_items\titem_id\tuser_id"]
        for user in ids(num_users, 20):
            lines.append(f"{rng.integers(1, 10)}\t{rng.integers(2, num_items + 1, 7).tolist()}\t1\t{user}")
        (folder / f"{split}.csv").write_text("\n".join(lines))
    lines = ["r_a\ti_x\titem_id\ti_y\tr_b"]
    for item in rng.permutation(num_items + 3)[:20] + 1:
        lists = [ids(num_items, rng.integers(0, 5)) for _ in range(2)]
        lines.append(f"{lists[0]}\t{rng.integers(0, 4)}\t{item}\t{ids(6, rng.integers(0, 4))}\t{lists[1]}")
    (folder / "item_meta.csv").write_text("\n".join(lines) + "\n")
    corpus = read_corpus(folder)
    assert equal(corpus, slow_corpus(folder, corpus))


def test_history_alone_is_no_training(folder):
    """A user who is only in history.csv before test: ranked with that history, never learnt from."""
    (folder / "history.csv").write_text("user_id\titem_id\ttime\n3\t2\t20\n")
    with (folder / "test.csv").open("a") as file:
        file.write("3\t1\t20\t[4, 5]\n3\t3\t21\t[4, 5]\n")
    corpus = read_corpus(folder)
    assert corpus.train_rows.tolist() == [0, 1, 4, 5]
    assert corpus.sequence_items[8:].tolist() == [2, 1, 3] and corpus.test.rows.tolist() == [3, 7, 9, 10]
    arrays = put_corpus(corpus, None, data_mesh())
    history = gather_history(arrays, arrays.sequence_offsets[3] + np.array([1, 2]), 3)
    assert history.items.tolist() == [[2, 0, 0], [2, 1, 0]]
    assert np.diff(arrays.sampler.seen.offsets).tolist() == [0, 2, 2, 0] and arrays.examples.tolist() == [1, 5]
    (folder / "history.csv").unlink()
    with pytest.raises(UserError, match=r"test\.csv, line 4.*no earlier interaction.*history\.csv"):
        read_corpus(folder)


def test_metadata_may_be_missing(folder):
    (folder / "item_meta.csv").unlink()
    replace("train.csv", "1\t1\t10", "1\t5\t10")(folder)  # so that the negatives are known
    corpus = read_corpus(folder)
    assert corpus.item_relations == corpus.attributes == ()
    assert (corpus.num_items, corpus.num_entities, corpus.num_stored_triples) == (5, 6, 0)
    assert corpus.triples.shape == (0, 3) and corpus.item_values.shape == (6, 0, 1)


def test_metadata_may_lack_relations(folder):
    (folder / "item_meta.csv").write_text("item_id\tprice\n5\t1.5\n")
    assert read_corpus(folder).num_defined_relations == 1


def test_windows_line_ends_and_byte_order_mark(folder):
    expected = read_corpus(folder)
    for file in ("train.csv", "dev.csv"):
        (folder / file).write_bytes(b"\xef\xbb\xbf" + (folder / file).read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    found = read_corpus(folder)
    assert equal(found, dataclasses.replace(expected, content_hash=found.content_hash, earlier_hash=found.earlier_hash))


def test_cache(folder, monkeypatch):
    first = read_corpus(folder)
    (entry,) = (cache_dir() / "corpus").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr("lrd_jax.data.rechorus._build", lambda *_: pytest.fail("was not taken from the cache"))
        assert equal(read_corpus(folder), first)
    damaged = entry.read_bytes()
    for content in (b"", b"rubbish", damaged[:-100], damaged.replace(b"sequence", b"sequins!")):
        entry.write_bytes(content)
        assert equal(read_corpus(folder), first)
        assert entry.read_bytes() == damaged  # made again
    replace("train.csv", "1\t2\t20", "1\t2\t19")(folder)
    assert read_corpus(folder).content_hash != first.content_hash
    assert len(list((cache_dir() / "corpus").iterdir())) == 2  # and no temporary file is left


def test_cache_that_cannot_be_written(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LRD_JAX_CACHE", str(tmp_path / "file"))
    assert read_corpus(folder).num_users == 2


@office
def test_office():
    corpus = read_corpus(OFFICE)
    assert (corpus.num_users, corpus.num_items, len(corpus.sequence_items)) == (4905, 2420, 53258)
    assert corpus.num_stored_triples == 60706 and corpus.num_entities == 1 + 2420 + 40 + 342 == 2803
    assert corpus.item_relations == ("complement", "substitute") and corpus.attributes == ("category", "brand")
    assert corpus.dev.negatives.shape == corpus.test.negatives.shape == (4905, 99)
    assert corpus.dev.negatives.max() <= 2412
    assert len(corpus.train_rows) == 53258 - 2 * 4905
    assert (corpus.test.rows + 1 == corpus.sequence_offsets[corpus.sequence_users[corpus.test.rows] + 1]).all()
    assert (np.sort(corpus.dev.rows) + 1 == np.sort(corpus.test.rows)).all()
    assert all(a.dtype == np.int32 for a in (corpus.triples, corpus.item_values, corpus.dev.negatives))
    texts = read_texts(OFFICE, corpus.num_items)
    assert len(texts) == 2421 and texts[0] == "" and all(texts[1:])


@office
def test_office_matches_plain_python():
    corpus = read_corpus(OFFICE, use_cache=False)
    assert equal(corpus, slow_corpus(OFFICE, corpus))
