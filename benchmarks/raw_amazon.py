"""A raw Amazon dump of 2014 of any size, made from a seed: what `python -m lrd_jax.prepare amazon-2014` starts from.

As large and as shaped as the real one, nothing in it true: a 5-core by construction, texts of made words with lengths
like those of reviews and descriptions, and related items most of which lie outside the core.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

CORE = 5
_ALPHABET = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", np.uint8)
_DAY, _FIRST_DAY, _LAST_DAY = 86_400, 10_700, 16_273  # April 1999 to July 2014, in days since 1970
_LINES = 50_000  # written at once
_TEXTS = 20_000  # texts to choose from: so many that gzip, which looks back 32 KiB, never meets one again


class DumpSizes(NamedTuple):
    """How large a dump is; the defaults are Electronics', its 5-core and the lines of its metadata."""

    users: int = 192_403
    items: int = 63_001
    reviews: int = 1_682_498
    metadata: int = 498_196


def write_dump(folder: Path, category: str, sizes: DumpSizes | None = None, *, seed: int = 0) -> dict[str, int]:
    """Write reviews_CATEGORY_5.json.gz and meta_CATEGORY.json.gz.

    Args:
      folder: where; made when it is missing.
      category: of the names.
      sizes: every user and item gets five reviews or more, no user reviews an item twice.
      seed: of everything.

    Returns:
      Bytes of both files, unpacked: {"reviews_bytes": ..., "meta_bytes": ...}.

    Raises:
      ValueError: too few reviews for a 5-core, or fewer lines of metadata than items.
    """
    sizes = sizes or DumpSizes()
    if sizes.reviews < CORE * max(sizes.users, sizes.items) or sizes.metadata < sizes.items:
        raise ValueError("needs five reviews for every user and item, and metadata for every item")
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    asins = _ids(sizes.metadata, 10, b"B00", rng)
    books = rng.random(sizes.metadata) < 0.02  # sold under their ISBN, which has leading zeros
    asins[books] = _isbns(asins, books)
    core = rng.permutation(sizes.metadata)[: sizes.items]  # where in the metadata the core's items stand
    reviews = _reviews(asins[core], sizes, rng)
    return {
        "reviews_bytes": _write(folder / f"reviews_{category}_5.json.gz", reviews),
        "meta_bytes": _write(folder / f"meta_{category}.json.gz", _metadata(asins, core, rng)),
    }


def _write(path: Path, blocks: Iterator[pl.Series]) -> int:
    written = 0
    with gzip.GzipFile(path, "wb", compresslevel=1, mtime=0) as file:
        for lines in blocks:
            data = ("\n".join(lines.to_list()) + "\n").encode()
            file.write(data)
            written += len(data)
    return written


def _reviews(asins: np.ndarray, sizes: DumpSizes, rng: np.random.Generator) -> Iterator[pl.Series]:
    users, items = pair_core(sizes.users, sizes.items, sizes.reviews, rng)
    order = np.argsort(asins[items], kind="stable")  # the real file goes by item
    users, items = users[order], items[order]
    reviewers = pl.Series(_ids(sizes.users, 14, b"A", rng))
    ids = pl.Series(asins)
    days = rng.integers(_FIRST_DAY, _LAST_DAY, len(users))
    choice = min(_TEXTS, sizes.reviews)
    texts, summaries = pl.Series(_texts(choice, 65, 0.9, rng)), pl.Series(_texts(choice, 5, 0.4, rng))
    for start in range(0, len(users), _LINES):
        block = slice(start, start + _LINES)
        n = len(users[block])
        yield pl.DataFrame(
            {
                "user": reviewers.gather(users[block]),
                "item": ids.gather(items[block]),
                "name": summaries.gather(rng.integers(choice, size=n)).str.slice(0, 14),
                "text": texts.gather(rng.integers(choice, size=n)),
                "stars": rng.integers(1, 6, n),
                "summary": summaries.gather(rng.integers(choice, size=n)),
                "time": days[block] * _DAY,
                "date": pl.Series(days[block].astype(np.int32)).cast(pl.Date).dt.strftime("%m %-d, %Y"),
            }
        ).select(
            pl.concat_str(
                pl.lit('{"reviewerID": "'), "user", pl.lit('", "asin": "'), "item", pl.lit('", "reviewerName": "'),
                "name", pl.lit('", "helpful": [0, 1], "reviewText": "Mine\\u2019s a \\"'), "text",
                pl.lit('\\"", "overall": '), "stars", pl.lit('.0, "summary": "'), "summary",
                pl.lit('", "unixReviewTime": '), "time", pl.lit(', "reviewTime": "'), "date", pl.lit('"}'),
            )
        ).to_series()  # fmt: skip


