"""A dataset and a run's arrays with items that were not there in training."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import NamedTuple

import numpy as np
import polars as pl

from lrd_jax.api.dataset import Dataset
from lrd_jax.config.schema import TextConfig
from lrd_jax.data.corpus import Corpus
from lrd_jax.data.new_items import NewItems, check_new_items
from lrd_jax.data.value_names import value_entities
from lrd_jax.errors import UserError
from lrd_jax.models.system import Params
from lrd_jax.ranking.new_items import (
    attribute_overlap,
    check_model,
    extended_values,
    neighbours,
    text_similarity,
    with_new_items,
)
from lrd_jax.text.encoders import PAID, build_encoder
from lrd_jax.text.store import embed_texts
from lrd_jax.training.setup import Setup


@dataclasses.dataclass(frozen=True)
class ExtendedDataset(Dataset):
    """A view of a dataset folder with N items more, without interactions; nothing is written.

    Attributes:
      extended_corpus, extended_facts, extended_ids: of I + N items.
    """

    extended_corpus: Corpus = dataclasses.field(repr=False)
    extended_facts: pl.DataFrame = dataclasses.field(repr=False)
    extended_ids: pl.Series = dataclasses.field(repr=False)

    @property
    def corpus(self) -> Corpus:
        """See `Dataset`."""
        return self.extended_corpus

    @property
    def facts(self) -> pl.DataFrame:
        """See `Dataset`."""
        return self.extended_facts

    @property
    def item_ids(self) -> pl.Series:
        """See `Dataset`."""
        return self.extended_ids


class Extended(NamedTuple):
    """What changes in a run.

    Attributes:
      dataset: the view.
      setup: with the larger corpus, model and tables; to rank with, not to train.
      params: with vectors for the new items.
      text: float32 [I + N + 1, T].
    """

    dataset: Dataset
    setup: Setup
    params: Params
    text: np.ndarray


def extend(dataset: Dataset, setup: Setup, params: Params, text: np.ndarray, frame: pl.DataFrame) -> Extended:
    """Adds new items to a run.

    Args:
      dataset, setup, params: of the run.
      text: float32 [I + 1, T], embeddings of its items.
      frame: as `read_new_items` gives.

    Raises:
      UserError: as `Run.with_new_items`.
    """
    check_model(setup.system)
    corpus, config = dataset.corpus, setup.config
    entities = value_entities(dataset.folder, corpus)
    new = check_new_items(frame, item_ids=dataset.item_ids, facts=dataset.facts, corpus=corpus, entities=entities)
    scale = config.text.scale if config.uses_text else 1.0
    new_text = embed_new(new.texts, config.text) * np.float32(scale)
    overlap = (
        attribute_overlap(new.item_values, corpus.item_values, corpus.none_entities) if corpus.attributes else None
    )
    ids, weights = neighbours(text_similarity(new_text, text), overlap)
    system, params, tables = with_new_items(
        setup.system, params, setup.arrays.tables, ids, weights, item_values=new.item_values, text=new_text
    )
    larger = extended_corpus(corpus, new)
    arrays = setup.arrays._replace(tables=tables)
    return Extended(
        dataset=ExtendedDataset(
            dataset.folder,
            larger,
            pl.concat([dataset.facts, new.facts]),
            pl.concat([dataset.item_ids, new.ids.alias(dataset.item_ids.name)]),
        ),
        setup=setup._replace(corpus=larger, arrays=arrays, system=system),
        params=params,
        text=np.concatenate([text, new_text]),
    )


def embed_new(texts: pl.Series, config: TextConfig) -> np.ndarray:
    """The texts as the dataset's were embedded, float32 [N, T].

    Raises:
      UserError: those are of a file, or of a server that costs money.
    """
    if config.encoder == "file" or config.encoder in PAID:
        why = {"file": "came from a file"}.get(config.encoder, f"came from {config.encoder}, which costs money")
        problem = f"the text embeddings {why}, so those of new items cannot be made here"
        raise UserError(problem, field="text.encoder", remedy="Take a run with another text encoder, such as wordllama")
    return embed_texts(["", *texts], build_encoder(config))


def extended_corpus(corpus: Corpus, new: NewItems) -> Corpus:
    """The corpus with N items more, which have no interactions and no relations."""
    number = len(new.ids)
    content = repr((corpus.content_hash, new.ids.to_list(), new.texts.to_list(), new.item_values.tolist()))
    return dataclasses.replace(
        corpus,
        content_hash=hashlib.sha256(content.encode()).hexdigest(),
        num_items=corpus.num_items + number,
        num_entities=corpus.num_entities + number,
        item_values=extended_values(corpus.item_values, new.item_values),
        none_entities=corpus.none_entities + np.int32(number),
    )
