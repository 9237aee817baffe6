"""`openai-batch` against a server on loopback: whatever happens, every text is handed in once and none is lost."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from lrd_jax.errors import UnderWay, UserError
from lrd_jax.text.openai import batch
from lrd_jax.text.openai.batch import OpenAIBatchEncoder
from lrd_jax.text.openai.batch_records import BatchRecords
from lrd_jax.text.openai.dry_run import dry_run
from lrd_jax.text.openai.vector_cache import Database, cache_path
from lrd_jax.text.options import BatchOptions, ServerOptions
from tests.text.conftest import write_dataset
from tests.text.server import vector_of
from tests.text.test_openai import encoder as openai_encoder

MODEL = "small-model"
TEXTS = [f'film {n} 日本 \u2028 "quoted"' for n in range(10)]


def encoder(server, *, wait=True, abandon=False, ask_all=False, **options):
    server_options = ServerOptions(base_url=server.url, timeout=20.0, abandon_batches=abandon, **options)
    return OpenAIBatchEncoder(
        MODEL, None, server_options, BatchOptions(wait=wait, poll_seconds=0.02), force=ask_all, ask_all=ask_all
    )


def expected(texts=TEXTS):
    return np.array([vector_of(text, MODEL, 8) for text in texts], np.float32)


def handed_in_once(server, texts=TEXTS):
    assert server.asked == dict.fromkeys(texts, 1)


def open_batches(server):
    with Database(cache_path()) as database:
        return BatchRecords(database, server.url).open()


def test_one_batch(server, capsys):
    np.testing.assert_array_equal(encoder(server).encode([*TEXTS, TEXTS[0]]), expected([*TEXTS, TEXTS[0]]))
    handed_in_once(server)
    assert server.requests["POST /v1/files"] == server.requests["POST /v1/batches"] == 1
    assert "batch batch_0 submitted: 10 texts" in capsys.readouterr().out
    assert open_batches(server) == []
    before = server.requests.copy()
    np.testing.assert_array_equal(encoder(server).encode(TEXTS), expected())
    np.testing.assert_array_equal(openai_encoder(server).encode(TEXTS), expected())  # the cache is one
    assert server.requests == before


def test_several_files(server, monkeypatch):
    monkeypatch.setattr(batch, "MAX_FILE_INPUTS", 4)
    np.testing.assert_array_equal(encoder(server).encode(TEXTS), expected())
    assert [content.count(b"\n") for name, content in server.batches.files.items() if "custom_id" in str(content)][
        :3
    ] == [4, 4, 2]
    handed_in_once(server)
    monkeypatch.setattr(batch, "MAX_FILE_BYTES", 500)
    more = [text + "!" for text in TEXTS]
    encoder(server).encode(more)
    inputs = [len(server.batches.files[batch["input_file_id"]]) for batch in server.batches.batches.values()][3:]
    assert len(inputs) == 5 and max(inputs) <= 500
    handed_in_once(server, [*TEXTS, *more])


def test_handed_in_now_collected_later(server):
    server.batches.looks = 2
    with pytest.raises(UnderWay, match="unfinished batches: batch_0"):
        encoder(server, wait=False).encode(TEXTS)
    table = dry_run(TEXTS, encoder(server))
    rows = {cells[0]: cells[1] for cells in zip(*(column.cells for column in table.columns), strict=True)}
    assert rows["in unfinished batches"] == "10" and rows["to request"] == "0"
    with pytest.raises(UserError, match="3 of these texts are in unfinished batches.*--abandon-batches"):
        openai_encoder(server).encode([*TEXTS[:3], "new"])
    with pytest.raises(UnderWay):  # another dataset with some of the same texts asks for its own alone
        encoder(server, wait=False).encode([*TEXTS[:3], "new"])
    np.testing.assert_array_equal(encoder(server).encode(TEXTS), expected())
    np.testing.assert_array_equal(encoder(server).encode([*TEXTS[:3], "new"]), expected([*TEXTS[:3], "new"]))
    handed_in_once(server, [*TEXTS, "new"])


def test_abandoned_for_requests(server):
    with pytest.raises(UnderWay):
        encoder(server, wait=False).encode(TEXTS)
    np.testing.assert_array_equal(openai_encoder(server, abandon_batches=True).encode(TEXTS), expected())
    assert open_batches(server) == []


def test_only_what_the_cache_lacks_is_handed_in(server):
    openai_encoder(server).encode(TEXTS[:4])
    np.testing.assert_array_equal(encoder(server).encode(TEXTS), expected())
    handed_in_once(server)


@pytest.mark.parametrize(("outcome", "again"), [("expired", 5), ("rows fail", 4), ("wrong rows", 2)])
def test_rows_that_failed_in_passing_are_handed_in_again(server, capsys, outcome, again):
    server.batches.outcomes.append(outcome)
    np.testing.assert_array_equal(encoder(server).encode(TEXTS), expected())
    assert sum(count - 1 for count in server.asked.values()) == again
    assert f"{again} texts have no embedding yet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("outcome", "words", "kept"),
    [
        ("failed", "10 of 10 texts have no embedding: batch batch_0 failed: Too many tokens", 0),
        ("cancelled", "5 of 10 texts have no embedding: .*batch batch_0 cancelled", 5),
        ("rows refused", "4 of 10 texts have no embedding: Row of nobody is not to be had .4 times", 6),
    ],
)
def test_permanent_failures_are_reported_and_the_rest_kept(server, outcome, words, kept):
    server.batches.outcomes.append(outcome)
    with pytest.raises(UserError, match=words):
        encoder(server).encode(TEXTS)
    assert server.requests["POST /v1/batches"] == 1 and open_batches(server) == []
    np.testing.assert_array_equal(encoder(server).encode(TEXTS), expected())
    assert sum(count - 1 for count in server.asked.values()) == 10 - kept


def test_rows_that_never_come(server):
    server.batches.outcomes.extend(["rows fail"] * 9)
    with pytest.raises(UserError, match="1 of 10 texts have no embedding: Row of nobody"):
        encoder(server).encode(TEXTS)
    assert server.requests["POST /v1/batches"] == batch.ROUNDS


@pytest.mark.parametrize("creating", ["lost", "500", "429"])
def test_an_answer_that_was_lost_makes_no_second_batch(server, creating):
    for number in range(3):  # so that the list has several pages
        encoder(server).encode([f"other {number}"])
    server.asked.clear()
    server.batches.creating.append(creating)
    np.testing.assert_array_equal(encoder(server).encode(TEXTS), expected())
    handed_in_once(server)


def command(server, folder, *options):
    arguments = ["--encoder", "openai-batch", "--model", MODEL, "--base-url", server.url, "--poll-seconds", "0.02"]
    return subprocess.Popen(
        [sys.executable, "-m", "lrd_jax.embed", str(folder), *arguments, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.process
@pytest.mark.parametrize("moment", ["created, not recorded", "uploaded, not created", "polling"])
def test_killed(server, tmp_path, moment):
    folder = write_dataset(tmp_path / "films", [f"film {n}" for n in range(10)])
    texts = [f"film {n}" for n in range(10)]
    if moment == "polling":
        server.batches.looks = 10**9
    else:
        server.batches.creating.append({"created, not recorded": "hang", "uploaded, not created": "stall"}[moment])
    process = command(server, folder)
    reached = {
        "polling": lambda: server.requests["GET /v1/batches/batch_0"] > 2,
        "created, not recorded": lambda: server.batches.batches,
        "uploaded, not created": lambda: server.batches.stalled,
    }[moment]
    while not reached():
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    server.batches.looks = 1
    np.testing.assert_array_equal(encoder(server).encode(texts), expected(texts))
    handed_in_once(server, texts)
    assert open_batches(server) == []


@pytest.mark.process
def test_exit_code_while_under_way(server, tmp_path):
    folder = write_dataset(tmp_path / "films", ["a", "b", "c"])
    process = command(server, folder, "--no-wait")
    out, err = process.communicate()
    assert process.returncode == 75 and "unfinished batches: batch_0" in out and "Traceback" not in err
    assert not list(folder.glob("text_*"))


@pytest.mark.process
def test_two_processes_hand_in_once(server, tmp_path):
    folders = [write_dataset(tmp_path / name, [f"film {n}" for n in range(10)]) for name in ("one", "two")]
    processes = [command(server, folder) for folder in folders]
    told = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    handed_in_once(server, [f"film {n}" for n in range(10)])


def test_a_batch_that_the_server_does_not_know(server):
    with pytest.raises(UnderWay):
        encoder(server, wait=False).encode(TEXTS)
    server.batches.batches.clear()
    with pytest.raises(UserError, match="does not know the batch batch_0.*--abandon-batches"):
        encoder(server).encode(TEXTS)
    np.testing.assert_array_equal(encoder(server, abandon=True).encode(TEXTS), expected())
    assert server.asked == dict.fromkeys(TEXTS, 2)


def test_results_that_break_off_are_read_again(server):
    server.batches.reading.append("broken off")
    with pytest.raises(UserError, match="cannot be reached, or closed the connection.*run the command again"):
        encoder(server).encode(TEXTS)
    np.testing.assert_array_equal(encoder(server).encode(TEXTS), expected())
    handed_in_once(server)


def test_results_that_the_server_keeps_no_longer(server):
    server.batches.reading.extend(["gone", "gone"])
    for _ in range(2):
        with pytest.raises(UserError, match="does not know the results of batch batch_0.*--abandon-batches") as error:
            encoder(server).encode(TEXTS)
        assert error.value.__context__ is None
    np.testing.assert_array_equal(encoder(server, abandon=True).encode(TEXTS), expected())
    assert server.asked == dict.fromkeys(TEXTS, 2)
