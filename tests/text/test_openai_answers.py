"""Answers are checked before anything of them is kept; prices and addresses too."""

import numpy as np
import pytest

from lrd_jax.errors import UserError
from lrd_jax.text.openai.answers import ZEROS, ServerError, UnusableAnswer, read_answer
from lrd_jax.text.openai.prices import find_price
from lrd_jax.text.openai.service import NO_KEY, OPENAI_URL, Service, find_service, own_width, resolve_url


def body(*vectors, order=None, **usage):
    order = order or range(len(vectors))
    data = [{"index": index, "embedding": list(vectors[index])} for index in order]
    return {"data": data} | ({"usage": usage} if usage else {})


def rows(answer):
    """The vectors in the order of the inputs."""
    assert not answer.problems
    return np.stack([answer.vectors[index] for index in range(len(answer.vectors))])


def test_order_is_by_index():
    answer = read_answer(body([1, 2.5], [3, 4], [5, 6], order=[2, 0, 1], total_tokens=7), 3, 2)
    np.testing.assert_array_equal(rows(answer), np.array([[1, 2.5], [3, 4], [5, 6]], np.float32))
    assert rows(answer).dtype == np.float32 and answer.tokens == 7
    assert read_answer(body([1, 2]), 1, None).tokens is None
    assert read_answer(body([1, 2], total_tokens="many"), 1, None).tokens is None


@pytest.mark.parametrize("index", [{}, {"index": None}])
def test_without_any_index_the_order_is_that_of_the_entries(index):
    data = [{"embedding": [5.0, 6]} | index, {"embedding": [1.0, 2]} | index]
    np.testing.assert_array_equal(rows(read_answer({"data": data}, 2, None)), [[5, 6], [1, 2]])


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        {},
        {"data": None},
        {"error": None},
        body([1.0, 2]),
        body([1.0, 2], [1, 2], [1, 2]),
        {"data": [{"index": 0, "embedding": [1.0, 2]}, {"index": 2, "embedding": [1.0, 2]}]},
        {"data": [{"index": 0, "embedding": [1.0, 2]}, {"index": -1, "embedding": [1.0, 2]}]},
        {"data": [{"index": 0, "embedding": [1.0, 2]}, {"index": True, "embedding": [1.0, 2]}]},
        {"data": [{"index": 0, "embedding": [1.0, 2]}, {"index": "1", "embedding": [1.0, 2]}]},
    ],
)
def test_unusable(wrong):
    with pytest.raises(UnusableAnswer):
        read_answer(wrong, 2, 2)


def test_an_index_that_comes_twice():
    data = [{"index": index, "embedding": [1.0, 2]} for index in (0, 1, 0)]
    with pytest.raises(UnusableAnswer, match="index twice"):
        read_answer({"data": data}, 3, 2)


@pytest.mark.parametrize(
    ("indices", "words"),
    [
        ([{"index": 0}, {}], "some embeddings without an index"),
        ([{"index": 0}] * 2, "2 embeddings with the same index"),
    ],
)
def test_an_unknown_order_is_not_requested_again(indices, words):
    with pytest.raises(UserError, match=f"{words}.*--request-inputs 1"):
        read_answer({"data": [index | {"embedding": [1.0, 2]} for index in indices]}, 2, 2)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (3, "no list of numbers"),
        ({"embedding": "AAAA"}, "no list of numbers"),
        ({"embedding": None}, "no list of numbers"),
        ({"embedding": []}, "no list of numbers"),
        ({"embedding": [1.0, None]}, "no list of numbers"),
        ({"embedding": ["1", "2"]}, "no list of numbers"),
        ({"embedding": [True, False]}, "no list of numbers"),
        ({"embedding": [[1.0], [2]]}, "no list of numbers"),
        ({"embedding": [[1.0], 2]}, "no list of numbers"),
        ({"embedding": [1.0, 10**400]}, "no list of numbers"),
        ({"embedding": [1.0, float("nan")]}, "NaN or infinity in the vector"),
        ({"embedding": [1.0, float("inf")]}, "NaN or infinity in the vector"),
        ({"embedding": [1.0, 1e39]}, "NaN or infinity in the vector"),
        ({"embedding": [0.0, 0.0]}, ZEROS),
        ({"embedding": [0, -0.0]}, ZEROS),
        ({"embedding": [1e-60, 0.0]}, ZEROS),
    ],
)
def test_one_embedding_that_cannot_be_used_leaves_the_others(entry, problem):
    answer = read_answer({"data": [entry, {"embedding": [1.0, 2]}]}, 2, 2)
    assert answer.problems == {0: problem} and list(answer.vectors) == [1]
    np.testing.assert_array_equal(answer.vectors[1], [1, 2])


@pytest.mark.parametrize(
    ("wrong", "words", "status", "retry"),
    [
        ({"error": {"message": "No provider", "code": 404}}, "No provider", 404, False),
        ({"error": {"message": "Slow down", "code": 429}}, "Slow down", 429, True),
        ({"error": {"message": "Slow down", "code": "429"}}, "Slow down", 429, True),
        ({"error": {"message": "no money", "code": 429, "type": "insufficient_quota"}}, "no money", 429, False),
        ({"error": {"message": "Model is overloaded"}}, "Model is overloaded", None, True),
        ({"error": {"message": "Broken", "code": 502}}, "Broken", 502, True),
        ({"error": "model not loaded"}, "model not loaded", None, False),
        ({"object": "error", "message": "too long", "code": 400}, "too long", 400, False),
        ({"detail": "Not found"}, "Not found", None, False),
        ({"success": False, "errors": [{"code": 7000, "message": "No route"}]}, "No route", None, False),
        ({"data": None, "error": {"code": "model_gone"}}, '{"code": "model_gone"}', None, False),
    ],
)
def test_errors_with_status_200(wrong, words, status, retry):
    with pytest.raises(ServerError) as error:
        read_answer(wrong, 2, 2)
    assert (error.value.words, error.value.status, error.value.retry) == (words, status, retry)


