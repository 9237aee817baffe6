"""Negatives and triples: never a forbidden one, every allowed one, all alike often."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrd_jax.data.corpus import Corpus, Split
from lrd_jax.data.sampling import Sampler, build_item_sets, build_sampler, draw_excluding, draw_triples
from lrd_jax.errors import UserError
from lrd_jax.training.epoch import draw_edges
from tests.conftest import equations

ITEMS = 12
HOLDERS = {  # entity of the value: the items that hold it
    13: [1, 2, 3, 5, 8],
    14: [2, 9],
    15: [7],  # no partner
    16: list(range(1, ITEMS + 1)),  # nothing can corrupt
    17: [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],  # one item alone corrupts
    18: [1, 12],
}
FIRST_ENTITY_OF_SECOND_ATTRIBUTE = 16
NONE_ENTITIES = 19, 20  # of either attribute, for the items that hold no value of it
EVERYWHERE = 11  # every item is its tail in relation 2
TRIPLES = [
    *[(1, 1, 2), (1, 1, 3), (1, 1, 12), (2, 1, 1), (5, 1, 5)],
    *[(head, 1, 4) for head in range(1, ITEMS)],  # item 12 alone corrupts the head
    *[(EVERYWHERE, 2, tail) for tail in range(1, ITEMS + 1)],
    *[(3, 2, 4), (4, 2, 3)],
]


@pytest.fixture(autouse=True)
def _no_silent_broadcasting():
    with jax.numpy_rank_promotion("raise"):
        yield


def make_corpus(triples=TRIPLES, holders=HOLDERS, sequences=((1, 2, 3), (2, 5), (7,)), in_train=None):
    """A corpus of ITEMS items in which user u + 1 interacts with sequences[u], all in training by default."""
    held = [[[], []] for _ in range(ITEMS + 1)]
    for value, items in holders.items():
        for item in items:
            held[item][int(value >= FIRST_ENTITY_OF_SECOND_ATTRIBUTE)].append(value)
    for item in held[1:]:
        for values, none in zip(item, NONE_ENTITIES, strict=True):
            values.extend([] if values else [none])
    width = max(len(values) for item in held for values in item)
    item_values = np.array([[values + [0] * (width - len(values)) for values in item] for item in held], np.int32)
    items = np.concatenate([np.array(sequence) for sequence in sequences]).astype(np.int32)
    lengths = [len(sequence) for sequence in sequences]
    rows = np.arange(len(items), dtype=np.int32)
    nothing = Split(np.zeros(0, np.int32), np.zeros((0, 1), np.int32))
    return Corpus(
        name="tiny",
        content_hash="",
        num_users=len(sequences),
        num_items=ITEMS,
        num_entities=max(NONE_ENTITIES) + 1,
        item_relations=("also", "instead"),
        attributes=("colour", "size"),
        sequence_items=items,
        sequence_times=rows,
        sequence_users=np.repeat(np.arange(1, len(sequences) + 1), lengths).astype(np.int32),
        sequence_offsets=np.cumsum([0, 0, *lengths]).astype(np.int32),
        train_rows=rows if in_train is None else rows[in_train],
        dev=nothing,
        test=nothing,
        triples=np.array(triples, np.int32).reshape(-1, 3),
        item_values=item_values,
        none_entities=np.array(NONE_ENTITIES, np.int32),
    )


def make_sets(members):
    rows = np.repeat(np.arange(len(members)), [len(m) for m in members])
    return jax.device_put(build_item_sets(rows, np.array([i for m in members for i in m], np.int64), len(members)))


def chi_square(counts):
    """Σ (observed − expected)² / expected over equally likely outcomes, and the most that chance allows.

    With n outcomes its mean is n − 1 and its standard deviation √(2(n − 1)); five of them, and a margin for small n.
    """
    counts = np.asarray(counts, float)
    freedom = len(counts) - 1
    expected = counts.sum() / len(counts)
    return ((counts - expected) ** 2 / expected).sum(), freedom + 5 * np.sqrt(2 * freedom) + 5


def assert_uniform(draws, outcomes):
    values, counts = np.unique(draws, return_counts=True)
    np.testing.assert_array_equal(values, np.sort(outcomes))  # each was drawn, and nothing else
    statistic, limit = chi_square(counts)
    assert statistic < limit


def test_the_measure_of_uniformity_can_fail():
    rng = np.random.default_rng(0)
    fair = rng.integers(0, 10, 20_000)
    assert_uniform(fair, np.arange(10))
    # what replacing a forbidden id by its successor would do: one outcome is twice as likely
    with pytest.raises(AssertionError):
        assert_uniform(np.where(fair == 3, 4, fair), np.delete(np.arange(10), 3))


# Items outside a set

draw_items = jax.jit(draw_excluding, static_argnums=3)


@pytest.fixture
def ranks(monkeypatch):
    """Makes draws deterministic: `ranks(array)` is what randint returns, which must be within the requested bounds."""

    def fix(array):
        def randint(key, shape, minval, maxval, *_, **__):
            assert shape == array.shape and np.all((np.asarray(minval) <= array) & (array < np.asarray(maxval)))
            return jnp.asarray(array, jnp.int32)

        monkeypatch.setattr(jax.random, "randint", randint)

    return fix


@pytest.mark.parametrize("num_items", [1, 2, 6])
def test_every_set_and_every_rank(ranks, num_items):
    """All proper subsets of few items, side by side: rank k is the k-th item that the set does not hold."""
    members = [[i + 1 for i in range(num_items) if n >> i & 1] for n in range(2**num_items - 1)]
    allowed = [[i for i in range(1, num_items + 1) if i not in m] for m in members]
    rows = np.repeat(np.arange(len(members)), [len(a) for a in allowed])
    ranks(np.concatenate([np.arange(len(a)) for a in allowed]))
    drawn = draw_excluding(jax.random.key(0), make_sets(members), jnp.asarray(rows), num_items)
    np.testing.assert_array_equal(drawn, np.concatenate(allowed))


def test_sets_of_very_different_sizes(ranks):
    rng = np.random.default_rng(0)
    num_items, everything = 1000, np.arange(1, 1001)
    sizes = [0, 1, 999, 0, 500, 3, 998, 0]
    members = [np.sort(rng.choice(everything, size, replace=False)) for size in sizes]
    members += [everything[1:], everything[:-1], np.delete(everything, 499), everything[:1], everything[-1:]]
    allowed = [np.setdiff1d(everything, m) for m in members]
    rows = np.repeat(np.arange(len(members)), [len(a) for a in allowed])
    ranks(np.concatenate([np.arange(len(a)) for a in allowed]))
    drawn = draw_excluding(jax.random.key(0), make_sets(members), jnp.asarray(rows), num_items)
    np.testing.assert_array_equal(drawn, np.concatenate(allowed))


@pytest.mark.parametrize(
    "members",
    [[[]], [[], []], [[3]], [[], [1, 2, 4, 5, 6, 7]], [[7], [1], [2, 4, 6]], [[1, 2, 3, 4, 5, 6]]],
    ids=str,
)
def test_items_are_drawn_uniformly(members):
    rows = jnp.repeat(jnp.arange(len(members)), 20_000).reshape(len(members), 20_000)  # any shape of rows
    drawn = draw_items(jax.random.key(1), make_sets(members), rows, 7)
    assert drawn.dtype == jnp.int32 and drawn.shape == rows.shape
    for row, m in zip(np.asarray(drawn), members, strict=True):
        assert_uniform(row, np.setdiff1d(np.arange(1, 8), m))


def test_neighbouring_draws_are_independent():
    drawn = draw_items(jax.random.key(2), make_sets([[2]]), jnp.zeros((40_000, 2), jnp.int32), 5)
    pairs = np.asarray(drawn) @ [10, 1]
    assert_uniform(pairs, [10 * a + b for a in (1, 3, 4, 5) for b in (1, 3, 4, 5)])


def test_no_loop_that_could_run_on():
    sets = make_sets([[1, 2], [3]])
    jaxpr = jax.make_jaxpr(draw_excluding, static_argnums=3)(jax.random.key(0), sets, jnp.zeros(4, jnp.int32), 9)
    assert not {"while", "cond"} & {equation.primitive.name for equation in equations(jaxpr.jaxpr)}
    # the search itself would be seen
    naive = jax.make_jaxpr(lambda x: jax.lax.while_loop(lambda x: x < 3, lambda x: x + 1, x))(0)
    assert "while" in {equation.primitive.name for equation in equations(naive.jaxpr)}


def test_sets_are_sorted_and_without_duplicates():
    sets = build_item_sets(np.array([2, 0, 2, 2, 0]), np.array([5, 9, 1, 5, 9]), 4)
    assert sets.items.tolist() == [9, 1, 5] and sets.offsets.tolist() == [0, 1, 1, 3, 3]
    assert 2**sets.search_steps > 2  # halvings enough for the 3 places around 2 members


def test_users_avoid_their_training_items_only():
    """Never to draw a user's test item as a negative would give it away."""
    corpus = make_corpus(
        sequences=((1, 2, 3), (5, 2)), in_train=[0, 1, 3]
    )  # item 3 of user 1, item 2 of user 2 held out
    seen = build_sampler(corpus).seen
    rows = jnp.repeat(jnp.array([1, 2]), 20_000).reshape(2, -1)
    first, second = np.asarray(draw_items(jax.random.key(0), jax.device_put(seen), rows, ITEMS))
    assert_uniform(first, range(3, ITEMS + 1))
    assert_uniform(second, [i for i in range(1, ITEMS + 1) if i != 5])


