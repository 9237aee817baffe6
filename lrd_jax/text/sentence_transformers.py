"""Sentence encoders of the sentence-transformers library, from any folder or any name on the Hugging Face hub.

Source: https://github.com/huggingface/sentence-transformers. Needs the extra `st`. Code in a model's
folder is never run, and weights are read from safetensors only, because a pickle can run any code.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lrd_jax.config.schema import EncoderConfig
from lrd_jax.errors import UserError
from lrd_jax.text.base import model_not_named, not_installed, of_length_one, told_of_loading
from lrd_jax.text.naming import model_name
from lrd_jax.text.weights import DECISIVE, OTHER_FORMATS, refuse_pickled_weights, weights_hash

NAME = "sentence-transformers"


class SentenceTransformersEncoder:
    """`lrd_jax.text.encoders.Encoder` over a model of sentence-transformers."""

    name, normalised = NAME, True

    def __init__(self, encoder_config: EncoderConfig) -> None:
        """Loads a model from a folder, from the hub's cache, or from the hub.

        Args:
          encoder_config: its `model` is a folder or a name on the hub; its `dimensions` is at most the model's own
            width, for models trained for shorter prefixes (Matryoshka).

        Raises:
          UserError: the package is not installed; no model is given; or the model cannot be loaded, has pickled
            weights, needs its own code, or is narrower than requested.
        """
        try:
            import sentence_transformers
            import torch
            import transformers
        except ImportError as error:
            raise not_installed(NAME, "st", error) from error
        self.model = model_name(encoder_config) or model_not_named(NAME)
        folder, self.origin = self._fetched()
        refuse_pickled_weights(folder)
        self.origin = dict(self.origin) | {"weights_hash": weights_hash(folder)}
        transformers.utils.logging.disable_progress_bar()  # lasts a second, and is shown even without a terminal
        with told_of_loading(self.model):
            self._model = sentence_transformers.SentenceTransformer(
                str(folder),
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={"use_safetensors": True},
            )
        full = self._model.get_embedding_dimension()
        self.dimensions = encoder_config.dimensions or full
        if self.dimensions > full:
            problem = f"the model embeds in {full} dimensions, not {self.dimensions}"
            raise UserError(problem, file=self.model, field="text.dimensions", remedy=f"Choose at most {full}")
        pooling = (getattr(module, "pooling_mode", None) for module in self._model)
        modes = next((mode for mode in pooling if mode), "unknown")
        self.pooling = modes if isinstance(modes, str) else "+".join(modes)
        packages = (sentence_transformers, transformers, torch)
        self.version = ", ".join(f"{package.__name__} {package.__version__}" for package in packages)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """The model's vectors, cut to the width and scaled to length 1: float32 [N, T]. Long texts are cut off."""
        embeddings = self._model.encode(
            list(texts),
            show_progress_bar=sys.stderr.isatty(),
            convert_to_numpy=True,
            truncate_dim=self.dimensions,
        )
        return of_length_one(np.asarray(embeddings, np.float32))

    def _fetched(self) -> tuple[Path, Mapping[str, str]]:
        """The model's folder and, if it is from the hub, its revision."""
        if Path(self.model).is_absolute():
            return Path(self.model), {}
        import huggingface_hub

        if not sys.stderr.isatty():
            huggingface_hub.utils.disable_progress_bars()
        with told_of_loading(self.model):
            # Download neither pickles nor code. From here on the model is a local folder.
            folder = huggingface_hub.snapshot_download(
                self.model,
                allow_patterns=[f"*{suffix}" for suffix in DECISIVE],
                ignore_patterns=[f"{name}/*" for name in OTHER_FORMATS],
            )
        return Path(folder), {"revision": Path(folder).name}
