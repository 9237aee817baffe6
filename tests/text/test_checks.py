"""Vectors that say nothing: a warning with their number wherever embeddings are made, checked or read."""

import subprocess
import sys

import numpy as np
import pytest

from lrd_jax.config.schema import TextConfig
from lrd_jax.errors import UserError
from lrd_jax.text.checks import warn_of_empty
from lrd_jax.text.store import load_or_embed
from tests.text.conftest import write_texts
from tests.text.test_local_models import built, make_model2vec


def embed(*args):
    return subprocess.run([sys.executable, "-m", "lrd_jax.embed", *map(str, args)], capture_output=True, text=True)


def array(*zeros, items=5):
    embeddings = np.random.default_rng(0).normal(size=(items + 1, 3)).astype(np.float32)
    embeddings[[0, *zeros]] = 0
    return embeddings


@pytest.mark.parametrize(
    ("embeddings", "texts", "lines"),
    [
        (array(), None, []),
        (array(), ["", *"abcde"], []),
        (array(2, 5), None, ["a.npy: 2 of 5 items have a zero vector (first: item 2), so an LRD"]),
        (array(2, 5), ["", *"abcde"], ["a.npy: 2 of 5 items with a text have a zero vector (first: item 2)"]),
        (array(2, 5), ["", "a", " ", "c", "d", ""], ["2 of 5 items have no text (first: item 2)"]),
        (
            array(2, 5),
            ["", "a", "b", "c", "d", "\u00a0"],
            ["1 of 5 items have no text (f", "a.npy: 1 of 5 items with"],
        ),
        (array(1, 2, 3, 4, 5), None, ["a.npy: 5 of 5 items have a zero vector"]),
        (np.concatenate([np.zeros((1, 3)), np.ones((4, 3))]), None, ["a.npy: all 4 items have the same vector"]),
        (np.concatenate([np.zeros((1, 3)), np.ones((4, 3))]), ["", *"abcd"], ["a.npy: all 4 items have the same"]),
        (np.concatenate([np.zeros((1, 3)), np.ones((4, 3))]), ["", *"aaaa"], []),
        (array(items=1), None, []),
    ],
)
def test_warnings(embeddings, texts, lines, capsys):
    warn_of_empty(embeddings, "a.npy", texts)
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == len(lines)
    assert all(line.startswith(f"warning: {start}") for line, start in zip(printed, lines, strict=True)), printed


@pytest.mark.process
@pytest.mark.parametrize("name", ["a.npy", "a.npz", "dump"])
def test_a_file(dataset, name, capsys):
    path = dataset.parent / name
    vectors = array(2, 4, items=4)[1:]
    if name == "a.npy":
        np.save(path, vectors)
    elif name == "a.npz":
        np.savez(path, text=vectors)
    else:
        vectors.tofile(path)
    done = embed(dataset, "--encoder", "file", "--file", path, "--dimensions", "3")
    assert done.returncode == 0 and "fits the items" in done.stdout
    assert done.stderr.startswith(f"warning: {path}: 2 of 4 items have a zero vector (first: item 2)")
    load_or_embed(dataset, 4, TextConfig(encoder="file", file=path, dimensions=3))  # what training reads
    assert "2 of 4 items have a zero vector" in capsys.readouterr().err


@pytest.mark.process
def test_words_that_a_model_does_not_know(dataset, tmp_path, capsys):
    folder, _ = make_model2vec(tmp_path / "static")
    write_texts(dataset, ["", "red binder", "zebra", "mouse", "..."])
    options = [dataset, "--encoder", "model2vec", "--model", folder]
    for more in ([], [], ["--force"]):
        done = embed(*options, *more)
        assert done.returncode == 0, done.stderr
        assert "2 of 4 items with a text have a zero vector (first: item 2)" in done.stderr
        assert done.stderr.count("warning: ") == 1
    load_or_embed(dataset, 4, TextConfig(encoder="model2vec", model=str(folder)))
    assert "2 of 4 items with a text have a zero vector" in capsys.readouterr().err
    write_texts(dataset, ["", "zebra", "lion", "ape", "..."])
    done = embed(*options, "--force")
    assert done.returncode == 2 and "embeds all 4 texts as zero vectors" in done.stderr
    assert built("model2vec", folder).encode(["zebra"]).tolist() == [[0.0] * 6]


@pytest.mark.process
@pytest.mark.parametrize("name", ["wordllama", "sentence-transformers"])
def test_any_encoder(dataset, name, tmp_path):
    """An array of zeros where this encoder's is."""
    if name == "wordllama":
        options = []
    else:
        from tests.text.test_local_models import make_sentence_transformer

        options = ["--model", make_sentence_transformer(tmp_path / "sentences")]
    done = embed(dataset, "--encoder", name, *options)
    assert (done.returncode, done.stderr) == (0, "")
    path = done.stdout.split()[0]
    vectors = np.load(path)
    vectors[1] = 0
    np.save(path, vectors)
    done = embed(dataset, "--encoder", name, *options)
    assert done.returncode == 0 and "1 of 4 items with a text have a zero vector (first: item 2)" in done.stderr
    vectors[1] = np.nan
    np.save(path, vectors)
    done = embed(dataset, "--encoder", name, *options)
    assert done.returncode == 2 and "item 2 contains NaN or infinity" in done.stderr
    assert embed(dataset, "--encoder", name, *options, "--force").stderr == ""


def test_an_encoder_that_gives_zeros_for_all(dataset, monkeypatch):
    from lrd_jax.text import store
    from tests.text.test_store import Counting

    counting = Counting()
    counting.encode = lambda texts: np.zeros((len(texts), 64), np.float32)
    with pytest.raises(UserError, match="wordllama small embeds all 2 texts as zero vectors"):
        store.embed_texts(["", "a", "b"], counting)
