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
from lrd_jax.data.folder import MARKER, filter_core, json_lists, new_folder, write_interactions, write_tsv
from lrd_jax.data.movielens_source import GENRES, RATINGS_SHA256, Movie, obtain
from lrd_jax.display import say
from lrd_jax.errors import UserError

NUM_USERS, NUM_ITEMS, NUM_INTERACTIONS = 943, 1349, 99287  # the paper's Table 2
SEED, NUM_NEGATIVES = 0, 99
_CORE = 5
_YEAR_BINS = (1900, 1940, 1950, 1960, 1970, 1980, 1985, *range(1990, 1999))


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What `prepare_ml_100k` made: the folder, where the data came from in words, and counts by name."""

    folder: Path
    source: str
    sizes: dict[str, int]


def ensure_ml_100k() -> Path:
    """The prepared dataset folder in the cache, made first when it is missing.

    Raises:
      UserError: see `prepare_ml_100k`.
    """
    folder = default_folder()
    if not (folder / MARKER).exists():
        say(f"MovieLens-100k prepared in {folder}, source: {prepare_ml_100k(folder).source}")
    return folder


def default_folder(*, seed: int = SEED, num_negatives: int = NUM_NEGATIVES) -> Path:
    """Where the cache keeps the dataset; other negatives than the usual ones get a folder of their own."""
    usual = (seed, num_negatives) == (SEED, NUM_NEGATIVES)
    return cache_dir() / "datasets" / ("ml-100k" if usual else f"ml-100k-seed{seed}-negatives{num_negatives}")


def prepare_ml_100k(
    folder: Path, *, source: Path | None = None, seed: int = SEED, num_negatives: int = NUM_NEGATIVES
) -> Prepared:
    """Write the dataset folder: users and items of five interactions or more, leave-one-out, negatives from the seed.

    Two predefined relations (the paper's section 4.1.1): i_year, the year of release in ReChorus's bins (see
    `year_bins`), and i_genre, all of a movie's genres. Ids follow the order of GroupLens's, which users.tsv and
    items.tsv keep. The same seed gives the same bytes from every source.

    Args:
      folder: where to write; an earlier prepared dataset there is replaced.
      source: a copy of the data (`lrd_jax.data.movielens_source.obtain`); None: cache or network.
      seed: of the negatives.
      num_negatives: per user, in dev and in test each.

    Raises:
      UserError: no data, wrong data, too many negatives, or a folder that cannot be written.
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
    sizes = {"users": len(raw_users), "items": len(raw_items), "interactions": len(users)}
    if tuple(sizes.values()) != (NUM_USERS, NUM_ITEMS, NUM_INTERACTIONS):  # the checksum should have told before
        raise UserError(f"the filtered data has {sizes}, not the published sizes", file=source)
    movie_of = {movie.raw_id: movie for movie in raw.movies}
    movies = [movie_of[raw_id] for raw_id in raw_items.tolist()]
    with new_folder(folder) as building:
        write_interactions(building, users + 1, items + 1, times[kept], num_negatives, seed)
        write_tsv(building / "item_meta.csv", _metadata(movies))
        write_tsv(building / "item_text.tsv", _texts(movies))
        for name, raw_ids in (("user", raw_users), ("item", raw_items)):
            ids = pl.DataFrame({"raw_id": raw_ids, f"{name}_id": np.arange(1, len(raw_ids) + 1)})
            write_tsv(building / f"{name}s.tsv", ids)
        # The copy that was used is not among these: every source must give the same bytes.
        origin = {"name": "ml-100k", "source": "https://grouplens.org/datasets/movielens/100k/"}
        origin |= {"ratings_sha256": RATINGS_SHA256, "seed": seed, "negatives": num_negatives, **sizes}
        (building / MARKER).write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")
    return Prepared(Path(folder), raw.source, sizes)


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
