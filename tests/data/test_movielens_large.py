"""MovieLens 1M, 20M and 32M from made-up files of their layouts, through the command."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from lrd_jax.data.options import PrepareOptions
from lrd_jax.data.pipeline import prepare_folder
from lrd_jax.data.rechorus import read_corpus, read_texts
from lrd_jax.data.sources import movielens_large
from lrd_jax.data.sources.movielens import read_movielens
from lrd_jax.errors import UserError

MOVIES = [
    ("1", "Toy Story (1995)", "Animation|Children's|Comedy"),
    ("2", "Misérables, Les (1998)", "Drama"),
    ("3", 'A "quoted", title (1931)', "Sci-Fi"),
    ("4", "Babylon 5", "(no genres listed)"),
    ("5", "Star Wars: Episode IV - A New Hope (1977)", "Action"),
]


def write_release(folder, version, *, movies=MOVIES, ratings=None):
    """GroupLens's two files of a release: every user rates all movies, at times of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    if ratings is None:
        ratings = [
            (user, movie[0], "4" if version == "1m" else "3.5", 978300000 + int(rng.integers(10**6)))
            for user in range(1, 8)
            for movie in movies
        ]
    if version == "1m":
        lines = ["::".join(map(str, row)) for row in ratings]
        (folder / "ratings.dat").write_text("\n".join(lines) + "\n")
        (folder / "movies.dat").write_bytes("".join("::".join(movie) + "\n" for movie in movies).encode("latin-1"))
    else:
        lines = ["userId,movieId,rating,timestamp", *(",".join(map(str, row)) for row in ratings)]
        (folder / "ratings.csv").write_text("\n".join(lines) + "\n")
        quoted = [
            '"{}"'.format(title.replace('"', '""')) if "," in title or '"' in title else title for _, title, _ in movies
        ]
        rows = [f"{movie[0]},{title},{movie[2]}" for movie, title in zip(movies, quoted, strict=True)]
        (folder / "movies.csv").write_text("\r\n".join(["movieId,title,genres", *rows]) + "\r\n", encoding="utf-8")
    return folder


def zipped(folder, path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"{folder.name}/{file.name}")
    return path


