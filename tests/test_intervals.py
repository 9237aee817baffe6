"""How the decay over time starts: histograms of a corpus against slow counting, and what the decay makes of them."""

import dataclasses

import jax
import numpy as np
import pytest

from lrd_jax.config.schema import Config, ModelConfig
from lrd_jax.data.batch import Tables
from lrd_jax.data.intervals import dft_decay, flat_decay, interval_histograms, normalise_intervals
from lrd_jax.models import build_system
from lrd_jax.models.relational import temporal_decay
from tests import reference


def slow_histograms(corpus, history_length, num_points):
    """Pair by pair, as the docstring says."""
    counts = np.zeros((corpus.num_defined_relations, num_points))
    triples = {tuple(triple) for triple in corpus.triples.tolist()}
    nones = {0, *corpus.none_entities.tolist()}
    for user in range(1, corpus.num_users + 1):
        mine = [row for row in corpus.train_rows.tolist() if corpus.sequence_users[row] == user]
        for place, later in enumerate(mine):
            for earlier in mine[max(place - history_length, 0) : place]:
                head, tail = (int(corpus.sequence_items[row]) for row in (earlier, later))
                seconds = int(corpus.sequence_times[later]) - int(corpus.sequence_times[earlier])
                point = min(int(reference.log_interval(seconds)), num_points - 1)
                counts[0, point] += 1
                for r in range(1, 1 + len(corpus.item_relations)):
                    counts[r, point] += (head, r, tail) in triples
                for a in range(len(corpus.attributes)):
                    ours, theirs = (set(corpus.item_values[i, a].tolist()) - nones for i in (head, tail))
                    counts[1 + len(corpus.item_relations) + a, point] += bool(ours & theirs)
    return counts


@pytest.mark.parametrize(("history_length", "num_points"), [(20, 64), (1, 64), (3, 16), (3, 8)])
def test_histograms(corpus, history_length, num_points):
    counts = interval_histograms(corpus, history_length, num_points)
    np.testing.assert_array_equal(counts, slow_histograms(corpus, history_length, num_points))
    assert counts.any(axis=1).all()  # every relation was observed
    if num_points == 16:
        assert counts[0, -1] > counts[0, :-1].max()  # long intervals count as the longest


def test_no_metadata_no_relations(corpus):
    bare = dataclasses.replace(
        corpus,
        item_relations=(),
        attributes=(),
        triples=np.zeros((0, 3), np.int32),
        item_values=np.zeros((corpus.num_items + 1, 0, 1), np.int32),
        none_entities=np.zeros(0, np.int32),
    )
    counts = interval_histograms(bare, 5, 32)
    np.testing.assert_array_equal(counts, interval_histograms(corpus, 5, 32)[:1])


def test_simultaneous_interactions_are_no_time_apart():
    np.testing.assert_array_equal(
        normalise_intervals(np.array([0, 30, 60, 120, 3840])), [0, 0, *np.log2([1 + 1e-6, 2 + 1e-6, 64 + 1e-6])]
    )


def test_decay_starts_as_the_histogram(corpus):
    histograms = interval_histograms(corpus, 20, 64)
    histograms = np.concatenate([histograms, np.zeros((1, 64))])  # and a relation that was never observed
    started = temporal_decay(np.arange(64, dtype=np.float32), *dft_decay(histograms))  # [64, R]
    expected = histograms / np.maximum(histograms.max(axis=1, keepdims=True), 1)
    expected[-1] = expected[0]
    np.testing.assert_allclose(started.T, expected, atol=2e-4)
    assert started.max(axis=0).min() > 0.999


@pytest.mark.parametrize(("num_relations", "num_frequencies", "level"), [(1, 2, 0.9), (5, 33, 0.9), (3, 9, 0.25)])
def test_flat_start_at_any_interval(num_relations, num_frequencies, level):
    intervals = np.concatenate([np.arange(0, 64, 0.37), [0, 1e-3, 24.9]]).astype(np.float32)
    started = temporal_decay(intervals, *flat_decay(num_relations, num_frequencies, level))
    assert started.shape == (len(intervals), num_relations)
    np.testing.assert_allclose(started, level, rtol=1e-5)


@pytest.mark.parametrize("decay_init", ["flat", "dft", "random"])
def test_systems_start_with_the_configured_decay(corpus, text, decay_init):
    model = ModelConfig(name="kda_lrd", embedding_dim=4, num_heads=1, num_latent_relations=2, decay_init=decay_init)
    config = Config(model=model)
    system = build_system(config, corpus, has_triples=True)
    init = jax.jit(system.init, compiler_options={"xla_backend_optimization_level": 0})
    params = init(jax.random.key(0), Tables(corpus.item_values, text))["scorer"]
    assert params["decay_real"].shape == params["decay_imag"].shape == (5 + 2, 33)
    started = temporal_decay(np.arange(64, dtype=np.float32), params["decay_real"], params["decay_imag"]).T
    if decay_init == "flat":
        np.testing.assert_allclose(started, 0.9, rtol=1e-5)
    elif decay_init == "dft":
        histograms = interval_histograms(corpus, config.data.history_length, 64)[[0, 1, 2, 3, 4, 0, 0]]
        np.testing.assert_allclose(started, histograms / histograms.max(axis=1, keepdims=True), atol=2e-4)
    else:
        assert 0.008 < np.std(params["decay_real"]) < 0.012 and started.max() < 0.1
