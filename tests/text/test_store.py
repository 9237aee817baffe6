"""Embeddings on disk: what is written, where, and everything that is refused."""

import json
import os

import numpy as np
import pytest

from lrd_jax.config.schema import TextConfig
from lrd_jax.errors import UserError
from lrd_jax.text import store
from tests.text.conftest import TEXTS, write_texts

CONFIG = TextConfig(dimensions=64)


class Counting:
    """An encoder that counts its calls; a row holds the text's length."""

    name, model, version, dimensions, pooling, normalised = "wordllama", "small", "test", 64, "mean", False
    origin = {"revision": "abc"}

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
    on_disk = np.load(dataset / "text_wordllama-64d.npy", allow_pickle=False)
    np.testing.assert_array_equal(on_disk, embeddings[1:])
    provenance = json.loads((dataset / "text_wordllama-64d.json").read_text())
    assert provenance == {
        "encoder": "wordllama",
        "model": "small",
        "version": "test",
        "dimensions": 64,
        "pooling": "mean",
        "normalised": False,
        "revision": "abc",
        "num_items": 4,
        "text_hash": store.text_hash(TEXTS),
        "created_by": provenance["created_by"],
    }
    assert provenance["created_by"].startswith("lrd_jax ")
    assert not [name for name in os.listdir(dataset) if name.endswith(".tmp")]


def test_real_encoder_gives_the_same_bits_twice(dataset):
    first = store.load_or_embed(dataset, 4, CONFIG)
    bits = [(dataset / f"text_wordllama-64d.{end}").read_bytes() for end in ("npy", "json")]
    for end in ("npy", "json"):
        (dataset / f"text_wordllama-64d.{end}").unlink()
    np.testing.assert_array_equal(first, store.load_or_embed(dataset, 4, CONFIG))
    assert bits == [(dataset / f"text_wordllama-64d.{end}").read_bytes() for end in ("npy", "json")]


def test_blank_texts_are_zero_and_never_reach_the_encoder(encoder):
    embeddings = store.embed_texts(["", "ab", "  ", "abc", ""], encoder)
    assert encoder.calls == [["ab", "abc"]]
    assert embeddings[:, 0].tolist() == [2, 0, 3, 0]


def test_no_texts_never_reach_the_encoder(encoder):
    assert store.embed_texts([""], encoder).shape == (0, 64)
    assert not store.embed_texts(["", " ", ""], encoder).any()
    assert encoder.calls == []


@pytest.mark.parametrize("wrong", [np.ones((1, 64)), np.ones((2, 63)), np.full((2, 64), np.nan)])
def test_what_an_encoder_must_not_give(encoder, wrong):
    encoder.encode = lambda texts: wrong
    with pytest.raises(UserError, match="shape|NaN"):
        store.embed_texts(["", "a", "b"], encoder)


def test_hash_depends_on_borders_order_and_count():
    lists = [["", "ab", "c"], ["", "a", "bc"], ["", "c", "ab"], ["", "abc"], ["", "ab", "c", ""], ["", "é"], ["", "e"]]
    assert len({store.text_hash(texts) for texts in lists}) == len(lists)


def refused(dataset, words, config=CONFIG):
    """Loading fails with `words` and a remedy, and leaves the files unchanged."""
    before = {path: path.read_bytes() for path in dataset.iterdir()}
    with pytest.raises(UserError, match=words) as error:
        store.load_or_embed(dataset, 4, config)
    dimensions = f" --dimensions {config.dimensions}" if config.dimensions not in (None, 256) else ""
    assert f"`python -m lrd_jax.embed {dataset} --encoder wordllama{dimensions} --force`" in str(error.value)
    assert {path: path.read_bytes() for path in dataset.iterdir()} == before


def test_changed_text(dataset, encoder):
    store.load_or_embed(dataset, 4, CONFIG)
    write_texts(dataset, [*TEXTS[:4], "another text"])
    refused(dataset, "texts have changed")


def test_widths_lie_side_by_side(dataset):
    arrays = {width: store.load_or_embed(dataset, 4, TextConfig(dimensions=width)) for width in (None, 128, 64)}
    assert [array.shape[1] for array in arrays.values()] == [256, 128, 64]
    names = ["text_wordllama-128d.npy", "text_wordllama-64d.npy", "text_wordllama.npy"]
    assert sorted(path.name for path in dataset.glob("*.npy")) == names
    for width, array in arrays.items():
        np.testing.assert_array_equal(store.load_or_embed(dataset, 4, TextConfig(dimensions=width)), array)
    np.testing.assert_array_equal(store.load_or_embed(dataset, 4, TextConfig(dimensions=256)), arrays[None])


