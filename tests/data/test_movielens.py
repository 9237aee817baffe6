"""MovieLens-100k from the real data, which the package index or GroupLens must give once per session."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from lrd_jax.data.folder import MARKER
from lrd_jax.data.options import PrepareOptions
from lrd_jax.data.pipeline import default_folder
from lrd_jax.data.rechorus import read_corpus, read_texts
from lrd_jax.data.sources import movielens_source
from lrd_jax.data.sources.movielens import ensure_ml_100k, prepare_ml_100k
from lrd_jax.data.sources.movielens_source import GENRES, Movie, obtain
from lrd_jax.data.sources.movielens_years import year_bin
from lrd_jax.errors import UserError


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def grouplens_zip(path, raw):
    """The two files of GroupLens's zip that count, made again from the parsed data."""

    def line(movie):
        title = f"{movie.title} ({movie.year})" + (" (V)" if movie.raw_id == 1412 else "") if movie.year else "unknown"
        flags = [int(not movie.genres), *(int(genre in movie.genres) for genre in GENRES)]
        date = "" if title == "unknown" else "01-Jan-1996" if movie.raw_id == 1 else f"01-Jan-{movie.year}"
        return "|".join(map(str, [movie.raw_id, title, date, "", "http://", *flags]))

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ml-100k/u.data", raw.ratings)
        archive.writestr("ml-100k/u.item", "\n".join(map(line, raw.movies)).encode("latin-1") + b"\n")
    return path


def test_sizes_and_relations(raw, tmp_path):
    prepared, _ = prepare_ml_100k(tmp_path / "ml")
    assert prepared.sizes == {"users": 943, "items": 1349, "interactions": 99287}
    corpus = read_corpus(prepared.folder)
    assert (corpus.num_users, corpus.num_items, len(corpus.sequence_items)) == (943, 1349, 99287)
    assert len(corpus.train_rows) == 99287 - 2 * 943
    assert corpus.item_relations == () and corpus.attributes == ("year", "genre")
    assert corpus.num_entities == 1 + 1349 + 17 + 19
    assert np.bincount(corpus.sequence_items).min(initial=99, where=np.arange(1350) > 0) >= 5
    assert corpus.none_entities[0] == 1 + 1349
    assert corpus.item_values[1, 0, 0] == 1 + 1349 + 13  # Toy Story, 1995
    genres = corpus.item_values[1, 1, :3] - corpus.none_entities[1]
    assert genres.tolist() == [3, 4, 5]  # Animation, Children's, Comedy
    texts = read_texts(prepared.folder, corpus.num_items)
    assert texts[1] == "Toy Story (1995) Animation, Children's, Comedy"
    raw_ids = [line.split("\t")[0] for line in (prepared.folder / "items.tsv").read_text().splitlines()[1:]]
    unknown = raw_ids.index("267") + 1
    assert texts[unknown] == "unknown" and not corpus.holds_value[unknown].any()


def test_split_and_negatives(raw, tmp_path):
    corpus = read_corpus(prepare_ml_100k(tmp_path / "ml")[0].folder)
    last = corpus.sequence_offsets[2:] - 1
    assert (np.sort(corpus.test.rows) == last).all() and (np.sort(corpus.dev.rows) == last - 1).all()
    touched = np.zeros((944, 1350), bool)
    touched[corpus.sequence_users, corpus.sequence_items] = True
    for split in (corpus.dev, corpus.test):
        assert split.negatives.shape == (943, 99)
        assert not touched[corpus.sequence_users[split.rows][:, None], split.negatives].any()
        assert all(len(set(row)) == 99 for row in split.negatives.tolist())
    assert (corpus.dev.negatives != corpus.test.negatives).any()


def test_leave_one_out_keeps_its_bytes(raw, tmp_path):
    """Negatives included, what the published figures were made with."""
    files = contents(prepare_ml_100k(tmp_path / "ml")[0].folder)
    found = {name: hashlib.sha256(content).hexdigest()[:16] for name, content in sorted(files.items())}
    extra = ("dataset.json", "data_card.json", "data_card.md", "item_fields.jsonl", "values.tsv")
    for name in extra:  # these may grow, what the figures depend on may not
        assert found.pop(name)
    assert found == {
        "dev.csv": "f94f9b2d272023fa",
        "item_meta.csv": "52ff83790d179805",
        "item_text.tsv": "7c3352baf01f4afb",
        "items.tsv": "3c07b68da6c3ee99",
        "test.csv": "b2459c7fc1651f4d",
        "train.csv": "1e0a3dfcd57df63d",
        "users.tsv": "58061e35b66bbc0c",
    }


