"""A short text that is asked for in every run: whether the server works, and whether its model is still the same.

Two models behind one name and of one width cannot be told apart by their answers' form, and their vectors must not be
mixed. So the vector of the test text is kept with the others and compared; another model starts a new generation of
keys, under which nothing of the earlier one is found.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from lrd_jax.text.vector_cache import Database, vector_key

PROBE = "A red bicycle with 21 gears"
LEAST_COSINE = 0.99
"""Between two answers of one model: batches and hardware round differently, OpenAI's answers vary by less than .001."""


class Identity(TypedDict):
    """Whose vectors: as `vector_key`."""

    model: str
    dimensions: int | None
    service: str | None


def current_generation(database: Database, identity: Identity) -> int:
    """How often another model was found behind the name."""
    generation = 0
    while database.widths([vector_key(PROBE, **identity, generation=generation + 1)]):
        generation += 1
    return generation


def similarity(database: Database, identity: Identity, generation: int, vector: np.ndarray) -> float | None:
    """Cosine between the kept vector of the test text and this one [T]; 0: of another width; None: none is kept."""
    key = vector_key(PROBE, **identity, generation=generation)
    width = database.widths([key]).get(key)
    if width is None:
        return None
    if width != len(vector):
        return 0.0
    kept, given = database.read([key], width)[0].astype(np.float64), vector.astype(np.float64)
    return float(kept @ given / (np.linalg.norm(kept) * np.linalg.norm(given)))


def keep(database: Database, identity: Identity, generation: int, vector: np.ndarray) -> None:
    """Keep the vector [T] of the test text."""
    database.put([vector_key(PROBE, **identity, generation=generation)], vector[None])
