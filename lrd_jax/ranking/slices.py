"""Slices of an evaluation: rows grouped by a count, such as the training interactions of the target, or in two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

POPULARITY_STARTS = (0, 1, 5, 10, 20, 50, 100)
"""Where the bins of a target's training interactions start; the first holds the cold items."""
HISTORY_STARTS = (1, 5, 10, 20, 50, 100)
"""Where the bins of a history's length start: all interactions of the user before the row, however many models see."""


NEW_OR_REPEATED = ("new", "repeated")
"""Targets that the user never had before, and those that the user had."""


class Slice(NamedTuple):
    """Some rows.

    Attributes:
      label: such as "0", "1-4", "100+" or "repeated".
      rows: bool [N], which ones.
    """

    label: str
    rows: np.ndarray


def split_rows(flags: np.ndarray, labels: tuple[str, str]) -> list[Slice]:
    """The rows without and those with a flag, bool [N]; none where no row has it."""
    flags = np.asarray(flags, bool)
    return [Slice(labels[0], ~flags), Slice(labels[1], flags)] if flags.any() else []


def slice_rows(values: np.ndarray, starts: Sequence[int]) -> list[Slice]:
    """Groups rows by bins of a count; bins without rows are kept.

    Args:
      values: int [N], none below the first start.
      starts: the least value of each bin, ascending; the last bin is open.

    Raises:
      ValueError: a value is below the first start.
    """
    values = np.asarray(values)
    if (values < starts[0]).any():
        raise ValueError(f"a value is below {starts[0]}, where the first bin starts")
    ends = [start - 1 for start in starts[1:]]
    labels = [str(first) if first == last else f"{first}-{last}" for first, last in zip(starts, ends, strict=False)]
    bins = np.searchsorted(starts, values, side="right") - 1
    return [Slice(label, bins == number) for number, label in enumerate([*labels, f"{starts[-1]}+"])]