def test_every_source_gives_the_same_bytes(raw, tmp_path):
    expected = contents(prepare_ml_100k(tmp_path / "ml")[0].folder)
    archive = grouplens_zip(tmp_path / "copy.zip", raw)
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / "unpacked")
    for source in (archive, tmp_path / "unpacked", tmp_path / "unpacked" / "ml-100k"):
        again, words = prepare_ml_100k(tmp_path / "again", source=source)
        assert contents(again.folder) == expected and words == str(source)
    other_seed, _ = prepare_ml_100k(tmp_path / "again", options=PrepareOptions(seed=1))
    assert contents(other_seed.folder)["dev.csv"] != expected["dev.csv"]


def test_downloads_are_checked(raw, tmp_path, monkeypatch):
    """A damaged download is no source, and one in the cache is fetched again."""
    monkeypatch.setenv("LRD_JAX_CACHE", str(tmp_path / "other"))
    (tmp_path / "other" / "downloads").mkdir(parents=True)
    (tmp_path / "other" / "downloads" / "recbole-1.2.1.whl").write_bytes(b"rubbish")

    def damaged(folder):
        (folder / "download").write_bytes(b"rubbish")
        return folder / "download"

    monkeypatch.setattr(movielens_source, "_download_zip", damaged)
    monkeypatch.setattr(movielens_source, "_download_wheel", damaged)
    with pytest.raises(UserError, match="could not be downloaded: GroupLens .* md5 is .* sha256 is .*--source"):
        obtain()
    assert [file.name for file in (tmp_path / "other" / "downloads").iterdir()] == ["recbole-1.2.1.whl"]


def test_altered_ratings_are_refused(raw, tmp_path):
    folder = tmp_path / "altered"
    with zipfile.ZipFile(grouplens_zip(tmp_path / "copy.zip", raw)) as archive:
        archive.extractall(folder)
    (folder / "ml-100k" / "u.data").write_bytes(raw.ratings.replace(b"\t3\t", b"\t4\t", 1))
    with pytest.raises(UserError, match="ratings differ from the published ones"):
        prepare_ml_100k(tmp_path / "ml", source=folder)
    assert not (tmp_path / "ml").exists()


def test_ensure_prepares_once(raw, monkeypatch):
    folder = ensure_ml_100k()
    assert folder == default_folder("ml-100k") and json.loads((folder / "dataset.json").read_text())["users"] == 943
    monkeypatch.setattr("lrd_jax.data.sources.movielens.prepare_ml_100k", lambda *_: pytest.fail("was there already"))
    assert ensure_ml_100k() == folder


