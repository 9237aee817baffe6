"""What the arrays are called: every model and width has a file of its own, the same from everywhere."""

import hashlib
import json
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrd_jax.config.schema import EncoderConfig
from lrd_jax.text.naming import model_name, text_path


def config(encoder="sentence-transformers", model=None, dimensions=None):
    return EncoderConfig(encoder=encoder, model=model, dimensions=dimensions)


def name(*args):
    return text_path("folder", config(*args)).name


def test_names():
    assert name("wordllama") == name("wordllama", None, 256) == "text_wordllama.npy"
    assert name("wordllama", None, 64) == "text_wordllama-64d.npy"
    assert name("openai", "text-embedding-3-small") == "text_openai-text-embedding-3-small.npy"
    assert name("openai", "text-embedding-3-small", 512) == "text_openai-text-embedding-3-small-512d.npy"
    digest = hashlib.sha256(b"BAAI/bge-m3").hexdigest()[:8]
    assert name("sentence-transformers", "BAAI/bge-m3") == f"text_sentence-transformers-BAAI-bge-m3-{digest}.npy"


def test_a_folder_is_the_same_model_from_everywhere(tmp_path, monkeypatch):
    (tmp_path / "models/mini").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    absolute = str(tmp_path / "models/mini")
    wanted = name("sentence-transformers", absolute)
    assert re.fullmatch(r"text_sentence-transformers-mini-[0-9a-f]{8}\.npy", wanted)
    monkeypatch.chdir(tmp_path / "models")
    spellings = ["mini", "./mini", "mini/", "../models/mini", "~/models/mini", absolute + "/"]
    assert {name("sentence-transformers", spelling) for spelling in spellings} == {wanted}
    assert {model_name(config(model=spelling)) for spelling in spellings} == {absolute}
    os.rmdir(absolute)  # what it was called does not depend on whether it is still there
    assert name("sentence-transformers", absolute) == wanted
    monkeypatch.chdir(tmp_path)
    assert model_name(config(model="mini")) == "mini"  # no folder here: a name on the hub


def test_the_model_of_an_api_is_no_folder(tmp_path, monkeypatch):
    (tmp_path / "ada").mkdir()
    monkeypatch.chdir(tmp_path)
    assert model_name(config("openai", "ada")) == "ada" and name("openai", "ada") == "text_openai-ada.npy"


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), min_size=2, unique=True))
def test_two_models_never_share_a_file(models):
    names = [name("openai", model) for model in models]
    assert len(set(names)) == len(names)
    for each in names:
        assert re.fullmatch(r"[A-Za-z0-9._-]+", each) and len(each) < 128


@pytest.mark.parametrize(
    "model", ["a/b", "a-b", "a b", "a\nb", "../b", "b", "A-b", "x" * 300, "x" * 301, "日本語", "🙂"]
)
def test_names_are_safe_and_differ(model):
    others = {"a/b", "a-b", "a b", "a\nb", "../b", "b", "A-b", "x" * 300, "x" * 301, "日本語", "🙂"} - {model}
    assert "/" not in name("openai", model) and name("openai", model) not in {name("openai", other) for other in others}


def test_full_width_given_as_a_number_uses_the_existing_array(tmp_path):
    """As in the config.toml of a run, which states the width that the encoder had."""
    full = text_path(tmp_path, config(model="mini"))
    assert text_path(tmp_path, config(model="mini", dimensions=384)) != full
    full.with_suffix(".json").write_text(json.dumps({"dimensions": 384}))
    assert text_path(tmp_path, config(model="mini", dimensions=384)) == full
    assert text_path(tmp_path, config(model="mini", dimensions=128)).name == "text_sentence-transformers-mini-128d.npy"
    for damaged in ("", "[]", "{}", "\udcff"):
        full.with_suffix(".json").write_bytes(damaged.encode(errors="surrogateescape"))
        assert text_path(tmp_path, config(model="mini", dimensions=384)) != full