def prepare(*words, cwd):
    command = [sys.executable, "-m", "lrd_jax.prepare", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


@pytest.mark.parametrize("version", ["1m", "20m", "32m"])
def test_layouts(tmp_path, version):
    folder = write_release(tmp_path / f"ml-{version}", version)
    archive = zipped(folder, tmp_path / "copy.zip")
    raw, words = read_movielens(version, archive)
    assert f"not GroupLens's ml-{version}.zip" in words and raw.name == f"ml-{version}"
    assert raw.items["title"].to_list() == [
        "Toy Story", "Misérables, Les", 'A "quoted", title', "Babylon 5", "Star Wars: Episode IV - A New Hope",
    ]  # fmt: skip
    assert raw.items["year"].to_list() == ["1995", "1998", "1931", None, "1977"]
    assert raw.items["genre"].to_list()[0] == ["Animation", "Children's", "Comedy"]
    assert raw.items["genre"].to_list()[3] == []
    assert raw.attributes["year"].rows()[2:] == [(3, "1900-1939"), (4, None), (5, "1970-1979")]
    name = "ratings.dat" if version == "1m" else "ratings.csv"
    assert raw.origin["sha256"][name] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert len(raw.interactions) == 35 and raw.interactions["time"].min() >= 978300000
    for source in (folder, folder.parent):
        again, _ = read_movielens(version, source)
        assert again.interactions.equals(raw.interactions) and again.origin == raw.origin


@pytest.mark.process
def test_command_with_extra_columns(tmp_path):
    archive = zipped(write_release(tmp_path / "ml-20m", "20m"), tmp_path / "copy.zip")
    (tmp_path / "imdb.csv").write_text(
        'movieId,director,actors,plot\n1,John Lasseter,"Hanks, Allen",Toys &amp; a boy\n9,Nobody,,\n5,,Ford,\n'
    )
    words = ["movielens", "20m", "--source", archive, "--negatives", 1, "--extra", "imdb.csv"]
    done = prepare(*words, cwd=tmp_path)
    assert done.returncode == 2 and "'--extra': the result needs its own folder. Set --out to a folder" in done.stderr
    ratings = [(u, m, 3, 100 * u + int(m)) for u in range(1, 8) for m in "12345" if (u, m) != (7, "5")]
    write_release(tmp_path / "ml-20m", "20m", ratings=ratings)
    words = ["movielens", "20m", "--source", "ml-20m", "--negatives", 1, "--core", 4, "--extra", "imdb.csv"]
    done = prepare(*words, "--out", "ml", "--show", 2, cwd=tmp_path)
    assert done.returncode == 2 and "1 negatives per user are too many" in done.stderr, "everyone rated all"
    ratings = [row for row in ratings if row[0] % 5 != int(row[1]) % 5]
    write_release(tmp_path / "ml-20m", "20m", ratings=ratings)
    done = prepare(*words, "--out", "ml", "--show", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    texts = read_texts(tmp_path / "ml", read_corpus(tmp_path / "ml").num_items)
    assert texts[1:] == [
        "Toy Story (1995) Animation, Children's, Comedy John Lasseter Hanks, Allen Toys & a boy",
        "Misérables, Les (1998) Drama",
        'A "quoted", title (1931) Sci-Fi',
        "Babylon 5",
        "Star Wars: Episode IV - A New Hope (1977) Action Ford",
    ]
    assert f"  1: {texts[1]}\n  2: {texts[2]}\nsource: ml-20m" in done.stdout
    assert "imdb.csv" in (tmp_path / "ml" / "data_card.md").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,director\n1,x\n", r"field 'movieId': the column is missing. Add the column movieId.*found: id, director"),
        ("movieId,year\n1,x\n", "the dataset already has this column"),
        ("movieId,raw_id\n1,x\n", "field 'raw_id': the dataset already has this column"),
        ("movieId,plot\n1,x\none,y\n", "row 2 is not a whole number"),
        ("movieId,plot\n1,x\n01,y\n", "row 2 repeats 1"),
        ("movieId,plot\n77,x\n", "none of its movies is in ml-1m"),
    ],
)
def test_wrong_extra_columns(tmp_path, content, message):
    folder = write_release(tmp_path / "ml-1m", "1m")
    (tmp_path / "extra.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        read_movielens("1m", folder, tmp_path / "extra.csv")


def test_damaged_files(tmp_path):
    folder = write_release(tmp_path / "a", "1m", ratings=[("1", "1", "5", "978300000"), ("x", "1", "5", "978300000")])
    with pytest.raises(UserError, match="a/ratings.dat, line 2: the line is not a rating.*'x::1::5::978300000'"):
        read_movielens("1m", folder)
    (folder / "movies.dat").write_text("1::Toy Story (1995)\n")
    write_release(tmp_path / "b", "1m")
    (tmp_path / "b" / "movies.dat").write_text("1::Toy Story (1995)\n")
    with pytest.raises(UserError, match="b/movies.dat, line 1: the line is not a movie"):
        read_movielens("1m", tmp_path / "b")
    with pytest.raises(UserError, match=r"no MovieLens 32m in it \(ratings.csv\)"):
        read_movielens("32m", tmp_path / "b")
    with pytest.raises(UserError, match="it does not exist"):
        read_movielens("32m", tmp_path / "none.zip")
    (tmp_path / "cut.zip").write_bytes(
        zipped(write_release(tmp_path / "c", "20m"), tmp_path / "c.zip").read_bytes()[:-40]
    )
    with pytest.raises(UserError, match="it cannot be read"):
        read_movielens("20m", tmp_path / "cut.zip")


@pytest.mark.parametrize("version", ["1m", "20m"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings(tmp_path, version, encoding, end):
    """Titles whose bytes in UTF-8 hold what latin-1 takes for the end of a line (Å, à) among them."""
    movies = [*MOVIES, ("6", "Å à la carte, Ö (1999)", "Drama")]
    folder = write_release(tmp_path / "ml", version, movies=movies)
    plain, _ = read_movielens(version, folder)
    for file in folder.iterdir():
        text = file.read_bytes().decode("latin-1" if file.name == "movies.dat" else "utf-8").replace("\r\n", "\n")
        file.write_bytes((text.replace("\n", end) + end).encode(encoding))
    again, _ = read_movielens(version, folder)
    assert again.items.equals(plain.items) and again.items["title"].to_list()[1:] == [
        "Misérables, Les", 'A "quoted", title', "Babylon 5", "Star Wars: Episode IV - A New Hope", "Å à la carte, Ö",
    ]  # fmt: skip
    assert again.interactions.equals(plain.interactions)


@pytest.mark.parametrize(
    ("version", "name", "number", "line", "message"),
    [
        ("1m", "ratings.dat", 3, "1::2::3", "the line is not a rating"),
        ("1m", "ratings.dat", 3, "1::2::3::4::5", "the line is not a rating"),
        ("1m", "ratings.dat", 3, "1::2::3::9.5", "the line is not a rating"),
        ("1m", "ratings.dat", 3, "rubbish", "the line is not a rating"),
        ("20m", "ratings.csv", 3, "1,2,3", "the line is not a rating"),
        ("20m", "ratings.csv", 3, "1,2,3,4,5", "the line is not a rating"),
        ("20m", "ratings.csv", 1, "userId,movieId,rating", "field 'timestamp': the column is missing"),
        ("1m", "movies.dat", 2, "2::Misérables", "the line is not a movie"),
        ("1m", "movies.dat", 2, "two::Misérables::Drama", "the line is not a movie"),
        ("20m", "movies.csv", 3, "2,Misérables, Les (1998),Drama", "the line is not a movie"),
        ("20m", "movies.csv", 3, '2,"Misérables, Les (1998),Drama', "a quotation mark is not closed on the line"),
    ],
)
def test_a_bad_line_is_named_with_its_path(tmp_path, version, name, number, line, message):
    folder = write_release(tmp_path / f"ml-{version}", version)
    lines = (folder / name).read_bytes().decode("latin-1" if name == "movies.dat" else "utf-8").splitlines()
    lines[number - 1] = line
    (folder / name).write_bytes("\n".join(lines).encode())
    archive = zipped(folder, tmp_path / "copy.zip")
    for source, shown in ((folder, f"{folder}/{name}"), (archive, f"{archive}/ml-{version}/{name}")):
        with pytest.raises(UserError, match=f"^{shown}, line {number}.*{message}"):
            read_movielens(version, source)


def test_movie_ids_of_extra_columns_may_be_whole_floats(tmp_path):
    folder = write_release(tmp_path / "ml-1m", "1m")
    (tmp_path / "extra.csv").write_text("movieId,plot\n1.0,x\n2.0,y\n")
    raw, _ = read_movielens("1m", folder, tmp_path / "extra.csv")
    assert raw.items["plot"].to_list() == ["x", "y", None, None, None]


def test_equal_seconds_keep_the_order_of_the_file(tmp_path):
    """Only the same user, movie and second is a duplicate."""
    ratings = [(u, m, 3, 978300000 + (k > 1)) for u in (1, 2, 3) for k, m in enumerate("2514")]
    ratings += [(4, m, 3, 978300000) for m in "325"] + [ratings[0], (1, "2", 5, 978300001)]
    folder = write_release(tmp_path / "ml-1m", "1m", ratings=ratings)
    prepared = prepare_folder(read_movielens("1m", folder)[0], tmp_path / "out", PrepareOptions(core=1, negatives=1))
    assert prepared.card["dropped"]["duplicates"] == 1 and prepared.sizes["interactions"] == 16
    items = {
        split: [line.split("\t")[1] for line in (tmp_path / "out" / f"{split}.csv").read_text().splitlines()
                if line.startswith(("2\t", "4\t"))]
        for split in ("train", "dev", "test")
    }  # fmt: skip
    assert items == {"train": ["2", "5", "3"], "dev": ["2", "1"], "test": ["5", "4"]}


def test_downloads(tmp_path, monkeypatch):
    """The cached copy is taken where its MD5 is GroupLens's; without network the remedy is --source."""

    def refuse(url, folder):
        raise OSError("no network")

    monkeypatch.setattr(movielens_large, "download_url", refuse)
    with pytest.raises(UserError, match="MovieLens 1m could not be downloaded: no network. .*ml-1m.zip.* --source"):
        read_movielens("1m")
    archive = zipped(write_release(tmp_path / "ml-1m", "1m"), tmp_path / "copy.zip")
    monkeypatch.setitem(movielens_large._MD5, "1m", hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(movielens_large, "download_url", lambda url, folder: archive.rename(folder / "ml-1m.zip"))
    assert read_movielens("1m")[1].startswith("GroupLens (https://files.grouplens.org")
    monkeypatch.setattr(movielens_large, "download_url", refuse)
    assert read_movielens("1m")[1].startswith("the cached copy of GroupLens")
