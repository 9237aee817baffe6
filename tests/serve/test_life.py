"""A server's life: a full queue, another run by SIGHUP, its end by SIGTERM."""

import shutil
import signal
import socket
import threading
import time

import httpx
import pytest

from lrd_jax import load_run
from tests.processes import run as run_command
from tests.serve.server import same_list, serving, together
from tests.serve.test_answers import expected, histories
from tests.small_runs import train

pytestmark = [pytest.mark.process, pytest.mark.slow]


def test_a_full_queue_is_told_with_a_time_to_retry(place):
    """Explanations wait a second for others, so that two fill the queue for as long."""
    with serving(place, place / "first", "--queue", "2", "--max-wait-ms", "1000") as server:
        asked = {"user": "1", "items": ["1"]}
        answers = together(6, lambda _: server.post("/explain", asked), range(6))
        codes = sorted(answer.status_code for answer in answers)
        assert codes == [200, 200, 503, 503, 503, 503]
        for answer in answers:
            if answer.status_code == 503:
                assert int(answer.headers["retry-after"]) >= 1
                assert answer.json()["error"].startswith("Too many requests wait. Try again in ")
        assert server.post("/recommend", {"user": "1"}).status_code == 200
        assert server.stop() == (0, "")


def test_sigterm_answers_what_is_in_flight(place):
    with serving(place, place / "first", "--max-wait-ms", "1000") as server:
        answers = []
        asking = threading.Thread(
            target=lambda: answers.extend(
                together(3, lambda user: server.post("/explain", {"user": user, "items": ["1"]}), "123")
            )
        )
        asking.start()
        server.wait_for(lambda health: health["waiting"] == 3)
        assert server.stop() == (0, "")
        asking.join()
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert [answer.json()["items"][0]["item"] for answer in answers] == ["1", "1", "1"]


def test_ctrl_c_ends_it_too(place):
    with serving(place, place / "first") as server:
        server.process.send_signal(signal.SIGINT)
        stdout, stderr = server.process.communicate(timeout=60)
        assert (server.process.returncode, stderr) == (0, "")
        assert stdout == "stopping: requests in flight are answered first\n"


def test_sigterm_while_the_run_is_loaded_again(place):
    with serving(place, place / "first") as server:
        server.process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        assert server.post("/recommend", {"user": "1"}).status_code == 200
        assert server.stop() == (0, "")


def test_a_second_signal_does_not_wait(place):
    with serving(place, place / "first", "--max-wait-ms", "1000") as server:
        asked = {"user": "1", "items": ["1"]}
        asking = threading.Thread(target=lambda: pytest.raises(httpx.HTTPError, server.post, "/explain", asked))
        asking.start()
        server.wait_for(lambda health: health["waiting"] == 1)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.stdout.readline().startswith("stopping")
        server.process.send_signal(signal.SIGTERM)
        server.process.communicate(timeout=60)
        assert server.process.returncode == 143
        asking.join()


def test_a_model_without_relations(place):
    """Its reasons are what a score loses without an item."""
    train(place / "sasrec", place / "data", model="sasrec")
    run = load_run(place / "sasrec")
    with serving(place, place / "sasrec") as server:
        assert server.health()["relations"] == []
        items, scores = expected(run, histories=[["3", "4", "5"]], k=8)[0]
        assert same_list(server.post("/recommend", {"history": [3, 4, 5], "k": 8}).json()["items"], items, scores)
        (told,) = server.post("/explain", {"history": [3, 4, 5], "items": items[:1]}).json()["items"]
        frame = run.explain(histories=[["3", "4", "5"]], items=[items[:1]])
        assert told["baseline"] is None and [reason["item"] for reason in told["reasons"]] == ["5", "4", "3"]
        for reason, contribution in zip(told["reasons"], frame["contribution"], strict=True):
            assert reason["relations"] == {} and reason["contribution"] == pytest.approx(contribution, abs=1e-4)
        answer = server.post("/similar", {"item": "3", "by": "text"})
        assert (answer.status_code, answer.json()["field"]) == (422, "by")
        assert server.stop() == (0, "")


def replace(link, folder):
    """What a link names, at once."""
    new = link.with_name(f"{link.name}-new")
    new.symlink_to(folder)
    new.replace(link)


def test_sighup_under_load_loses_nothing(place, runs, tmp_path):
    link = tmp_path / "live"
    link.symlink_to(place / "first")
    given = histories(64)
    lists = {name: expected(run, histories=given, k=5) for name, run in runs.items()}
    stop, found, failures = threading.Event(), {"first": 0, "second": 0}, []
    with serving(place, link) as server:

        def ask(client_number):
            with server.client() as client:
                number = client_number
                while not stop.is_set():
                    number = (number + 1) % len(given)
                    answer = client.post("/recommend", json={"history": given[number], "k": 5})
                    items = answer.json().get("items", [])
                    of = [name for name in lists if same_list(items, *lists[name][number])]
                    if not of:
                        failures.append((answer.status_code, answer.text))
                    for name in of:
                        found[name] += 1

        threads = [threading.Thread(target=ask, args=(8 * n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        try:
            for loads, name in enumerate(("second", "first", "second"), 2):
                time.sleep(0.3)
                replace(link, place / name)
                server.process.send_signal(signal.SIGHUP)
                assert server.wait_for(lambda health, loads=loads: health["loads"] == loads)["status"] == "ready"
            time.sleep(0.3)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not failures
        assert found["first"] > 20 and found["second"] > 20
        answer = server.post("/recommend", {"history": given[0], "k": 5}).json()["items"]
        assert same_list(answer, *lists["second"][0])
        assert server.stop() == (0, "")


def test_a_run_that_cannot_be_loaded_leaves_the_old_one(place, tmp_path):
    folder = tmp_path / "live"
    shutil.copytree(place / "first", folder)
    with serving(place, folder) as server:
        before = server.post("/recommend", {"user": "1"}).json()
        shutil.rmtree(folder / "checkpoints")
        server.process.send_signal(signal.SIGHUP)
        line = server.process.stderr.readline()
        assert line.startswith("warning: the run could not be loaded again, so the one of before is served: ")
        assert server.post("/recommend", {"user": "1"}).json() == before
        assert (server.health()["status"], server.health()["loads"]) == ("ready", 1)
        assert server.stop() == (0, "")


def test_mistakes_on_the_command_line(place):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        answer = run_command(place, "serve", place / "first", "--port", port)
    assert answer.returncode == 2
    assert f"cannot listen on 127.0.0.1, port {port}: Address already in use" in answer.stderr
    for arguments, told in (
        ([place / "data"], "there is no run"),
        ([place / "first", "--queue", "0"], "the queue has 0 places"),
        ([place / "first", "--port", "70000"], "70000 is no port"),
        ([place / "first", "--max-wait-ms", "nan"], "nan ms is no wait"),
    ):
        answer = run_command(place, "serve", *arguments)
        assert answer.returncode == 2 and told in answer.stderr, answer.stderr