@pytest.mark.process
def test_command(raw, tmp_path):
    command = [sys.executable, "-m", "lrd_jax.prepare", "ml-100k", "--out", str(tmp_path / "ml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "99,287" in done.stdout and "source: the cached copy of" in done.stdout
    assert "dataset.json" in contents(tmp_path / "ml")


@pytest.mark.process
def test_command_with_a_wrong_source(tmp_path):
    command = [sys.executable, "-m", "lrd_jax.prepare", "ml-100k", "--source", str(tmp_path / "none.zip")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "none.zip: it does not exist" in done.stderr and "Traceback" not in done.stderr


def test_a_folder_without_the_data(tmp_path):
    with pytest.raises(UserError, match="no MovieLens-100k in it"):
        obtain(tmp_path)


def test_movies_of_both_layouts():
    flags = "0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0"
    toy_story = Movie(1, "Toy Story", 1995, ("Animation", "Children's", "Comedy"))
    assert movielens_source._grouplens_movie(f"1|Toy Story (1995)|01-Jan-1995||http://x|{flags}") == toy_story
    assert movielens_source._recbole_movie("1\tToy Story\t1995\tAnimation Children's Comedy") == toy_story
    nothing = Movie(267, "unknown", 0, ())
    assert movielens_source._grouplens_movie("267|unknown||||1" + "|0" * 18) == nothing
    assert movielens_source._recbole_movie("267\tunkonwn\tunkonwn\tunknown") == nothing
    video = Movie(1412, "Land Before Time III", 1995, ("Animation", "Children's"))
    flags = "0|0|0|1|1" + "|0" * 14
    assert movielens_source._grouplens_movie(f"1412|Land Before Time III (1995) (V)|||u|{flags}") == video
    assert movielens_source._recbole_movie("1412\tLand Before Time III (1995)\tV\tAnimation Children's") == video


def test_year_bins():
    years = [1874, 1922, 1939, 1940, 1979, 1980, 1985, 1989, 1990, 1991, 1998, 2023]
    bins = [year_bin(year) for year in years]
    assert bins[:3] == ["1800-1899", "1900-1939", "1900-1939"] and bins[-2:] == ["1998", "2023"]
    assert bins == sorted(bins), "value ids follow the order of names, so names must follow the order of years"
    assert year_bin(0) is None


def test_negatives_of_the_notebook(raw, tmp_path):
    """Rows that the output of data/MovieLens.ipynb of github.com/ysh-1998/LRD shows, commit 62c2489."""
    folder = prepare_ml_100k(tmp_path / "ml", options=PrepareOptions(like="rechorus"))[0].folder
    lines = (folder / "test.csv").read_text().splitlines()
    shown = [
        ("821\t71\t874793969", "[685, 560, 1217, 836, 764, 1034, 278, 600, 109"),
        ("817\t814\t874816007", "[369, 918, 202, 384, 371, 556, 955, 861, 131, "),
        ("893\t761\t874830424", "[702, 728, 556, 33, 1036, 213, 1117, 624, 771,"),
        ("933\t1172\t874939247", "[1112, 161, 148, 585, 456, 1112, 1038, 1339, 1"),
        ("21\t759\t874951916", "[127, 578, 890, 1349, 977, 113, 651, 238, 991,"),
    ]
    for line, (row, negatives) in zip(lines[1:], shown, strict=False):
        assert line.startswith(f"{row}\t{negatives}")
    train = (folder / "train.csv").read_text().splitlines()
    assert train[1:4] == ["259\t254\t874724710", "259\t285\t874724727", "259\t297\t874724754"]
    usual = contents(prepare_ml_100k(tmp_path / "usual")[0].folder)
    assert usual["train.csv"] == (folder / "train.csv").read_bytes()


def test_relations_and_texts_of_the_notebook(raw, tmp_path):
    """The first rows that `data/MovieLens.ipynb` of github.com/ysh-1998/LRD shows of item_meta.csv."""
    options = PrepareOptions(like="published")
    folder = prepare_ml_100k(tmp_path / "published", options=options)[0].folder
    header, *lines = [line.split("\t") for line in (folder / "item_meta.csv").read_text().splitlines()]
    assert header[:8] == [
        "item_id",
        "i_year",
        "i_Action",
        "i_Adventure",
        "i_Animation",
        "i_Children's",
        "i_Comedy",
        "i_Crime",
    ]
    assert header[-1] == "i_Other" and len(header) == 21
    shown = [[1, 13, 0, 0, 0, 1, 1, 1], [2, 13, 0, 1, 1, 0, 0, 0], [3, 13, 0, 0, 0, 0, 0, 0], [4, 13, 0, 1, 0, 0, 0, 1]]
    assert [list(map(int, line[:8])) for line in lines[:4]] == shown
    corpus = read_corpus(folder)
    assert corpus.num_defined_relations == 21
    assert corpus.num_entities == 1 + 1349 + 17 + 19 * 2
    texts = read_texts(folder, corpus.num_items)
    assert texts[1] == "Toy Story (1995) Children's Comedy Crime"
    assert texts[2] == "GoldenEye (1995) Adventure Animation War"
    negatives = prepare_ml_100k(tmp_path / "rechorus", options=PrepareOptions(like="rechorus"))[0].folder
    assert (negatives / "test.csv").read_bytes() == (folder / "test.csv").read_bytes()

    # GroupLens's own files have dates of release, which the notebook takes for the years.
    source = grouplens_zip(tmp_path / "ml-100k.zip", raw)
    dated = prepare_ml_100k(tmp_path / "dated", source=source, options=options)[0].folder
    assert (dated / "item_meta.csv").read_text().splitlines()[1].split("\t")[:2] == ["1", "14"]  # released in 1996
    assert json.loads((dated / MARKER).read_text())["years"] == "release dates"
    assert json.loads((folder / MARKER).read_text())["years"] == "titles"


@pytest.mark.process
@pytest.mark.parametrize("command", [["movielens", "1m"], ["table", "log.csv", "--out", "D"]])
def test_only_ml_100k_is_like_published(command, tmp_path):
    (tmp_path / "log.csv").write_text("user_id,item_id\n" + "".join(f"{u},{i}\n" for u in range(9) for i in range(9)))
    done = subprocess.run(
        [sys.executable, "-m", "lrd_jax.prepare", *command, "--like", "published", "--negatives", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "field '--like': only MovieLens-100k has" in done.stderr


def test_pinned_checksum_is_of_the_ratings(raw):
    assert hashlib.sha256(raw.ratings).hexdigest() == movielens_source.RATINGS_SHA256
    assert raw.ratings.count(b"\n") == 100_000 and len(raw.movies) == 1682
