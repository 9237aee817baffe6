from __future__ import annotations

import numpy as np
import pytest

from lrd_jax.data.rechorus import read_corpus, read_texts
from lrd_jax.data.synthetic import write_synthetic


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_sizes_and_relations(tmp_path):
    corpus = read_corpus(write_synthetic(tmp_path / "data"))
    assert (corpus.num_users, corpus.num_items) == (120, 80)
    assert corpus.item_relations == ("complement", "substitute") and corpus.attributes == ("category", "tag")
    assert corpus.item_values.shape == (81, 2, 3)  # up to three tags
    assert corpus.dev.negatives.shape == corpus.test.negatives.shape == (120, 20)
    lengths = np.diff(corpus.sequence_offsets)[1:]
    assert lengths.min() >= 5 and lengths.max() <= 12
    assert len(read_texts(tmp_path / "data", corpus.num_items)) == 81


def test_no_item_twice_and_negatives_are_new(tmp_path):
    corpus = read_corpus(write_synthetic(tmp_path / "data"))
    for split in (corpus.dev, corpus.test):
        for row, negatives in zip(split.rows, split.negatives, strict=True):
            user = corpus.sequence_users[row]
            items = corpus.sequence_items[corpus.sequence_offsets[user] : corpus.sequence_offsets[user + 1]]
            assert len(set(items)) == len(items) and not set(items) & set(negatives)


def test_next_items_follow_the_planted_relations(tmp_path):
    corpus = read_corpus(write_synthetic(tmp_path / "data"))
    same_user = corpus.sequence_users[1:] == corpus.sequence_users[:-1]
    pairs = np.stack([corpus.sequence_items[:-1], corpus.sequence_items[1:]], axis=1)[same_user]
    complements = set(map(tuple, corpus.triples[corpus.triples[:, 1] == 1][:, [0, 2]].tolist()))
    share = np.mean([tuple(pair) in complements for pair in pairs.tolist()])
    assert share > 0.4  # 3 of 80 items by chance


def test_same_seed_same_bytes(tmp_path):
    first = contents(write_synthetic(tmp_path / "a", seed=3))
    assert contents(write_synthetic(tmp_path / "b", seed=3)) == first
    assert contents(write_synthetic(tmp_path / "c", seed=4)) != first


def test_sizes_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError):
        write_synthetic(tmp_path / "data", num_items=20, num_negatives=15)
    assert not (tmp_path / "data").exists()
