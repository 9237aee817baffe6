"""The text encoder that a configuration names."""

from __future__ import annotations

import typing

from lrd_jax import plugins
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
    """The encoder that `encoder_config` names, one of `plugins.ENCODERS`. Imports only what that one needs.

    Args:
      encoder_config: which one.
      server, requests, batches: how those in `PAID` are asked.
      force: of those, whether vectors of an earlier model of the same name may be replaced.
      ask_all: of those, whether texts whose vectors are in the cache are asked for as well.

    Raises:
      UserError: the encoder cannot be used: its package is not installed or does not work, its model is not named,
        cannot be read or does not have the width asked for.
    """
    name = encoder_config.encoder
    make = plugins.load(plugins.ENCODERS, name)
    if name in PAID:
        how = {"openai": requests, "openai-batch": batches}[name]
        paid: Encoder = make(encoder_config.model, encoder_config.dimensions, server, how, force=force, ask_all=ask_all)
        return paid
    encoder: Encoder = make(encoder_config)
    if name not in plugins.ENCODERS.ours:
        _check(name, encoder)
    return encoder


def _check(name: str, encoder: Encoder) -> None:
    """Refuse another package's encoder that lacks what the record of its vectors needs."""
    package = plugins.package_of(plugins.ENCODERS, name)
    wanted = [*typing.get_type_hints(Encoder), "encode"]
    if missing := [attribute for attribute in wanted if not hasattr(encoder, attribute)]:
        problem = f"the encoder {name!r} of the package {package} has no {', '.join(missing)}"
        raise UserError(problem, field="text.encoder", remedy="See lrd_jax.text.base.Encoder for what it must have")
    if encoder.name != name:
        problem = f"the encoder {name!r} of the package {package} gives its name as {encoder.name!r}"
        raise UserError(problem, field="text.encoder", remedy="Let its name be that of its entry point")
