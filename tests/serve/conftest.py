"""A dataset with titles, two small runs on it, and one server for all tests that leave it as it is."""

import json

import pytest

from lrd_jax import load_run
from lrd_jax.data.synthetic import write_synthetic
from tests.serve.server import serving
from tests.small_runs import quickly_compiled, train

NUM_ITEMS = 60
MARKUP = "<b>Bold</b> & <img src=x onerror=alert(1)> item"
WORDS = "red blue green black white silver golden small large quiet".split()
THINGS = "lamp tent guitar kettle shovel drum".split()


def title(number: int) -> str:
    """Of an own id."""
    return MARKUP if number == 7 else f"{WORDS[number % 10]} {THINGS[number // 10 % 6]}".capitalize()


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """`data`, and the runs `first` and `second` on it."""
    place = tmp_path_factory.mktemp("serve")
    write_synthetic(place / "data", num_users=80, num_items=NUM_ITEMS)
    lines = [json.dumps({"item_id": number, "title": title(number)}) for number in range(1, NUM_ITEMS + 1)]
    (place / "data/item_fields.jsonl").write_text("\n".join(lines) + "\n")
    for seed, name in enumerate(("first", "second")):
        train(place / name, place / "data", seed=seed)
    return place


@pytest.fixture(scope="session")
def runs(place):
    """Both runs, in this process."""
    with quickly_compiled():
        yield {name: load_run(place / name) for name in ("first", "second")}


@pytest.fixture(scope="session")
def server(place):
    """A server of the first run."""
    with serving(place, place / "first") as server:
        yield server
        assert server.health()["status"] == "ready"
        assert server.stop() == (0, "")
