"""Text encoders by name."""

from __future__ import annotations

from lrd_jax.config.schema import EncoderConfig
from lrd_jax.errors import UserError
from lrd_jax.text.base import Encoder
from lrd_jax.text.options import BatchOptions, RequestOptions, ServerOptions

PAID = ("openai", "openai-batch")
"""Encoders that are asked over the network and may cost money: only `lrd_jax.embed` asks them."""


def build_encoder(
    encoder_config: EncoderConfig,
    server: ServerOptions | None = None,
    requests: RequestOptions | None = None,
    batches: BatchOptions | None = None,
    *,
    force: bool = False,
    ask_all: bool = False,
) -> Encoder:
    """The encoder that `encoder_config` names. Imports only what that one needs.

    Args:
      encoder_config: which one.
      server, requests, batches: how those in `PAID` are asked.
      force: of those, whether vectors of an earlier model of the same name may be replaced.
      ask_all: of those, whether texts whose vectors are in the cache are asked for as well.

    Raises:
      UserError: the encoder cannot be used: its package is not installed, its model is not named, cannot be read or
        does not have the width asked for.
    """
    match encoder_config.encoder:
        case "wordllama":
            from lrd_jax.text.wordllama import WordLlamaEncoder

            return WordLlamaEncoder(encoder_config.known_dimensions)
        case "sentence-transformers":
            from lrd_jax.text.sentence_transformers import SentenceTransformersEncoder

            return SentenceTransformersEncoder(encoder_config)
        case "model2vec":
            from lrd_jax.text.model2vec import Model2VecEncoder

            return Model2VecEncoder(encoder_config)
        case "openai":
            from lrd_jax.text.openai.embeddings import OpenAIEncoder

            return OpenAIEncoder(
                encoder_config.model, encoder_config.dimensions, server, requests, force=force, ask_all=ask_all
            )
        case "openai-batch":
            from lrd_jax.text.openai.batch import OpenAIBatchEncoder

            return OpenAIBatchEncoder(
                encoder_config.model, encoder_config.dimensions, server, batches, force=force, ask_all=ask_all
            )
        case _:  # file
            raise UserError(
                "a file of embeddings embeds no texts",
                field="text.encoder",
                remedy="Choose another encoder, or train with --text.encoder file --text.file FILE",
            )
