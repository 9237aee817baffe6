"""Popularity and ItemKNN against loops over users, and through the command."""

import json

import jax
import numpy as np
import pytest

from lrd_jax import train
from lrd_jax.command_line.parse import run_command
from lrd_jax.data.device import gather_history, put_corpus
from lrd_jax.data.synthetic import write_synthetic
from lrd_jax.devices import data_mesh
from lrd_jax.models.simple import cosine_neighbours, item_counts, item_knn, popularity

HISTORY = 5


def users_of(corpus):
    """The set of users with a training interaction, for every item."""
    users = [set() for _ in range(corpus.num_items + 1)]
    for row in corpus.train_rows:
        users[corpus.sequence_items[row]].add(int(corpus.sequence_users[row]))
    return users


def slow_cosines(corpus):
    users = users_of(corpus)
    cosines = np.zeros((corpus.num_items + 1, corpus.num_items + 1))
    for i, j in np.ndindex(cosines.shape):
        if i != j and users[i] and users[j]:
            cosines[i, j] = len(users[i] & users[j]) / np.sqrt(len(users[i]) * len(users[j]))
    return cosines


def scores(system, corpus, rows, candidates):
    arrays = put_corpus(corpus, None, data_mesh())
    params = system.init(jax.random.key(0), arrays.tables)
    history = gather_history(arrays, rows, HISTORY)
    encoded = system.encode(params, corpus.sequence_users[rows], history, arrays.tables)
    return np.asarray(system.score(params, encoded, candidates, arrays.tables)), np.asarray(history.items)


@pytest.mark.parametrize("number", [7, 1000])
def test_neighbours(corpus, number):
    neighbours, similarities = cosine_neighbours(corpus, number)
    cosines = slow_cosines(corpus)
    number = min(number, corpus.num_items)
    assert neighbours.shape == similarities.shape == (corpus.num_items + 1, number)
    np.testing.assert_allclose(similarities, -np.sort(-cosines, axis=1)[:, :number], atol=1e-6)
    np.testing.assert_allclose(similarities, np.take_along_axis(cosines, neighbours, axis=1), atol=1e-6)
    assert (neighbours[similarities == 0] == 0).all() and not similarities[0].any()


def test_blocks_change_nothing(corpus, monkeypatch):
    whole = cosine_neighbours(corpus, 5)
    monkeypatch.setattr("lrd_jax.models.simple._ENTRIES_PER_BLOCK", 3 * (corpus.num_items + 1))
    for one, other in zip(whole, cosine_neighbours(corpus, 5), strict=True):
        np.testing.assert_array_equal(one, other)


def test_item_knn_scores(corpus):
    rows = corpus.test.rows[:6]
    candidates = np.concatenate([corpus.sequence_items[rows][:, None], corpus.test.negatives[:6]], axis=1)
    actual, history = scores(item_knn(corpus, 1000), corpus, rows, candidates)
    cosines = slow_cosines(corpus)
    expected = [[sum(cosines[h, c] for h in items if h) for c in row] for items, row in zip(history, candidates)]  # noqa: B905
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_popularity_counts_training_interactions_only(corpus):
    counts = item_counts(corpus)
    assert counts.sum() == len(corpus.train_rows) < len(corpus.sequence_items) and counts[0] == 0
    rows = corpus.test.rows[:3]
    candidates = corpus.test.negatives[:3]
    actual, _ = scores(popularity(corpus), corpus, rows, candidates)
    expected = [[sum(corpus.sequence_items[row] == c for row in corpus.train_rows) for c in cs] for cs in candidates]
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("name", ["popularity", "item_knn"])
def test_command(tmp_path, monkeypatch, capsys, name):
    """One epoch, in which nothing moves; results like any other run's, and a resumed run is done at once."""
    write_synthetic(tmp_path / "data", num_users=20, num_items=30, min_length=5, max_length=9, num_negatives=20)
    arguments = ["train", "--model.name", name, "--data.path", str(tmp_path / "data"), "--run.workdir"]
    monkeypatch.setattr("sys.argv", [*arguments, str(tmp_path / "run")])
    run_command(train.main)
    results = json.loads((tmp_path / "run" / "results.json").read_bytes())
    assert results["epochs"] == results["best_epoch"] == 1
    assert 0 < results["test"]["HR@10"] <= 1
    monkeypatch.setattr("sys.argv", [*arguments, str(tmp_path / "run"), "--resume"])
    run_command(train.main)
    assert json.loads((tmp_path / "run" / "results.json").read_bytes()) == results
