"""Texts that a server rejects: the others are stored, and these are listed with their items."""

import re

import numpy as np
import pytest

from lrd_jax.errors import UserError
from lrd_jax.text.openai.asking import REFUSALS_IN_A_ROW
from lrd_jax.text.openai.refused import TextsRefused
from tests.text.conftest import write_dataset, write_texts
from tests.text.test_openai import MODEL, encoder, expected, printed_by, stored_texts
from tests.text.test_openai_batch import encoder as batch_encoder

TEXTS = [f"film {n:02}" for n in range(24)]


def refused(asking, words):
    with pytest.raises(TextsRefused, match=words) as error:
        asking.encode(TEXTS)
    assert error.value.__context__ is None
    return str(error.value)


@pytest.mark.parametrize("inputs", [1, 5, 2048])
@pytest.mark.parametrize("status", ["400", "403", "413", "422", "500", "error"])
def test_one_text_of_many(server, status, inputs):
    server.of_texts = {TEXTS[7]: status}
    told = {"403": "status 403", "error": "This was filtered"}.get(status, f"status {status}: This was filtered")
    words = rf"^1 of 24 texts have no embedding: {told} \('film 07'\)"
    refused(encoder(server, inputs=inputs, max_retries=0), words)
    assert stored_texts(server, TEXTS) == {*TEXTS} - {TEXTS[7]}
    server.of_texts.clear()
    server.asked.clear()
    np.testing.assert_array_equal(encoder(server).encode(TEXTS), expected(TEXTS))
    assert server.asked == {TEXTS[7]: 1}


@pytest.mark.parametrize("places", [[0], [23], [0, 1], [3, 4, 5, 22], range(1, 24), range(24)])
def test_several_texts_wherever_they_are(server, places):
    server.of_texts = {TEXTS[place]: "400" for place in places}
    told = refused(
        encoder(server, concurrency=3, inputs=10), f"^{len(places)} of 24 texts have no embedding: status 400"
    )
    shown = list(places)[:5]
    assert all(repr(TEXTS[place]) in told for place in shown)
    assert (f"and {len(places) - 5} more" in told) == (len(places) > 5)
    assert stored_texts(server, TEXTS) == {text for place, text in enumerate(TEXTS) if place not in places}


@pytest.mark.parametrize(
    ("fault", "words", "times"),
    [("zeros", "a zero vector", 1), ("nan", "NaN or infinity in the vector", 2), ("null", "no list of numbers", 2)],
)
def test_one_vector_of_many_that_cannot_be_used(server, fault, words, times):
    server.of_texts = {TEXTS[7]: fault, TEXTS[9]: fault}
    refused(encoder(server), rf"^2 of 24 .*the server returned {words} \(2 times: 'film 07', 'film 09'\)")
    assert stored_texts(server, TEXTS) == {*TEXTS} - {TEXTS[7], TEXTS[9]}
    assert server.asked == dict.fromkeys(TEXTS, 1) | {TEXTS[7]: times, TEXTS[9]: times}
    refused(encoder(server), "^2 of 24")  # they are not in the cache
    server.of_texts.clear()
    np.testing.assert_array_equal(encoder(server).encode(TEXTS), expected(TEXTS))


def test_requests_that_are_too_large_are_split(server, capsys):
    server.most = 10
    texts = [f"text {n}" for n in range(200)]
    np.testing.assert_array_equal(encoder(server).encode(texts), expected(texts))
    assert "warning: the server rejected requests" in (err := capsys.readouterr().err)
    assert "--request-inputs 7" in err
    assert server.requests["POST /v1/embeddings"] == 1 + 5 + 32  # the test text; 200, 100, 50, 25, 13 refused; answers


def test_a_server_that_starts_to_reject_everything_does_not_get_each_text(server):
    server.faults.append("ok")
    server.always = "400"
    with pytest.raises(UserError, match="answered with status 400: This is refused"):
        encoder(server).encode([f"text {n}" for n in range(2000)])
    assert server.requests["POST /v1/embeddings"] < 3 * REFUSALS_IN_A_ROW


@pytest.mark.parametrize("name", ["openai", "openai-batch"])
def test_the_command_names_item_and_text(server, tmp_path, monkeypatch, capsys, name):
    long = "a text of many words " * 9
    texts = ["film one", long, "film \x1b[31mthree", "film four"]
    folder = write_dataset(tmp_path / "films", texts)
    options = [folder, "--encoder", name, "--model", MODEL, "--base-url", server.url]
    if name == "openai-batch":
        options += ["--poll-seconds", "0.02"]
    server.of_texts = {long.strip(): "400", texts[2]: "400", texts[3]: "zeros"}
    code, told = printed_by(monkeypatch, capsys, *options)
    assert code == 2 and "Traceback" not in told and not list(folder.glob("text_*"))
    assert "3 of 4 texts have no embedding: " in told
    assert f"This was filtered (2 times: item 2 '{long[:60]}...', item 3 'film \\x1b[31mthree')" in told
    assert "the server returned a zero vector (item 4 'film four')" in told
    assert "item_text.tsv" in told and "--max-tokens" in told
    asked = server.asked[texts[0]]
    write_texts(folder, ["", *texts[:1], "two", "three", "four"])
    code, told = printed_by(monkeypatch, capsys, *options)
    assert code == 0 and server.asked[texts[0]] == asked
    np.testing.assert_array_equal(
        np.load(folder / f"text_{name}-{MODEL}.npy"), expected([texts[0], "two", "three", "four"])
    )


def test_rows_of_a_batch(server, capsys):
    server.batches.outcomes.append("rows fail")  # a third, in passing
    server.of_texts = {TEXTS[7]: "400", TEXTS[8]: "zeros"}
    with pytest.raises(TextsRefused) as error:
        batch_encoder(server).encode(TEXTS)
    told = str(error.value)
    assert told.startswith("2 of 24 texts have no embedding: This was filtered ('film 07'); ")
    assert "the server returned a zero vector ('film 08')" in told
    assert stored_texts(server, TEXTS) == {*TEXTS} - {TEXTS[7], TEXTS[8]}
    assert "10 texts have no embedding yet" in capsys.readouterr().out  # the others of them are handed in again
    server.of_texts.clear()
    np.testing.assert_array_equal(batch_encoder(server).encode(TEXTS), expected(TEXTS))


def test_many_rejections_are_reported_briefly():
    texts = [f"text {n}" for n in range(200)]
    told = str(TextsRefused(texts, {n: f"reason {n % 5}" for n in range(190)}, range(1, 201)))
    assert told.startswith("190 of 200 texts have no embedding: reason 0 (38 times: item 1 'text 0', item 6 'text 5', ")
    assert "item 26, item 31, " in told and "; and 2 other reasons" in told
    told = str(TextsRefused(texts, dict.fromkeys(range(200), "reason"), range(1, 201)))
    assert re.search(r"item 49, item 50, and 150 more\)", told)
