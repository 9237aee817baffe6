"""What is read from a raw dump of 2014, and what is refused."""

import gzip
import hashlib
import io
import json
import re
import urllib.error
import urllib.request

import pytest

from lrd_jax.data.cache import cache_dir
from lrd_jax.data.sources.amazon_2014 import read_amazon_2014
from lrd_jax.errors import UserError

REVIEWS = [("u1", "0000013714", 20), ("u2", "B1", 10), ("u1", "B1", 20), ("u1", "B1", 20), ("u2", "B2", 5)]
ITEMS = [
    {
        "asin": "0000013714",
        "title": 'He said "it\'s" caf\u00e9 &amp; bar \\d',
        "brand": "Barnes &amp; Noble",
        "categories": [["Office Products", "Supplies", "Pens &amp; Ink", "Gel"], ["Other", "a", "b"]],
        "related": {"also_bought": ["B1", "X9", "B1"], "also_viewed": ["B2"], "bought_together": ["B2"]},
        "price": 1.5,
        "salesRank": {"Office Products": 3},
    },
    {"title": "Looks like 'asin': 'B1' is here", "asin": "Z0", "related": {"also_bought": ["B1"]}},
    {"asin": "B1", "brand": " ", "categories": [["Office Products", "Office Electronics"]]},
    {"asin": "B2", "title": None, "brand": "Barnes & Noble", "related": {"also_viewed": ["0000013714"]}},
    {"asin": "B1", "title": "the second of its name"},
]


def review_lines(reviews=REVIEWS):
    fields = ({"reviewerID": user, "asin": item, "unixReviewTime": time} for user, item, time in reviews)
    return "".join(json.dumps({"overall": 5.0, **entry, "reviewText": "so \u201cso\u201d"}) + "\n" for entry in fields)


def meta_lines(items=ITEMS):
    return "".join(repr(item) + "\n" for item in items)


def write(folder, reviews=None, meta=None, packed=True):
    folder.mkdir(exist_ok=True)
    for name, text in (("reviews_Pens_5.json", reviews or review_lines()), ("meta_Pens.json", meta or meta_lines())):
        data = text if isinstance(text, bytes) else text.encode()
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(data, mtime=0) if packed else data)
    return folder


@pytest.fixture(params=[True, False], ids=["gzipped", "plain"])
def raw(request, tmp_path):
    return read_amazon_2014("Pens", source=write(tmp_path / "dump", packed=request.param))


def test_reviews_in_the_order_of_the_file_with_duplicates(raw):
    assert raw.interactions.columns == ["user", "item", "time"]
    assert raw.interactions.rows() == REVIEWS
    assert raw.name == "amazon-2014-Pens" and raw.template == "{title:32} {category} {brand}"


def test_items_that_were_reviewed(raw):
    assert raw.items.rows(named=True) == [
        {"item": "0000013714", "title": ITEMS[0]["title"], "category": "Gel", "brand": "Barnes &amp; Noble"},
        {"item": "B1", "title": None, "category": "Office Electronics", "brand": " "},
        {"item": "B2", "title": None, "category": None, "brand": "Barnes & Noble"},
    ]


def test_attributes_are_the_third_of_the_first_path_and_the_brand(raw):
    assert raw.attributes["category"].rows() == [("0000013714", "Pens &amp; Ink")]
    brands = [("0000013714", "Barnes &amp; Noble"), ("B1", " "), ("B2", "Barnes & Noble")]
    assert raw.attributes["brand"].rows() == brands


def test_relations_among_reviewed_items_in_the_order_of_the_file(raw):
    assert {name: pairs.rows() for name, pairs in raw.relations.items()} == {
        "complement": [("0000013714", "B1"), ("0000013714", "B1")],
        "substitute": [("0000013714", "B2"), ("B2", "0000013714")],
    }


