"""Embeddings on disk: what is written, where, and everything that is refused."""

import json
import os

import numpy as np
import pytest

from lrd_jax.config import TextConfig
from lrd_jax.errors import UserError
from lrd_jax.text import store
from tests.text.conftest import TEXTS, write_texts

CONFIG = TextConfig(dimensions=64)


class Counting:
    """An encoder that counts its calls; a row holds the text's length."""

    name, version, dimensions = "wordllama", "test", 64

    def __init__(self):
        self.calls = []

    def encode(self, texts):
        self.calls.append(list(texts))
        return np.array([[len(text)] * self.dimensions for text in texts], np.float32)


@pytest.fixture
def encoder(monkeypatch):
    counting = Counting()
    monkeypatch.setattr(store, "build_encoder", lambda text_config: counting)
    return counting


def test_embeds_once_then_loads(dataset, encoder):
    first = store.load_or_embed(dataset, 4, CONFIG)
    second = store.load_or_embed(dataset, 4, CONFIG)
    assert encoder.calls == [TEXTS[1:]]
    np.testing.assert_array_equal(first, second)
    assert (first.shape, first.dtype) == ((5, 64), np.float32)
    assert first[:, 0].tolist() == [len(text) for text in TEXTS]  # row 0, padding, is zero


def test_files(dataset, encoder):
    embeddings = store.load_or_embed(dataset, 4, CONFIG)
    on_disk = np.load(dataset / "text_wordllama.npy", allow_pickle=False)
    np.testing.assert_array_equal(on_disk, embeddings[1:])
    provenance = json.loads((dataset / "text_wordllama.json").read_text())
    assert provenance == {
        "encoder": "wordllama",
        "version": "test",
        "dimensions": 64,
        "num_items": 4,
        "text_hash": store.text_hash(TEXTS),
        "created_by": provenance["created_by"],
    }
    assert provenance["created_by"].startswith("lrd_jax ")
    assert not [name for name in os.listdir(dataset) if name.endswith(".tmp")]


def test_real_encoder_gives_the_same_bits_twice(dataset):
    first = store.load_or_embed(dataset, 4, CONFIG)
    bits = [(dataset / f"text_wordllama.{end}").read_bytes() for end in ("npy", "json")]
    for end in ("npy", "json"):
        (dataset / f"text_wordllama.{end}").unlink()
    np.testing.assert_array_equal(first, store.load_or_embed(dataset, 4, CONFIG))
    assert bits == [(dataset / f"text_wordllama.{end}").read_bytes() for end in ("npy", "json")]


def test_blank_texts_are_zero_and_never_reach_the_encoder(encoder):
    embeddings = store.embed_texts(["", "ab", "  ", "abc", ""], encoder)
    assert encoder.calls == [["ab", "abc"]]
    assert embeddings[:, 0].tolist() == [2, 0, 3, 0]


def test_many_texts_go_in_parts(encoder):
    count = store.TEXTS_PER_CALL + 3
    embeddings = store.embed_texts([""] + ["x" * (i + 1) for i in range(count)], encoder)
    assert [len(call) for call in encoder.calls] == [store.TEXTS_PER_CALL, 3]
    assert embeddings[:, 0].tolist() == list(range(1, count + 1))


def test_hash_tells_borders_order_and_count():
    lists = [["", "ab", "c"], ["", "a", "bc"], ["", "c", "ab"], ["", "abc"], ["", "ab", "c", ""], ["", "é"], ["", "e"]]
    assert len({store.text_hash(texts) for texts in lists}) == len(lists)


def refused(dataset, words, config=CONFIG):
    """Loading fails, says `words` and how to mend it, and leaves the files as they are."""
    before = {path: path.read_bytes() for path in dataset.iterdir()}
    with pytest.raises(UserError, match=words) as error:
        store.load_or_embed(dataset, 4, config)
    dimensions = f" --dimensions {config.dimensions}" if config.dimensions != 256 else ""
    assert f"`python -m lrd_jax.embed {dataset} --encoder wordllama{dimensions} --force`" in str(error.value)
    assert {path: path.read_bytes() for path in dataset.iterdir()} == before


def test_changed_text(dataset, encoder):
    store.load_or_embed(dataset, 4, CONFIG)
    write_texts(dataset, [*TEXTS[:4], "another text"])
    refused(dataset, "texts have changed")


def test_other_width(dataset, encoder):
    store.load_or_embed(dataset, 4, CONFIG)
    refused(dataset, r"another width than text.dimensions \(64, not 128\)", TextConfig(dimensions=128))
    refused(dataset, r"another width than text.dimensions \(64, not 256\)", TextConfig())


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("encoder", "openai", "another encoder"),
        ("num_items", 5, "another number of items"),
        ("dimensions", "wide", "another width"),
        ("text_hash", None, "texts have changed"),
    ],
)
def test_wrong_entry(dataset, encoder, field, value, words):
    store.load_or_embed(dataset, 4, CONFIG)
    path = dataset / "text_wordllama.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    refused(dataset, words)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "{}", '{"encoder": "wordllama"}', "\udcff"])
