"""Static embeddings of model2vec: the mean of token vectors distilled from a sentence encoder, read from a folder.

Source: https://github.com/MinishLab/model2vec. Needs the extra `model2vec`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lrd_jax.config.schema import EncoderConfig
from lrd_jax.errors import UserError
from lrd_jax.text.base import in_parts, model_not_named, not_installed, of_length_one, told_of_loading
from lrd_jax.text.naming import model_name
from lrd_jax.text.weights import refuse_pickled_weights, weights_hash

NAME = "model2vec"


class Model2VecEncoder:
    """`lrd_jax.text.encoders.Encoder` over a model2vec folder."""

    name, pooling, normalised = NAME, "mean", True

    def __init__(self, encoder_config: EncoderConfig) -> None:
        """Loads a model.

        Args:
          encoder_config: its `model` is a folder; its `dimensions` is at most the model's own width.

        Raises:
          UserError: the package is not installed; no folder is given; or the model cannot be loaded, has pickled
            weights, or is narrower than requested.
        """
        try:
            import model2vec
        except ImportError as error:
            raise not_installed(NAME, NAME, error) from error
        self.model = model_name(encoder_config) or model_not_named(NAME)
        folder = Path(self.model)
        refuse_pickled_weights(folder)  # also requires a folder, otherwise the library would use the hub
        with told_of_loading(self.model):
            # `encode` normalises, after cutting to the width.
            self._model = model2vec.StaticModel.from_pretrained(folder, normalize=False, force_download=False)
        full = self._model.dim
        self.dimensions = encoder_config.dimensions or full
        if self.dimensions > full:
            problem = f"the model embeds in {full} dimensions, not {self.dimensions}"
            raise UserError(problem, file=self.model, field="text.dimensions", remedy=f"Choose at most {full}")
        self.version, self.origin = f"model2vec {model2vec.__version__}", {"weights_hash": weights_hash(folder)}

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Mean of the token vectors, cut to the width and scaled to length 1: float32 [N, T].

        A text without any token that the model knows gives a row of zeros.
        """

        def encode(part: Sequence[str]) -> np.ndarray:
            vectors = self._model.encode(list(part), use_multiprocessing=False)
            return of_length_one(vectors[:, : self.dimensions].astype(np.float32))

        return in_parts(encode, texts, self.name)
