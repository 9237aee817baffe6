"""What the command lines of several sources have in common; imports nothing heavy, so that --help is fast."""

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
    """Refuse to write into the cache what the folder's name there does not tell apart.

    Args:
      options: how.
      option: what makes the difference, for the message.

    Raises:
      UserError: no folder is named.
    """
    if options.out is None:
        raise UserError("what it makes needs a folder of its own", field=option, remedy="Name one with --out")


def not_published() -> UserError:
    """What to raise where --like published has no meaning."""
    remedy = "Choose rechorus, or prepare movielens 100k"
    return UserError(
        "only MovieLens-100k has relations and texts of the published notebook", field="--like", remedy=remedy
    )