@pytest.fixture
def old(dataset, encoder):
    """What earlier versions wrote: one name for every width, and less in the JSON."""
    store.load_or_embed(dataset, 4, CONFIG)
    for end in ("npy", "json"):
        (dataset / f"text_wordllama-64d.{end}").rename(dataset / f"text_wordllama.{end}")
    path = dataset / "text_wordllama.json"
    fields = ("encoder", "version", "dimensions", "num_items", "text_hash", "created_by")
    path.write_text(json.dumps({field: json.loads(path.read_text())[field] for field in fields}))
    return dataset


def test_what_earlier_versions_wrote_is_read(old, encoder):
    assert store.load_or_embed(old, 4, CONFIG)[:, 0].tolist() == [len(text) for text in TEXTS]
    assert len(encoder.calls) == 1


def test_what_earlier_versions_wrote_in_another_width_is_refused(old):
    refused(old, r"another width than text.dimensions \(64, not 256\)", TextConfig())


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("encoder", "openai", "another encoder"),
        ("num_items", 5, "another number of items"),
        ("dimensions", "wide", "another width"),
        ("dimensions", None, "another width"),
        ("text_hash", None, "texts have changed"),
    ],
)
def test_wrong_entry(dataset, encoder, field, value, words):
    store.load_or_embed(dataset, 4, CONFIG)
    path = dataset / "text_wordllama-64d.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    refused(dataset, words)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "{}", '{"encoder": "wordllama"}', "\udcff"])
def test_malformed_json(dataset, encoder, content):
    store.load_or_embed(dataset, 4, CONFIG)
    (dataset / "text_wordllama-64d.json").write_bytes(content.encode(errors="surrogateescape"))
    refused(dataset, "does not parse|entry is missing")


def test_missing_json(dataset, encoder):
    store.load_or_embed(dataset, 4, CONFIG)
    (dataset / "text_wordllama-64d.json").unlink()
    refused(dataset, "cannot read the origin of the embeddings")


@pytest.mark.parametrize("shape", [(5, 64), (4, 63), (4,), (4, 64, 1), (0, 64)])
def test_wrong_shape(dataset, encoder, shape):
    store.load_or_embed(dataset, 4, CONFIG)
    np.save(dataset / "text_wordllama-64d.npy", np.zeros(shape, np.float32))
    refused(dataset, r"have shape \(")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite(dataset, encoder, bad):
    store.load_or_embed(dataset, 4, CONFIG)
    array = np.ones((4, 64), np.float32)
    array[2, 7] = bad
    np.save(dataset / "text_wordllama-64d.npy", array)
    refused(dataset, "item 3 contains NaN or infinity")


@pytest.mark.parametrize("array", [np.ones((4, 64), np.int32), np.full((4, 64), "x")])
def test_not_floating_point(dataset, encoder, array):
    store.load_or_embed(dataset, 4, CONFIG)
    np.save(dataset / "text_wordllama-64d.npy", array)
    refused(dataset, "not floating-point")


def test_pickle_is_never_read(dataset, encoder):
    store.load_or_embed(dataset, 4, CONFIG)
    np.save(dataset / "text_wordllama-64d.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    refused(dataset, "cannot read the embeddings")


def test_truncated_array(dataset, encoder):
    store.load_or_embed(dataset, 4, CONFIG)
    path = dataset / "text_wordllama-64d.npy"
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
    assert sorted(os.listdir(place)) == ["text_wordllama-64d.json", "text_wordllama-64d.npy"]
    assert not (dataset / "text_wordllama-64d.npy").exists()


def test_read_only_folder_with_its_own_embeddings(dataset, cache, encoder):
    first = store.load_or_embed(dataset, 4, CONFIG)
    dataset.chmod(0o555)
    np.testing.assert_array_equal(first, store.load_or_embed(dataset, 4, CONFIG))
    assert len(encoder.calls) == 1 and not (cache / "text").exists()


def test_stale_embeddings_in_a_read_only_folder_can_be_replaced(dataset, encoder):
    store.load_or_embed(dataset, 4, CONFIG)
    texts = [*TEXTS[:4], "another text"]
    write_texts(dataset, texts)
    dataset.chmod(0o555)
    refused(dataset, "texts have changed")
    store.write_embeddings(
        dataset, texts, store.embed_texts(texts, encoder), encoder, CONFIG
    )  # what embed --force does
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
