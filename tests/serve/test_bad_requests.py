"""Requests that cannot be answered: each gets a clear error with its field, and the server lives."""

import json
import socket

import httpx
import pytest

from tests.serve.server import together

pytestmark = pytest.mark.process

ONE = ["1"]
BAD = {
    "unknown user": ("/recommend", {"user": "nobody"}, 404, "user", "There is no user 'nobody'."),
    "unknown item": ("/recommend", {"history": ["1", "x"]}, 404, "history.1", "There is no item 'x'."),
    "unknown candidate": ("/score", {"history": ONE, "items": ["2", "0"]}, 404, "items.1", "There is no item '0'."),
    "unknown neighbour": ("/similar", {"item": "x"}, 404, "item", "There is no item 'x'."),
    "escape codes": ("/recommend", {"user": "\x1b[31m"}, 404, "user", r"There is no user '\x1b[31m'."),
    "empty history": ("/recommend", {"history": []}, 422, "history", "history is empty; give 1 or more."),
    "nobody": ("/recommend", {}, 422, "history", "Give either user or history."),
    "both": ("/recommend", {"user": "1", "history": ONE}, 422, "history", "Give either user or history."),
    "k above the catalogue": ("/recommend", {"user": "1", "k": 61}, 422, "k", "k is 61, but there are 60 items."),
    "k above the limit": ("/recommend", {"user": "1", "k": 10**30}, 422, "k", "k should be less than or equal to 100."),
    "k of 0": ("/recommend", {"user": "1", "k": 0}, 422, "k", "k should be greater than or equal to 1."),
    "k as text": ("/recommend", {"user": "1", "k": "5"}, 422, "k", "k should be a valid integer."),
    "k as truth": ("/recommend", {"user": "1", "k": True}, 422, "k", "k should be a valid integer."),
    "id as truth": ("/recommend", {"history": [True]}, 422, "history.0", "history.0 is no id"),
    "id as list": ("/recommend", {"history": [["1"]]}, 422, "history.0", "history.0 is no id"),
    "long id": ("/recommend", {"user": "x" * 257}, 422, "user", "user should have at most 256 characters."),
    "long history": (
        "/recommend",
        {"history": ONE * 1001},
        422,
        "history",
        "history has too many; give 1000 or fewer.",
    ),
    "NaN time": ("/recommend", {"history": ONE, "times": [float("nan")]}, 422, "times.0", "is not a finite number."),
    "infinite time": ("/recommend", {"history": ONE, "times": [float("inf")]}, 422, "times.0", "not a finite number."),
    "milliseconds": ("/recommend", {"history": ONE, "times": [1.7e12]}, 422, "times.0", "should be less than"),
    "too few times": ("/recommend", {"history": ["1", "2"], "times": [1]}, 422, "times", "1 times for 2 items."),
    "descending": ("/recommend", {"history": ["1", "2"], "times": [2, 1]}, 422, "times.1", "The times do not ascend"),
    "times of a user": ("/recommend", {"user": "1", "times": [1]}, 422, "times", "Times belong to a history"),
    "typo": ("/recommend", {"user": "1", "K": 3}, 422, "K", "K is no field of this request."),
    "nothing to score": ("/score", {"user": "1", "items": []}, 422, "items", "items is empty; give 1 or more."),
    "no items": ("/score", {"user": "1"}, 422, "items", "items is missing."),
    "too many to explain": ("/explain", {"user": "1", "items": ONE * 17}, 422, "items", "give 16 or fewer."),
    "unknown relation": ("/similar", {"item": "1", "by": "x"}, 422, "by", "Items cannot be compared by 'x'"),
    "a list": ("/recommend", [1], 422, "body", "The body is not a JSON object"),
    "null": ("/recommend", None, 422, "body", "body"),
}


def check(server, answer, status, field, message):
    """The answer is that error, in JSON with nothing else, and the server lives."""
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert set(told) == {"error", "field"}
    assert told["field"] == field
    assert message in told["error"] and "Traceback" not in told["error"]
    assert server.health()["status"] == "ready"


@pytest.mark.parametrize("case", BAD)
def test_bad_values(server, case):
    path, body, status, field, message = BAD[case]
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(server.url + path, content=json.dumps(body), headers=headers)
    check(server, answer, status, field, message)


@pytest.mark.parametrize(
    "body",
    [b'{"user": "1"', b"user=1", b"\xff\xfe\x00", b"[" * 100_000, b'{"user": ' + b"9" * 5000 + b"}"],
    ids=["cut", "form", "binary", "deep", "huge integer"],
)
def test_not_json(server, body):
    answer = httpx.post(server.url + "/recommend", content=body, headers={"Content-Type": "application/json"})
    check(server, answer, 422, "body", "The body is not JSON.")


def test_no_content_type(server):
    check(server, httpx.post(server.url + "/recommend", content=b'{"user": "1"}'), 422, "body", "application/json")


def chunks():
    for _ in range(160):
        yield b" " * 65536


@pytest.mark.parametrize("content", [b" " * 10_000_000, chunks()], ids=["declared", "in chunks"])
def test_a_body_of_10_mb(server, content):
    answer = httpx.post(server.url + "/recommend", content=content, headers={"Content-Type": "application/json"})
    check(server, answer, 413, "body", "The body is larger than 1,048,576 bytes.")


def test_query_of_items(server):
    for parameters, field in (
        ({}, "query"),
        ({"query": ""}, "query"),
        ({"query": "x" * 201}, "query"),
        ({"query": "a", "limit": "many"}, "limit"),
        ({"query": "a", "limit": 51}, "limit"),
    ):
        check(server, httpx.get(server.url + "/items", params=parameters), 422, field, field)


def test_no_such_page_or_method(server):
    check(server, httpx.get(server.url + "/page/../../etc/passwd"), 404, None, "There is no such page.")
    check(server, httpx.get(server.url + "/recommend"), 405, None, "This page takes POST only.")


def test_clients_that_go_in_the_middle(server):
    """Of a body, and of the wait for an answer."""
    host, port = server.url.removeprefix("http://").split(":")
    head = b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n"
    for sent in (b'{"us', b'{"user": "1"}', b"\x00\xff"):
        for _ in range(5):
            with socket.create_connection((host, int(port))) as client:
                client.sendall(head + sent)
    assert server.post("/recommend", {"user": "1"}).status_code == 200


def test_bad_ones_among_good_ones(server):
    """At once, so that they could share a batch; each has its own answer."""
    bodies = [{"user": "1"}, {"user": "nobody"}, {"history": []}, {"history": ["3"], "times": [float("nan")]}] * 20

    def post(body):
        headers = {"Content-Type": "application/json"}
        return httpx.post(server.url + "/recommend", content=json.dumps(body), headers=headers, timeout=60).status_code

    assert together(8, post, bodies) == [200, 404, 422, 422] * 20
