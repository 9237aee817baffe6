"""A corpus of a given size, made in memory from a seed: what benchmarks run on when no dataset is at hand.

Its shape follows the published datasets: a few items are in everybody's history, most users have short ones, a few
items are related to very many. Nothing can be learned from it; `lrd_jax.data.synthetic` is for that.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re

import numpy as np

from lrd_jax.data.corpus import Corpus, Split
from lrd_jax.errors import UserError

NUM_NEGATIVES, MIN_LENGTH = 99, 5
MIN_ITEMS, MAX_IDS = NUM_NEGATIVES + 2 * MIN_LENGTH + 1, 10_000_000
_LENGTH_SIGMA = 1.09  # of log(length - 4) on Office
_MEAN_LENGTH = 10.9  # on Office
_MAX_DEGREE = 60  # the longest list of related products that Amazon shows
_DAY, _START, _YEARS = 86_400, 1_000_000_000, 10
# How flat the head of each popularity curve is: shares go as 1 / (offset + rank). Fitted to Office; for items it fits
# the most popular item of MovieLens-100k and of Electronics as well.
_ITEM_OFFSET, _TAIL_OFFSET, _VALUE_OFFSET = 50.0, 10.0, 2.0


@dataclasses.dataclass(frozen=True)
class Attribute:
    """An attribute relation.

    Attributes:
      name: of the relation.
      num_values: values that it can take.
      coverage: share of the items that have a value.
      max_values: most values of one item.
    """

    name: str
    num_values: int
    coverage: float = 1.0
    max_values: int = 1


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large a corpus is.

    Attributes:
      name: what the corpus is called.
      num_users, num_items, num_interactions: counts; the interactions come out within one per cent.
      mean_degrees: related items per item, before duplicates go, for each item-item relation.
      attributes: the attribute relations.
    """

    name: str
    num_users: int
    num_items: int
    num_interactions: int
    mean_degrees: dict[str, float]
    attributes: tuple[Attribute, ...]


