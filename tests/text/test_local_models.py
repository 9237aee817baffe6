"""The encoders sentence-transformers and model2vec, over tiny models made here: real libraries, real files.

sentence-transformers brings torch and is therefore no part of the test extra: without it its tests are skipped. What is
said where a package is missing is tested always.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from lrd_jax.config.schema import EncoderConfig
from lrd_jax.errors import UserError
from lrd_jax.text.encoders import build_encoder
from lrd_jax.text.store import load_or_embed
from tests.text.conftest import write_texts

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "blue", "binder", "mouse"]
TEXTS = ["red binder", "Red binder", "blue mouse", "binder", "mouse " * 300, "red binder blue mouse red"]


def make_model2vec(folder):
    """A StaticModel of 8 words and 6 dimensions; returns its folder and matrix."""
    model2vec, tokenizers = pytest.importorskip("model2vec"), pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: row for row, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    matrix = np.random.default_rng(0).normal(size=(len(WORDS), 6)).astype(np.float32)
    model2vec.StaticModel(matrix, tokenizer).save_pretrained(folder)
    return folder, matrix


def make_sentence_transformer(folder):
    """A SentenceTransformer over a BERT of two layers and 8 dimensions with random weights; returns its folder."""
    st = pytest.importorskip("sentence_transformers", reason="the extra st (sentence-transformers, torch) is missing")
    import torch
    import transformers
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    torch.manual_seed(0)
    bert = folder.parent / "bert"
    bert.mkdir()
    (bert / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    settings = transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, **sizes)
    transformers.BertModel(settings).save_pretrained(bert)
    transformers.BertTokenizerFast(str(bert / "vocab.txt")).save_pretrained(bert)
    words = Transformer(str(bert), max_seq_length=16)
    st.SentenceTransformer(modules=[words, Pooling(8, pooling_mode="mean")], device="cpu").save(str(folder))
    return folder


def built(name, folder, dimensions=None):
    return build_encoder(EncoderConfig(encoder=name, model=str(folder), dimensions=dimensions))


@pytest.fixture(params=["sentence-transformers", "model2vec"])
def model(request, tmp_path):
    """The encoder's name, a model folder, its width."""
    if request.param == "model2vec":
        return request.param, make_model2vec(tmp_path / "static")[0], 6
    return request.param, make_sentence_transformer(tmp_path / "sentences"), 8


@pytest.mark.parametrize(("package", "extra"), [("sentence_transformers", "st"), ("model2vec", "model2vec")])
def test_missing_package(monkeypatch, tmp_path, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError) as error:
        built(package.replace("_", "-"), tmp_path)
    assert f"pip install -e '.[{extra}]'" in str(error.value)


def test_vectors(model):
    name, folder, width = model
    encoder = built(name, folder)
    vectors = encoder.encode(TEXTS)
    assert (vectors.shape, vectors.dtype) == ((len(TEXTS), width), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)  # both models fold case
    assert not np.allclose(vectors[0], vectors[2], atol=1e-3)
    np.testing.assert_array_equal(built(name, folder).encode(TEXTS), vectors)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(alone, vectors, atol=1e-6)
    np.testing.assert_array_equal(encoder.encode(TEXTS * 200)[-len(TEXTS) :], encoder.encode(TEXTS * 200)[: len(TEXTS)])
    assert (encoder.name, encoder.model, encoder.dimensions) == (name, str(folder), width)
    assert (encoder.pooling, encoder.normalised) == ("mean", True) and name.split("-")[0] in encoder.version


def test_model2vec_is_the_mean_of_the_rows(tmp_path):
    folder, matrix = make_model2vec(tmp_path / "static")
    mean = (matrix[4] + matrix[6]) / 2  # the library leaves unknown words out
    encoder = built("model2vec", folder)
    np.testing.assert_allclose(encoder.encode(["red binder zebra"])[0], mean / np.linalg.norm(mean), rtol=1e-5)
    assert not encoder.encode(["zebra", "."]).any()


