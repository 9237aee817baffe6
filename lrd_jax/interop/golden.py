"""Reads golden files: weights and inputs with the results of the published code.

A file contains param/* (published names and layouts), batch/*, hyper/*, out/* and grad/*.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lrd_jax.errors import UserError
from lrd_jax.interop.state_file import read_npz

_SECTIONS = ("param", "batch", "hyper", "out", "grad")


class Golden(NamedTuple):
    """The arrays of a golden file by section, with names without the section; hyper has plain values.

    Attributes:
      path: path of the file.
      model: hyper/model.
      param, batch, hyper, out, grad: the sections.
      other: arrays outside these sections.
    """

    path: Path
    model: str
    param: dict[str, np.ndarray]
    batch: dict[str, np.ndarray]
    hyper: dict[str, Any]
    out: dict[str, np.ndarray]
    grad: dict[str, np.ndarray]
    other: dict[str, np.ndarray]

    def get(self, section: str, name: str) -> Any:
        """An array, or a value of hyper.

        Raises:
          UserError: the file does not have it.
        """
        values = getattr(self, section)
        if name not in values:
            raise self.refuse("the array is missing", f"{section}/{name}")
        return values[name]

    def refuse(self, problem: str, field: str | None = None) -> UserError:
        """The error for a problem in this file."""
        return UserError(problem, file=self.path, field=field)


def read_golden(path: Path) -> Golden:
    """Reads a golden file.

    Raises:
      UserError: the file cannot be read, or does not name its model.
    """
    sections: dict[str, dict[str, Any]] = {name: {} for name in (*_SECTIONS, "other")}
    for key, value in read_npz(path).items():
        section, _, name = key.partition("/")
        if section not in _SECTIONS or not name:
            section, name = "other", key
        if section == "hyper":
            if value.ndim:
                raise UserError(f"expected one value, got an array of shape {value.shape}", file=path, field=key)
            value = value.item()
        elif value.dtype.kind not in "fiu":
            raise UserError(f"expected numbers, got {value.dtype}", file=path, field=key)
        sections[section][name] = value
    golden = Golden(path, "", **sections)
    return golden._replace(model=str(golden.get("hyper", "model")))


def read_inputs(
    golden: Golden, layouts: dict[str, tuple[str, str | None]], rows: dict[str, int]
) -> dict[str, np.ndarray]:
    """Arrays of batch/*; integers other than times as int32.

    Args:
      golden: the file.
      layouts: {name: (one letter per axis, where equal letters mean equal sizes; the kind of ids, or None)}.
      rows: number of ids of each kind.

    Raises:
      UserError: an array is missing, shapes do not match, or ids are out of range.
    """
    arrays: dict[str, np.ndarray] = {}
    sizes: dict[str, int] = {}
    for name, (axes, kind) in layouts.items():
        value = arrays[name] = golden.get("batch", name)
        expected = tuple(sizes.get(axis, axis) for axis in axes)
        if value.ndim != len(axes) or any(sizes.setdefault(a, n) != n for a, n in zip(axes, value.shape, strict=True)):
            raise golden.refuse(f"expected shape ({', '.join(map(str, expected))}), got {value.shape}", f"batch/{name}")
        if not value.size:
            raise golden.refuse("the array is empty", f"batch/{name}")
        if kind is None:
            continue
        if value.dtype.kind not in "iu" or value.min() < 0 or value.max() >= rows[kind]:
            problem = f"expected ids from 0 to {rows[kind] - 1}, got {value.dtype} from {value.min()} to {value.max()}"
            raise golden.refuse(problem, f"batch/{name}")
        arrays[name] = value.astype(np.int32)
    for name in {"item_id", "head_id"} & set(arrays):
        if arrays[name].shape[1] < 2:
            raise golden.refuse("expected a positive and at least one negative in each row", f"batch/{name}")
    return arrays