def _amazon(name: str, num_users: int, num_items: int, num_interactions: int) -> Scale:
    """The relations of Amazon's datasets, R = 5: 39 categories and 345 brands at the size of Office."""
    category = Attribute("category", max(8, round(0.8 * num_items**0.5)), coverage=0.97)
    brand = Attribute("brand", max(8, num_items // 7), coverage=0.8)
    degrees = {"complement": 17.0, "substitute": 8.0}
    return Scale(name, num_users, num_items, num_interactions, degrees, (category, brand))


SCALES = {
    "tiny": _amazon("tiny", 48, 160, 480),
    "ml-100k": Scale("ml-100k", 943, 1_349, 99_287, {}, (Attribute("year", 72), Attribute("genre", 18, max_values=5))),
    "office": _amazon("office", 4_905, 2_420, 53_258),
    "electronics": _amazon("electronics", 192_403, 63_001, 1_682_498),
}
"""By name: a toy and the sizes of the paper's datasets."""


def parse_scale(text: str) -> Scale:
    """The scale that a name or USERSxITEMS, such as 5000x2000, stands for; other sizes have Office's proportions.

    Raises:
      UserError: neither a name nor a size that a corpus can have.
    """
    if text in SCALES:
        return SCALES[text]
    size = re.fullmatch(r"(\d{1,9})x(\d{1,9})", text, re.ASCII)
    if size is None:
        names = ", ".join(SCALES)
        raise UserError(f"{text!r} is no scale", field="--scale", remedy=f"Name one of {names}, or USERSxITEMS")
    num_users, num_items = int(size[1]), int(size[2])
    if not (1 <= num_users <= MAX_IDS and MIN_ITEMS <= num_items <= MAX_IDS):
        remedy = f"Ask for 1 to {MAX_IDS} users and {MIN_ITEMS} to {MAX_IDS} items"
        raise UserError(f"{text!r} is no size that can be made", field="--scale", remedy=remedy)
    return _amazon(text, num_users, num_items, round(_MEAN_LENGTH * num_users))


def generate_corpus(scale: Scale, seed: int = 0) -> Corpus:
    """Makes a corpus: histories of five items or more without repetitions, the last two of each user for dev and test.

    The same scale and seed give the same arrays. 99 given negatives per user and split, which the user has not touched.
    """
    rng = np.random.default_rng(seed)
    by_popularity = rng.permutation(scale.num_items) + 1  # item ids, most popular first
    lengths = _lengths(rng, scale)  # [U]
    users, items = _interactions(rng, lengths, by_popularity)
    times = _times(rng, users, scale.num_users)
    order = np.lexsort((times, users))
    offsets = np.concatenate([[0, 0], np.cumsum(lengths)])  # [U + 2]
    negatives = [_unseen(rng, lengths, items, scale.num_items) for _ in range(2)]  # items ascend within a user
    is_train = np.ones(len(items), bool)
    is_train[offsets[2:] - 1] = is_train[offsets[2:] - 2] = False
    item_values, none_entities, num_entities = _item_values(rng, scale)
    arrays = {
        "sequence_items": items[order].astype(np.int32),
        "sequence_times": times[order].astype(np.int32),
        "sequence_users": users.astype(np.int32),
        "sequence_offsets": offsets.astype(np.int32),
        "train_rows": np.flatnonzero(is_train).astype(np.int32),
        "triples": _triples(rng, scale, by_popularity),
        "item_values": item_values,
        "none_entities": none_entities,
    }
    splits = {
        "dev": Split((offsets[2:] - 2).astype(np.int32), negatives[0]),
        "test": Split((offsets[2:] - 1).astype(np.int32), negatives[1]),
    }
    digest = hashlib.sha256()
    for array in (*arrays.values(), *negatives):
        digest.update(np.ascontiguousarray(array).data)
    return Corpus(
        name=scale.name,
        content_hash=digest.hexdigest(),
        num_users=scale.num_users,
        num_items=scale.num_items,
        num_entities=num_entities,
        item_relations=tuple(scale.mean_degrees),
        attributes=tuple(attribute.name for attribute in scale.attributes),
        **arrays,
        **splits,
    )


def _ranks(rng: np.random.Generator, shape: int | tuple[int, ...], number: int, offset: float) -> np.ndarray:
    """Draws ranks 0..number - 1 with shares close to 1 / (offset + rank), by inverting their integral."""
    ranks = offset * ((1 + number / offset) ** rng.random(shape) - 1)
    return np.minimum(ranks.astype(np.int64), number - 1)


def _lengths(rng: np.random.Generator, scale: Scale) -> np.ndarray:
    """Interactions per user, int64 [U]: 4 and a log-normal number, leaving enough items untouched for negatives."""
    longest = (scale.num_items - NUM_NEGATIVES) // 2 - (MIN_LENGTH - 1)
    excess = rng.lognormal(0.0, _LENGTH_SIGMA, scale.num_users)
    wanted = max(scale.num_interactions - (MIN_LENGTH - 1) * scale.num_users, scale.num_users)
    rounded = np.ones_like(excess)
    for _ in range(20):  # until the sum is right in spite of rounding and clipping
        rounded = np.clip(np.rint(excess), 1, longest)
        excess *= wanted / rounded.sum()
    return rounded.astype(np.int64) + MIN_LENGTH - 1


def _interactions(
    rng: np.random.Generator, lengths: np.ndarray, by_popularity: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Users and popular items, int64 [M] each, ascending by user, then item; no pair comes twice."""
    width, ids = len(by_popularity) + 1, np.arange(1, len(lengths) + 1)
    pairs, missing = np.zeros(0, np.int64), lengths
    while missing.any():
        items = by_popularity[_ranks(rng, int(missing.sum()), len(by_popularity), _ITEM_OFFSET)]
        pairs = np.unique(np.concatenate([pairs, np.repeat(ids, missing) * width + items]))
        missing = lengths - np.bincount(pairs // width - 1, minlength=len(lengths))
    return pairs // width, pairs % width


def _times(rng: np.random.Generator, users: np.ndarray, num_users: int) -> np.ndarray:
    """Seconds at midnight, int64 [M]: uniform over each user's own stretch of ten years, some on the same day."""
    first, last = np.sort(rng.random((2, num_users + 1)) * 365 * _YEARS, axis=0)  # in days
    days = first[users] + (last - first)[users] * rng.random(len(users))
    return _START + _DAY * days.astype(np.int64)


def _unseen(rng: np.random.Generator, lengths: np.ndarray, items: np.ndarray, num_items: int) -> np.ndarray:
    """Uniform draws among the items that each user has not touched, int32 [U, 99]; items ascend within a user."""
    longest_first = np.argsort(-lengths, kind="stable")
    starts = (np.cumsum(lengths) - lengths)[longest_first]
    left = (num_items - lengths)[longest_first]
    drawn = rng.integers(1, left[:, None] + 1, size=(len(lengths), NUM_NEGATIVES), dtype=np.int32)
    ascending = -lengths[longest_first]
    for place in range(int(lengths.max())):  # the n-th untouched item: step over every touched one on the way
        some = np.searchsorted(ascending, -place)  # users with more items than `place` come first
        drawn[:some] += drawn[:some] >= items[starts[:some] + place][:, None]
    negatives = np.empty_like(drawn)
    negatives[longest_first] = drawn
    return negatives


def _triples(rng: np.random.Generator, scale: Scale, by_popularity: np.ndarray) -> np.ndarray:
    """Item-item triples, int32 [E, 3]: log-normal numbers of tails, popular items the tail of very many."""
    width, found = scale.num_items + 1, [np.zeros((0, 3), np.int32)]
    for relation, mean_degree in enumerate(scale.mean_degrees.values(), start=1):
        degrees = rng.lognormal(np.log(mean_degree) - 0.5, 1.0, scale.num_items).astype(np.int64)
        heads = np.repeat(np.arange(1, width), np.minimum(degrees, _MAX_DEGREE))
        tails = by_popularity[_ranks(rng, len(heads), scale.num_items, _TAIL_OFFSET)]
        pairs = np.unique((heads * width + tails)[heads != tails])
        found.append(np.stack([pairs // width, np.full_like(pairs, relation), pairs % width], axis=1).astype(np.int32))
    return np.concatenate(found)


def _item_values(rng: np.random.Generator, scale: Scale) -> tuple[np.ndarray, np.ndarray, int]:
    """item_values int32 [I + 1, A, V], none_entities int32 [A] and the number of entities (`Corpus`)."""
    width = max(attribute.max_values for attribute in scale.attributes)
    item_values = np.zeros((scale.num_items + 1, len(scale.attributes), width), np.int32)
    none_entities, num_entities = [], 1 + scale.num_items
    for index, attribute in enumerate(scale.attributes):
        shape = (scale.num_items, attribute.max_values)
        values = np.sort(_ranks(rng, shape, attribute.num_values, _VALUE_OFFSET), axis=1) + num_entities + 1
        held = np.arange(shape[1]) < rng.integers(1, shape[1] + 1, size=(shape[0], 1))
        held[:, 1:] &= values[:, 1:] != values[:, :-1]  # one value once
        held &= rng.random((shape[0], 1)) < attribute.coverage
        at_the_front = np.argsort(~held, axis=1, kind="stable")
        item_values[1:, index, : shape[1]] = np.take_along_axis(np.where(held, values, 0), at_the_front, axis=1)
        item_values[1:, index, 0] += np.where(held.any(axis=1), 0, num_entities)
        none_entities.append(num_entities)
        num_entities += 1 + attribute.num_values
    return item_values, np.array(none_entities, np.int32), num_entities
