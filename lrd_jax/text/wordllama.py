"""WordLlama: averaged token embeddings distilled from Llama 2. The weights come inside its wheel: no network, no key.

Source: https://github.com/dleemiller/WordLlama, model l2_supercat.
"""

from __future__ import annotations

import logging
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrd_jax.config.schema import WORDLLAMA_DIMENSIONS, EncoderConfig
from lrd_jax.errors import UserError
from lrd_jax.text.base import in_parts, of_length_one

MODEL = "l2_supercat"
DIMENSIONS = (64, 128, 256)
"""Widths it can be cut to: trained so that a prefix of the vector is itself an embedding (Matryoshka)."""


class WordLlamaEncoder:
    """`lrd_jax.text.encoders.Encoder` over the weights in the wordllama wheel."""

    name, pooling, normalised = "wordllama", "mean", True
    origin: Mapping[str, str] = types.MappingProxyType({})

    def __init__(self, encoder_config: EncoderConfig) -> None:
        """Load the weights and the tokenizer (about 0.3 s).

        Args:
          encoder_config: dimensions, one of `DIMENSIONS`.

        Raises:
          UserError: it is none of them.
        """
        dimensions = encoder_config.dimensions or WORDLLAMA_DIMENSIONS
        if dimensions not in DIMENSIONS:
            widths = ", ".join(map(str, DIMENSIONS))
            raise UserError(
                f"wordllama embeds in {widths} dimensions, not {dimensions}",
                field="text.dimensions",
                remedy=f"Choose one of {widths}",
            )
        wordllama = _import_quietly()
        # Its own folder as the cache: by default it would look in, and download to, ~/.cache.
        self._model = wordllama.WordLlama.load(
            MODEL,
            cache_dir=Path(wordllama.__file__).parent,
            dim=WORDLLAMA_DIMENSIONS,
            trunc_dim=dimensions,
            disable_download=True,
        )
        self.model, self.version, self.dimensions = MODEL, f"{wordllama.__version__} {MODEL}", dimensions

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Mean of the token embeddings, scaled to length 1: float32 [N, T].

        wordllama's raw lengths vary from about 2 to 6 with the width and the number of tokens; sentence encoders and
        OpenAI's give length 1, and the classifier that reads them starts from the same small weights for all.
        """
        # A text of no token is a zero row; wordllama's own norm=True would divide it by zero.
        return in_parts(lambda part: of_length_one(self._model.embed(list(part))), texts, self.name)


def _import_quietly() -> Any:
    """Import wordllama without the root-logger handler at level INFO that its import installs for the whole process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    import wordllama

    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
    root.setLevel(level)
    return wordllama
