"""MovieLens-100k -> a dataset folder, as in the paper: 943 users, 1,349 items, 99,287 interactions."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from lrd_jax.data.cache import cache_dir
from lrd_jax.data.dates import date_text
from lrd_jax.data.folder import (
    MARKER,
    Dates,
    complete_dates,
    filter_core,
    json_lists,
    leave_one_out,
    new_folder,
    temporal_split,
    write_interactions,
    write_tsv,
)
from lrd_jax.data.movielens_source import GENRES, RATINGS_SHA256, Movie, obtain
from lrd_jax.display import say
from lrd_jax.errors import UserError

NUM_USERS, NUM_ITEMS, NUM_INTERACTIONS = 943, 1349, 99287  # the paper's Table 2
SEED, NUM_NEGATIVES = 0, 99
_CORE = 5
_YEAR_BINS = (1900, 1940, 1950, 1960, 1970, 1980, 1985, *range(1990, 1999))


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What `prepare_ml_100k` made.

    Attributes:
      folder: where it is.
      source: where the data came from, in words.
      sizes: users, items and interactions.
      split: how it was split, in words.
      rows: interactions of each split.
    """

    folder: Path
    source: str
    sizes: dict[str, int]
    split: str
    rows: dict[str, int]


def ensure_ml_100k() -> Path:
    """The prepared dataset folder in the cache, made first when it is missing.

    Raises:
      UserError: see `prepare_ml_100k`.
    """
    folder = default_folder()
    if not (folder / MARKER).exists():
        say(f"MovieLens-100k prepared in {folder}, source: {prepare_ml_100k(folder).source}")
    return folder


def default_folder(*, seed: int = SEED, num_negatives: int = NUM_NEGATIVES, temporal: Dates | None = None) -> Path:
    """Where the cache keeps the dataset; another split or other negatives than the usual get a folder of their own."""
    name = "ml-100k"
    if temporal is not None:
        given = ((field, date) for field, date in temporal._asdict().items() if date is not None)
        name += "-temporal" + "".join(f"-{field}-{date_text(date)}" for field, date in given)
        name = name.replace("_", "-").replace(":", "")
    if (seed, num_negatives) != (SEED, NUM_NEGATIVES):
        name += f"-seed{seed}-negatives{num_negatives}"
    return cache_dir() / "datasets" / name


def prepare_ml_100k(
    folder: Path,
    *,
    source: Path | None = None,
    seed: int = SEED,
    num_negatives: int = NUM_NEGATIVES,
    temporal: Dates | None = None,
) -> Prepared:
    """Write the dataset folder: users and items of five interactions or more, split, negatives from the seed.

    Two predefined relations (the paper's section 4.1.1): i_year, the year of release in ReChorus's bins (see
    `year_bins`), and i_genre, all of a movie's genres. Ids follow the order of GroupLens's, which users.tsv and
    items.tsv keep. The same seed gives the same bytes from every source.

    Args:
      folder: where to write; an earlier prepared dataset there is replaced.
      source: a copy of the data (`lrd_jax.data.movielens_source.obtain`); None: cache or network.
      seed: of the negatives.
      num_negatives: per row of dev and test.
      temporal: dates of a temporal split; None: leave-one-out.

    Raises:
      UserError: no data, wrong data, dates that leave a split empty, too many negatives, or a folder that cannot be
        written.
    """
    if seed < 0 or num_negatives < 1:
        raise UserError("the seed must be at least 0 and the negatives at least 1", field="seed, negatives")
    raw = obtain(source)
    ratings = pl.read_csv(
        io.BytesIO(raw.ratings), separator="\t", has_header=False, new_columns=["user", "item", "rating", "time"]
    )
    users, items, times = (ratings[name].to_numpy() for name in ("user", "item", "time"))
    kept = filter_core(users, items, _CORE)
    raw_users, users = np.unique(users[kept], return_inverse=True)
    raw_items, items = np.unique(items[kept], return_inverse=True)
    times = times[kept]
    sizes = {"users": len(raw_users), "items": len(raw_items), "interactions": len(users)}
    if tuple(sizes.values()) != (NUM_USERS, NUM_ITEMS, NUM_INTERACTIONS):  # the checksum should have told before
        raise UserError(f"the filtered data has {sizes}, not the published sizes", file=source)
    movie_of = {movie.raw_id: movie for movie in raw.movies}
    movies = [movie_of[raw_id] for raw_id in raw_items.tolist()]
    splits, cut = _split(users, times, temporal)
    with new_folder(folder) as building:
        write_interactions(building, splits, users + 1, items + 1, times, num_negatives, seed)
        write_tsv(building / "item_meta.csv", _metadata(movies))
        write_tsv(building / "item_text.tsv", _texts(movies))
        for name, raw_ids in (("user", raw_users), ("item", raw_items)):
            ids = pl.DataFrame({"raw_id": raw_ids, f"{name}_id": np.arange(1, len(raw_ids) + 1)})
            write_tsv(building / f"{name}s.tsv", ids)
        # The copy that was used is not among these: every source must give the same bytes.
        origin = {"name": "ml-100k", "source": "https://grouplens.org/datasets/movielens/100k/"}
        origin |= {"ratings_sha256": RATINGS_SHA256, "seed": seed, "negatives": num_negatives, **sizes}
        origin |= {"split": "temporal", **cut} if cut else {}
        (building / MARKER).write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")
    words = ", ".join(f"{name.replace('_', ' ')} {date} UTC" for name, date in cut.items())
    rows = {name: len(rows) for name, rows in splits.items()}
    return Prepared(Path(folder), raw.source, sizes, f"temporal, {words}" if cut else "leave-one-out", rows)


def _split(
    users: np.ndarray, times: np.ndarray, temporal: Dates | None
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The rows of each split, and the dates in UTC where they made it."""
    if temporal is None:
        return leave_one_out(users, times), {}
    dates = complete_dates(times, temporal)
    return temporal_split(users, times, *dates), {name: date_text(date) for name, date in dates._asdict().items()}


def year_bins(years: Sequence[int]) -> np.ndarray:
    """Value ids of years of release, int64 [N]; 0 for a year of 0, that is unknown.

    The bins are those of ReChorus's MovieLens notebook: 1: 1900-1939, 2: the 1940s, 3: 1950s, 4: 1960s, 5: 1970s,
    6: 1980-1984, 7: 1985-1989, and from 1990 (8) to 1998 (16) one for each year. It bins the release date, which for
    re-released movies is later than the year in the title that we take, the only one that all copies of the data hold.
    """
    return np.searchsorted(_YEAR_BINS, years, side="right")


def _metadata(movies: Sequence[Movie]) -> pl.DataFrame:
    genres = [[GENRES.index(genre) + 1 for genre in movie.genres] for movie in movies]
    years = year_bins([movie.year for movie in movies])
    return pl.DataFrame({"item_id": np.arange(1, len(movies) + 1), "i_year": years, "i_genre": json_lists(genres)})


def _texts(movies: Sequence[Movie]) -> pl.DataFrame:
    """Title, year and genres in one line, such as "Toy Story (1995) Animation, Children's, Comedy"."""
    texts = [
        " ".join(part for part in (m.title, f"({m.year})" if m.year else "", ", ".join(m.genres)) if part)
        for m in movies
    ]
    return pl.DataFrame({"item_id": np.arange(1, len(movies) + 1), "text": texts})
