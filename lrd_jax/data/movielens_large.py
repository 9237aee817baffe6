"""MovieLens 1M, 20M and 32M as GroupLens released them, from a zip or a folder.

    1m      ratings.dat, movies.dat: fields separated by ::, no header, latin-1
    20m 32m ratings.csv, movies.csv: CSV with header, UTF-8

Ratings of a zip are unpacked into a file first and then streamed, since 32M's do not fit beside what is made of them.
"""

from __future__ import annotations

import csv
import hashlib
import io
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import polars as pl

from lrd_jax.data.cache import cache_dir
from lrd_jax.data.downloads import digest, download_url, fetch, one_line
from lrd_jax.data.movielens_source import Movie, title_and_year
from lrd_jax.errors import UserError

_URL = "https://files.grouplens.org/datasets/movielens/ml-{}.zip"
_MD5 = {  # published by GroupLens beside the zips
    "1m": "c4d9eecfca2ab87c1945afe126590906",
    "20m": "cd245b17a1ae2cc31bb14903e1204af3",
    "32m": "d472be332d4daa821edc399621853b57",
}
_NO_GENRES = "(no genres listed)"


def obtain(version: str, path: Path | None) -> tuple[pl.DataFrame, tuple[Movie, ...], str, dict[str, Any]]:
    """Get a release from `path`, else from the cache, else from the network.

    Args:
      version: 1m, 20m or 32m.
      path: a zip, a folder of its files, or the folder above it. One that is not GroupLens's is taken as it is.

    Returns:
      Ratings (user, item, time: Int64), movies, in words where they came from, and {"files": {name: SHA-256}}.

    Raises:
      UserError: no such data there, a line that is wrong, or nothing could be downloaded.
    """
    if path is None:
        path, words = _download(version)
    else:
        path, words = Path(path), str(path)
        if path.is_file() and zipfile.is_zipfile(path):
            whose = "GroupLens's" if digest(path, "md5") == _MD5[version] else f"not GroupLens's ml-{version}.zip"
            words += f" ({whose}, by its MD5)"
    ending = "dat" if version == "1m" else "csv"
    with tempfile.TemporaryDirectory(prefix="lrd_jax-") as workspace:
        ratings_file, ratings_hash = _unpack(path, f"ratings.{ending}", Path(workspace), version)
        movies_file, movies_hash = _unpack(path, f"movies.{ending}", Path(workspace), version)
        ratings = _ratings_1m(ratings_file) if version == "1m" else _ratings_csv(ratings_file)
        movies = _movies_1m(movies_file) if version == "1m" else _movies_csv(movies_file)
    hashes = {f"ratings.{ending}": ratings_hash, f"movies.{ending}": movies_hash}
    return ratings, movies, words, {"sha256": hashes}


def _download(version: str) -> tuple[Path, str]:
    url, file = _URL.format(version), cache_dir() / "downloads" / f"ml-{version}.zip"
    if file.is_file() and digest(file, "md5") == _MD5[version]:
        return file, f"the cached copy of GroupLens ({url})"
    try:
        fetch(file, "md5", _MD5[version], lambda folder: download_url(url, folder))
    except (OSError, ValueError) as error:
        remedy = f"Download {url} elsewhere and name it with --source"
        raise UserError(f"MovieLens {version} could not be downloaded: {one_line(error)}", remedy=remedy) from None
    return file, f"GroupLens ({url})"


def _unpack(path: Path, name: str, workspace: Path, version: str) -> tuple[Path, str]:
    """The file of this name, out of the archive if need be, and its SHA-256."""
    try:
        if path.is_dir():
            files = [file for file in (path / name, path / f"ml-{version}" / name) if file.is_file()]
            if files:
                return files[0], digest(files[0], "sha256")
        else:
            with zipfile.ZipFile(path) as archive:
                members = [member for member in archive.namelist() if member.rpartition("/")[2] == name]
                if members:
                    with archive.open(members[0]) as packed, (workspace / name).open("wb") as out:
                        return workspace / name, _copy(packed, out)
    except FileNotFoundError:
        raise UserError("it does not exist", file=path, remedy="Correct the path given as --source") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"it cannot be read ({one_line(error)})", file=path, remedy="Download it again") from None
    remedy = f"Name GroupLens's ml-{version}.zip or its unpacked folder"
    raise UserError(f"no MovieLens {version} in it ({name})", file=path, remedy=remedy)


def _copy(packed: IO[bytes], out: IO[bytes]) -> str:
    """Copy in pieces; the SHA-256 of what was copied."""
    checksum = hashlib.sha256()
    while chunk := packed.read(1 << 20):
        checksum.update(chunk)
        out.write(chunk)
    return checksum.hexdigest()


def _ratings_1m(file: Path) -> pl.DataFrame:
    """user::item::rating::time, read with single colons, between which every second field is empty."""
    columns = ["user", "", "item", "_", "rating", "__", "time"]
    return _collect(pl.scan_csv(file, separator=":", has_header=False, new_columns=columns, infer_schema=False), file)


def _ratings_csv(file: Path) -> pl.DataFrame:
    """userId,movieId,rating,timestamp."""
    names = {"userId": "user", "movieId": "item", "timestamp": "time"}
    return _collect(pl.scan_csv(file, infer_schema=False).rename(names), file)


def _collect(ratings: pl.LazyFrame, file: Path) -> pl.DataFrame:
    columns = ("user", "item", "time")
    try:
        found = ratings.select(pl.col(name).cast(pl.Int64, strict=False) for name in columns)
        table = found.collect(engine="streaming")
    except pl.exceptions.PolarsError as error:
        raise UserError(f"{file.name} cannot be read ({one_line(error)})", remedy="Download it again") from None
    for name in columns:
        if table[name].null_count():
            row = int(table[name].is_null().arg_max()) + 1
            raise UserError(f"rating {row} of {file.name} has no whole number", field=name, remedy="Download it again")
    return table


def _movies_1m(file: Path) -> tuple[Movie, ...]:
    rows = [line.split("::") for line in file.read_text(encoding="latin-1").splitlines() if line]
    return _movies(rows, file)


def _movies_csv(file: Path) -> tuple[Movie, ...]:
    rows = list(csv.reader(io.StringIO(file.read_text(encoding="utf-8-sig"), newline="")))
    return _movies(rows[1:], file)


def _movies(rows: Sequence[Sequence[str]], file: Path) -> tuple[Movie, ...]:
    """Rows of id, title (year), genres with | between them."""
    movies = []
    for row in rows:
        if len(row) != 3 or not row[0].isdecimal():
            raise UserError(f"a line of {file.name} is no movie: {row!r:.80}", remedy="Download it again")
        genres = () if row[2] == _NO_GENRES else tuple(genre for genre in row[2].split("|") if genre)
        movies.append(Movie(int(row[0]), *title_and_year(row[1]), genres))
    return tuple(movies)
