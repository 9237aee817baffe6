"""Another model behind the same name and width: its vectors and those of the earlier one are never mixed."""

import sqlite3

import numpy as np
import pytest

from lrd_jax.errors import UserError
from lrd_jax.text.openai.vector_cache import Database, cache_path
from tests.text.conftest import write_dataset, write_texts
from tests.text.test_openai import MODEL, WORDS, encoder, expected, printed_by
from tests.text.test_openai_batch import encoder as batch_encoder


def other(texts):
    """Vectors of the other model."""
    return expected(texts, MODEL + "other")


def test_it_is_found_when_a_request_is_needed(server):
    encoder(server).encode(WORDS)
    server.weights = "other"
    np.testing.assert_array_equal(encoder(server).encode(WORDS), expected(WORDS))  # nothing is asked
    words = r"the model small-model of http.* has changed .*cosine.*, and 3 of these 4 texts.*--force"
    with pytest.raises(UserError, match=words):
        encoder(server).encode([*WORDS, "new"])
    assert "new" not in server.asked
    np.testing.assert_array_equal(encoder(server, force=True).encode([*WORDS, "new"]), other([*WORDS, "new"]))
    assert server.asked == dict.fromkeys(WORDS, 2) | {"new": 1}
    np.testing.assert_array_equal(encoder(server).encode([*WORDS, "newer"]), other([*WORDS, "newer"]))
    assert server.asked["alpha"] == 2  # the other model's vectors are in the cache now


def test_another_width_is_another_model(server):
    encoder(server).encode(WORDS)
    server.width = 9
    with pytest.raises(UserError, match="9 dimensions, not 8.*3 of these 4 texts"):
        encoder(server).encode([*WORDS, "new"])
    for force in (True, False):
        np.testing.assert_array_equal(
            encoder(server, force=force).encode([*WORDS, "new"]), expected([*WORDS, "new"], dimensions=9)
        )


def test_texts_of_which_none_was_embedded_start_with_the_other_model(server, capsys):
    encoder(server).encode(WORDS)
    server.weights = "other"
    np.testing.assert_array_equal(encoder(server).encode(["new"]), other(["new"]))
    assert "has changed" in capsys.readouterr().err
    # The earlier model's vectors of other datasets are found no more, so they are not mixed with this one's.
    np.testing.assert_array_equal(encoder(server).encode([*WORDS, "new"]), other([*WORDS, "new"]))
    assert "has changed" not in capsys.readouterr().err


def test_rounding_is_not_another_model(server, monkeypatch):
    encoder(server).encode(WORDS)
    vectors = server.embed

    def rounded(body):
        answer = vectors(body)
        for entry in answer["data"]:
            entry["embedding"] = [round(number, 3) for number in entry["embedding"]]
        return answer

    monkeypatch.setattr(server, "embed", rounded)
    assert encoder(server).encode([*WORDS, "new"]).shape == (4, 8)


def test_older_caches_have_no_test_text(server):
    encoder(server).encode(WORDS)
    with Database(cache_path()) as database:
        keys = set(encoder(server).plan(WORDS).keys)
        database.forget([key for (key,) in database.rows("SELECT key FROM vectors") if key not in keys])
    np.testing.assert_array_equal(encoder(server).encode([*WORDS, "new"]), expected([*WORDS, "new"]))
    assert server.asked == dict.fromkeys([*WORDS, "new"], 1)
    server.weights = "other"
    with pytest.raises(UserError, match="has changed"):
        encoder(server).encode([*WORDS, "newer"])


def test_models_of_other_names_and_widths_are_not_concerned(server):
    encoder(server).encode(WORDS)
    server.weights = "other"
    for options in ({"model": "b"}, {"dimensions": 4}):
        encoder(server, **options).encode(WORDS)
    server.weights = ""
    np.testing.assert_array_equal(encoder(server).encode([*WORDS, "new"]), expected([*WORDS, "new"]))


@pytest.mark.parametrize("name", ["openai", "openai-batch"])
def test_force_asks_again_and_replaces(server, tmp_path, monkeypatch, capsys, name):
    folder = write_dataset(tmp_path / "films", WORDS)
    options = [folder, "--encoder", name, "--model", MODEL, "--base-url", server.url]
    if name == "openai-batch":
        options += ["--poll-seconds", "0.02"]
    array = folder / f"text_{name}-{MODEL}.npy"
    assert printed_by(monkeypatch, capsys, *options)[0] == 0
    server.weights = "other"
    assert "already matches the texts (--force" in printed_by(monkeypatch, capsys, *options)[1]
    assert server.asked == dict.fromkeys(WORDS, 1)
    assert printed_by(monkeypatch, capsys, *options, "--force")[0] == 0
    np.testing.assert_array_equal(np.load(array), other(WORDS))
    assert server.asked == dict.fromkeys(WORDS, 2)
    array.unlink()
    assert printed_by(monkeypatch, capsys, *options)[0] == 0  # from the cache
    np.testing.assert_array_equal(np.load(array), other(WORDS))
    assert server.asked == dict.fromkeys(WORDS, 2)


@pytest.mark.parametrize("name", ["openai", "openai-batch"])
def test_force_after_a_text_has_changed_asks_for_that_one_alone(server, tmp_path, monkeypatch, capsys, name):
    folder = write_dataset(tmp_path / "films", WORDS)
    options = [folder, "--encoder", name, "--model", MODEL, "--base-url", server.url]
    if name == "openai-batch":
        options += ["--poll-seconds", "0.02"]
    assert printed_by(monkeypatch, capsys, *options)[0] == 0
    write_texts(folder, ["", *WORDS[:2], "delta"])
    code, told = printed_by(monkeypatch, capsys, *options)
    assert code == 2 and "texts have changed" in told and "--force" in told
    assert printed_by(monkeypatch, capsys, *options, "--force")[0] == 0
    assert server.asked == dict.fromkeys([*WORDS, "delta"], 1)


def test_a_batch_under_way_is_not_handed_in_again_with_force(server):
    from lrd_jax.errors import UnderWay

    batch_encoder(server).encode(WORDS)
    server.weights = "other"
    server.batches.looks = 3
    with pytest.raises(UnderWay):
        batch_encoder(server, ask_all=True, wait=False).encode(WORDS)
    np.testing.assert_array_equal(batch_encoder(server, ask_all=True).encode(WORDS), other(WORDS))
    assert server.asked == dict.fromkeys(WORDS, 2)


def test_zeros_in_the_cache_are_as_good_as_missing(server):
    """Those that earlier versions kept."""
    asked = encoder(server).plan(WORDS)
    with Database(cache_path()) as database:
        database.put(asked.keys, np.concatenate([np.zeros((2, 8)), expected(WORDS[2:])]).astype(np.float32))
    np.testing.assert_array_equal(encoder(server).encode(WORDS), expected(WORDS))
    assert server.asked == dict.fromkeys(WORDS[:2], 1)
    with sqlite3.connect(cache_path()) as connection:
        assert not [blob for (blob,) in connection.execute("SELECT vector FROM vectors") if not any(blob)]