@pytest.mark.parametrize("leaking", [{"negatives"}, {"history_negatives"}, {"negatives", "history_negatives"}])
def test_published_negatives_avoid_held_out_items_too(leaking):
    """In either kind of negatives by itself, so that a study can tell which of them leaks how much."""
    corpus = make_corpus(sequences=((1, 2, 3), (5, 2)), in_train=[0, 1, 3])
    sampler = build_sampler(corpus, **dict.fromkeys(leaking, "published"))
    rows = jnp.repeat(jnp.array([1, 2]), 20_000).reshape(2, -1)
    for name, sets in (("negatives", sampler.seen), ("history_negatives", sampler.history_seen)):
        first, second = np.asarray(draw_items(jax.random.key(0), jax.device_put(sets), rows, ITEMS))
        held_out = ({3}, {2}) if name in leaking else (set(), set())
        assert_uniform(first, [i for i in range(3, ITEMS + 1) if i not in held_out[0]])
        assert_uniform(second, [i for i in range(1, ITEMS + 1) if i not in {5} | held_out[1]])


def test_user_who_has_interacted_with_everything_is_rejected():
    everything = tuple(range(1, ITEMS + 1))
    with pytest.raises(UserError, match=f"user 2 has interacted with all {ITEMS} items"):
        build_sampler(make_corpus(sequences=((1,), everything, (2,))))
    build_sampler(make_corpus(sequences=((1,), everything[1:], (2,))))
    # what is held out leaves something to draw
    build_sampler(make_corpus(sequences=((1,), everything), in_train=slice(0, ITEMS)))
    with pytest.raises(UserError, match=f"user 2 has interacted with all {ITEMS} items"):
        build_sampler(make_corpus(sequences=((1,), everything), in_train=slice(0, ITEMS)), "published")


