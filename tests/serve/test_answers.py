"""What a server answers, against the same from Python."""

import random

import httpx
import numpy as np
import pytest

from tests.serve.conftest import MARKUP, NUM_ITEMS, title
from tests.serve.server import same_list, together

pytestmark = pytest.mark.process


def histories(number: int, seed: int = 0) -> list[list[str]]:
    """Of different lengths; some are longer than what the model reads."""
    chance = random.Random(seed)
    return [
        [str(item) for item in chance.sample(range(1, NUM_ITEMS + 1), chance.randint(1, 20))] for _ in range(number)
    ]


def expected(run, **asked) -> dict[int, tuple[list[str], list[float]]]:
    """Lists of `Run.recommend` by row."""
    frame = run.recommend(**asked)
    parts = frame.partition_by(frame.columns[0], maintain_order=True)
    return [(part["item"].to_list(), part["score"].to_list()) for part in parts]


def test_health_tells_what_is_served(server, runs):
    health = server.health()
    run = runs["first"]
    assert (health["status"], health["run"], health["model"]) == ("ready", "first", "rcf")
    assert (health["items"], health["users"], health["epoch"]) == (NUM_ITEMS, 80, run.epoch)
    assert health["relations"] == list(run.relations)


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_recommend_for_users_is_run_recommend(server, runs, exclude_seen):
    users = [str(user) for user in range(1, 11)]
    lists = expected(runs["first"], users=users, k=7, exclude_seen=exclude_seen)
    for user, (items, scores) in zip(users, lists, strict=True):
        answer = server.post("/recommend", {"user": user, "k": 7, "exclude_seen": exclude_seen}).json()["items"]
        assert same_list(answer, items, scores)
        assert [one["rank"] for one in answer] == list(range(1, 8))
        assert all(one["title"] == title(int(one["item"])) for one in answer)


def test_recommend_with_times_and_integers(server, runs):
    items, scores = expected(runs["first"], histories=[[3, 9, 4]], times=[[0, 60.5, 9000]], k=20)[0]
    answer = server.post("/recommend", {"history": [3, 9, 4], "times": [0, 60.5, 9000], "k": 20})
    assert same_list(answer.json()["items"], items, scores)


def test_a_list_is_as_long_as_there_are_items(server):
    answer = server.post("/recommend", {"history": ["1", "2"], "k": NUM_ITEMS}).json()["items"]
    assert {one["item"] for one in answer} == {str(item) for item in range(3, NUM_ITEMS + 1)}


@pytest.mark.parametrize("clients", [1, 8, 32])
def test_answers_to_requests_that_come_together_are_those_of_one_after_the_other(server, runs, clients):
    given = histories(120, clients)
    lists = expected(runs["first"], histories=given, k=5)
    with server.client() as client:
        answers = together(
            clients, lambda history: client.post("/recommend", json={"history": history, "k": 5}).json(), given
        )
    for answer, (items, scores) in zip(answers, lists, strict=True):
        assert same_list(answer["items"], items, scores)


def test_score_is_run_score(server, runs):
    items = ["5", "1", "60", "5"]
    answer = server.post("/score", {"user": "3", "items": items}).json()["items"]
    np.testing.assert_allclose([one["score"] for one in answer], runs["first"].score(["3"], items)[0], rtol=1e-4)
    assert [one["item"] for one in answer] == items


def test_explain_is_run_explain(server, runs):
    history, items = ["4", "8", "15"], ["16", "23", "16"]
    answer = server.post("/explain", {"history": history, "items": items}).json()["items"]
    assert [one["item"] for one in answer] == items and answer[0] == answer[2]
    frame = runs["first"].explain(histories=[history], items=[items[:2]])
    for one in answer[:2]:
        assert [reason["item"] for reason in one["reasons"]] == history[::-1]
        mine = frame.filter(frame["candidate"] == one["item"])
        for reason in one["reasons"]:
            part = mine.filter(mine["place"] == reason["place"])
            assert list(reason["relations"]) == part["relation"].to_list()
            np.testing.assert_allclose(
                list(reason["relations"].values()), part["contribution"].to_numpy(), rtol=1e-3, atol=1e-5
            )
            assert reason["contribution"] == pytest.approx(sum(reason["relations"].values()))
        total = sum(reason["contribution"] for reason in one["reasons"])
        assert one["baseline"] + total == pytest.approx(one["score"], abs=1e-3)


@pytest.mark.parametrize("by", ["vectors", "category"])
def test_similar_is_run_similar(server, runs, by):
    answer = server.post("/similar", {"item": "12", "by": by, "k": 6}).json()["items"]
    frame = runs["first"].similar(["12"], by=by, k=6)
    assert same_list(answer, frame["similar"].to_list(), frame["score"].to_list())


def test_items_are_found_by_title_and_id(server):
    def found(query, **more):
        return httpx.get(server.url + "/items", params={"query": query, **more}).json()["items"]

    assert found("golden tent")[0]["title"] == "Golden tent"
    assert found("16")[0]["item"] == "16"
    assert len(found("tent", limit=3)) == 3
    assert found("bold")[0]["title"] == MARKUP
    assert found("   ") == []


def test_metrics_count(server):
    server.post("/recommend", {"user": "1"})
    server.post("/recommend", {"user": "nobody"})
    text = httpx.get(server.url + "/metrics").text
    for line in (
        'lrd_jax_requests_total{path="/recommend",status="200"}',
        'lrd_jax_requests_total{path="/recommend",status="404"}',
        'lrd_jax_loads_total{outcome="loaded"} 1.0',
        "lrd_jax_waiting 0.0",
        "lrd_jax_batch_size_bucket",
    ):
        assert line in text


def test_openapi_describes_every_route(server):
    api = httpx.get(server.url + "/openapi.json").json()
    assert set(api["paths"]) == {"/recommend", "/score", "/explain", "/similar", "/items", "/health", "/metrics"}
    assert "k" in api["components"]["schemas"]["RecommendRequest"]["properties"]
