"""The entities of attribute values, by the names that the source gives the values."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lrd_jax.data.corpus import Corpus
from lrd_jax.data.item_tables import VALUES
from lrd_jax.data.tables import integer_column, parse_table, read_bytes
from lrd_jax.files import is_there


def value_entities(folder: Path, corpus: Corpus) -> dict[str, dict[str, int]]:
    """{attribute: {value: entity}}; the numbers in item_meta.csv are the names where there is no values.tsv.

    Args:
      folder: the dataset folder.
      corpus: read from it; with other entity ids perhaps.

    Raises:
      UserError: values.tsv cannot be read.
    """
    nones = dict(zip(corpus.attributes, corpus.none_entities.tolist(), strict=True))
    path = folder / VALUES
    if not is_there(path):
        ends = [*corpus.none_entities[1:].tolist(), corpus.num_entities]
        return {
            name: {str(entity - none): entity for entity in range(none + 1, end)}
            for (name, none), end in zip(nones.items(), ends, strict=True)
        }
    table = parse_table(path, read_bytes(path))
    table.require("attribute", "value")
    numbers = integer_column(table, "value_id", low=1, meaning="a value id").astype(np.int64).tolist()
    entities: dict[str, dict[str, int]] = {name: {} for name in nones}
    for name, value, number in zip(table.cells["attribute"], table.cells["value"], numbers, strict=True):
        if name in nones:
            entities[name][value] = nones[name] + number
    return entities
