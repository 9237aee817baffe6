"""MovieLens-100k with the relations and texts of the published notebook, including its mistakes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import polars as pl

from lrd_jax.data.raw import RawDataset
from lrd_jax.data.sources.movielens_source import GENRES, Movie
from lrd_jax.data.sources.movielens_years import year_bin

COLUMNS = (*GENRES, "Other")
"""The notebook's names of GroupLens's 19 flags. The first flag is "unknown", so each name is shifted by one: the movies
that the notebook calls Adventure are the Action movies, and "Other" are the Western ones."""


def with_published_relations(raw: RawDataset, movies: Sequence[Movie]) -> RawDataset:
    """MovieLens-100k as prepared by `data/MovieLens.ipynb` of github.com/ysh-1998/LRD.

    It has 20 attributes: the year of the release date (or of the title, if the copy of the data has no dates), and one
    per genre flag, with value 1 for the movies that have it. Texts are GroupLens's title, including the year, and the
    names of the movie's flags.

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
    """The positions of the movie's flags in GroupLens's order: 0 is "unknown", for movies without a genre."""
    return tuple(1 + GENRES.index(genre) for genre in movie.genres) or (0,)


def _title(movie: Movie) -> str:
    return f"{movie.title} ({movie.year})" if movie.year else movie.title
