"""What targets are ranked against, drawn and listed on the device, against plain loops and expected frequencies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrd_jax.data.device import put_corpus
from lrd_jax.devices import data_mesh
from lrd_jax.models.simple import item_counts
from lrd_jax.ranking import candidates
from lrd_jax.ranking.candidates import draw_negatives, left_out
from tests import small_runs


@pytest.fixture(scope="module", autouse=True)
def _quickly():
    with small_runs.quickly_compiled():
        yield


@pytest.fixture(scope="module")
def arrays(corpus):
    return put_corpus(corpus, None, data_mesh())


draw = jax.jit(draw_negatives, static_argnums=4)


def expected_out(corpus, row, keep_seen=False):
    """The target and, unless they are kept, the items of the user's interactions before it."""
    first = row if keep_seen else corpus.sequence_offsets[corpus.sequence_users[row]]
    return {int(item) for item in corpus.sequence_items[first : row + 1]}


@pytest.mark.parametrize("keep_seen", [False, True])
@pytest.mark.parametrize("places_per_step", [2, 256])
def test_left_out(keep_seen, places_per_step, corpus, arrays, monkeypatch):
    monkeypatch.setattr(candidates, "_PLACES_PER_STEP", places_per_step)
    rows = np.concatenate([corpus.test.rows, corpus.dev.rows[:5], [0, len(corpus.sequence_items) - 1]])
    flags = jax.jit(lambda arrays, rows: left_out(arrays, rows, corpus.num_items, keep_seen=keep_seen))
    for row, out in zip(rows, jax.device_get(flags(arrays, rows)), strict=True):
        excluded = expected_out(corpus, row, keep_seen)
        assert out.tolist() == [int(item in excluded) for item in range(1, corpus.num_items + 1)]


@pytest.mark.parametrize("sampling", ["uniform", "popularity"])
def test_negatives_are_distinct_and_unseen(sampling, corpus, arrays):
    counts = item_counts(corpus)[1:] if sampling == "popularity" else np.ones(corpus.num_items)
    with np.errstate(divide="ignore"):
        log_weights = np.log(counts).astype(np.float32)
    log_weights[4] = -np.inf  # item 5 is never drawn
    drawn = np.asarray(draw(jax.random.key(3), arrays, corpus.test.rows, log_weights, 24))
    for row, items in zip(corpus.test.rows, drawn.tolist(), strict=True):
        assert len(set(items)) == 24 and not set(items) & (expected_out(corpus, row) | {0, 5})


def test_a_rows_negatives_depend_on_seed_and_row_only(corpus, arrays):
    rows, log_weights = corpus.test.rows, np.zeros(corpus.num_items, np.float32)
    drawn = draw(jax.random.key(3), arrays, rows, log_weights, 24)
    again = draw(jax.random.key(3), arrays, rows[[7, 2]], log_weights, 24)
    np.testing.assert_array_equal(again, drawn[np.array([7, 2])])
    assert (draw(jax.random.key(4), arrays, rows, log_weights, 24) != drawn).any()
    assert len(set(drawn[:, 0].tolist())) > 10  # rows draw independently of each other


@pytest.mark.parametrize("weighted", [False, True])
def test_frequencies(weighted, corpus, arrays):
    """Two draws one after the other: P(i) = p_i + Σ_j p_j · p_i / (1 − p_j)."""
    row, draws = corpus.test.rows[4], 20_000
    heavy = np.arange(corpus.num_items + 1) % 2 == 0
    weights = np.where(heavy[1:] & weighted, 10.0, 1.0)
    weights[6] = 0  # item 7 is never drawn
    with np.errstate(divide="ignore"):
        log_weights = jnp.log(jnp.asarray(weights, jnp.float32))
    one = jax.jit(lambda key: draw_negatives(key, arrays, jnp.asarray([row]), log_weights, 2)[0])
    drawn = np.asarray(jax.lax.map(one, jax.random.split(jax.random.key(0), draws), batch_size=500))
    p = np.concatenate([[0], weights])
    p[list(expected_out(corpus, row))] = 0
    p /= p.sum()
    first, either = p, p + p * (np.sum(p / (1 - p)) - p / (1 - p))
    for expected, items in ((first, drawn[:, 0]), (either, drawn)):
        frequencies = np.bincount(items.ravel(), minlength=len(p)) / draws
        deviation = np.sqrt(expected * (1 - expected) / draws)  # of a binomial share
        assert (np.abs(frequencies - expected) <= 4.5 * deviation).all()
    share = p[heavy].sum()
    assert heavy[drawn[:, 0]].mean() == pytest.approx(share, abs=4.5 * np.sqrt(share * (1 - share) / draws))