# Triples

draw = jax.jit(draw_triples, static_argnums=(3, 4))


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    return jax.device_put(build_sampler(make_corpus()))


@pytest.fixture(scope="module")
def facts():
    """holds [ITEMS + 1, entities] and known [3, ITEMS + 1, ITEMS + 1] as tables of bool."""
    holds, known = np.zeros((ITEMS + 1, 19), bool), np.zeros((3, ITEMS + 1, ITEMS + 1), bool)
    for value, items in HOLDERS.items():
        holds[items, value] = True
    for head, relation, tail in TRIPLES:
        known[relation, head, tail] = True
    return holds, known


def stored_edges(sampler):
    return [tuple(int(x) for x in row[:4]) for row in zip(*sampler.triples, strict=True)]


@pytest.fixture(scope="module")
def drawn(sampler):
    """20,000 draws with two corruptions of every stored edge, [E, 20_000, ...]."""
    num_edges = len(sampler.triples.heads)
    edges = jnp.repeat(jnp.arange(num_edges), 20_000)
    triples = draw(jax.random.key(3), sampler, edges, 2, ITEMS)
    assert triples.heads.shape == triples.tails.shape == (len(edges), 3)
    assert {x.dtype for x in triples} == {jnp.dtype(jnp.int32)}
    return jax.tree.map(lambda x: np.asarray(x).reshape(num_edges, 20_000, *x.shape[1:]), triples)


def test_edges_are_those_that_allow_a_draw(sampler):
    item_item = [(h, r, t, 0) for h, r, t in TRIPLES if (h, r) != (EVERYWHERE, 2)]
    attribute = [(i, 3 if v < 16 else 4, 0, v) for v, items in HOLDERS.items() for i in items if v not in (15, 16)]
    assert sorted(stored_edges(sampler)) == sorted(item_item + attribute)


