import pytest

TEXTS = ["", "Toy Story (1995). Animation", "Heat (1995). Action, Crime", "Sabrina (1995). Comedy", "Balto (1995)"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own, for this process and those it starts."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("LRD_JAX_CACHE", str(folder))
    return folder


@pytest.fixture
def dataset(tmp_path):
    """A dataset folder of four items with texts."""
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "train.csv").write_text("user_id\titem_id\ttime\n1\t1\t10\n1\t2\t20\n2\t4\t15\n")
    (folder / "dev.csv").write_text("user_id\titem_id\ttime\tneg_items\n1\t3\t30\t[4]\n")
    (folder / "test.csv").write_text("user_id\titem_id\ttime\tneg_items\n1\t4\t40\t[3]\n")
    write_texts(folder, TEXTS)
    return folder


def write_texts(folder, texts):
    rows = [f"{item}\t{text}" for item, text in enumerate(texts) if item]
    (folder / "item_text.tsv").write_text("\n".join(["item_id\ttext", *rows]) + "\n")
