"""MovieLens-100k as GroupLens released it, from wherever a copy is at hand.

In this order: a path given; what an earlier download left in the cache; GroupLens's zip; the copy that the recbole
wheel carries (downloaded, never installed). Both hold the same ratings, byte for byte, and the same titles, years and
genres, so what is made of them is the same as well.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from lrd_jax.data.cache import cache_dir
from lrd_jax.data.sources.downloads import digest, download_url, fetch, one_line
from lrd_jax.data.sources.text_files import utf8
from lrd_jax.errors import UserError

ZIP_URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
WHEEL = "recbole==1.2.1"
GENRES = (
    "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
"""The genres in the order of GroupLens's u.genre, without its first, "unknown"."""

_ZIP_MD5 = "0e33842e24a9c977be4e0107933c0723"  # published by GroupLens beside the zip
_WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
RATINGS_SHA256 = "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490"  # u.data; .inter without header
_WHEEL_ITEMS_SHA256 = "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532"  # ml-100k.item
_NUM_MOVIES = 1682
_YEAR = re.compile(r"^(?P<title>.*?)\s*\((?P<year>\d{4})\)(?:\s*\(V\))?$")  # (V): released on video


@dataclasses.dataclass(frozen=True)
class Movie:
    """One movie.

    Attributes:
      raw_id: GroupLens's id.
      title: without the year.
      year: of release, as the title names it; 0: unknown.
      genres: in the order of GENRES.
      release_year: of GroupLens's release date, which is later for movies that were released again; 0: unknown; None:
        this copy of the data holds no dates.
    """

    raw_id: int
    title: str
    year: int
    genres: tuple[str, ...]
    release_year: int | None = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass(frozen=True)
class RawMovieLens:
    """What GroupLens released.

    Attributes:
      ratings: the bytes of u.data: user, item, rating and time in seconds, tab-separated, no header.
      movies: all movies.
      source: where this copy came from, in words.
    """

    ratings: bytes
    movies: tuple[Movie, ...]
    source: str


def obtain(path: Path | None = None) -> RawMovieLens:
    """Get the data from `path`, else from the cache, else from the network.

    Args:
      path: GroupLens's zip, its unpacked folder, a folder of recbole's atomic files, or a recbole wheel.

    Raises:
      UserError: the path holds no such data or other ratings than the real ones, or no source could be reached.
    """
    if path is not None:
        return _read(Path(path), f"{path}")
    downloads = cache_dir() / "downloads"
    copies = (
        (downloads / "ml-100k.zip", "md5", _ZIP_MD5, _download_zip, f"GroupLens ({ZIP_URL})"),
        (downloads / "recbole-1.2.1.whl", "sha256", _WHEEL_SHA256, _download_wheel, f"the {WHEEL} wheel"),
    )
    for file, algorithm, checksum, _, origin in copies:
        if file.is_file() and digest(file, algorithm) == checksum:
            return _read(file, f"the cached copy of {origin}")
    failures: list[str] = []
    for file, algorithm, checksum, download, origin in copies:
        try:
            fetch(file, algorithm, checksum, download)
            return _read(file, origin + "".join(f", because {failure}" for failure in failures))
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            failures.append(f"{origin} failed: {one_line(error)}")
    remedy = f"Download {ZIP_URL} elsewhere and name it with --source"
    raise UserError("MovieLens-100k could not be downloaded: " + "; ".join(failures), remedy=remedy)


def _download_zip(folder: Path) -> Path:
    return download_url(ZIP_URL, folder)


def _download_wheel(folder: Path) -> Path:
    from rich.console import Console

    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(folder), WHEEL]
    with Console(stderr=True).status(f"downloading {WHEEL} (2 MB)"):  # pip shows no progress to a pipe
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    wheels = list(folder.glob("recbole-*.whl"))
    if done.returncode or not wheels:
        raise OSError(done.stderr.strip() or "pip found no wheel")
    return wheels[0]


