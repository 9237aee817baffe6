"""MovieLens-100k with the relations and texts of the published notebook, mistakes included."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import polars as pl

from lrd_jax.data.raw import RawDataset
from lrd_jax.data.sources.movielens_source import GENRES, Movie
from lrd_jax.data.sources.movielens_years import year_bin

COLUMNS = (*GENRES, "Other")
"""The notebook's names of GroupLens's 19 flags. The first flag is "unknown", so each name is one place off: what the
notebook calls Adventure are the Action movies, and "Other" are the Western ones."""


def with_published_relations(raw: RawDataset, movies: Sequence[Movie]) -> RawDataset:
    """MovieLens-100k as `data/MovieLens.ipynb` of github.com/ysh-1998/LRD makes it.

    20 attributes: the year of the release date (of the title where the copy of the data holds no dates), and one for
    each flag of a genre, which holds value 1 for the movies that have it. Texts are GroupLens's title, its year
    included, and the names of the movie's flags.

    Args:
      raw: MovieLens-100k.
      movies: all movies.
    """
    flags = {movie.raw_id: _flags(movie) for movie in movies}
    years = [movie.year if movie.release_year is None else movie.release_year for movie in movies]
    of_movies = {"item": list(flags), "value": [year_bin(year) for year in years]}
    attributes = {"year": pl.DataFrame(of_movies, schema={"item": pl.Int64, "value": pl.String})}
    for place, name in enumerate(COLUMNS):
        having = [raw_id for raw_id, places in flags.items() if place in places]
        frame = {"item": having, "value": ["1"] * len(having)}
        attributes[name] = pl.DataFrame(frame, schema={"item": pl.Int64, "value": pl.String})
    texts = [" ".join((_title(movie), *(COLUMNS[place] for place in flags[movie.raw_id]))) for movie in movies]
    items = pl.DataFrame({"item": [movie.raw_id for movie in movies], "text": texts})
    origin = {**raw.origin, "years": "titles" if movies[0].release_year is None else "release dates"}
    return dataclasses.replace(raw, items=items, attributes=attributes, template="{text}", origin=origin)


def _flags(movie: Movie) -> tuple[int, ...]:
    """The places of GroupLens's flags that are set: 0 is "unknown", which movies without a genre have."""
    return tuple(1 + GENRES.index(genre) for genre in movie.genres) or (0,)


def _title(movie: Movie) -> str:
    return f"{movie.title} ({movie.year})" if movie.year else movie.title
