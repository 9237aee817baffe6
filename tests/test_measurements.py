"""What the measurements of new items and unseen users hold out, against slow loops; no test looks at a figure."""

import numpy as np
import pytest

import lrd_jax
from benchmarks import new_items, unseen_users
from benchmarks.held_out_items import item_table, split_items
from benchmarks.intervals import difference, with_intervals
from lrd_jax.data.synthetic import write_synthetic


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured") / "data"
    write_synthetic(folder, num_users=40, num_items=30, num_negatives=10)
    return lrd_jax.load_dataset(folder)


def lines(dataset):
    """(user, item, time) in the source's ids."""
    corpus = dataset.corpus
    users, items = dataset.user_ids.to_list(), dataset.item_ids.to_list()
    columns = (corpus.sequence_users, corpus.sequence_items, corpus.sequence_times)
    return sorted((users[u - 1], items[i - 1], t) for u, i, t in zip(*(x.tolist() for x in columns), strict=True))


def test_items_are_held_out_with_all_their_interactions(whole):
    parts = split_items(whole, 0.2, seed=3)
    held = {str(item) for item in parts.items}
    assert len(held) == 6 and parts.new["item"].to_list() == [str(item) for item in parts.items]
    assert lines(parts.known) == [line for line in lines(whole) if line[1] not in held]
    known = item_table(parts.known).sort("item")
    expected = item_table(whole).filter(~item_table(whole)["item"].is_in(held)).sort("item")
    assert known.columns == expected.columns
    for name in ("item", "text"):
        assert known[name].to_list() == expected[name].to_list()
    for name in whole.corpus.attributes:
        assert [set(values) for values in known[name]] == [set(values) for values in expected[name]]


def test_rows_of_new_items(whole):
    parts = split_items(whole, 0.2, seed=3)
    corpus, held = whole.corpus, set(parts.items.tolist())
    own = np.arange(corpus.num_items + 1) + 100  # any renumbering
    pool = own[1:]
    rows = new_items.rows_of(whole, parts, own, pool, 8, np.random.default_rng(0))
    expected = []
    for user in range(1, corpus.num_users + 1):
        start, end = corpus.sequence_offsets[user : user + 2]
        items = corpus.sequence_items[start:end].tolist()
        for place, item in enumerate(items):
            before = [other + 100 for other in items[:place] if other not in held]
            if item in held and before:
                expected.append((user, item + 100, before, {other + 100 for other in items}))
    assert len(expected) == len(rows.users)
    for n, (user, target, before, had) in enumerate(expected):
        one = rows.histories.rows(np.array([n]))
        candidates = rows.candidates[n].tolist()
        assert rows.users[n] == user == one.users[0] and candidates[0] == target and one.items.tolist() == before
        assert not set(candidates[1:]) & had and len(set(candidates)) == 8
    targets = corpus.sequence_items[np.concatenate([corpus.dev.rows, corpus.test.rows])]
    assert rows.is_evaluated.sum() <= np.isin(targets, parts.items).sum()


def test_ranks_by_hand():
    scores = np.array([[2.0, 3.0, 2.0, 9.0], [1.0, 0.0, 0.0, 0.0]])
    candidates = np.array([[5, 6, 7, 0], [5, 6, 7, 8]])
    assert new_items.ranks_of(scores, candidates).tolist() == [2.5, 1.0]


def test_users_are_held_out(whole):
    corpus = whole.corpus
    held = unseen_users.held_out_users(corpus, 0.25, seed=1)
    assert len(held) == 10 and len(set(held.tolist())) == 10
    without = unseen_users.without_users(corpus, held)
    assert not set(corpus.sequence_users[without.train_rows].tolist()) & set(held.tolist())
    assert not set(corpus.sequence_users[without.dev.rows].tolist()) & set(held.tolist())
    others = [row for row in corpus.train_rows.tolist() if corpus.sequence_users[row] not in held]
    assert without.train_rows.tolist() == others and len(without.dev.rows) == len(without.dev.negatives) == 30
    assert without.test is corpus.test


def test_vectors_of_users_who_were_held_out():
    table = np.arange(10, dtype=np.float32).reshape(5, 2)
    params = {"scorer": {"user_embeddings": table, "item_bias": table[0]}}
    mean, zeros = unseen_users.VECTORS.values()
    found = unseen_users.with_vectors(params, np.array([2, 4]), mean)["scorer"]["user_embeddings"]
    assert found.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [4, 5]]
    found = unseen_users.with_vectors(params, np.array([3]), zeros)["scorer"]["user_embeddings"]
    assert found[3].tolist() == [0, 0] and table[3].tolist() == [6, 7]


def test_intervals_hold_the_mean():
    users = np.repeat(np.arange(50), 2)
    cells = with_intervals(users, np.tile([1.0, 99.0], 50))
    assert cells == ["0.5000 [0.500, 0.500]"] * 2
    ranks = np.tile([1.0, 99.0], 50)
    assert difference(users, ranks, np.full(100, 99.0)) == "+0.5000 [+0.500, +0.500]"
    assert difference(users, ranks, ranks) == ""
