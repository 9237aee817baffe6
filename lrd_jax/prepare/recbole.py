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
    """A folder of RecBole's atomic files: .inter and, if they exist, .item (for texts) and .kg with .link.

    In the knowledge graph, tails that items share become attribute values, and edges between items become relations.

    Args:
      folder: The folder, with one .inter file.
      attributes: Columns of .item to use as attributes. None: those with values that items share.
      relations: Relations of the knowledge graph to use, named as in .kg. None: those with the most edges.
      max_relations: Maximum number of relations of the graph, unless --relations is given; 0: none.
      time_unit: Unit of the field timestamp. None: recognised from all its values, as for `table`.
      time_format: Format of dates in the field timestamp, as for `table`.
      options: How to prepare the dataset.
    """
    options.check()
    if max_relations < 0:
        raise UserError(f"{max_relations} is negative", field="--max-relations", remedy="Give 0 or more")
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
