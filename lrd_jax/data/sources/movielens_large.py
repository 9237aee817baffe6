"""MovieLens 1M, 20M and 32M as GroupLens released them, from a zip or a folder.

    1m      ratings.dat, movies.dat: fields separated by ::, no header, latin-1
    20m 32m ratings.csv, movies.csv: CSV with header, UTF-8

Copies saved in another encoding are read as well (`decode`). Ratings in a zip are first unpacked into a file and then
streamed, because those of 32M do not fit in memory together with the result.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import re
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import polars as pl

from lrd_jax.data.cache import cache_dir
from lrd_jax.data.sources.columns import require_columns
from lrd_jax.data.sources.downloads import digest, download_url, fetch, one_line
from lrd_jax.data.sources.movielens_source import Movie, decode, title_and_year
from lrd_jax.data.sources.text_files import plain_text
from lrd_jax.errors import UserError

_URL = "https://files.grouplens.org/datasets/movielens/ml-{}.zip"
_MD5 = {  # published by GroupLens next to the zips
    "1m": "c4d9eecfca2ab87c1945afe126590906",
    "20m": "cd245b17a1ae2cc31bb14903e1204af3",
    "32m": "d472be332d4daa821edc399621853b57",
}
_NO_GENRES = "(no genres listed)"


def obtain(version: str, path: Path | None) -> tuple[pl.DataFrame, tuple[Movie, ...], str, dict[str, Any]]:
    """Gets a release from `path`, else from the cache, else from the network.

    Args:
      version: 1m, 20m or 32m.
      path: a zip, a folder with its files, or the parent of that folder. Its checksum need not match GroupLens's.

    Returns:
      Ratings (user, item, time: Int64), movies, their origin in words, and {"files": {name: SHA-256}}.

    Raises:
      UserError: the path does not contain the data, a line is malformed, or the download failed.
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
        ratings_file, movies_file = (
            _unpack(path, f"{name}.{ending}", Path(workspace), version) for name in ("ratings", "movies")
        )
        ratings = _ratings_1m(ratings_file) if version == "1m" else _ratings_csv(ratings_file)
        movies = _movies_1m(movies_file) if version == "1m" else _movies_csv(movies_file)
    return ratings, movies, words, {"sha256": {file.path.name: file.sha256 for file in (ratings_file, movies_file)}}


def _download(version: str) -> tuple[Path, str]:
    url, file = _URL.format(version), cache_dir() / "downloads" / f"ml-{version}.zip"
    if file.is_file() and digest(file, "md5") == _MD5[version]:
        return file, f"the cached copy of GroupLens ({url})"
    try:
        fetch(file, "md5", _MD5[version], lambda folder: download_url(url, folder))
    except (OSError, ValueError) as error:
        remedy = f"Download {url} on another machine and give it with --source"
        raise UserError(f"MovieLens {version} could not be downloaded: {one_line(error)}", remedy=remedy) from None
    return file, f"GroupLens ({url})"


class _File(NamedTuple):
    """One of GroupLens's files: its path, its name in messages, and its SHA-256."""

    path: Path
    shown: Path
    sha256: str


def _unpack(path: Path, name: str, workspace: Path, version: str) -> _File:
    """The file with this name, unpacked from the archive if necessary."""
    try:
        if path.is_dir():
            files = [file for file in (path / name, path / f"ml-{version}" / name) if file.is_file()]
            if files:
                return _File(files[0], files[0], digest(files[0], "sha256"))
        else:
            with zipfile.ZipFile(path) as archive:
                members = [member for member in archive.namelist() if member.rpartition("/")[2] == name]
                if members:
                    with archive.open(members[0]) as packed, (workspace / name).open("wb") as out:
                        return _File(workspace / name, path / members[0], _copy(packed, out))
    except FileNotFoundError:
        raise UserError("it does not exist", file=path, remedy="Fix the path in --source") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"it cannot be read ({one_line(error)})", file=path, remedy="Download it again") from None
    remedy = f"Give GroupLens's ml-{version}.zip or its unpacked folder"
    raise UserError(f"no MovieLens {version} in it ({name})", file=path, remedy=remedy)


def _copy(packed: IO[bytes], out: IO[bytes]) -> str:
    """Copies in pieces and returns the SHA-256 of what was copied."""
    checksum = hashlib.sha256()
    while chunk := packed.read(1 << 20):
        checksum.update(chunk)
        out.write(chunk)
    return checksum.hexdigest()


