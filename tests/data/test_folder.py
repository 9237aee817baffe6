from __future__ import annotations

import numpy as np
import pytest

from lrd_jax.data.folder import MARKER, filter_core, leave_one_out, new_folder, sample_negatives
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
    train, dev, test = leave_one_out(users, times)
    assert train.tolist() == [3, 4, 1]  # by time
    assert dev.tolist() == [0, 2] and test.tolist() == [5, 6]


def test_negatives_are_exact_and_uniform():
    touched = np.zeros((4000, 9), bool)
    touched[:, [2, 5]] = True
    negatives = sample_negatives(touched, 4, np.random.default_rng(0))
    assert all(len(set(row)) == 4 for row in negatives.tolist())
    counts = np.bincount(negatives.ravel(), minlength=9)
    assert not counts[[0, 2, 5]].any()
    expected = 4000 * 4 / 6
    chi_square = ((counts[[1, 3, 4, 6, 7, 8]] - expected) ** 2 / expected).sum()
    assert chi_square < 20.5  # 5 degrees of freedom: exceeded once in a thousand seeds
    assert len(set(map(tuple, np.sort(sample_negatives(touched, 6, np.random.default_rng(0)))))) == 1


def test_too_many_negatives():
    with pytest.raises(UserError, match="Choose at most 2"):
        sample_negatives(np.zeros((1, 3), bool), 3, np.random.default_rng(0))


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


def test_new_folder_spares_what_others_made(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UserError, match="was not made by this program"), new_folder(tmp_path):
        pytest.fail("must not start")
    with pytest.raises(UserError, match="cannot be written"), new_folder(tmp_path / "mine.txt" / "data"):
        pytest.fail("must not start")
    assert (tmp_path / "mine.txt").read_text() == "precious"