def test_origin_gives_files_and_counts_but_not_their_folder(tmp_path):
    origins = [read_amazon_2014("Pens", source=write(tmp_path / name)).origin for name in ("one", "two")]
    file = tmp_path / "one" / "meta_Pens.json.gz"
    assert origins[0] == origins[1]
    assert origins[0]["files"]["meta_Pens.json.gz"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (origins[0]["metadata_lines"], origins[0]["metadata_items_repeated"]) == (5, 1)


@pytest.mark.parametrize(
    "odd",
    [
        "{'asin': 'B1', 'title': ",
        "{'asin': 'B1', 'title': __import__('os').abort()}",
        "{'title': 'nothing'}",
        "rubbish",
        "['B1']",
        "{'asin': 7}",
        "{'asin': 'B1', 'x': " + "(" * 5000 + ")" * 5000 + "}",
        "{['asin']: 1, 'asin': 'B1'}",
        "{'asin': 'B1', 'x': '\0'}",
    ],
)
def test_a_few_odd_lines_are_passed_over_and_counted_and_nothing_is_evaluated(tmp_path, odd):
    padding = [{"asin": f"Q{number}"} for number in range(100)]
    raw = read_amazon_2014("Pens", source=write(tmp_path / "dump", meta=odd + "\n" + meta_lines(padding + ITEMS)))
    assert raw.origin["metadata_lines_odd"] == 1
    assert raw.items["item"].to_list() == ["0000013714", "B1", "B2"]


def test_odd_types_within_a_literal_are_as_nothing(tmp_path):
    odd = {"asin": "B1", "title": 3, "brand": ["x"], "categories": [], "related": ["B2"]}
    more = {"asin": "B2", "categories": [None, ["a", "b", "c"]], "related": {"also_bought": "B1", "also_viewed": [1]}}
    raw = read_amazon_2014("Pens", source=write(tmp_path / "dump", meta=meta_lines([odd, more])))
    assert raw.items.rows() == [("B1", None, None, None), ("B2", None, None, None)]
    assert raw.attributes["category"].is_empty() and raw.attributes["brand"].is_empty()
    assert raw.relations["complement"].is_empty() and raw.relations["substitute"].is_empty()


def test_halves_of_characters_are_put_together_or_replaced(tmp_path):
    literal = r"{'asin': 'B1', 'title': '\ud83d\ude00 \ud83d', 'brand': '\xe9', 'categories': [['\udc00']], "
    literal += r"'related': {'also_bought': ['\ud83d', 'B2']}}"
    raw = read_amazon_2014("Pens", source=write(tmp_path / "dump", meta=literal + "\n"))
    assert raw.items.rows() == [("B1", "\U0001f600 \ufffd", "\ufffd", "\xe9")]
    assert raw.relations["complement"].rows() == [("B1", "B2")]


def test_one_way_or_another_in_blocks_it_is_the_same(tmp_path, monkeypatch):
    from lrd_jax.data.sources.raw_lines import RawFile

    folder = write(tmp_path / "dump")
    whole, blocks = read_amazon_2014("Pens", source=folder), RawFile.blocks
    monkeypatch.setattr(RawFile, "blocks", lambda self: blocks(self, 40))
    cut = read_amazon_2014("Pens", source=folder)
    assert whole.interactions.equals(cut.interactions) and whole.items.equals(cut.items) and whole.origin == cut.origin
    for part in ("attributes", "relations"):
        assert all(frame.equals(getattr(cut, part)[name]) for name, frame in getattr(whole, part).items())


BAD = {
    "review": ({"reviews": review_lines() + '{"reviewerID": \n'}, "reviews_Pens_5.json.gz, line 6: the line is not"),
    "no time": ({"reviews": '{"reviewerID": "u", "asin": "B1"}\n'}, "line 1, field 'unixReviewTime': the time is miss"),
    "only blanks": ({"reviews": "\n"}, "reviews_Pens_5.json.gz: the file contains no reviews"),
    "other category": (
        {"meta": meta_lines([{"asin": "C1"}])},
        "meta_Pens.json.gz: it describes none of the reviewed items",
    ),
    "no metadata": ({"meta": "a\nb\n" + meta_lines()}, "meta_Pens.json.gz, line 1: 2 of its 7 lines are neither"),
    "neither": ({"meta": '{"asin": "B1", "title": nil}\n'}, "meta_Pens.json.gz, line 1: 1 of its 1 lines are neither"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(tmp_path, case):
    files, message = BAD[case]
    with pytest.raises(UserError, match=re.escape(message)):
        read_amazon_2014("Pens", source=write(tmp_path / "dump", **files))


class TestSources:
    def test_files_go_before_the_folder(self, tmp_path):
        one = write(tmp_path / "one", reviews=review_lines([("u9", "B1", 1)]))
        two = write(tmp_path / "two", packed=False)
        raw = read_amazon_2014("Pens", source=two, reviews=one / "reviews_Pens_5.json.gz")
        assert raw.interactions["user"].to_list() == ["u9"]
        assert list(raw.origin["files"]) == ["reviews_Pens_5.json.gz", "meta_Pens.json"]

    def test_folder_without_them(self, tmp_path):
        with pytest.raises(UserError, match="there is no reviews_Pens_5.json.gz or .* in it.*--reviews and --meta"):
            read_amazon_2014("Pens", source=tmp_path)
        with pytest.raises(UserError, match="it is not a folder"):
            read_amazon_2014("Pens", source=tmp_path / "none")

    def test_unknown_category(self):
        with pytest.raises(UserError, match="no category 'Ofice_Products'. Perhaps you mean Office_Products"):
            read_amazon_2014("Ofice_Products")

    def test_no_network_is_reported_with_a_remedy(self, monkeypatch):
        def refuse(url, timeout):
            raise urllib.error.URLError("no route")

        monkeypatch.setattr(urllib.request, "urlopen", refuse)
        with pytest.raises(
            UserError, match="could not be downloaded: https://snap.*no route.*ucsd.*no route.*--source"
        ):
            read_amazon_2014("Baby")
        assert not list(cache_dir().rglob("*.gz"))

    @pytest.fixture
    def asked(self, tmp_path, monkeypatch):
        """The addresses that were asked for; each is answered by a file of a dump, the first answer cut short."""
        folder, asked = write(tmp_path / "dump"), []

        def serve(url, timeout):
            asked.append(url)
            kind = "reviews_Pens_5.json.gz" if "reviews" in url else "meta_Pens.json.gz"
            data = (folder / kind).read_bytes()
            answer = io.BytesIO(data[: -3 if len(asked) == 1 else None])
            answer.headers = {"Content-Length": str(len(data))}
            return answer

        monkeypatch.setattr(urllib.request, "urlopen", serve)
        return asked

    def test_downloads_once_and_only_whole_files(self, asked):
        first = read_amazon_2014("Baby")  # the first address's answer is cut, so the second is asked
        again = read_amazon_2014("Baby")
        assert first.interactions.equals(again.interactions)
        places = [(url.split("/")[2], url.rsplit("/", 1)[1]) for url in asked]
        assert places == [
            ("snap.stanford.edu", "reviews_Baby_5.json.gz"),
            ("mcauleylab.ucsd.edu", "reviews_Baby_5.json.gz"),
            ("snap.stanford.edu", "meta_Baby.json.gz"),
        ]
        kept = sorted(path.name for path in (cache_dir() / "downloads" / "amazon-2014").iterdir())
        assert kept == ["meta_Baby.json.gz", "reviews_Baby_5.json.gz"]

    def test_a_download_that_is_not_the_known_file_is_refused(self, asked):
        with pytest.raises(UserError, match="bytes arrived; https://mcauleylab.* its md5 is"):
            read_amazon_2014("Electronics")
        assert not list(cache_dir().rglob("*.gz"))