def test_narrower_is_a_prefix_of_length_one(model):
    name, folder, width = model
    full, cut = built(name, folder).encode(TEXTS), built(name, folder, 3).encode(TEXTS)
    np.testing.assert_allclose(cut, full[:, :3] / np.linalg.norm(full[:, :3], axis=1, keepdims=True), rtol=1e-4)
    np.testing.assert_array_equal(built(name, folder, width).encode(TEXTS), full)
    with pytest.raises(UserError, match=f"embeds in {width} dimensions, not {width + 1}"):
        built(name, folder, width + 1)


def test_what_is_no_model_is_refused(model, tmp_path):
    name, folder, _ = model
    (tmp_path / "empty").mkdir()
    for wrong, words in ((tmp_path / "empty", "cannot be loaded"), (tmp_path / "nowhere", "no such model folder")):
        with pytest.raises(UserError, match=words):
            built(name, wrong)
    with pytest.raises(UserError, match="no default model"):
        build_encoder(EncoderConfig(encoder=name))
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for damaged in (b"", whole[:100], whole[:-10]):
        weights.write_bytes(damaged)
        with pytest.raises(UserError, match="cannot be loaded"):
            built(name, folder)
    weights.rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="can run any code"):
        built(name, folder)


def test_code_of_a_model_is_never_run(tmp_path):
    folder = make_sentence_transformer(tmp_path / "sentences")
    (folder / "modeling_mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Mine: pass\n")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "modeling_mine.Mine"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UserError, match="cannot be loaded"):
        built("sentence-transformers", folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.process
def test_hub_name_from_the_hub_s_cache(tmp_path, monkeypatch):
    """Without network, from a cache as the hub's client lays it out."""
    folder, revision = make_sentence_transformer(tmp_path / "sentences"), "0123456789abcdef0123456789abcdef01234567"
    place = tmp_path / "hub" / "models--me--tiny"
    (place / "refs").mkdir(parents=True)
    (place / "refs/main").write_text(revision)
    (place / "snapshots").mkdir()
    folder.rename(place / "snapshots" / revision)
    program = (
        "from lrd_jax.config.schema import EncoderConfig\nfrom lrd_jax.text.encoders import build_encoder\n"
        "encoder = build_encoder(EncoderConfig(encoder='sentence-transformers', model='{}'))\n"
        "print(encoder.model, encoder.origin['revision'], encoder.encode(['red']).shape)"
    )
    variables = os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    run = {"capture_output": True, "text": True, "env": variables}
    done = subprocess.run([sys.executable, "-c", program.format("me/tiny")], **run)
    assert done.stdout == f"me/tiny {revision} (1, 8)\n", done.stderr
    done = subprocess.run([sys.executable, "-c", program.format("me/other")], **run)
    assert done.returncode == 1 and "lrd_jax.errors.UserError: me/other: the model cannot be loaded" in done.stderr


@pytest.mark.process
def test_end_to_end(model, dataset):
    name, folder, width = model
    write_texts(dataset, ["", *TEXTS[:4]])
    command = [sys.executable, "-m", "lrd_jax.embed", str(dataset), "--encoder", name, "--model", str(folder)]

    def embed(*args):
        return subprocess.run([*command, *args], capture_output=True, text=True)

    done = embed()
    assert (done.returncode, done.stderr) == (0, "")
    array, provenance = done.stdout.split()
    stored, bits = np.load(array), open(array, "rb").read()
    np.testing.assert_allclose(stored, built(name, folder).encode(TEXTS[:4]), atol=1e-6)
    record = json.loads(open(provenance).read())
    assert record["model"] == str(folder) and record["dimensions"] == width and len(record["weights_hash"]) == 64
    assert "already matches the texts" in embed().stdout
    assert embed("--force").returncode == 0 and open(array, "rb").read() == bits

    config = EncoderConfig(encoder=name, model=str(folder), dimensions=width)  # the width, as a run records it
    np.testing.assert_array_equal(load_or_embed(dataset, 4, config)[1:], stored)
    with open(folder / "config.json", "a") as file:
        file.write("\n")
    done = embed()
    assert done.returncode == 2 and "the model's weights have changed" in done.stderr and "--force" in done.stderr
    assert embed("--force").returncode == 0 and embed().returncode == 0