def test_malformed_json(dataset, encoder, content):
    store.load_or_embed(dataset, 4, CONFIG)
    (dataset / "text_wordllama.json").write_bytes(content.encode(errors="surrogateescape"))
    refused(dataset, "does not parse|entry is missing")


def test_missing_json(dataset, encoder):
    store.load_or_embed(dataset, 4, CONFIG)
    (dataset / "text_wordllama.json").unlink()
    refused(dataset, "cannot read where the embeddings came from")


@pytest.mark.parametrize("shape", [(5, 64), (4, 63), (4,), (4, 64, 1), (0, 64)])
def test_wrong_shape(dataset, encoder, shape):
    store.load_or_embed(dataset, 4, CONFIG)
    np.save(dataset / "text_wordllama.npy", np.zeros(shape, np.float32))
    refused(dataset, r"have shape \(")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite(dataset, encoder, bad):
    store.load_or_embed(dataset, 4, CONFIG)
    array = np.ones((4, 64), np.float32)
    array[2, 7] = bad
    np.save(dataset / "text_wordllama.npy", array)
    refused(dataset, "item 3 holds NaN or infinity")


@pytest.mark.parametrize("array", [np.ones((4, 64), np.int32), np.full((4, 64), "x")])
def test_not_floating_point(dataset, encoder, array):
    store.load_or_embed(dataset, 4, CONFIG)
    np.save(dataset / "text_wordllama.npy", array)
    refused(dataset, "not floating-point")


def test_pickle_is_never_read(dataset, encoder):
    store.load_or_embed(dataset, 4, CONFIG)
    np.save(dataset / "text_wordllama.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    refused(dataset, "cannot read the embeddings")


def test_truncated_array(dataset, encoder):
    store.load_or_embed(dataset, 4, CONFIG)
    path = dataset / "text_wordllama.npy"
    for length in (0, 20, 500):
        path.write_bytes(path.read_bytes()[:length])
        refused(dataset, "cannot read the embeddings")


def test_item_without_text(dataset, encoder):
    write_texts(dataset, TEXTS[:4])
    with pytest.raises(UserError, match="item 4 has no text"):
        store.load_or_embed(dataset, 4, CONFIG)
    assert encoder.calls == []


def test_read_only_folder_uses_the_cache(dataset, cache, encoder):
    dataset.chmod(0o555)
    first = store.load_or_embed(dataset, 4, CONFIG)
    np.testing.assert_array_equal(first, store.load_or_embed(dataset, 4, CONFIG))
    assert len(encoder.calls) == 1
    place = cache / "text" / store.text_hash(TEXTS)
    assert sorted(os.listdir(place)) == ["text_wordllama.json", "text_wordllama.npy"]
    assert not (dataset / "text_wordllama.npy").exists()


def test_read_only_folder_with_its_own_embeddings(dataset, cache, encoder):
    first = store.load_or_embed(dataset, 4, CONFIG)
    dataset.chmod(0o555)
    np.testing.assert_array_equal(first, store.load_or_embed(dataset, 4, CONFIG))
    assert len(encoder.calls) == 1 and not (cache / "text").exists()


def test_stale_embeddings_in_a_read_only_folder_can_be_mended(dataset, encoder):
    store.load_or_embed(dataset, 4, CONFIG)
    texts = [*TEXTS[:4], "another text"]
    write_texts(dataset, texts)
    dataset.chmod(0o555)
    refused(dataset, "texts have changed")
    store.write_embeddings(dataset, texts, store.embed_texts(texts, encoder), encoder)  # what embed --force does
    assert store.load_or_embed(dataset, 4, CONFIG)[4, 0] == len("another text")


def test_failed_write_leaves_nothing(dataset, encoder, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    before = sorted(os.listdir(dataset))
    monkeypatch.setattr(store.os, "replace", fail)
    with pytest.raises(UserError, match="cannot write the text embeddings .No space left on device"):
        store.load_or_embed(dataset, 4, CONFIG)
    assert sorted(os.listdir(dataset)) == before


def test_array_comes_before_its_json(dataset, encoder, monkeypatch):
    order, replace = [], os.replace
    monkeypatch.setattr(store.os, "replace", lambda a, b: (order.append(b.suffix), replace(a, b)))
    store.load_or_embed(dataset, 4, CONFIG)
    assert order == [".npy", ".json"]
