"""Embeddings from files: what is read, and everything that is refused."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrd_jax.config.schema import TextConfig
from lrd_jax.errors import UserError
from lrd_jax.text.file import read_file
from lrd_jax.text.store import load_or_embed

VECTORS = np.random.default_rng(0).normal(size=(4, 6))  # of four items; float64
AS_READ = np.concatenate([np.zeros((1, 6)), VECTORS]).astype(np.float32)


def read(path, num_items=4, dimensions=None):
    return read_file(TextConfig(encoder="file", file=path, dimensions=dimensions), num_items)


def padded(array):
    return np.concatenate([np.zeros((1, array.shape[1]), array.dtype), array])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f8"])
@pytest.mark.parametrize("padding", [False, True])
def test_npy(tmp_path, dtype, padding):
    stored = VECTORS.astype(dtype)
    np.save(tmp_path / "a.npy", padded(stored) if padding else stored)
    embeddings = read(tmp_path / "a.npy")
    assert (embeddings.shape, embeddings.dtype) == ((5, 6), np.float32)
    np.testing.assert_array_equal(embeddings, padded(stored.astype(np.float32)))
    np.testing.assert_array_equal(embeddings, read(tmp_path / "a.npy", dimensions=6))


def test_npz(tmp_path, monkeypatch):
    np.savez(tmp_path / "one.npz", anything=VECTORS)
    np.savez_compressed(tmp_path / "two.npz", text=VECTORS, other=np.ones(3))
    np.testing.assert_array_equal(read(tmp_path / "one.npz"), AS_READ)
    np.testing.assert_array_equal(read(tmp_path / "two.npz:text"), AS_READ)
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(read("two.npz:text"), AS_READ)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("two.npz", r"there are 2 arrays, not one .arrays in it: text, other.*two.npz:NAME"),
        ("two.npz:nowhere", "there is no array nowhere"),
        ("two.npz:other", r"shape \(3,\)"),
        ("none.npz", "0 arrays"),
        ("pickle.npz", "cannot read"),
        ("text.npz", "cannot read"),
        ("array.npz", "cannot read"),
        ("cut.npz", "cannot read"),
        ("missing.npz", "cannot read"),
        ("missing.npz:text", "cannot read"),
    ],
)
def test_npz_that_is_refused(tmp_path, name, words):
    np.savez(tmp_path / "two.npz", text=VECTORS, other=np.ones(3))
    np.savez(tmp_path / "none.npz")
    np.savez(tmp_path / "pickle.npz", text=np.array([{}], dtype=object))
    (tmp_path / "text.npz").write_text("no archive")
    with open(tmp_path / "array.npz", "wb") as file:
        np.save(file, VECTORS)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "two.npz").read_bytes()[:300])
    with pytest.raises(UserError, match=words):
        read(tmp_path / name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize("name", ["Office.feat.GPT", "a.bin", "b"])
def test_dump_with_its_width(tmp_path, dtype, padding, name):
    stored = VECTORS.astype(dtype)
    (padded(stored) if padding else stored).tofile(tmp_path / name)
    np.testing.assert_array_equal(read(tmp_path / name, dimensions=6), AS_READ)


def test_dump_whose_width_is_odd_needs_not_tell_it(tmp_path):
    VECTORS[:, :5].astype(np.float32).tofile(tmp_path / "dump")
    np.testing.assert_array_equal(read(tmp_path / "dump"), AS_READ[:, :5])


def test_dump_that_may_be_either_asks_for_the_width(tmp_path):
    VECTORS.tofile(tmp_path / "dump")
    words = r"may contain 4 rows of 12 as float32 or 4 rows of 6 as float64\. Set text.dimensions"
    with pytest.raises(UserError, match=words):
        read(tmp_path / "dump")
    np.testing.assert_array_equal(read(tmp_path / "dump", dimensions=6), AS_READ)


def test_dump_of_zeros_with_one_item_stays_ambiguous(tmp_path):
    np.zeros(6).tofile(tmp_path / "dump")  # one row in float64, or padding and one row in float32
    with pytest.raises(UserError, match="may contain 2 rows of 6 as float32 or 1 rows of 6 as float64"):
        read(tmp_path / "dump", num_items=1, dimensions=6)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    num_items=st.integers(1, 30),
    width=st.integers(1, 40),
    double=st.booleans(),
    padding=st.booleans(),
    told=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_a_dump_is_read_as_it_was_written_or_refused(tmp_path, num_items, width, double, padding, told, seed):
    """Never as something else: with the width it is read back, without it is read back or called ambiguous."""
    stored = np.random.default_rng(seed).uniform(1, 2, (num_items, width)).astype(np.float64 if double else np.float32)
    path = tmp_path / "dump"
    (padded(stored) if padding else stored).tofile(path)
    expected = padded(stored.astype(np.float32))
    try:
        np.testing.assert_array_equal(read(path, num_items, width if told else None), expected)
    except UserError as error:
        assert (not told or num_items == 1) and "may contain" in str(error)
        assert f"of {width} as {stored.dtype.name}" in str(error)


@pytest.mark.parametrize(
    ("size", "dimensions", "words"),
    [
        (0, None, "0 bytes are not 4 rows"),
        (0, 6, "0 bytes are not 4 rows of 6"),
        (4 * 6 * 4 - 1, None, "95 bytes are not 4 rows"),
        (4 * 6 * 4 - 4, 6, "92 bytes are not 4 rows of 6 numbers in float32 or float64"),
        (4 * 6 * 4, 5, "96 bytes"),
        (5 * 6 * 4, 6, "120 bytes are not 4 rows"),  # a fifth row whose first is not padding
    ],
)
def test_dump_of_the_wrong_size(tmp_path, size, dimensions, words):
    (tmp_path / "dump").write_bytes(b"\x3f" * size)
    with pytest.raises(UserError, match=words):
        read(tmp_path / "dump", dimensions=dimensions)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ""])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_not_finite_in_float32(tmp_path, suffix, bad):
    array = VECTORS.copy()
    array[2, 3] = bad
    path = tmp_path / f"a{suffix}"
    {".npy": np.save, ".npz": np.savez}.get(suffix, lambda path, array: array.tofile(path))(path, array)
    with pytest.raises(UserError, match="item 3 contains NaN or infinity"):
        read(path, dimensions=6)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.ones((5, 6)), "5 rows for 4 items, but row 0 is not zero"),
        (np.ones((3, 6)), r"\(3, 6\), not \(4, 6\)"),
        (np.ones((6, 6)), r"\(6, 6\), not \(4, 6\)"),
        (np.ones((4, 5)), r"\(4, 5\), not \(4, 6\)"),
        (np.ones((4, 0)), r"\(4, 0\)"),
        (np.ones(4), r"shape \(4,\)"),
        (np.float64(1), r"shape \(\)"),
        (np.ones((4, 6), int), "not floating-point"),
        (np.ones((4, 6), complex), "not floating-point"),
        (np.full((4, 6), "a"), "not floating-point"),
    ],
)
def test_npy_that_does_not_fit(tmp_path, array, words):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(UserError, match=words):
        read(tmp_path / "a.npy", dimensions=6)


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00"])
@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_no_array(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="cannot read"):
        read(tmp_path / name)


def test_pickles_are_never_read(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}] * 4, dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="cannot read"):
        read(tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["missing", "missing.npy", "."])
def test_no_file(tmp_path, name):
    with pytest.raises(UserError, match="cannot read|bytes are not"):
        read(tmp_path / name)
    with pytest.raises(UserError, match="no file is given"):
        read_file(TextConfig(encoder="file"), 4)


def test_neither_texts_nor_the_folder_are_changed(dataset):
    np.save(dataset.parent / "a.npy", VECTORS)
    (dataset / "item_text.tsv").unlink()
    before = sorted(dataset.iterdir())
    config = TextConfig(encoder="file", file=dataset.parent / "a.npy")
    np.testing.assert_array_equal(load_or_embed(dataset, 4, config), AS_READ)
    assert sorted(dataset.iterdir()) == before


@pytest.mark.process
def test_command(dataset):
    dump = str(dataset.parent / "dump")
    VECTORS.tofile(dump)

    def embed(*args):
        command = [sys.executable, "-m", "lrd_jax.embed", str(dataset), "--encoder", "file", *args]
        return subprocess.run(command, capture_output=True, text=True)

    done = embed("--file", dump, "--dimensions", "6")
    assert (done.returncode, done.stderr) == (0, "") and f"--text.encoder file --text.file {dump}" in done.stdout
    for args, words in (
        (["--file", dump], "may contain"),
        ([], "no file is given"),
        (["--file", dump, "--model", "x"], "no models to choose from"),
    ):
        done = embed(*args)
        assert done.returncode == 2 and words in " ".join(done.stderr.split()), done.stderr
        assert "Traceback" not in done.stderr and done.stdout == ""
    assert not list(dataset.glob("text_*"))