@pytest.mark.parametrize("width", [None, 2, 3])
def test_wrong_width(width):
    vectors = ([1, 2], [1, 2, 3]) if width != 3 else ([1, 2], [1, 2])
    with pytest.raises(UserError, match="dimensions, not"):
        read_answer(body(*vectors), 2, width)


def test_widths_of_models():
    assert own_width("text-embedding-ada-002", None) == own_width("text-embedding-ada-002", 1536) == 1536
    assert own_width("text-embedding-3-large", None) == 3072 and own_width("text-embedding-3-large", 256) == 256
    assert own_width("bge-small", None) is None and own_width("bge-small", 384) == 384
    for model, width in (("text-embedding-ada-002", 512), ("text-embedding-3-small", 1537)):
        with pytest.raises(UserError, match=f"{model} embeds in"):
            own_width(model, width)


def test_addresses(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert resolve_url(None) == OPENAI_URL
    assert resolve_url("http://127.0.0.1:8000/v1/") == "http://127.0.0.1:8000/v1"
    for same in ("https://API.OpenAI.com/v1/", "HTTPS://api.openai.com:443/v1"):
        assert resolve_url(same) == OPENAI_URL  # else its answers would be paid for again
    for same in ("http://[::1]:80/v1", "http://[::1]/v1"):
        assert resolve_url(same) == "http://[::1]/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "https://example.org/v1")
    assert resolve_url(None) == "https://example.org/v1"
    for wrong in ("example.org", "ftp://a/v1", "http://", "http://a:99999/v1", " http://a", "http://[::1"):
        with pytest.raises(UserError, match="is not the address of a server"):
            resolve_url(wrong)
    for secret in ("http://me:hunter2@a/v1", "http://hunter2@a/v1", "http://a/v1?key=hunter2", "http://a/v1#hunter2"):
        with pytest.raises(UserError, match="--base-url.*contains a user") as error:
            resolve_url(secret)
        assert "hunter2" not in str(error.value)


def test_keys(monkeypatch, capsys):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UserError, match="no OPENAI_API_KEY"):
        find_service(OPENAI_URL)
    assert find_service("http://127.0.0.1:1/v1").key == "none"
    for wrong in ("sk-1\nhunter2", "sk hunter2", "sk-hunter2é"):
        monkeypatch.setenv("OPENAI_API_KEY", wrong)
        with pytest.raises(UserError) as error:
            find_service(OPENAI_URL)
        assert "hunter2" not in str(error.value)
    monkeypatch.setenv("OPENAI_API_KEY", " hunter2\n")
    service = find_service(OPENAI_URL)
    assert service.key == "hunter2" and "hunter2" not in repr(service)
    with pytest.raises(UserError, match="the address contains the key") as error:
        find_service("http://127.0.0.1:1/hunter2/v1")
    assert "hunter2" not in str(error.value)
    find_service("http://127.0.0.1:1/v1")
    assert capsys.readouterr().err == ""
    find_service("http://example.org/v1")
    warning = capsys.readouterr().err
    assert "example.org unencrypted" in warning and "hunter2" not in warning


def test_redaction():
    service = Service(OPENAI_URL, "hunter2")
    assert service.redact("key\n hunter2, hunter2!") == "key [key], [key]!"
    assert service.redact("Too large.") == "Too large"
    assert len(service.redact("x" * 10_000)) == 300
    assert Service("http://127.0.0.1:1/v1", NO_KEY).redact("none of them") == "none of them"


def test_prices(tmp_path):
    ada = find_price("text-embedding-ada-002", batch=False, own_address=True)
    assert ada.cost(2_000_000) == pytest.approx(0.2) and ada.date and ada.source.startswith("https://")
    for model in ("text-embedding-ada-002", "text-embedding-3-small", "text-embedding-3-large"):
        halves = (
            find_price(model, batch=True, own_address=True).usd,
            find_price(model, batch=False, own_address=True).usd,
        )
        assert 2 * halves[0] == pytest.approx(halves[1])
    assert find_price("text-embedding-ada-002", batch=False, own_address=False).told(10) == "unknown"
    assert find_price("bge", batch=False, own_address=True).cost(10) is None
    mine = tmp_path / "prices.toml"
    mine.write_text('date = 2026-01-02\nsource = "invoice"\n[models."bge.v2"]\nusd_per_million_tokens = 1\n')
    price = find_price("bge.v2", batch=False, own_address=False, file=mine)
    assert (price.usd, price.date, price.source) == (1, "2026-01-02", "invoice")
    assert find_price("bge.v2", batch=True, own_address=False, file=mine).usd is None
    assert find_price("text-embedding-ada-002", batch=False, own_address=True, file=mine).usd == 0.1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "date = 2026",
        'date = 2026-01-02\nsource = "a"\n[models.a]\nusd_per_million_tokens = -1',
        'date = 2026-01-02\nsource = "a"\n[models.a]\nusd_per_million_tokens = nan',
        'date = 2026-01-02\nsource = "a"\n[models.a]\nusd_per_milion_tokens = 1',
    ],
)
def test_wrong_prices(tmp_path, text):
    mine = tmp_path / "prices.toml"
    mine.write_text(text)
    with pytest.raises(UserError, match="prices.toml.*usd_per_million_tokens"):
        find_price("a", batch=False, own_address=True, file=mine)
    with pytest.raises(UserError, match="cannot read the prices"):
        find_price("a", batch=False, own_address=True, file=tmp_path / "none.toml")