def _ratings_1m(file: _File) -> pl.DataFrame:
    """Reads user::item::rating::time with a single colon as separator, so that every second field is empty."""
    with plain_text(file.path) as path:
        fields = ("user", "", "item", "_", "rating", "__", "time")
        return _collect(path, file.shown, "::", fields, quote_char=None)


def _ratings_csv(file: _File) -> pl.DataFrame:
    """Reads the columns userId, movieId, rating and timestamp, in any order."""
    ours = {"userId": "user", "movieId": "item", "timestamp": "time"}
    with plain_text(file.path) as path:
        with path.open(encoding="utf-8", errors="replace") as lines:
            fields = [cell.strip(' "\r\n') for cell in next(lines, "").split(",")]
        require_columns(file.shown, fields, tuple(ours), "Give GroupLens's ratings.csv")
        return _collect(path, file.shown, ",", [ours.get(field, field) for field in fields], skip_lines=1)


def _collect(path: Path, shown: Path, separator: str, fields: Sequence[str], **options: Any) -> pl.DataFrame:
    """user, item and time, Int64, of ratings; `fields` are the fields as polars splits the line."""
    schema = dict.fromkeys(fields, pl.String)
    rows = pl.scan_csv(path, separator=separator[0], has_header=False, schema=schema, **options)
    rows = rows.filter(~pl.all_horizontal(pl.all().is_null()))  # all columns, or polars ignores extra fields
    filled = rows.filter(pl.any_horizontal(pl.all().str.contains(r"\S")))  # slower, and rarely needed
    numbers = [pl.col(name).cast(pl.Int64, strict=False) for name in ("user", "item", "time")]
    try:
        for lines in (rows, filled):
            table = lines.select(numbers).collect(engine="streaming")
            if not sum(table.null_count().row(0)):
                return table
        problem = "a line is not a rating"
    except pl.exceptions.PolarsError as error:
        problem = f"it cannot be read ({one_line(error)})"
    names = [field for field in fields if field.strip("_")]
    _refuse_first_bad_rating(path, shown, separator, names, options.get("skip_lines", 0))
    raise UserError(problem, file=shown, remedy="Download it again")


def _refuse_first_bad_rating(path: Path, shown: Path, separator: str, names: Sequence[str], skipped: int) -> None:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            cells = dict(zip(names, (cell.strip(' "\r\n') for cell in line.split(separator)), strict=False))
            whole = all(re.fullmatch(r"[+-]?\d{1,18}", cells.get(name, "")) for name in ("user", "item", "time"))
            if number > skipped and line.strip() and not (whole and line.count(separator) == len(names) - 1):
                problem = f"the line is not a rating with whole numbers for user, item, time: {line.strip()[:60]!r}"
                raise UserError(problem, file=shown, line=number, remedy="Fix it, or download the file again")


def _movies_1m(file: _File) -> tuple[Movie, ...]:
    lines = enumerate(decode(file.path.read_bytes(), file.shown).split("\n"), start=1)
    return _movies(((number, line.rstrip("\r").split("::")) for number, line in lines if line.strip()), file.shown)


def _movies_csv(file: _File) -> tuple[Movie, ...]:
    text = decode(file.path.read_bytes(), file.shown)
    return _movies(itertools.islice(_rows_of_csv(text, file.shown), 1, None), file.shown)


def _rows_of_csv(text: str, shown: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows with their line numbers; each row is one line."""
    reader, line = csv.reader(io.StringIO(text, newline=""), strict=True), 1
    try:
        for row in reader:
            if reader.line_num > line:
                break
            if row:
                yield line, row
            line += 1
        else:
            return
    except csv.Error:
        pass
    problem = "a quotation mark is not closed on the line"
    raise UserError(problem, file=shown, line=line, remedy="Fix it, or download the file again")


def _movies(rows: Iterable[tuple[int, Sequence[str]]], shown: Path) -> tuple[Movie, ...]:
    """The movies from rows, with line numbers, of id, title (year), and genres separated by |."""
    movies = []
    for line, row in rows:
        if len(row) != 3 or not row[0].isdecimal():
            problem = f"the line is not a movie with an id, a title and genres: {row!r:.80}"
            raise UserError(problem, file=shown, line=line, remedy="Fix it, or download the file again")
        genres = () if row[2] == _NO_GENRES else tuple(genre for genre in row[2].split("|") if genre)
        movies.append(Movie(int(row[0]), *title_and_year(row[1]), genres))
    return tuple(movies)
