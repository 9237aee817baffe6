"""Embeds a short test text in every run, to check that the server works and still has the same model.

The format of the answers does not distinguish two models with the same name and width, and their vectors must not be
mixed. So the vector of the test text is stored with the others and compared. A changed model starts a new generation of
keys, so vectors of the earlier model are no longer found.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from lrd_jax.text.openai.vector_cache import Database, vector_key

PROBE = "A red bicycle with 21 gears"
LEAST_COSINE = 0.99
"""Smallest cosine between two answers of the same model, because rounding varies; OpenAI's vary by less than 0.001."""


class Identity(TypedDict):
    """Identifies a model; arguments of `vector_key`."""

    model: str
    dimensions: int | None
    service: str | None


def current_generation(database: Database, identity: Identity) -> int:
    """How often the model behind the name has changed."""
    generation = 0
    while database.widths([vector_key(PROBE, **identity, generation=generation + 1)]):
        generation += 1
    return generation


def compare(database: Database, identity: Identity, generation: int, vector: np.ndarray) -> str | None:
    """How the vector [T] of the test text differs from the stored one; None: it does not. Stores the first vector."""
    key = vector_key(PROBE, **identity, generation=generation)
    width = database.widths([key]).get(key)
    if width is None:
        keep(database, identity, generation, vector)
        return None
    if width != len(vector):
        return f"{len(vector)} dimensions, not {width}"
    kept, given = database.read([key], width)[0].astype(np.float64), vector.astype(np.float64)
    cosine = kept @ given / (np.linalg.norm(kept) * np.linalg.norm(given))
    return None if cosine >= LEAST_COSINE else f"old and new vector of a test text have the cosine {cosine:.2f}"


def keep(database: Database, identity: Identity, generation: int, vector: np.ndarray) -> None:
    """Stores the vector [T] of the test text."""
    database.put([vector_key(PROBE, **identity, generation=generation)], vector[None])
