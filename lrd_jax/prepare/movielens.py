"""`prepare ml-100k` and `prepare movielens`: GroupLens's files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from lrd_jax.prepare.options import DEFAULTS, Options, need_out, not_published
from lrd_jax.prepare.write import write


def ml_100k(source: Path | None = None, options: Options = DEFAULTS) -> None:
    """MovieLens-100k, as in the paper: short for `movielens 100k`.

    Args:
      source: A copy of the data: GroupLens's ml-100k.zip, its unpacked folder, recbole's ml-100k folder, or a recbole
        wheel. None: an earlier download, else GroupLens, else the recbole wheel.
      options: How to prepare the dataset.
    """
    movielens("100k", source, None, options)


def movielens(
    version: Annotated[Literal["100k", "1m", "20m", "32m"], tyro.conf.Positional],
    source: Path | None = None,
    extra: Path | None = None,
    options: Options = DEFAULTS,
) -> None:
    """MovieLens from GroupLens's files, with years and genres as attributes.

    Args:
      version: GroupLens's version.
      source: A copy of the data: GroupLens's zip or its unpacked folder. None: an earlier download, else GroupLens.
      extra: CSV, TSV, Parquet or JSON lines with the column movieId and any others, such as director, actors and plot,
        which are added to the texts in the file's order.
      options: How to prepare the dataset.
    """
    options.check()
    from lrd_jax.data.sources.movielens import check_published_sizes, read_movielens

    for option, given in (("--extra", extra), ("--template", options.template)):
        if given is not None:
            need_out(options, option)
    published = options.like == "published"
    if published and version != "100k":
        raise not_published()
    raw, words = read_movielens(version, source, extra, published=published)
    if raw.origin.get("years") == "titles":
        print("This copy of the data has no release dates, so the years are from the titles.")
    prepared = write(raw, options, words)
    if version == "100k":
        check_published_sizes(prepared, options)
