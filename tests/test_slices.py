"""Rows grouped by a count."""

import pytest

from lrd_jax.ranking.slices import NEW_OR_REPEATED, POPULARITY_STARTS, slice_rows, split_rows


def test_slices():
    slices = slice_rows([0, 3, 1, 9, 12, 0, 5], (0, 1, 5, 10))
    assert [(label, rows.nonzero()[0].tolist()) for label, rows in slices] == [
        ("0", [0, 5]), ("1-4", [1, 2]), ("5-9", [3, 6]), ("10+", [4])
    ]  # fmt: skip


def test_empty_bins_are_kept():
    slices = slice_rows([7], POPULARITY_STARTS)
    assert [label for label, _ in slices] == ["0", "1-4", "5-9", "10-19", "20-49", "50-99", "100+"]
    assert [rows.sum() for _, rows in slices] == [0, 0, 1, 0, 0, 0, 0]


def test_a_value_below_the_first_bin_is_refused():
    with pytest.raises(ValueError, match="below 1"):
        slice_rows([1, 0], (1, 5))


def test_two_slices_by_a_flag():
    new, repeated = split_rows([True, False, True], NEW_OR_REPEATED)
    assert (new.label, new.rows.tolist()) == ("new", [False, True, False])
    assert (repeated.label, repeated.rows.tolist()) == ("repeated", [True, False, True])
    assert split_rows([False, False], NEW_OR_REPEATED) == []
