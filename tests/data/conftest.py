from __future__ import annotations

import pytest

from lrd_jax.data.sources.movielens_source import obtain
from lrd_jax.errors import UserError

TRAIN = "user_id\titem_id\ttime\n1\t1\t10\n1\t2\t20\n2\t3\t5\n2\t1\t5\n"
DEV = "user_id\titem_id\ttime\tneg_items\n1\t3\t20\t[4, 5]\n2\t2\t6\t[5, 5]\n"
TEST = "user_id\titem_id\ttime\tneg_items\n1\t4\t20\t[5, 5]\n2\t4\t7\t[1, 5]\n"
META = "item_id\ti_color\tr_also\ti_tag\n2\t1\t[3, 1]\t[2, 1]\n1\t0\t[]\t[]\n3\t2\t[2, 2, 5]\t3\n5\t1\t[1]\t[1, 3, 2]\n"
TEXT = 'item_id\ttext\n2\ttwo\n1\tone "inch\n3\tthree\n5\tfive\n4\tfour\n'


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("LRD_JAX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    files = {"train.csv": TRAIN, "dev.csv": DEV, "test.csv": TEST, "item_meta.csv": META, "item_text.tsv": TEXT}
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


def pytest_collection_modifyitems(items):
    """The real data are fetched by pip, a process."""
    for item in items:
        if "downloaded" in getattr(item, "fixturenames", ()):
            item.add_marker("process")


@pytest.fixture(scope="session")
def downloaded(tmp_path_factory):
    """The cache after one download, and what was read from it."""
    cache = tmp_path_factory.mktemp("downloaded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRD_JAX_CACHE", str(cache))
        try:
            return cache, obtain()
        except UserError as error:
            pytest.skip(str(error))


@pytest.fixture
def raw(downloaded, monkeypatch):
    """The real data, its download in this test's cache."""
    monkeypatch.setenv("LRD_JAX_CACHE", str(downloaded[0]))
    return downloaded[1]


def replace(name, old, new):
    def change(folder):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return change
