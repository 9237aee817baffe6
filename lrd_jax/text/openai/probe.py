"""A short text that is asked for in every run: whether the server works, and whether its model is still the same.

Two models behind one name and of one width cannot be told apart by their answers' form, and their vectors must not be
mixed. So the vector of the test text is kept with the others and compared; another model starts a new generation of
keys, under which nothing of the earlier one is found.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from lrd_jax.text.openai.vector_cache import Database, vector_key

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


def compare(database: Database, identity: Identity, generation: int, vector: np.ndarray) -> str | None:
    """How the vector [T] of the test text differs from the kept one; None: it does not. The first one is kept."""
    key = vector_key(PROBE, **identity, generation=generation)
    width = database.widths([key]).get(key)
    if width is None:
        keep(database, identity, generation, vector)
        return None
    if width != len(vector):
        return f"{len(vector)} dimensions, not {width}"
    kept, given = database.read([key], width)[0].astype(np.float64), vector.astype(np.float64)
    cosine = kept @ given / (np.linalg.norm(kept) * np.linalg.norm(given))
    return None if cosine >= LEAST_COSINE else f"its vectors of a test text have the cosine {cosine:.2f}"


def keep(database: Database, identity: Identity, generation: int, vector: np.ndarray) -> None:
    """Keep the vector [T] of the test text."""
    database.put([vector_key(PROBE, **identity, generation=generation)], vector[None])
