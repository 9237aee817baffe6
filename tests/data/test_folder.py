from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest
from scipy.sparse import csr_array

from lrd_jax.data import negatives as negatives_module
from lrd_jax.data.folder import MARKER, new_folder
from lrd_jax.data.negatives import notebook_negatives, sample_negatives
from lrd_jax.data.splits import filter_core, leave_one_out
from lrd_jax.errors import UserError


def test_filter_core_goes_on_until_stable():
    # Item 9 has one interaction; without it user 3 has one, without which item 2 has one, and so on.
    users = np.array([1, 1, 2, 2, 2, 3, 3])
    items = np.array([1, 3, 1, 3, 2, 2, 9])
    assert filter_core(users, items, 2).tolist() == [True, True, True, True, False, False, False]
    assert not filter_core(users, items, 3).any()


def test_leave_one_out_with_ties():
    users = np.array([2, 1, 1, 1, 2, 2, 1])
    times = np.array([5, 9, 9, 1, 4, 5, 9])
    train, dev, test = leave_one_out(users, times).values()
    assert train.tolist() == [3, 4, 1]  # by time
    assert dev.tolist() == [0, 2] and test.tolist() == [5, 6]


def test_leave_one_out_of_users_with_few_interactions():
    """Nothing is ranked without a history."""
    users, times = np.array([1, 2, 2, 3, 3, 3]), np.array([5, 6, 7, 3, 2, 1])
    parts = leave_one_out(users, times)
    assert {name: sorted(rows.tolist()) for name, rows in parts.items()} == {
        "train": [0, 1, 5], "dev": [4], "test": [2, 3],
    }  # fmt: skip
    with pytest.raises(UserError, match="no user has three interactions"):
        leave_one_out(users[:3], times[:3])


def touched_items(dense):
    """bool [U + 1, I + 1] as a sparse array, every interaction stated twice."""
    users, items = np.nonzero(dense)
    both = np.concatenate([users, users]), np.concatenate([items, items])
    return csr_array((np.ones(len(both[0]), bool), both), shape=dense.shape)


def test_negatives_are_exact_and_uniform():
    dense = np.zeros((3, 9), bool)
    dense[1, [2, 5]] = True
    users = np.ones(4000, int)
    negatives = sample_negatives(touched_items(dense), users, 4, np.random.default_rng(0))
    assert all(len(set(row)) == 4 for row in negatives.tolist())
    counts = np.bincount(negatives.ravel(), minlength=9)
    assert not counts[[0, 2, 5]].any()
    expected = 4000 * 4 / 6
    chi_square = ((counts[[1, 3, 4, 6, 7, 8]] - expected) ** 2 / expected).sum()
    assert chi_square < 20.5  # 5 degrees of freedom: exceeded once in a thousand seeds
    all_left = np.sort(sample_negatives(touched_items(dense), users, 6, np.random.default_rng(0)))
    assert (all_left == [1, 3, 4, 6, 7, 8]).all()


@pytest.mark.parametrize("cells", [1, 100, 10**6])
def test_negatives_of_repeated_users_in_blocks(monkeypatch, cells):
    """Whatever fits in memory at once, the same draw: the smallest of a row of random keys, user by user."""
    rng = np.random.default_rng(5)
    dense = rng.random((8, 30)) < 0.4
    dense[:, 0] = False
    users = rng.integers(1, 8, size=50)
    keys = np.where(dense[users], np.inf, np.random.default_rng(1).random((50, 30)))
    keys[:, 0] = np.inf
    monkeypatch.setattr(negatives_module, "_CELLS", cells)
    negatives = sample_negatives(touched_items(dense), users, 7, np.random.default_rng(1))
    assert (negatives == np.argsort(keys, axis=1)[:, :7]).all()


def test_too_many_negatives():
    dense = np.zeros((3, 5), bool)
    dense[1, [2, 3]] = dense[2, 1] = True
    with pytest.raises(UserError, match="Choose at most 2"):
        sample_negatives(touched_items(dense), np.array([1, 2]), 3, np.random.default_rng(0))
    assert sample_negatives(touched_items(dense), np.array([2]), 3, np.random.default_rng(0)).shape == (1, 3)


