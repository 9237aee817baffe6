"""Builds the text encoder of a configuration."""

from __future__ import annotations

import typing

from lrd_jax import plugins
from lrd_jax.config.schema import EncoderConfig
from lrd_jax.errors import UserError
from lrd_jax.text.base import Encoder
from lrd_jax.text.options import BatchOptions, RequestOptions, ServerOptions

PAID = ("openai", "openai-batch")
"""Encoders that use a server over the network and may cost money; only `lrd_jax.embed` runs them."""


def build_encoder(
    encoder_config: EncoderConfig,
    server: ServerOptions | None = None,
    requests: RequestOptions | None = None,
    batches: BatchOptions | None = None,
    *,
    force: bool = False,
    ask_all: bool = False,
) -> Encoder:
    """Builds the encoder of `encoder_config`, one of `plugins.ENCODERS`. Imports only what it needs.

    Args:
      encoder_config: the configuration of the encoder.
      server, requests, batches: request options of the encoders in `PAID`.
      force: for `PAID`, whether vectors of an earlier model of the same name may be replaced.
      ask_all: for `PAID`, whether to request cached texts again.

    Raises:
      UserError: the encoder cannot be used: its package is not installed or does not work, or its model is not given,
        cannot be read or does not have the requested width.
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
    """Rejects a plug-in encoder that lacks an attribute for the record of its vectors."""
    package = plugins.package_of(plugins.ENCODERS, name)
    wanted = [*typing.get_type_hints(Encoder), "encode"]
    if missing := [attribute for attribute in wanted if not hasattr(encoder, attribute)]:
        problem = f"the encoder {name!r} of the package {package} has no {', '.join(missing)}"
        raise UserError(problem, field="text.encoder", remedy="Add what lrd_jax.text.base.Encoder requires")
    if encoder.name != name:
        problem = f"the encoder {name!r} of the package {package} has the attribute name={encoder.name!r}"
        raise UserError(problem, field="text.encoder", remedy="Set its name to that of its entry point")
