import pytest

from lrd_jax.text.openai.packing import load_tokenizer
from tests.text.server import running_server

KEY = "sk-sentinel-0123456789abcdef"

TEXTS = ["", "Toy Story (1995). Animation", "Heat (1995). Action, Crime", "Sabrina (1995). Comedy", "Balto (1995)"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own, for this process and those it starts."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("LRD_JAX_CACHE", str(folder))
    return folder


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """Nothing beyond loopback is reached, whatever the machine could reach; a key that no other test has."""
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "tiktoken"))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    load_tokenizer.cache_clear()
    yield
    load_tokenizer.cache_clear()


@pytest.fixture
def server(offline):
    """An OpenAI-compatible server on loopback."""
    with running_server() as running:
        yield running


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


def write_dataset(folder, texts):
    """A dataset folder of as many items as there are texts (item 1 first)."""
    folder.mkdir()
    (folder / "train.csv").write_text(f"user_id\titem_id\ttime\n1\t1\t10\n1\t{len(texts)}\t20\n")
    (folder / "dev.csv").write_text("user_id\titem_id\ttime\tneg_items\n1\t2\t30\t[1]\n")
    (folder / "test.csv").write_text("user_id\titem_id\ttime\tneg_items\n1\t3\t40\t[1]\n")
    write_texts(folder, ["", *texts])
    return folder


def write_texts(folder, texts):
    rows = [f"{item}\t{text}" for item, text in enumerate(texts) if item]
    (folder / "item_text.tsv").write_text("\n".join(["item_id\ttext", *rows]) + "\n")
