"""A dataset folder in parts: one that some items were never in, and the table of these items."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from lrd_jax.api.dataset import Dataset, dataset_from_frame
from lrd_jax.data.texts import read_texts
from lrd_jax.data.value_names import value_entities


class Parts(NamedTuple):
    """What `split_items` makes.

    Attributes:
      known: a dataset without the items that were held out and their interactions.
      new: a row per item that was held out: item (the source's id), text, title and a column per attribute.
      items: int [N], the own ids in the whole dataset of those items.
    """

    known: Dataset
    new: pl.DataFrame
    items: np.ndarray


def split_items(whole: Dataset, share: float, seed: int) -> Parts:
    """Holds out a share of the items, drawn uniformly."""
    corpus = whole.corpus
    number = max(1, round(share * corpus.num_items))
    items = np.sort(np.random.default_rng(seed).choice(corpus.num_items, number, replace=False) + 1)
    table = item_table(whole)
    is_new = pl.Series(np.isin(np.arange(1, corpus.num_items + 1), items))
    kept = ~np.isin(corpus.sequence_items, items)
    interactions = pl.DataFrame(
        {
            "user": whole.user_ids.gather(corpus.sequence_users[kept] - 1),
            "item": whole.item_ids.gather(corpus.sequence_items[kept] - 1),
            "time": corpus.sequence_times[kept],
        }
    )
    known = dataset_from_frame(
        interactions,
        user="user",
        item="item",
        time="time",
        items=table.filter(~is_new),
        attributes=list(corpus.attributes),
        template="{text}",
        core=1,
        negatives=corpus.dev.negatives.shape[1],
    )
    return Parts(known, table.filter(is_new), items)


def item_table(dataset: Dataset) -> pl.DataFrame:
    """A row per item: item, text, title, and per attribute a list of the names of its values."""
    corpus = dataset.corpus
    table = {"item": dataset.item_ids, "text": pl.Series(read_texts(dataset.folder, corpus.num_items)[1:])}
    names = {entity: name for of in value_entities(dataset.folder, corpus).values() for name, entity in of.items()}
    attributes = {
        name: pl.Series(
            [[names[entity] for entity in held if entity in names] for held in of_items], dtype=pl.List(pl.String)
        )
        for name, of_items in zip(corpus.attributes, corpus.item_values[1:].swapaxes(0, 1).tolist(), strict=True)
    }
    return pl.DataFrame({**table, "title": dataset.facts["title"], **attributes})
