"""Which attributes and relations atomic files give, and what is refused."""

import re
import zipfile

import polars as pl
import pytest

from lrd_jax.data.cache import cache_dir
from lrd_jax.data.item_tables import item_fields
from lrd_jax.data.sources.recbole import read_recbole
from lrd_jax.errors import UserError

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\nu1\t007\t5\t10.9\nu2\ta\t\t1e3\nu1\ta\t3\t10\n"
ITEM = (
    "item_id:token\tthe title:token_seq\tyear:token\tclass:token_seq\tweight:float\tcode:token\n"
    '007\tThe "Spy\t1999\tAction Comedy\t1.5\tx1\n'
    "a\tThe The\t1999\tAction\t2\tx2\nb\tCaf\u00e9\t2000\t\t\tx3\nc\tLong words here now\t2000\tComedy\t1\tx4\n"
    "d\tMore\t\tComedy Action\t1\tx5\ne\tStill\t1999\tAction\t1\tx6\n"
)
LINK = "item_id:token\tentity_id:token\n007\tm.1\na\tm.2\nb\tm.3\nc\tm.4\n"
KG = "head_id:token\trelation_id:token\ttail_id:token\n" + "".join(
    f"{edge.replace(' ', chr(9))}\n"
    for edge in (
        "m.1 film.film.actor p.1",
        "m.2 film.film.actor p.1",
        "m.3 film.film.actor p.1",
        "m.3 film.film.actor p.9",  # nobody else's
        "p.1 film.actor.film m.1",  # leads to items
        "m.1 film.film.genre g.1",
        "m.2 film.film.genre g.1",
        "m.1 book.genre g.2",
        "m.4 book.genre g.2",
        "m.1 film.film.sequel m.2",
        "m.1 film.film.sequel m.2",  # twice
        "m.2 film.film.sequel m.3",
        "m.3 film.film.sequel m.3",  # its own
        "m.3 film.film.sequel x.1",
        "m.1 电影/导演 p.5",
        "m.2 电影/导演 p.5",
    )
)


@pytest.fixture
def atomic(tmp_path):
    folder = tmp_path / "atomic"
    folder.mkdir()
    for kind, text in (("inter", INTER), ("item", ITEM), ("link", LINK), ("kg", KG)):
        (folder / f"tiny.{kind}").write_text(text, encoding="utf-8")
    return folder


def test_interactions(atomic):
    raw = read_recbole(atomic)
    assert raw.name == "tiny"
    times = pl.col("time").dt.epoch("us")
    assert raw.interactions.with_columns(times).rows() == [
        ("u1", "007", 10_900_000), ("u2", "a", 1_000_000_000), ("u1", "a", 10_000_000),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("cells", "options", "seconds"),
    [
        (("1600000000250", "1600000001000", "1600000000750"), {}, (0.25, 1, 0.75)),
        (("1600000000250", "1600000001000", "1600000000750"), {"time_unit": "ms"}, (0.25, 1, 0.75)),
        (("2020-09-13T12:26:40.25Z", "2020-09-13 12:26:41", "2020-09-13T12:26:40.75"), {}, (0.25, 1, 0.75)),
        (("Sep 13 2020", "Sep 14 2020", "Sep 15 2020"), {"time_format": "%b %d %Y"}, (-44800, 41600, 128000)),
    ],
)  # fmt: skip
def test_times_are_recognised_by_their_values(atomic, cells, options, seconds):
    text = INTER
    for old, new in zip(("10.9", "1e3", "10\n"), (*cells[:2], cells[2] + "\n"), strict=True):
        text = text.replace(old, new, 1)
    (atomic / "tiny.inter").write_text(text)
    found = read_recbole(atomic, **options).interactions["time"].dt.epoch("us").to_list()
    assert found == [1_600_000_000_000_000 + int(1e6 * fraction) for fraction in seconds]


