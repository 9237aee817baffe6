"""What a reader of raw files makes of them, before ids, filter and split: the one form that `prepare` goes on from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import polars as pl

NO_TIMES = "none; the order of the rows stands for them"


@dataclasses.dataclass(frozen=True)
class RawDataset:
    """Interactions and what is known of the items, under the ids of the source.

    Ids are String or Int64, the same type for the same thing everywhere here. Items that nobody touched, and rows
    about items that are not among the interactions, are allowed: the filter decides what remains.

    Attributes:
      name: of the dataset, such as "ml-100k".
      interactions: columns `user`, `item`, `time`, in the order of the source, which decides between equal times;
        duplicates not yet dropped. Times are as fine as the source has them: Datetime of any unit in UTC, or Int64,
        whole seconds since 1970 (any ascending number where there are no times).
      items: `item`, each once, and columns of text about it (String, null where nothing is known, or List(String)):
        what templates are filled with and items.tsv keeps.
      attributes: {"category": frame with the columns `item` and `value` (String)}, several rows per item where it has
        several values, in the order of the source; become i_category.
      relations: {"complement": frame with the columns `item` and `other`, both item ids}; become r_complement.
      template: of the item texts, as `lrd_jax.data.templates` reads it, over the columns of `items`; what the paper
        used for this dataset where it is one of the paper's; "" where nothing is known of the items.
      origin: what the data card says of where this came from: source, the files' names and SHA-256; the same for the
        same data wherever the copy lay; "times" is NO_TIMES where the source has no times.
    """

    name: str
    interactions: pl.DataFrame
    items: pl.DataFrame
    attributes: Mapping[str, pl.DataFrame]
    relations: Mapping[str, pl.DataFrame]
    template: str
    origin: Mapping[str, Any]
