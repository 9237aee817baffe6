"""Command-line options that several sources share; imports nothing slow, so that --help is fast."""

from __future__ import annotations

from typing import Annotated, Literal

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from lrd_jax.data.options import PrepareOptions
from lrd_jax.errors import UserError

Names = Annotated[
    tuple[str, ...],
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="NAME,NAME,...",
        instance_from_str=lambda words: tuple(part for part in words[0].split(",") if part),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda values: [",".join(values)],
    ),
]
"""An option such as --attributes brand,category."""
TimeUnit = Literal["s", "ms", "us", "ns", "iso"]
Options = tyro.conf.OmitArgPrefixes[tyro.conf.FlagCreatePairsOff[PrepareOptions]]
"""The options that every source has."""
DEFAULTS = PrepareOptions()


def need_out(options: PrepareOptions, option: str) -> None:
    """Requires --out for options that are not part of the folder's name in the cache.

    Args:
      options: the options of the command.
      option: the option that needs its own folder, for the message.

    Raises:
      UserError: --out is not given.
    """
    if options.out is None:
        raise UserError("the result needs its own folder", field=option, remedy="Set --out to a folder")


def not_published() -> UserError:
    """The error for sources that do not support --like published."""
    remedy = "Choose --like rechorus, or prepare movielens 100k"
    return UserError(
        "only MovieLens-100k has relations and texts of the published notebook", field="--like", remedy=remedy
    )