def test_whole_floats_are_the_same_ids_everywhere(atomic):
    for kind, old in (("inter", INTER), ("item", ITEM), ("link", LINK)):
        ids = ("7", "1") if kind == "item" else ("7.0", "1.0")
        (atomic / f"tiny.{kind}").write_text(old.replace("007\t", f"{ids[0]}\t").replace("\na\t", f"\n{ids[1]}\t")
                                             .replace("\ta\t", f"\t{ids[1]}\t").replace("\nb\t", "\n2\t")
                                             .replace("\nc\t", "\n3\t"))  # fmt: skip
    raw = read_recbole(atomic, attributes=[])
    assert raw.interactions["item"].to_list() == ["7", "1", "1"]
    assert raw.items["item"].to_list()[:2] == ["7", "1"]
    assert raw.relations["sequel"].rows() == [("7", "1"), ("1", "2")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_other_encodings_with_a_byte_order_mark(atomic, encoding):
    plain = read_recbole(atomic)
    for kind, text in (("inter", INTER), ("item", ITEM), ("link", LINK), ("kg", KG)):
        (atomic / f"tiny.{kind}").write_bytes(text.encode(encoding))
    marked = read_recbole(atomic)
    assert marked.interactions.equals(plain.interactions) and marked.items.equals(plain.items)


def test_files_of_other_items(atomic):
    for kind, text in (("link", LINK), ("item", ITEM)):
        (atomic / f"tiny.{kind}").write_text(text.replace("007\t", "7\t").replace("\na\t", "\nz\t"))
        with pytest.raises(
            UserError, match=f"tiny.{kind}, field 'item_id': it has none .*have '007', the table has '7'"
        ):
            read_recbole(atomic)


def test_windows_line_ends_and_marks_are_no_part_of_a_cell(atomic):
    plain = read_recbole(atomic)
    for kind, text in (("inter", INTER), ("item", ITEM), ("link", LINK), ("kg", KG)):
        (atomic / f"tiny.{kind}").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() + b"\r\n\r\n")
    marked = read_recbole(atomic)
    assert marked.interactions.equals(plain.interactions) and marked.items.equals(plain.items)
    for part in ("attributes", "relations"):
        assert {name: frame.rows() for name, frame in getattr(marked, part).items()} == {
            name: frame.rows() for name, frame in getattr(plain, part).items()
        }


def test_columns_with_shared_values_are_attributes_and_all_are_text(atomic):
    raw = read_recbole(atomic, max_relations=0)
    assert {name: frame.rows() for name, frame in raw.attributes.items()} == {
        "year": [("007", "1999"), ("a", "1999"), ("b", "2000"), ("c", "2000"), ("e", "1999")],
        "class": [("007", "Action"), ("007", "Comedy"), ("a", "Action"), ("c", "Comedy"), ("d", "Comedy"),
                  ("d", "Action"), ("e", "Action")],
    }  # fmt: skip
    assert raw.template == "{the_title} {code} {year} {class}"
    assert raw.items.columns == ["item", "the_title", "year", "class", "code"]
    assert raw.items["the_title"].to_list() == ['The "Spy', "The The", "Café", "Long words here now", "More", "Still"]
    assert raw.items["class"].to_list() == ["Action Comedy", "Action", None, "Comedy", "Comedy Action", "Action"]


def test_columns_that_the_folder_uses_itself_get_another_name(atomic):
    (atomic / "tiny.item").write_text(ITEM.replace("year:", "raw_id:"), encoding="utf-8")
    raw = read_recbole(atomic, max_relations=0)
    assert "raw_id_" in raw.attributes and "{raw_id_}" in raw.template
    ids = pl.DataFrame({"raw_id": raw.items["item"], "item_id": range(1, len(raw.items) + 1)})
    assert item_fields(ids, raw.items).columns[:2] == ["item_id", "raw_id"]


def test_attributes_can_be_named(atomic):
    raw = read_recbole(atomic, attributes=["code", "year"], max_relations=0)
    assert set(raw.attributes) == {"year", "code"}
    assert raw.template == "{the_title} {class} {year} {code}"


def test_the_graph_relates_items_through_shared_tails(atomic):
    raw = read_recbole(atomic, attributes=[])
    assert {name: frame.rows() for name, frame in raw.attributes.items()} == {
        "actor": [("007", "p.1"), ("a", "p.1"), ("b", "p.1")],
        "film_film_genre": [("007", "g.1"), ("a", "g.1")],
        "book_genre": [("007", "g.2"), ("c", "g.2")],
        "导演": [("007", "p.5"), ("a", "p.5")],
    }
    assert {name: frame.rows() for name, frame in raw.relations.items()} == {"sequel": [("007", "a"), ("a", "b")]}
    assert raw.origin["graph_relations"]["i_film_film_genre"] == "film.film.genre"
    assert raw.origin["graph_relations_left_out"] == []


def test_the_most_frequent_or_the_named_relations_are_taken(atomic):
    raw = read_recbole(atomic, attributes=[], max_relations=1)
    assert set(raw.attributes) == {"actor"} and not raw.relations
    assert len(raw.origin["graph_relations_left_out"]) == 4
    raw = read_recbole(atomic, attributes=[], relations=["film.film.sequel", "book.genre"], max_relations=1)
    assert set(raw.attributes) == {"book_genre"} and set(raw.relations) == {"sequel"}


