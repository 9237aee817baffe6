"""The README's picture, drawn of real runs."""

import subprocess
import sys
from pathlib import Path

import pytest

from lrd_jax.data.synthetic import write_synthetic
from tests.small_runs import train

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("picture")
    data = folder / "ml-100k"  # so that the paper has figures to draw
    write_synthetic(data, num_users=37, num_items=40, min_length=5, max_length=9, num_negatives=30)
    return train(folder / "run", data)


def draw(*arguments):
    command = [sys.executable, "-m", "benchmarks.picture", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_light_and_dark(run, tmp_path):
    for out in ("first", "second"):
        assert draw(run, "--out", tmp_path / out).returncode == 0
    light, dark = (tmp_path / "first" / f"learning-{scheme}.svg" for scheme in ("light", "dark"))
    assert light.read_bytes() == (tmp_path / "second" / light.name).read_bytes()
    assert "#0969da" in light.read_text() and "#58a6ff" in dark.read_text()
    assert "0.3635" in light.read_text()  # the paper's NDCG@5 of RCF, as a comment beside the drawn figures


def test_an_unfinished_run_is_refused(tmp_path):
    done = draw(tmp_path, "--out", tmp_path)
    assert done.returncode == 2 and "there is no finished run" in done.stderr


def test_too_many_runs_are_refused(run, tmp_path):
    done = draw(*[run] * 5, "--out", tmp_path)
    assert done.returncode == 2 and "one to four runs" in done.stderr
