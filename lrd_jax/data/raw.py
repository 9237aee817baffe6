"""The common form of raw data, which every source produces and `prepare` filters, numbers and splits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import polars as pl

NO_TIMES = "none; the order of the rows stands for them"


@dataclasses.dataclass(frozen=True)
class RawDataset:
    """Interactions and item data, with the ids of the source.

    Ids are String or Int64; user ids have the same type in all frames, and so have item ids. Items without interactions
    are allowed: the filter removes them.

    Attributes:
      name: name of the dataset, such as "ml-100k".
      interactions: columns `user`, `item`, `time`, in the order of the source, which breaks ties between equal times;
        duplicates are not yet dropped. Times keep the source's resolution: Datetime of any unit in UTC, or Int64, whole
        seconds since 1970 (any ascending number if the source has no times).
      items: `item`, each once, and text columns (String, null if unknown, or List(String)), which fill the templates
        and are kept in items.tsv.
      attributes: {"category": frame with the columns `item` and `value` (String)}, one row per value of an item, in the
        order of the source; become i_category.
      relations: {"complement": frame with the columns `item` and `other`, both item ids}; become r_complement.
      template: template of the item texts (see `lrd_jax.data.templates`) over the columns of `items`; for datasets of
        the paper, the paper's template; "" if there is no item data.
      origin: the origin as shown in the data card: source, names and SHA-256 of the files. Independent of the path of
        the files. "times" is NO_TIMES if the source has no times.
    """

    name: str
    interactions: pl.DataFrame
    items: pl.DataFrame
    attributes: Mapping[str, pl.DataFrame]
    relations: Mapping[str, pl.DataFrame]
    template: str
    origin: Mapping[str, Any]