def test_a_relation_does_not_take_the_name_of_a_column(atomic):
    (atomic / "tiny.item").write_text(ITEM.replace("year", "actor"))
    raw = read_recbole(atomic, attributes=["actor"])
    assert {"actor", "film_film_actor"} <= set(raw.attributes)


def test_interactions_alone_are_enough(atomic):
    for kind in ("item", "kg", "link"):
        (atomic / f"tiny.{kind}").unlink()
    raw = read_recbole(atomic)
    assert raw.items["item"].to_list() == ["007", "a"]
    assert (raw.attributes, raw.relations) == ({}, {})
    with pytest.raises(UserError, match="tiny.kg or tiny.link is missing"):
        read_recbole(atomic, relations=["x"])


def change(kind, old, new):
    def apply(folder):
        path = folder / f"tiny.{kind}"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_bytes(text.replace(old, new, 1).encode("latin-1" if new == "\xff" else "utf-8"))

    return apply


BAD = {
    "none": (lambda folder: (folder / "tiny.inter").unlink(), "it contains 0 .inter files, not one"),
    "two": (
        lambda folder: (folder / "other.inter").write_text(INTER),
        "it contains 2 .inter files, not one (other, tiny)",
    ),
    "no type": (
        change("inter", "item_id:token", "item_id"),
        "tiny.inter, line 1, field 'item_id': the header of the field has",
    ),
    "unknown type": (change("item", "year:token", "year:int"), "tiny.item, line 1, field 'year:int'"),
    "no time": (change("inter", "timestamp", "when"), "tiny.inter, line 1, field 'timestamp': the field is missing"),
    "bad time": (change("inter", "1e3", "soon"), "tiny.inter, line 3, field 'timestamp': line 3 has 'soon', which"),
    "empty time": (change("inter", "1e3", ""), "tiny.inter, line 3, field 'timestamp'"),
    "not finite": (change("inter", "1e3", "nan"), "tiny.inter, line 3, field 'timestamp'"),
    "before 1970": (change("inter", "1e3", "-1"), "tiny.inter, line 3, field 'timestamp'"),
    "empty id": (change("inter", "u2\t", "\t"), "tiny.inter, line 3, field 'user_id': the cell is empty"),
    "too few": (change("inter", "u2\ta\t\t1e3", "u2\ta\t1e3"), "tiny.inter, line 3: the line has 3 tab-separated"),
    "too many": (change("item", "\tx2", "\tx2\t"), "tiny.item, line 3: the line has 7 tab-separated"),
    "few and many": (change("inter", "u2\ta\t\t1e3\nu1\ta\t3", "u2\ta\t1e3\nu1\ta\t3\t"), "line 3: the line has 3"),
    "twice": (change("item", "code:token", "year:token"), "tiny.item, line 1, field 'year:token'"),
    "twice otherwise": (change("item", "code:token", "year:float"), "tiny.item, line 1: a field name appears twice"),
    "empty": (change("kg", KG, ""), "tiny.kg: the file is empty"),
    "header": (change("link", LINK, "item_id:token\tentity_id:token\n"), "tiny.link: the file has no rows"),
    "latin-1": (
        lambda folder: (folder / "tiny.item").write_bytes(ITEM.encode("latin-1")),
        "line 4: the text is not UTF",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(atomic, case):
    apply, message = BAD[case]
    apply(atomic)
    with pytest.raises(UserError, match=re.escape(message)):
        read_recbole(atomic)


def test_unknown_names_are_reported_with_those_that_exist(atomic):
    with pytest.raises(UserError, match="no token or token_seq column 'weight'.*the title, year, class, code"):
        read_recbole(atomic, attributes=["weight"])
    with pytest.raises(UserError, match="there is no relation 'actor' of items.*book.genre, film.film.actor"):
        read_recbole(atomic, relations=["actor"])
    with pytest.raises(UserError, match="it is not a folder"):
        read_recbole(atomic / "tiny.inter")


def test_ml_100k_of_the_recbole_wheel(downloaded, tmp_path):
    wheel = downloaded[0] / "downloads" / "recbole-1.2.1.whl"
    if not wheel.exists():
        pytest.skip("the data came from GroupLens")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if "dataset_example/ml-100k/" in name:
                (tmp_path / name.rsplit("/", 1)[1]).write_bytes(archive.read(name))
    raw = read_recbole(tmp_path)

    assert raw.interactions.height == 100_000 and raw.items.height == 1682
    assert raw.template == "{movie_title} {release_year} {class}"
    names = ["release_year", "class", "actor", "genre", "award_nomination", "award_won", "language", "country"]
    assert list(raw.attributes) == [*names, "produced_by", "rating"]
    assert raw.attributes["language"].group_by("value").len()["len"].min() == 2
    assert cache_dir() != downloaded[0]
