"""The real encoder, with the weights of its wheel."""

import logging
import subprocess
import sys

import numpy as np
import pytest

from lrd_jax.config.schema import TextConfig
from lrd_jax.errors import UserError
from lrd_jax.text.encoders import build_encoder
from lrd_jax.text.wordllama import DIMENSIONS

TEXTS = ["ring binder, three holes", "binder with rings", "wireless mouse", "日本語", "a", "stapler " * 200]


@pytest.mark.parametrize("dimensions", DIMENSIONS)
def test_shape_and_length(dimensions):
    encoder = build_encoder(TextConfig(dimensions=dimensions))
    embeddings = encoder.encode(TEXTS)
    assert (encoder.name, encoder.dimensions) == ("wordllama", dimensions)
    assert (embeddings.shape, embeddings.dtype) == ((len(TEXTS), dimensions), np.float32)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-6)


def test_same_bits_alone_and_among_others_and_in_a_second_instance():
    first = build_encoder(TextConfig())
    together = first.encode(TEXTS)
    alone = np.concatenate([build_encoder(TextConfig()).encode([text]) for text in TEXTS])
    np.testing.assert_array_equal(together, alone)


def test_similar_texts_are_near():
    binder, rings, mouse = build_encoder(TextConfig()).encode(TEXTS[:3])
    assert binder @ rings > binder @ mouse + 0.2


def test_text_without_a_token_is_zero():
    assert not build_encoder(TextConfig()).encode([""]).any()


def test_width_that_the_wheel_does_not_have():
    with pytest.raises(UserError, match="64, 128, 256 dimensions, not 512"):
        build_encoder(TextConfig(dimensions=512))


@pytest.mark.process
def test_import_leaves_the_root_logger_alone():
    program = (
        "import logging; root = logging.getLogger(); before = (root.handlers[:], root.level)\n"
        "from lrd_jax.config.schema import EncoderConfig\n"
        "from lrd_jax.text.wordllama import WordLlamaEncoder\n"
        "WordLlamaEncoder(EncoderConfig(dimensions=64))\n"
        "assert (root.handlers, root.level) == before, (root.handlers, root.level)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert logging.getLogger().level != logging.INFO
