"""`python -m lrd_jax.embed` as a process."""

import subprocess
import sys

import numpy as np
import pytest

from tests.text.conftest import TEXTS, write_texts

pytestmark = pytest.mark.process


def embed(*args, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "lrd_jax.embed", *map(str, args)], capture_output=True, text=True, cwd=cwd
    )


def test_writes_checks_and_replaces(dataset):
    array, provenance = dataset / "text_wordllama.npy", dataset / "text_wordllama.json"
    done = embed(dataset, "--encoder", "wordllama")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{array}\n{provenance}\n", "")
    assert np.load(array).shape == (4, 256)

    done = embed(dataset)
    assert done.returncode == 0 and "fits the texts already" in done.stdout

    write_texts(dataset, [*TEXTS[:4], "another text"])
    done = embed(dataset)
    assert done.returncode == 2 and "texts have changed" in done.stderr and "--force" in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""

    before = np.load(array)
    assert embed(dataset, "--force").returncode == 0
    after = np.load(array)
    assert (before != after).any(axis=1).tolist() == [False, False, False, True]

    assert embed(dataset, "--dimensions", "64", "--force").returncode == 0
    assert np.load(dataset / "text_wordllama-64d.npy").shape == (4, 64)
    assert np.load(array).shape == (4, 256)


def test_bad_arguments(dataset):
    for args in ([], [dataset, "--encoder", "bert"], [dataset, "--dimensions", "0"], [dataset, "--dimensions", "7"]):
        done = embed(*args)
        assert done.returncode == 2 and "Traceback" not in done.stderr, args
    for args, told in (
        (["--dimensions", "0"], "field '--dimensions': expected an integer >= 1, got 0"),
        (["--file", "a.npy"], "field '--file': the encoder is wordllama, which embeds the texts itself"),
        (["--model", "x"], "field '--model': the encoder wordllama has no models"),
        (["--encoder", "openai", "--concurrency", "0"], "field '--concurrency': expected an integer >= 1"),
        (["--encoder", "model2vec"], "model2vec has no model of its own"),
    ):
        done = embed(dataset, *args)
        assert (
            (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("error: ") and told in done.stderr
        ), done.stderr
    done = embed(dataset / "nowhere")
    assert done.returncode == 2 and "cannot open the dataset folder" in done.stderr
    assert not list(dataset.glob("text_*"))
