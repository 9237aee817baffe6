"""Reads MovieLens into a `RawDataset`. 100k is the paper's dataset: 943 users, 1,349 items, 99,287 interactions."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import polars as pl

from lrd_jax.data.folder import MARKER
from lrd_jax.data.item_tables import RESERVED
from lrd_jax.data.options import PrepareOptions
from lrd_jax.data.pipeline import Prepared, dataset_folder, prepare_folder
from lrd_jax.data.raw import RawDataset
from lrd_jax.data.sources import movielens_large
from lrd_jax.data.sources.columns import first_row, require_columns
from lrd_jax.data.sources.downloads import digest
from lrd_jax.data.sources.movielens_published import with_published_relations
from lrd_jax.data.sources.movielens_source import RATINGS_SHA256, Movie, obtain
from lrd_jax.data.sources.movielens_years import year_bin
from lrd_jax.data.sources.source_ids import clean_ids, refuse_lost_digits
from lrd_jax.data.sources.table_files import keyed_rows, read_table
from lrd_jax.data.templates import default_template
from lrd_jax.errors import UserError
from lrd_jax.files import refuse_irregular
from lrd_jax.terminal.lines import say

Version = Literal["100k", "1m", "20m", "32m"]

TEMPLATE = "{title:32} ({year}) {genre}"
_PUBLISHED_SIZES = {"users": 943, "items": 1349, "interactions": 99287}  # of 100k, from the paper's Table 2


def ensure_ml_100k() -> Path:
    """The prepared dataset folder in the cache; prepares it if it is missing.

    Raises:
      UserError: see `prepare_ml_100k`.
    """
    folder = dataset_folder(None)
    if not (folder / MARKER).exists():
        say(f"MovieLens-100k prepared in {folder}, source: {prepare_ml_100k(folder)[1]}")
    return folder


def prepare_ml_100k(
    folder: Path, *, source: Path | None = None, options: PrepareOptions | None = None
) -> tuple[Prepared, str]:
    """Writes MovieLens-100k as a dataset folder; the same options give the same bytes from every source.

    Args:
      folder: where to write; an earlier prepared dataset there is replaced.
      source: see `read_movielens`.
      options: how to prepare it. None: as published.

    Returns:
      The prepared dataset, and the origin of the data in words.

    Raises:
      UserError: the data is missing or wrong, or see `prepare_folder`.
    """
    options = PrepareOptions() if options is None else options
    options.check()
    raw, words = read_movielens("100k", source, published=options.like == "published")
    return prepare_folder(raw, folder, options), words


def read_movielens(
    version: Version, source: Path | None = None, extra: Path | None = None, *, published: bool = False
) -> tuple[RawDataset, str]:
    """Reads a release of MovieLens.

    It has two predefined relations (the paper's section 4.1.1): the year of release in ReChorus's bins (`year_bin`),
    and the movie's genres. Texts are title, year and genres, then the columns of `extra` in the file's order.

    Args:
      version: GroupLens's version.
      source: a copy of the data, as a zip or a folder (for 100k: `movielens_source.obtain`); None: cache or network.
      extra: CSV, TSV, Parquet or JSON lines with the column movieId and any others, such as director, actors, plot.
      published: read 100k with the relations and texts of the published notebook (`with_published_relations`).

    Returns:
      The data, and their origin in words.

    Raises:
      UserError: the data is missing or wrong.
    """
    if source is not None:
        refuse_irregular(source)
    if version == "100k":
        copy = obtain(source)
        columns = ["user", "item", "rating", "time"]
        ratings = pl.read_csv(io.BytesIO(copy.ratings), separator="\t", has_header=False, new_columns=columns)
        ratings, movies, words = ratings.select("user", "item", "time"), copy.movies, copy.source
        hashes = {"ratings_sha256": RATINGS_SHA256}
    else:
        ratings, movies, words, hashes = movielens_large.obtain(version, source)
    page = f"https://grouplens.org/datasets/movielens/{version}/"
    raw = RawDataset(
        name=f"ml-{version}",
        interactions=ratings,
        items=_items(movies),
        attributes={"year": _years(movies), "genre": _genres(movies)},
        relations={},
        template=TEMPLATE,
        origin={"source": page, **hashes},
    )
    if published:
        raw = with_published_relations(raw, movies)
    return (raw if extra is None else _with_extra(raw, extra)), words


def check_published_sizes(prepared: Prepared, options: PrepareOptions) -> None:
    """Rejects a MovieLens-100k that does not have the published sizes after the filter.

    Raises:
      UserError: the sizes differ; the checksums should have detected this earlier.
    """
    if options.core == PrepareOptions.core and prepared.sizes != _PUBLISHED_SIZES:
        raise UserError(f"the filtered data has {prepared.sizes}, not the published sizes", file=prepared.folder)


def _items(movies: Sequence[Movie]) -> pl.DataFrame:
    columns = {
        "item": [movie.raw_id for movie in movies],
        "title": [movie.title for movie in movies],
        "year": [str(movie.year) if movie.year else None for movie in movies],
        "genre": [list(movie.genres) for movie in movies],
    }
    return pl.DataFrame(
        columns, schema={"item": pl.Int64, "title": pl.String, "year": pl.String, "genre": pl.List(pl.String)}
    )


def _years(movies: Sequence[Movie]) -> pl.DataFrame:
    columns = {"item": [movie.raw_id for movie in movies], "value": [year_bin(movie.year) for movie in movies]}
    return pl.DataFrame(columns, schema={"item": pl.Int64, "value": pl.String})


def _genres(movies: Sequence[Movie]) -> pl.DataFrame:
    rows = [(movie.raw_id, genre) for movie in movies for genre in movie.genres]
    return pl.DataFrame(rows, schema={"item": pl.Int64, "value": pl.String}, orient="row")


def _with_extra(raw: RawDataset, file: Path) -> RawDataset:
    """The movies with further columns, which are added to the template in the file's order."""
    file = Path(file)
    table = read_table(file)
    require_columns(file, table.columns, ("movieId",), "Add the column movieId with GroupLens's ids")
    further = [name for name in table.columns if name != "movieId"]
    taken = [name for name in further if name in (*raw.items.columns, *RESERVED)]
    if taken:
        raise UserError("the dataset already has this column", file=file, field=taken[0], remedy="Rename it")
    refuse_lost_digits(table["movieId"], file, "movieId")
    ids = clean_ids(table["movieId"]).cast(pl.Int64, strict=False)
    if ids.null_count():
        row = first_row(ids.is_null()) + 1
        raise UserError(f"row {row} is not a whole number", file=file, field="movieId", remedy="Write GroupLens's id")
    table = keyed_rows(table.with_columns(ids), "movieId", file).rename({"movieId": "item"})
    if not len(table.join(raw.items, on="item", how="semi")):
        remedy = "Use GroupLens's movie ids of this release"
        raise UserError(f"none of its movies is in {raw.name}", file=file, field="movieId", remedy=remedy)
    items = raw.items.join(table, on="item", how="left", maintain_order="left")
    template = f"{raw.template} {default_template(further)}".strip()
    origin = {**raw.origin, "extra": {"file": file.name, "sha256": digest(file, "sha256")}}
    return dataclasses.replace(raw, items=items, template=template, origin=origin)
