"""`prepare amazon-2014` and `prepare amazon-2023`: one category of Amazon reviews."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lrd_jax.data.options import PrepareOptions
from lrd_jax.prepare.options import DEFAULTS, Options, need_out
from lrd_jax.prepare.write import write

if TYPE_CHECKING:
    from lrd_jax.data.raw import RawDataset


def amazon_2014(
    category: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CATEGORY")],
    source: Path | None = None,
    reviews: Path | None = None,
    meta: Path | None = None,
    options: Options = DEFAULTS,
) -> None:
    """One category of the Amazon product data of 2014, as in the paper: category, brand, also_bought and also_viewed.

    Files of the 2018 release are recognised and read too: category, brand, also_buy and also_view.

    Args:
      category: Such as Office_Products or Electronics.
      source: A folder with reviews_CATEGORY_5.json.gz (2018: CATEGORY_5.json.gz) and meta_CATEGORY.json.gz, gzipped or
        not. None: an earlier download of the 2014 release, else snap.stanford.edu or mcauleylab.ucsd.edu.
      reviews: The reviews file, with any name.
      meta: The metadata file, with any name.
      options: How to prepare the dataset.
    """
    from lrd_jax.data.sources.amazon_2014 import read_amazon_2014

    _amazon(read_amazon_2014, category, source, reviews, meta, options)


def amazon_2023(
    category: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CATEGORY")],
    source: Path | None = None,
    reviews: Path | None = None,
    meta: Path | None = None,
    options: Options = DEFAULTS,
) -> None:
    """One category of Amazon Reviews'23: category, brand (the store) and, if present, bought_together.

    Args:
      category: Such as Office_Products or All_Beauty.
      source: A folder with CATEGORY.jsonl.gz and meta_CATEGORY.jsonl.gz, gzipped or not. None: an earlier download,
        else mcauleylab.ucsd.edu or huggingface.co.
      reviews: The reviews file, with any name.
      meta: The metadata file, with any name.
      options: How to prepare the dataset.
    """
    from lrd_jax.data.sources.amazon_2023 import read_amazon_2023

    _amazon(read_amazon_2023, category, source, reviews, meta, options)


def _amazon(
    read: Callable[..., RawDataset],
    category: str,
    source: Path | None,
    reviews: Path | None,
    meta: Path | None,
    options: PrepareOptions,
) -> None:
    """Shared by both releases of the Amazon data."""
    options.check()
    if reviews is not None or meta is not None:
        need_out(options, "--reviews, --meta")
    raw = read(category, source=source, reviews=reviews, meta=meta)
    write(raw, options, ", ".join(raw.origin["files"]))
