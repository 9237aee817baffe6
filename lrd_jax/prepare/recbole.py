"""`prepare recbole`: a folder of RecBole's atomic files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from lrd_jax.errors import UserError
from lrd_jax.prepare.options import DEFAULTS, Names, Options, TimeUnit, need_out
from lrd_jax.prepare.write import write


def recbole(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    attributes: Names | None = None,
    relations: Names | None = None,
    max_relations: int = 8,
    time_unit: TimeUnit | None = None,
    time_format: str | None = None,
    options: Options = DEFAULTS,
) -> None:
    """A folder of RecBole's atomic files: .inter, and where they are there .item, for texts, and .kg with .link.

    Items that share a tail of the knowledge graph get it as an attribute's value; edges between items are relations.

    Args:
      folder: Which; holds one .inter file.
      attributes: Columns of .item to take as attributes. None: those whose values items share.
      relations: Relations of the knowledge graph to take, as .kg calls them. None: those with the most edges.
      max_relations: How many relations of the graph at most, where none are named; 0: none.
      time_unit: Of the field timestamp. None: told by all its values, as `table` does.
      time_format: Of dates in the field timestamp, as for `table`.
      options: How.
    """
    options.check()
    if max_relations < 0:
        raise UserError(f"{max_relations} is no number of them", field="--max-relations", remedy="Give 0 or more")
    need_out(options, "recbole")
    from lrd_jax.data.sources.recbole import read_recbole

    raw = read_recbole(
        folder,
        attributes=attributes,
        relations=relations,
        max_relations=max_relations,
        time_unit=time_unit,
        time_format=time_format,
    )
    write(raw, options, str(folder))