def test_negatives_of_a_large_catalogue(monkeypatch):
    """Rejection sampling instead of keys: no seen item, no item twice, all items equally often."""
    monkeypatch.setattr(negatives_module, "_LARGE_CATALOGUE", 100)
    monkeypatch.setattr(negatives_module, "_CELLS", 2**12)
    rng = np.random.default_rng(3)
    dense = rng.random((6, 161)) < 0.2
    dense[:, 0] = False
    dense[5, 1:150] = True  # leaves 11 items, too few to find them by trying
    users = np.repeat(np.arange(6), 3000)
    negatives = sample_negatives(touched_items(dense), users, 8, np.random.default_rng(0))
    assert negatives.min() >= 1 and negatives.max() <= 160
    assert not dense[users[:, None], negatives].any()
    assert (np.diff(np.sort(negatives, axis=1), axis=1) > 0).all()
    for user in range(6):
        free = np.flatnonzero(~dense[user, 1:]) + 1
        counts = np.bincount(negatives[users == user].ravel(), minlength=161)
        expected = 3000 * 8 / len(free)
        # Without replacement the counts vary less than chi-squared supposes.
        chi_square = ((counts[free] - expected) ** 2 / expected).sum()
        assert counts.sum() == counts[free].sum() and chi_square < len(free) + 4 * np.sqrt(2 * len(free))
        first = np.bincount(negatives[users == user][:, 0], minlength=161)[free]
        expected = 3000 / len(free)
        assert ((first - expected) ** 2 / expected).sum() < len(free) + 4 * np.sqrt(2 * len(free)), "in random order"
    again = sample_negatives(touched_items(dense), users, 8, np.random.default_rng(0))
    assert (again == negatives).all()


def test_negatives_are_drawn_anew_for_rows_that_miss_some(monkeypatch):
    """With as many negatives as the first draw can hardly give."""
    monkeypatch.setattr(negatives_module, "_LARGE_CATALOGUE", 100)
    dense = np.zeros((2, 2001), bool)
    dense[1, 1:1000] = True
    users = np.ones(50, int)
    negatives = sample_negatives(touched_items(dense), users, 120, np.random.default_rng(0))
    assert (negatives >= 1000).all() and all(len(set(row)) == 120 for row in negatives.tolist())


def test_negatives_of_the_notebooks_against_their_loop():
    rng = np.random.default_rng(4)
    dense = rng.random((30, 41)) < 0.5
    dense[:, 0] = False
    users = rng.integers(1, 30, size=70)
    touched = touched_items(dense)
    touched.sum_duplicates()
    found = notebook_negatives(touched, users, 40, 7, np.random.RandomState(5))
    random = np.random.RandomState(5)
    expected = random.randint(1, 41, (70, 7))
    for row, user in enumerate(users):
        for place in range(7):
            while dense[user, expected[row, place]]:
                expected[row, place] = random.randint(1, 41)
    assert (found == expected).all()
    dense[1, 1:] = True
    touched = touched_items(dense)
    touched.sum_duplicates()
    with pytest.raises(UserError, match="interacted with every item"):
        notebook_negatives(touched, np.array([1]), 40, 7, random)


def test_new_folder_is_all_or_nothing(tmp_path):
    folder = tmp_path / "deep" / "data"
    with pytest.raises(RuntimeError), new_folder(folder) as building:
        (building / "half").write_text("")
        raise RuntimeError
    assert list(folder.parent.iterdir()) == []
    for content in ("first", "second"):  # replaces a folder of its own
        with new_folder(folder) as building:
            (building / MARKER).write_text(content)
        assert [file.read_text() for file in folder.iterdir()] == [content]
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.process
def test_a_killed_process_leaves_what_was_there(tmp_path):
    """Neither half a folder nor none where there was one, and the next run goes through."""
    with new_folder(tmp_path / "old") as building:
        (building / MARKER).write_text("old")
    program = "import os, pathlib, signal, sys\nfrom lrd_jax.data.folder import MARKER, new_folder\n"
    program += "with new_folder(pathlib.Path(sys.argv[1])) as building:\n"
    program += "    (building / MARKER).write_text('new')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    for name in ("old", "new"):
        done = subprocess.run([sys.executable, "-c", program, str(tmp_path / name)])
        assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "new").exists() and (tmp_path / "old" / MARKER).read_text() == "old"
    with new_folder(tmp_path / "new") as building:
        (building / MARKER).write_text("new")
    assert (tmp_path / "new" / MARKER).read_text() == "new"


def test_new_folder_spares_what_others_made(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UserError, match="was not made by this program"), new_folder(tmp_path):
        pytest.fail("must not start")
    with pytest.raises(UserError, match="cannot be written"), new_folder(tmp_path / "mine.txt" / "data"):
        pytest.fail("must not start")
    assert (tmp_path / "mine.txt").read_text() == "precious"
