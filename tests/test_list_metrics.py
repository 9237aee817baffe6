"""Metrics of lists: against plain loops, against RecTools' own figures, by hand, and at the edges."""

import dataclasses
import json
import math
import re
from itertools import combinations

import numpy as np
import pytest

from lrd_jax.evaluate import list_diversity, list_metrics
from lrd_jax.evaluate.list_summary import METRICS, ListFacts, list_facts, summarise_lists
from tests.golden_files import FOLDER


def padded(lists, length):
    return np.array([[*items, *[0] * (length - len(items))] for items in lists], np.int32)


def attribute_ids(values):
    """bool [I + 1, F] as ids [I + 1, F] of values, 0 where the item lacks it."""
    return np.where(values, 1 + np.arange(values.shape[1]), 0)


def make_facts(targets, training, values, vectors, profiles=None):
    num_items = len(vectors) - 1
    items = np.array([item for _, item in training])
    users_of = [len({user for user, item in training if item == one}) for one in range(num_items + 1)]
    return ListFacts(
        targets=np.array(targets),
        num_items=num_items,
        interactions=np.bincount(items, minlength=num_items + 1),
        users_of_item=np.array(users_of),
        num_users=len({user for user, _ in training}),
        profile_popularity=np.ones(len(targets)) if profiles is None else profiles,
        values=attribute_ids(values),
        vectors=vectors,
    )


def slowly(lists, targets, training, values, vectors, profiles, k):
    """Every metric as its definition reads."""
    lists, num_items = [items[:k] for items in lists], len(vectors) - 1
    ranks = [items.index(target) + 1 if target in items else None for items, target in zip(lists, targets, strict=True)]
    popularity = {i: sum(item == i for _, item in training) for i in range(1, num_items + 1)}
    readers = {i: max(1, len({user for user, item in training if item == i})) for i in range(1, num_items + 1)}
    num_users = len({user for user, _ in training})
    times = [sum(items.count(i) for items in lists) for i in range(1, num_items + 1)]
    shares = [number / sum(times) for number in times if number]
    there = [items for items in lists if items]

    def mean(numbers):
        numbers = list(numbers)
        return sum(numbers) / len(numbers)

    def distance(i, j):
        cosine = vectors[i] @ vectors[j] / np.linalg.norm(vectors[i]) / np.linalg.norm(vectors[j])
        return 1 - cosine

    def ild(between):
        return mean(mean([between(i, j) for i, j in combinations(items, 2)] or [0]) for items in there)

    of_lists = mean(mean(popularity[i] for i in items) for items in there)
    of_profiles = mean(profile for items, profile in zip(lists, profiles, strict=True) if items)
    return {
        "Precision": mean(0 if rank is None else 1 / k for rank in ranks),
        "Recall": mean(0 if rank is None else 1 for rank in ranks),
        "MAP": mean(0 if rank is None else 1 / rank for rank in ranks),
        "Coverage": mean(number > 0 for number in times),
        "Gini": sum(abs(a - b) for a in times for b in times) / (2 * num_items * sum(times)),
        "Entropy": -sum(p * math.log(p) for p in shares),
        "Popularity": of_lists,
        "Lift": (of_lists - of_profiles) / of_profiles,
        "Novelty": mean(mean(-math.log2(readers[i] / num_users) for i in items) for items in there),
        "ILD attributes": ild(lambda i, j: int((values[i] != values[j]).sum())),
        "ILD text": ild(distance),
        "Personalisation": 1
        - mean(len(set(a) & set(b)) / math.sqrt(len(a) * len(b)) for a, b in combinations(there, 2)),
    }


@pytest.fixture(scope="module")
def golden():
    golden = json.loads((FOLDER / "list_metrics_rectools.json").read_text())
    return golden | {"values": np.array(golden["values"], bool), "vectors": np.array(golden["vectors"])}


def test_as_rectools_has_it(golden):
    """On the same lists, among them a short one, one of a single item, one that is missing, and cold items."""
    names = ("targets", "training", "values", "vectors")
    facts = make_facts(*(golden[name] for name in names))
    found = summarise_lists(padded(golden["lists"], 6), facts, (1, 3, 6))
    assert golden["rectools"] and len(golden["figures"]) == 24
    assert {name: found[name] for name in golden["figures"]} == pytest.approx(golden["figures"], abs=1e-12)


@pytest.mark.parametrize("k", [1, 2, 5, 6])
def test_as_plain_loops_have_it(k, golden, monkeypatch):
    monkeypatch.setattr(list_diversity, "_ENTRIES_PER_BLOCK", 100)
    profiles = np.random.default_rng(1).uniform(1, 9, len(golden["targets"]))
    inputs = [golden[name] for name in ("targets", "training", "values", "vectors")]
    found = summarise_lists(padded(golden["lists"], 6), make_facts(*inputs, profiles), (k,))
    expected = slowly(golden["lists"], *inputs, profiles, k)
    assert found == pytest.approx({f"{name}@{k}": value for name, value in expected.items()}, abs=1e-12)
    assert list(expected) == list(METRICS)