def _read(path: Path, source: str) -> RawMovieLens:
    """Read either layout from a folder or an archive, and make sure that it is the real data."""
    ratings, items = _member(path, "u.data"), _member(path, "u.item")
    if ratings is not None and items is not None:
        movies = _grouplens_movies(decode(items, path / "u.item"), path / "u.item")
    else:
        ratings, items = _member(path, "ml-100k.inter"), _member(path, "ml-100k.item")
        if ratings is None or items is None:
            remedy = "Name GroupLens's ml-100k.zip, its unpacked folder, recbole's ml-100k folder, or a recbole wheel"
            raise UserError("no MovieLens-100k in it (u.data and u.item)", file=path, remedy=remedy)
        ratings = ratings.partition(b"\n")[2]
        if hashlib.sha256(items).hexdigest() != _WHEEL_ITEMS_SHA256:
            raise UserError("its ml-100k.item differs from the published one", file=path, remedy=f"Use {WHEEL}")
        movies = tuple(_recbole_movie(line) for line in items.decode("utf-8").splitlines()[1:])
    if hashlib.sha256(ratings).hexdigest() != RATINGS_SHA256:
        raise UserError("its ratings differ from the published ones", file=path, remedy=f"Download {ZIP_URL} again")
    if [movie.raw_id for movie in movies] != list(range(1, _NUM_MOVIES + 1)):
        problem = f"its movies are not the {_NUM_MOVIES} published ones"
        raise UserError(problem, file=path, remedy=f"Download {ZIP_URL} again")
    return RawMovieLens(ratings, movies, source)


def _member(path: Path, name: str) -> bytes | None:
    """The bytes of the file of this name in a folder (or its ml-100k/) or an archive; None where there is none."""
    try:
        if path.is_dir():
            files = [file for file in (path / name, path / "ml-100k" / name) if file.is_file()]
            return files[0].read_bytes() if files else None
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.namelist() if member.rpartition("/")[2] == name]
            return archive.read(members[0]) if members else None
    except FileNotFoundError:
        raise UserError("it does not exist", file=path, remedy="Correct the path given as --source") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"it cannot be read ({one_line(error)})", file=path, remedy="Download it again") from None


def decode(data: bytes, file: Path) -> str:
    """The text of a file of GroupLens's, in whatever encoding somebody saved it.

    The older releases are latin-1; what is valid UTF-8 or has a byte-order mark has been saved anew.
    """
    data = utf8(data, file)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _grouplens_movies(text: str, file: Path) -> tuple[Movie, ...]:
    movies = []
    for number, line in enumerate(text.split("\n"), start=1):
        fields = line.split("|")
        if line.strip() and (len(fields) != 24 or not fields[0].isdecimal()):
            problem, remedy = f"the line has no 24 fields: {line[:60]!r}", f"Correct it, or download {ZIP_URL} again"
            raise UserError(problem, file=file, line=number, remedy=remedy)
        movies += [_grouplens_movie(line)] if line.strip() else []
    return tuple(movies)


def _grouplens_movie(line: str) -> Movie:
    """A line of u.item: id|title (year)|release date|video release date|URL|19 flags."""
    fields = line.split("|")
    genres = tuple(genre for genre, flag in zip(GENRES, fields[6:], strict=True) if flag.strip() == "1")
    year = fields[2].rpartition("-")[2]  # 01-Jan-1995
    return Movie(int(fields[0]), *title_and_year(fields[1]), genres, int(year) if year.isdecimal() else 0)


def _recbole_movie(line: str) -> Movie:
    """A line of ml-100k.item: id, title, year, genres separated by blanks.

    Its year was cut out of GroupLens's title at fixed places: one "(1995) (V)" became the year "V", and the movie that
    nothing is known of (267, "unknown") reads "unkonwn".
    """
    raw_id, title, year, genres = line.split("\t")
    known = tuple(genre for genre in GENRES if genre in genres.split())
    if title == year == "unkonwn":
        return Movie(int(raw_id), "unknown", 0, known)
    return Movie(int(raw_id), *title_and_year(f"{title} ({year})"), known)


def title_and_year(text: str) -> tuple[str, int]:
    """A title as GroupLens writes it, "Toy Story (1995)", in its two parts; 0 where it names no year."""
    text = " ".join(text.split())
    match = _YEAR.match(text)
    return (match["title"], int(match["year"])) if match else (text, 0)