def test_drawn_triples_are_true(sampler, facts, drawn):
    holds, known = facts
    for n, (head, relation, tail, value) in enumerate(stored_edges(sampler)):
        assert np.all(drawn.relations[n] == relation) and np.all(drawn.values[n] == value)
        heads, tails = drawn.heads[n, :, 0], drawn.tails[n, :, 0]
        assert np.all(heads == head)
        if value:
            assert relation == 3 + (value >= FIRST_ENTITY_OF_SECOND_ATTRIBUTE)
            assert np.all(holds[tails, value] & (tails != head))
            assert_uniform(tails, [item for item in HOLDERS[value] if item != head])
        else:
            assert np.all(tails == tail) and known[relation, head, tail]


def test_corruptions_are_unknown_and_uniform(sampler, facts, drawn):
    holds, known = facts
    everything = np.arange(1, ITEMS + 1)
    for n, (head, relation, _, value) in enumerate(stored_edges(sampler)):
        (heads, tails), corruptions = (x[n, :, 0] for x in drawn[:2]), [x[n, :, 1:] for x in drawn[:2]]
        head_changed, tail_changed = corruptions[0] != heads[:, None], corruptions[1] != tails[:, None]
        assert np.all(head_changed ^ tail_changed)
        # Half of 40,000, give or take five standard deviations of 100.
        assert abs(head_changed.sum() - 20_000) < 500
        new_heads, new_tails = corruptions[0][head_changed], corruptions[1][tail_changed]
        if value:
            assert not holds[new_heads, value].any() and not holds[new_tails, value].any()
            allowed_heads = allowed_tails = everything[~holds[1:, value]]
        else:
            assert not known[relation][corruptions[0], corruptions[1]].any()
            allowed_heads = everything[~known[relation, 1:, tails[0]]]
            allowed_tails = everything[~known[relation, head, 1:]]
        assert_uniform(new_heads, allowed_heads)
        assert_uniform(new_tails, allowed_tails)


def test_corpus_triples_are_true(corpus):
    """The same on the synthetic corpus, whose items hold several tags."""
    sampler = jax.device_put(build_sampler(corpus))
    edges = draw_edges(jax.random.key(0), sampler, 8_000)
    triples = jax.tree.map(np.asarray, draw(jax.random.key(1), sampler, edges, 3, corpus.num_items))
    known = {tuple(triple) for triple in corpus.triples.tolist()}
    held = [set(values.ravel().tolist()) - {0} for values in corpus.item_values]
    num_item_relations = len(corpus.item_relations)
    counted = set()
    for heads, tails, relation, value in zip(*triples, strict=True):
        for place, (head, tail) in enumerate(zip(heads.tolist(), tails.tolist(), strict=True)):
            if relation <= num_item_relations:
                true = (head, int(relation), tail) in known
            else:
                assert value in corpus.item_values[heads[0], relation - 1 - num_item_relations]
                assert value not in corpus.none_entities
                true = value in held[head] and value in held[tail]
            assert true == (place == 0)
        counted.add((int(heads[0]), int(relation), int(tails[0]) if value == 0 else 0, int(value)))
    assert counted == set(stored_edges(sampler))


def test_no_triples():
    sampler = build_sampler(make_corpus(triples=[], holders={}))
    assert sampler.known is None and sampler.triples is None
    assert draw_edges(jax.random.key(0), sampler, 3).tolist() == [0, 0, 0]
    # nor where none of those stored allows a draw
    only = build_sampler(make_corpus(triples=[], holders={15: [7], 16: range(1, ITEMS + 1)}))
    assert only.triples is None


# Edges of an epoch


def test_edges_do_not_repeat_where_there_are_enough(sampler):
    num_edges = len(sampler.triples.heads)
    assert sorted(draw_edges(jax.random.key(0), sampler, num_edges).tolist()) == list(range(num_edges))
    fewer = draw_edges(jax.random.key(1), sampler, num_edges - 5)
    assert fewer.dtype == jnp.int32 and len(set(fewer.tolist())) == num_edges - 5
    # which ones, is a matter of chance
    several = jax.jit(jax.vmap(lambda key: draw_edges(key, sampler, 5)))
    assert_uniform(several(jax.random.split(jax.random.key(2), 8_000)), range(num_edges))


def test_edges_repeat_where_there_are_too_few(sampler):
    num_edges = len(sampler.triples.heads)
    edges = draw_edges(jax.random.key(0), sampler, 1000 * num_edges)
    assert edges.dtype == jnp.int32
    assert_uniform(edges, range(num_edges))
