"""A small random dataset with planted relations, for tests and demonstrations.

A user's next item depends on the last one: most often a complement soon after, sometimes a substitute much later, else
an item of the same theme. The theme is not in the metadata, only in the item texts, so it is what latent relations can
discover.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl

from lrd_jax.data.folder import MARKER, json_lists, new_folder, write_interactions, write_tsv
from lrd_jax.data.splits import leave_one_out

_THEMES = (
    "tent trail summit campfire backpack lantern hiking compass",
    "oven flour skillet recipe spatula dough kitchen baking",
    "guitar melody drum concert piano rhythm singer amplifier",
    "garden seed soil flower shovel watering greenhouse compost",
)
_FILLERS = "classic large new small blue premium durable set pack"
_CATEGORIES, _TAGS = 5, 6
_START = 1_000_000_000  # September 2001, in seconds
_DAY = 86_400


def write_synthetic(
    folder: Path,
    *,
    num_users: int = 120,
    num_items: int = 80,
    min_length: int = 5,
    max_length: int = 12,
    num_negatives: int = 20,
    seed: int = 0,
) -> Path:
    """Writes a complete dataset folder and returns its path.

    Relations: complement and substitute (item-item), category (one value per item, missing for a few), tag (up to
    three values per item). The same arguments give the same bytes.

    Args:
      folder: where to write; an earlier dataset there is replaced.
      num_users, num_items: numbers of users and items; every item is in item_meta.csv.
      min_length, max_length: interactions per user, at least three; a user has no item twice.
      num_negatives: negatives per user in dev and test.
      seed: seed of all random numbers.

    Raises:
      ValueError: the sizes do not fit each other.
    """
    if not 3 <= min_length <= max_length <= num_items - num_negatives or num_users < 1 or num_negatives < 1:
        raise ValueError("needs 3 <= min_length <= max_length <= num_items - num_negatives, and users and negatives")
    rng = np.random.default_rng(seed)
    themes = rng.permutation(num_items) % len(_THEMES)  # [I]
    complements = _partners(num_items, 3, rng)  # [I, 3]
    substitutes = _partners(num_items, 2, rng)  # [I, 2]
    users, items, times = _interactions(num_users, (min_length, max_length), themes, complements, substitutes, rng)
    with new_folder(folder) as building:
        write_interactions(building, leave_one_out(users, times), users, items, times, num_negatives, seed)
        write_tsv(building / "item_meta.csv", _metadata(complements, substitutes, rng))
        write_tsv(building / "item_text.tsv", _texts(themes, rng))
        sizes = {"users": num_users, "items": num_items, "interactions": len(users)}
        (building / MARKER).write_text(json.dumps({"name": "synthetic", "seed": seed, **sizes}, indent=2) + "\n")
    return Path(folder)


def _partners(num_items: int, number: int, rng: np.random.Generator) -> np.ndarray:
    """Other items, drawn for each item without replacement: 0-based [I, number]."""
    keys = rng.random((num_items, num_items))
    np.fill_diagonal(keys, np.inf)
    return np.argsort(keys, axis=1)[:, :number]


def _interactions(
    num_users: int,
    lengths: tuple[int, int],
    themes: np.ndarray,
    complements: np.ndarray,
    substitutes: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Walks along the planted relations: users, items (both from 1) and times, int64 [N] each."""
    num_items, everyone = len(themes), np.arange(num_users)
    # How much each relation adds to the probability of going from one item to another, [I, I].
    by_complement, by_substitute = np.zeros((2, num_items, num_items))
    np.put_along_axis(by_complement, complements, 0.6 / complements.shape[1], axis=1)
    np.put_along_axis(by_substitute, substitutes, 0.2 / substitutes.shape[1], axis=1)
    same_theme = themes[:, None] == themes
    by_theme = 0.2 * same_theme / same_theme.sum(axis=1, keepdims=True)
    chances = by_complement + by_substitute + by_theme + 1e-6  # for when all related items are taken

    items = np.empty((num_users, lengths[1]), np.int64)
    items[:, 0] = rng.integers(num_items, size=num_users)
    free = np.ones((num_users, num_items), bool)
    free[everyone, items[:, 0]] = False
    for step in range(1, lengths[1]):
        cumulated = np.cumsum(chances[items[:, step - 1]] * free, axis=1)  # [U, I]
        drawn = rng.random((num_users, 1)) * cumulated[:, -1:]
        items[:, step] = np.minimum((cumulated <= drawn).sum(axis=1), num_items - 1)
        free[everyone, items[:, step]] = False

    before, after = items[:, :-1], items[:, 1:]
    days = np.where(by_substitute[before, after] > 0, 200.0, 20.0)  # substitutes replace what is worn out
    days = np.where(by_complement[before, after] > 0, 1.0, days)
    gaps = (rng.exponential(days) * _DAY).astype(np.int64)
    starts = _START + rng.integers(365 * _DAY, size=(num_users, 1))
    times = np.concatenate([starts, starts + np.cumsum(gaps, axis=1)], axis=1)
    kept = np.arange(lengths[1]) < rng.integers(lengths[0], lengths[1] + 1, size=(num_users, 1))
    users = np.broadcast_to(everyone[:, None] + 1, items.shape)
    return users[kept], items[kept] + 1, times[kept]


def _metadata(complements: np.ndarray, substitutes: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    num_items = len(complements)
    categories = rng.integers(1, _CATEGORIES + 1, size=num_items)
    categories[rng.random(num_items) < 0.05] = 0  # unknown
    tags = np.argsort(rng.random((num_items, _TAGS)), axis=1) + 1
    number = rng.integers(0, 4, size=num_items)
    return pl.DataFrame(
        {
            "item_id": np.arange(1, num_items + 1),
            "i_category": categories,
            "i_tag": json_lists(pl.Series([sorted(row[:n]) for row, n in zip(tags.tolist(), number, strict=True)])),
            "r_complement": json_lists(pl.Series((complements + 1).tolist())),
            "r_substitute": json_lists(pl.Series((substitutes + 1).tolist())),
        }
    )


def _texts(themes: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    words = np.array([theme.split() for theme in _THEMES])  # [themes, words]
    chosen = np.argsort(rng.random((len(themes), words.shape[1])), axis=1)[:, :3]
    fillers = rng.choice(_FILLERS.split(), size=len(themes))
    telling = words[themes[:, None], chosen]
    texts = [" ".join((filler, *row)) for filler, row in zip(fillers, telling, strict=True)]
    return pl.DataFrame({"item_id": np.arange(1, len(themes) + 1), "text": texts})