def test_by_hand():
    lists = np.array([[1, 2], [2, 3], [1, 0]])
    assert list_metrics.precision(lists, np.array([2, 2, 1])).tolist() == [1 / 2, 1 / 2, 1 / 2]
    assert list_metrics.recall(lists, np.array([2, 1, 1])).tolist() == [1, 0, 1]
    assert list_metrics.average_precision(lists, np.array([2, 1, 1])).tolist() == [1 / 2, 0, 1]
    assert list_metrics.coverage(lists, 4) == 3 / 4
    assert list_metrics.gini(lists, 4) == pytest.approx((-3 * 0 - 1 * 1 + 1 * 2 + 3 * 2) / (4 * 5))
    assert list_metrics.entropy(lists) == pytest.approx(-(2 * 2 / 5 * math.log(2 / 5) + 1 / 5 * math.log(1 / 5)))
    assert list_metrics.average_popularity(lists, np.array([9, 4, 2, 0, 0])).tolist() == [3, 1, 4]
    assert list_metrics.popularity_lift(np.array([3.0, np.nan, 1]), np.array([1.0, 9, 1])) == 1.0
    assert list_metrics.novelty(lists, np.array([0, 4, 1, 0, 0]), 4).tolist() == [1, 2, 0]  # item 3 is cold
    values = np.array([[0, 0], [1, 2], [2, 3], [3, 0]])
    assert list_diversity.diversity_by_values(lists, values).tolist() == [2, 1, 0]
    vectors = np.array([[7.0, 7], [1, 0], [0, 2], [0, -3]])
    assert list_diversity.diversity_by_vectors(lists, vectors).tolist() == [1, 2, 0]
    assert list_diversity.personalisation(lists, 4) == pytest.approx(1 - (1 / 2 + 1 / math.sqrt(2) + 0) / 3)


def test_the_extremes():
    same, apart = np.array([[1, 2], [2, 1], [1, 2]]), np.array([[1, 2], [3, 4]])
    assert list_metrics.gini(apart, 4) == 0 and list_metrics.gini(np.ones((9, 1), int), 100) == pytest.approx(0.99)
    assert list_metrics.entropy(apart) == pytest.approx(math.log(4)) and list_metrics.entropy(same[:, :1] * 0 + 1) == 0
    assert list_diversity.personalisation(same, 4) == pytest.approx(0)
    assert list_diversity.personalisation(apart, 4) == pytest.approx(1)
    zeros = np.zeros((5, 3), np.float32)
    assert list_diversity.diversity_by_vectors(same, zeros).tolist() == [1, 1, 1]


NEED_A_LIST = {"Gini", "Entropy", "Popularity", "Lift", "Novelty", "Personalisation"}


@pytest.mark.parametrize(
    ("lists", "missing"), [([[1], [1]], set()), ([[], []], NEED_A_LIST), ([[1], []], {"Personalisation"})]
)
def test_few_items_and_no_lists(lists, missing):
    """A catalogue of one item, K beyond it, no attributes, no texts."""
    facts = make_facts([1, 1], [(1, 1)], np.zeros((2, 1), bool), np.ones((2, 1)))
    facts = dataclasses.replace(facts, values=None, vectors=None)
    found = summarise_lists(padded(lists, 1), facts, (1, 3))
    assert found["ILD attributes@3"] is found["ILD text@3"] is None
    accuracy = ["Precision", "Recall", "MAP"]
    assert {name for name in METRICS if found[f"{name}@3"] is None} == missing | {"ILD attributes", "ILD text"}
    hits = sum(map(len, lists)) / 2
    assert [found[f"{name}@3"] for name in accuracy] == pytest.approx([hits / 3, hits, hits])
    if hits:
        assert found["Gini@3"] == 0 and found["Coverage@3"] == 1 and found["Novelty@3"] == 0


def test_facts_of_a_dataset(corpus):
    rows = corpus.test.rows
    facts = list_facts(corpus, rows, None)
    users, items = corpus.sequence_users, corpus.sequence_items
    training = list(zip(users[corpus.train_rows].tolist(), items[corpus.train_rows].tolist(), strict=True))
    for item in range(1, corpus.num_items + 1):
        assert facts.interactions[item] == sum(i == item for _, i in training)
        assert facts.users_of_item[item] == len({u for u, i in training if i == item})
        held = {int(value) for value in corpus.item_values[item].ravel() if value} - set(corpus.none_entities.tolist())
        assert {int(value) for value in facts.values[item] if value} == held
    assert facts.num_users == len({u for u, _ in training})
    for row, profile in zip(rows, facts.profile_popularity, strict=True):
        before = items[corpus.sequence_offsets[users[row]] : row]
        assert profile == pytest.approx(np.mean([facts.interactions[item] for item in before]))
    assert facts.targets.tolist() == items[rows].tolist()


def test_the_example_of_the_page(capsys):
    page = (FOLDER.parents[1] / "docs/how-to/evaluate.md").read_text()
    code, printed = re.search(
        r'```python title="Two lists of two items"\n(.*?)```\n\n```text\n(.*?)```', page, re.S
    ).groups()
    exec(compile(code, "evaluate.md", "exec"), {})
    assert capsys.readouterr().out == printed


def test_the_page_has_every_metric():
    page = (FOLDER.parents[1] / "docs/how-to/evaluate.md").read_text()
    assert re.findall(r"^\| `([^`]+)` \| .* \| .* \| .* \|$", page, re.M)[: len(METRICS)] == list(METRICS)
