"""What a text encoder is, and how one is built by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from lrd_jax.config import EncoderConfig


class Encoder(Protocol):
    """A frozen language model that turns texts into vectors.

    A new one is a file beside this one, a case in `build_encoder` and a name in `EncoderConfig.encoder`.

    Attributes:
      name: the name in `EncoderConfig.encoder`; also part of the file names of what it wrote.
      version: which weights and which software, for the record.
      dimensions: T.
    """

    name: str
    version: str
    dimensions: int

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts that are not blank: float32 [N, T], each row of Euclidean length 1 (or 0: nothing known of it).

        A row depends on its own text alone, not on the others of the call.
        """
        ...


def build_encoder(encoder_config: EncoderConfig) -> Encoder:
    """The encoder that `encoder_config` names. Imports only what that one needs.

    Raises:
      UserError: the encoder does not have the width asked for.
    """
    match encoder_config.encoder:
        case "wordllama":
            from lrd_jax.text.wordllama import WordLlamaEncoder

            return WordLlamaEncoder(encoder_config.dimensions)
