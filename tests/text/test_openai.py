"""`openai` against a server on loopback: the real client, faults, kills; every request counted."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lrd_jax.command_line.parse import run_command
from lrd_jax.config.schema import EncoderConfig, TextConfig
from lrd_jax.embed import embed_dataset, main
from lrd_jax.errors import UserError
from lrd_jax.text import store
from lrd_jax.text.openai.batch_records import sole_asker
from lrd_jax.text.openai.embeddings import OpenAIEncoder
from lrd_jax.text.openai.vector_cache import Database, cache_path
from lrd_jax.text.options import RequestOptions, ServerOptions
from tests.text.conftest import KEY, write_dataset
from tests.text.server import vector_of

MODEL = "small-model"
WORDS = ["alpha", "beta", "gamma"]


def encoder(server, *, model=MODEL, dimensions=None, concurrency=1, inputs=2048, force=False, ask_all=False, **options):
    options = {"base_url": server.url, "timeout": 20.0} | options
    requests = RequestOptions(concurrency=concurrency, request_inputs=inputs)
    return OpenAIEncoder(model, dimensions, ServerOptions(**options), requests, force=force, ask_all=ask_all)


def expected(texts, model=MODEL, dimensions=8):
    return np.array([vector_of(text, model, dimensions) for text in texts], np.float32)


def embed(*args):
    return subprocess.Popen(
        [sys.executable, "-m", "lrd_jax.embed", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stored_texts(server, texts):
    """Those whose vectors are in the cache file."""
    with sqlite3.connect(f"file:{cache_path()}?mode=rw", uri=True) as connection:  # a kill's transaction is undone
        blobs = {blob for (blob,) in connection.execute("SELECT vector FROM vectors")}
    return {text for text, vector in zip(texts, expected(texts), strict=True) if vector.tobytes() in blobs}


def test_vectors_and_requests(server, capsys):
    texts = ["alpha", "beta", "alpha", "gamma  ", "日本 😀", "a\nb"]
    first = encoder(server)
    np.testing.assert_array_equal(first.encode(texts), expected(texts))
    assert first.dimensions == 8
    assert server.asked == dict.fromkeys(texts, 1)  # "alpha" once
    assert server.requests == {"POST /v1/embeddings": 2}  # the first is for the test text
    assert server.sent_keys == {f"Bearer {KEY}"}
    np.testing.assert_array_equal(encoder(server).encode([*texts, "new"])[:-1], expected(texts))
    assert server.asked == dict.fromkeys([*texts, "new"], 1)
    assert "6 were" not in capsys.readouterr().err
    assert encoder(server).encode(["alpha"]).shape == (1, 8)  # the width comes from the cache
    assert server.requests == {"POST /v1/embeddings": 4}


def test_dimensions_and_models_are_kept_apart(server):
    wide = encoder(server).encode(WORDS)
    narrow = encoder(server, dimensions=4).encode(WORDS)
    other = encoder(server, model="other").encode(WORDS)
    ada = encoder(server, model=None).encode(WORDS)
    assert (wide.shape, narrow.shape, other.shape, ada.shape) == ((3, 8), (3, 4), (3, 8), (3, 1536))
    np.testing.assert_array_equal(narrow, expected(WORDS, dimensions=4))
    np.testing.assert_array_equal(other, expected(WORDS, "other"))
    assert server.asked == dict.fromkeys(WORDS, 4)
    assert encoder(server, model="text-embedding-3-small", dimensions=5).encode(WORDS).shape == (3, 5)
    with pytest.raises(UserError, match="embeds in 1536 dimensions"):
        encoder(server, model=None, dimensions=5)


def test_requests_are_packed_and_bounded(server):
    texts = [f"text {n:03}" for n in range(50)]  # 8 bytes each
    server.delay = 0.05
    np.testing.assert_array_equal(encoder(server, concurrency=3, inputs=6).encode(texts), expected(texts))
    assert server.requests["POST /v1/embeddings"] == 1 + 9
    assert server.most_at_once == 3
    server.requests.clear()
    requests = RequestOptions(concurrency=8, request_tokens=40)
    OpenAIEncoder("m", None, ServerOptions(base_url=server.url), requests).encode(texts)
    assert server.requests["POST /v1/embeddings"] == 1 + 10


def test_long_texts_are_cut_in_whole_characters(server):
    texts = ["é" * 10, "é" * 5 + "x", "ééx", " " * 9 + "late"]
    vectors = encoder(server, max_tokens=7).encode(texts)
    assert server.asked == {"ééé": 1, "ééx": 1}  # two texts became one, and one became blank
    np.testing.assert_array_equal(vectors[:3], expected(["ééé", "ééé", "ééx"]))
    assert not vectors[3].any()


@pytest.mark.parametrize(
    "faults",
    [
        ["429", "500"],
        ["reset", "truncated"],
        ["hang"],
        ["half"],
        ["duplicate"],
        ["missing"],
        ["range"],
        ["nan"],
        ["huge"],
        ["null"],
        ["string"],
        ["extra"],
        ["html"],
        ["passing error", "passing error", "passing error"],
        ["order"],
        ["no index"],
    ],
    ids=",".join,
)
def test_passing_faults(server, faults):
    server.faults.extend(["ok", *faults])
    asking = encoder(server, timeout=1.0 if "hang" in faults else 20.0)
    np.testing.assert_array_equal(asking.encode(WORDS), expected(WORDS))
    usable = faults in (["order"], ["no index"])
    assert server.requests["POST /v1/embeddings"] == 1 + len(faults) + (not usable)
    if faults[0] in ("nan", "huge", "null", "string"):  # of one text: the others are not asked for again
        assert server.asked == {"alpha": 1, "beta": 1, "gamma": 2}


def test_retry_after_is_honoured(server):
    server.faults.extend(["ok", "429"])
    server.retry_after = 1.1  # the client by itself would wait half a second at most
    encoder(server).encode(WORDS)
    assert server.times[2] - server.times[1] >= 1.1


@pytest.mark.parametrize(
    ("fault", "words", "requests"),
    [
        ("width", "9 dimensions, not 8", 1),
        ("missing", "2 unusable answers: the answer has 2 embeddings for 3 texts", 2),
        ("no last index", "has some embeddings without an index.*--request-inputs 1", 1),
        ("same index", "has 3 embeddings with the same index.*--request-inputs 1", 1),
        ("error", "answered with an error: No provider is there", 1),
        ("passing error", "answered with an error: Overloaded, try again", 2),
        ("quota", "status 429: You exceeded your current quota.*balance", 1),
        ("429", "status 429: Rate limit reached.*Run the command again later", 2),
        ("500", "status 500", 2 + 2),  # with the test text between, for it may be the texts
        ("401", "rejected the key", 1),
        ("reset", "cannot be reached, or closed the connection", 2),
        ("hang", "did not answer in time", 2),
    ],
)
def test_lasting_faults(server, fault, words, requests):
    server.faults.append("ok")  # the test text is answered
    server.always = fault
    asking = encoder(server, dimensions=8, max_retries=1, timeout=1.0 if fault == "hang" else 20.0)
    with pytest.raises(UserError, match=words) as error:
        asking.encode(WORDS)
    assert KEY not in str(error.value)
    assert error.value.__cause__ is None and error.value.__context__ is None  # the client's error has the key in it
    assert server.requests["POST /v1/embeddings"] == 1 + requests
    assert stored_texts(server, WORDS) == set()
    server.always = "ok"
    np.testing.assert_array_equal(encoder(server, dimensions=8).encode(WORDS), expected(WORDS))


@pytest.mark.parametrize(
    ("fault", "words", "requests"),
    [
        ("400", "status 400: This is refused for Bearer .key.*--model, --dimensions and --base-url", 1),
        ("401", "rejected the key .status 401.. Check OPENAI_API_KEY", 1),
        ("error", "No provider is there", 1),
        ("quota", "quota", 1),
        ("zeros", "returned a zero vector for the test text 'A red bicycle with 21 gears'", 1),
        ("nan", "returned NaN or infinity in the vector", 2),
        ("null", "returned no list of numbers", 2),
        ("missing", "2 unusable answers: the answer has 0 embeddings for 1 texts", 2),
        ("html", "2 unusable answers: the answer does not parse as JSON", 2),
    ],
)
def test_what_holds_for_every_text_is_found_with_the_test_text(server, fault, words, requests):
    server.always = fault
    with pytest.raises(UserError, match=words) as error:
        encoder(server, max_retries=3).encode(WORDS)
    assert KEY not in str(error.value) and error.value.__context__ is None
    assert server.requests["POST /v1/embeddings"] == requests and not server.asked


def test_after_a_failure_running_requests_are_kept_and_no_new_ones_sent(server):
    texts = [f"text {n}" for n in range(10)]
    server.delay = 0.3
    server.faults.extend(["ok", "ok", "401", "ok"])  # the first is the test text's
    with pytest.raises(UserError, match="status 401"):
        encoder(server, concurrency=3, inputs=1).encode(texts)
    assert server.requests["POST /v1/embeddings"] <= 1 + 5  # two may have begun before the refusal came
    assert len(stored_texts(server, texts)) == server.answered.total() >= 2
    server.delay = 0.0
    encoder(server, inputs=1).encode(texts)
    assert server.answered == dict.fromkeys(texts, 1)


def test_a_server_that_changes_its_width(server):
    encoder(server).encode(WORDS)
    server.width = 9
    with pytest.raises(UserError, match="9 dimensions, not 8"):
        encoder(server).encode([*WORDS, "new"])
    assert encoder(server).encode(WORDS).shape == (3, 8)


def test_vectors_of_other_lengths_are_scaled(server, monkeypatch):
    monkeypatch.setattr("tests.text.server.vector_of", lambda text, model, width: [3.0] + [0.0] * (width - 2) + [4.0])
    vectors = encoder(server).encode(WORDS)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(vectors[0, [0, -1]], [0.6, 0.8], rtol=1e-6)


def test_training_asks_for_nothing(server, dataset):
    for name in ("openai", "openai-batch"):
        with pytest.raises(UserError, match=f"`python -m lrd_jax.embed {dataset} --encoder {name} --model m`"):
            store.load_or_embed(dataset, 4, TextConfig(encoder=name, model="m"))
    assert not server.requests


@pytest.mark.process
def test_the_command_and_its_dry_run(server, tmp_path, cache, monkeypatch):
    folder = write_dataset(tmp_path / "films", ["alpha", "beta", "alpha", "gamma"])
    prices = tmp_path / "prices.toml"
    prices.write_text(f'date = 2026-01-02\nsource = "bill"\n[models.{MODEL}]\nusd_per_million_tokens = 1000\n')
    options = [folder, "--encoder", "openai", "--model", MODEL, "--base-url", server.url, "--prices", prices]

    def dry_run(*more):
        out, err = embed(*options, "--dry-run", *more).communicate()
        assert "UTF-8 bytes, an upper bound" in err and "Traceback" not in err
        return [[cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines() if "│" in line], out

    with monkeypatch.context() as without_key:
        without_key.delenv("OPENAI_API_KEY")
        rows, out = dry_run()
    assert rows == [
        ["items", "4", "", "", ""],
        ["distinct texts", "3", "14", "1", "$0.0140"],
        ["in the cache", "0", "0", "", ""],
        ["to request", "3", "14", "1", "$0.0140"],
    ]
    assert "at most (UTF-8 bytes)" in out and "2026-01-02" in out and "bill" in out
    assert not server.requests and not cache_path().exists() and not list(folder.glob("text_*"))

    out, err = embed(*options).communicate()
    array = folder / f"text_openai-{MODEL}.npy"
    assert str(array) in out and "3 of 3 texts answered in 1 requests: 3 tokens, cost $0.0030" in out
    assert err.count("warning") == 1
    np.testing.assert_array_equal(np.load(array), expected(["alpha", "beta", "alpha", "gamma"]))
    loaded = store.load_or_embed(folder, 4, TextConfig(encoder="openai", model=MODEL))  # what training reads
    np.testing.assert_array_equal(loaded[1:], np.load(array))
    provenance = json.loads(array.with_suffix(".json").read_text())
    assert provenance["server"] == server.url and provenance["text_limit"] == "8191 tokens, counted as UTF-8 bytes"
    assert provenance["model"] == MODEL and provenance["dimensions"] == 8

    assert dry_run()[0][2:] == [["in the cache", "3", "14", "", ""], ["to request", "0", "0", "0", "$0.0000"]]
    assert dry_run("--force")[0][2:] == [["in the cache", "0", "0", "", ""], ["to request", "3", "14", "1", "$0.0140"]]
    assert server.requests == {"POST /v1/embeddings": 2}


def printed_by(monkeypatch, capsys, *arguments):
    """Exit code of the command, and all that it printed."""
    monkeypatch.setattr(sys, "argv", ["embed", *map(str, arguments)])
    try:
        run_command(main)
        code = 0
    except SystemExit as ended:
        code = ended.code
    return code, "".join(capsys.readouterr())


def test_embeddings_of_another_server_do_not_fit(server, dataset, monkeypatch, capsys):
    options = [dataset, "--encoder", "openai", "--model", "m", "--dimensions", "256", "--base-url"]
    other = "http://127.0.0.1:9/v1"
    assert printed_by(monkeypatch, capsys, *options, server.url)[0] == 0
    code, printed = printed_by(monkeypatch, capsys, *options, other)
    assert code == 2 and f"are from the server {server.url}, not {other}" in printed and "--force" in printed
    assert "already matches the texts" in printed_by(monkeypatch, capsys, *options, server.url + "/")[1]
    # Training takes them from any server; what mends them names the one that made them, and the width.
    config = TextConfig(encoder="openai", model="m", dimensions=256)
    store.load_or_embed(dataset, 4, config)
    (dataset / "text_openai-m-256d.npy").write_bytes(b"")
    with pytest.raises(UserError) as error:
        store.load_or_embed(dataset, 4, config)
    assert f"--model m --dimensions 256 --base-url {server.url} --force`" in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--encoder", "openai", "--no-wait"], "--wait.*does not use it"),
        (["--encoder", "openai-batch", "--concurrency", "2"], "--concurrency.*does not use it"),
        (["--base-url", "http://127.0.0.1:1/v1"], "--base-url.*does not use it"),
        (["--dry-run"], "has no price"),
        (["--encoder", "openai", "--request-inputs", "2049"], "request"),
        # A shell's variable that is not set must not become OpenAI's own model, or its own server.
        (["--encoder", "openai", "--model", ""], "'--model': expected a text of length >= 1, got ''"),
        (["--encoder", "openai", "--base-url", ""], "'--base-url': expected a text of length >= 1, got ''"),
    ],
)
def test_options_that_are_refused(dataset, options, words, monkeypatch, capsys):
    code, printed = printed_by(monkeypatch, capsys, dataset, *options)
    assert code == 2 and re.search(words, printed)


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("http://me:hunter2@127.0.0.1:9", "cannot be reached.*the proxy in the environment.*NO_PROXY=127.0.0.1"),
        ("gopher://me:hunter2@127.0.0.1:9", "no connection to .* can be set up.*ALL_PROXY"),
    ],
)
def test_proxies(server, monkeypatch, proxy, words):
    for name in ("HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(UserError, match=words) as error:
        encoder(server, max_retries=0).encode(WORDS)
    assert "hunter2" not in str(error.value) and not server.requests
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    if proxy.startswith("http:"):
        encoder(server).encode(WORDS)


def test_what_another_process_is_asking_for_is_waited_for(server, capsys):
    printed = ""
    with Database(cache_path()) as database, ThreadPoolExecutor(1) as other:
        with sole_asker(database, server.url):
            vectors = other.submit(encoder(server).encode, WORDS)
            while f"waiting for another process that uses {server.url}" not in printed:
                assert not vectors.done()
                printed += capsys.readouterr().out
                time.sleep(0.005)
            assert not server.requests
            database.put(encoder(server).plan(WORDS[:2]).keys, expected(WORDS[:2]))
        np.testing.assert_array_equal(vectors.result(20), expected(WORDS))
    assert server.asked == {WORDS[2]: 1}


@pytest.mark.process
def test_killed_twice_and_resumed(server, tmp_path, monkeypatch):
    """Nothing is lost, and no stored answer is requested twice."""
    texts = [f"film {n}" for n in range(60)]
    folder = write_dataset(tmp_path / "films", texts)
    options = [folder, "--encoder", "openai", "--model", MODEL, "--base-url", server.url]
    options += ["--concurrency", "2", "--request-inputs", "5"]
    server.delay = 0.1
    before = {}
    for enough in (15, 45):
        process = embed(*options)
        while server.answered.total() < enough:
            assert process.poll() is None
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        time.sleep(0.3)  # what was under way has reached the server
        stored, asked = stored_texts(server, texts), dict(server.asked)
        assert enough - 20 <= len(stored) < len(texts)
        assert len(asked) - len(stored) <= 10  # what two requests hold
        assert {text: asked[text] for text in before} == before
        assert not list(folder.glob("text_*"))
        before = {text: asked[text] for text in stored}
    server.delay = 0.0
    process = embed(*options)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert {text: server.asked[text] for text in before} == before
    assert set(server.asked) == set(texts) and server.asked.total() - len(texts) <= 20
    interrupted = (folder / f"text_openai-{MODEL}.npy").read_bytes()

    monkeypatch.setenv("LRD_JAX_CACHE", str(tmp_path / "another cache"))
    server.delay = 0.0
    requests = server.requests["POST /v1/embeddings"]
    config = EncoderConfig(encoder="openai", model=MODEL)
    path, _ = embed_dataset(folder, config, force=True, build=lambda _, **__: encoder(server))
    assert server.requests["POST /v1/embeddings"] == requests + 2
    assert path.read_bytes() == interrupted
    np.testing.assert_array_equal(np.load(path), expected(texts))