def pair_core(
    num_users: int, num_items: int, num_reviews: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Users and items (both from 0) of reviews, int64 [num_reviews]: five or more for each of both, no pair twice."""
    # Nobody reviews more than half of the items, and no item is reviewed by more than half of the users.
    users = _degrees(num_users, num_reviews, num_items // 2, 0.8, rng)
    items = _degrees(num_items, num_reviews, num_users // 2, 1.6, rng)
    rng.shuffle(items)
    while True:
        order = np.lexsort((items, users))
        same = (np.diff(users[order]) == 0) & (np.diff(items[order]) == 0)
        again = order[1:][same]
        if not len(again):
            return users, items
        others = rng.integers(num_reviews, size=len(again))
        for one, other in zip(again.tolist(), others.tolist(), strict=True):  # few; in turn, since others may repeat
            items[one], items[other] = items[other], items[one]


def _degrees(number: int, total: int, most: int, tail: float, rng: np.random.Generator) -> np.ndarray:
    """Each of `number` ids five to `most` times, [total]; how often is log-normal with `tail` as its sigma."""
    if not CORE * number <= total <= most * number:
        raise ValueError(f"{total} reviews are too few or too many for {number} of these")
    weights = rng.lognormal(0, tail, number)
    counts = CORE + rng.multinomial(total - CORE * number, weights / weights.sum())
    while over := int(np.maximum(counts - most, 0).sum()):
        counts = np.minimum(counts, most)
        room = counts < most
        counts += rng.multinomial(over, room / room.sum())
    return np.repeat(np.arange(number), counts)


def _metadata(asins: np.ndarray, core: np.ndarray, rng: np.random.Generator) -> Iterator[pl.Series]:
    total = len(asins)
    in_core = np.zeros(total, bool)
    in_core[core] = True
    ids = pl.Series(asins)
    choice = min(_TEXTS, total)
    titles = pl.Series(_texts(choice, 11, 0.4, rng))
    descriptions = pl.Series(_texts(choice, 70, 0.9, rng))
    words = pl.Series(_words(rng)).str.to_titlecase()
    for start in range(0, total, _LINES):
        rows = np.arange(start, min(start + _LINES, total))
        n = len(rows)
        frame = pl.DataFrame(
            {
                "item": ids.gather(rows),
                "description": descriptions.gather(rng.integers(choice, size=n)),
                "title": titles.gather(rng.integers(choice, size=n)),
                "apostrophe": np.where(rng.random(n) < 0.05, "'s", ""),
                "price": pl.Series(rng.integers(100, 50_000, n)) / 100,
                "bought": _related(asins, core, in_core[rows], 0.8, 45.0, rng),
                "viewed": _related(asins, core, in_core[rows], 0.7, 30.0, rng),
                "rank": rng.integers(1, 10**6, n),
                "brand": words.gather(rng.integers(3000, size=n)),
                "branded": rng.random(n) < 0.5,
                "level1": words.gather(rng.integers(20, size=n)),
                "level2": words.gather(rng.integers(150, size=n)),
                "level3": words.gather(rng.integers(800, size=n)),
                "deep": rng.random(n) < 0.95,
            }
        )
        yield frame.select(
            pl.concat_str(
                pl.lit("{'asin': '"), "item", pl.lit("', 'description': \"It\\'s "), "description",
                pl.lit("\", 'title': \""), "title", "apostrophe", pl.lit("\", 'price': "), "price",
                pl.lit(", 'imUrl': 'http://ecx.images-amazon.com/images/I/"), "item",
                pl.lit(".jpg', 'related': {'also_bought': ["), _quoted("bought"), pl.lit("], 'also_viewed': ["),
                _quoted("viewed"), pl.lit("]}, 'salesRank': {'Electronics': "), "rank", pl.lit("}, "),
                pl.when("branded").then(pl.concat_str(pl.lit("'brand': '"), "brand", pl.lit(" &amp; Co', ")))
                .otherwise(pl.lit("")),
                pl.lit("'categories': [['Electronics', '"), "level1",
                pl.when("deep").then(pl.concat_str(pl.lit("', '"), "level2", pl.lit("', '"), "level3"))
                .otherwise(pl.lit("")),
                pl.lit("']]}"),
            )
        ).to_series()  # fmt: skip


def _related(
    asins: np.ndarray, core: np.ndarray, in_core: np.ndarray, share: float, mean: float, rng: np.random.Generator
) -> pl.Series:
    """A list of related items for each of some items, joined by "', '": empty for some, 100 at most as at Amazon.

    Half of a core item's related items are in the core, a tenth of another's: what sells is shown together.
    """
    n = len(in_core)
    has = rng.random(n) < share * np.where(in_core, 1.0, 0.6)
    lengths = np.where(has, np.minimum(1 + rng.poisson(rng.exponential(mean, n)), 100), 0)
    inside = rng.random(lengths.sum()) < np.repeat(np.where(in_core, 0.5, 0.1), lengths)
    others = np.where(inside, rng.choice(core, len(inside)), rng.integers(len(asins), size=len(inside)))
    frame = pl.DataFrame({"row": np.repeat(np.arange(n), lengths), "other": asins[others]})
    lists = frame.group_by("row", maintain_order=True).agg(pl.col("other").str.join("', '"))
    return pl.DataFrame({"row": np.arange(n)}).join(lists, on="row", how="left", maintain_order="left")["other"]


def _quoted(name: str) -> pl.Expr:
    return pl.concat_str(pl.lit("'"), name, pl.lit("'")).fill_null("")


def _ids(number: int, length: int, prefix: bytes, rng: np.random.Generator) -> np.ndarray:
    """So many different ids of `length` characters, str [number]."""
    places = length - len(prefix)
    step = 36**places // number
    values = np.arange(number) * step + rng.integers(step, size=number)  # different since each has its own interval
    digits = values[:, None] // 36 ** np.arange(places)[::-1] % 36
    letters = np.empty((number, length), np.uint8)
    letters[:, : len(prefix)] = np.frombuffer(prefix, np.uint8)
    letters[:, len(prefix) :] = _ALPHABET[digits]
    return np.char.decode(letters.reshape(-1).view(f"S{length}"))


def _isbns(asins: np.ndarray, books: np.ndarray) -> np.ndarray:
    return np.char.zfill(np.flatnonzero(books).astype(str), len(asins[0]))


def _words(rng: np.random.Generator, number: int = 8000) -> np.ndarray:
    letters = _ALPHABET[10:] + 32  # lower case
    drawn = letters[rng.integers(26, size=(number, 12))]
    return np.array([bytes(row[:n]).decode() for row, n in zip(drawn, rng.integers(2, 9, number), strict=True)])


def _texts(number: int, mean: float, spread: float, rng: np.random.Generator) -> list[str]:
    """Texts of so many words on the median, frequent words frequent as in English."""
    words = _words(rng)
    chances = 1 / np.arange(3, len(words) + 3)
    lengths = np.maximum(1, rng.lognormal(np.log(mean), spread, number).astype(np.int64))
    flat = words[rng.choice(len(words), lengths.sum(), p=chances / chances.sum())]
    ends = np.cumsum(lengths)
    return [" ".join(flat[end - length : end]) for end, length in zip(ends, lengths, strict=True)]
