"""Golden files: weights and inputs with what the published code computed of them.

A file holds param/* (published names and layouts), batch/*, hyper/*, out/* and grad/*.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lrd_jax.errors import UserError
from lrd_jax.interop.state_file import read_npz

_SECTIONS = ("param", "batch", "hyper", "out", "grad")


class Golden(NamedTuple):
    """The arrays of a golden file by section, names without the section; hyper holds plain values.

    Attributes:
      path: of the file.
      model: hyper/model.
      param, batch, hyper, out, grad: the sections.
      other: what is in none of them.
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
          UserError: the file does not hold it.
        """
        values = getattr(self, section)
        if name not in values:
            raise self.refuse("the array is missing", f"{section}/{name}")
        return values[name]

    def refuse(self, problem: str, field: str | None = None) -> UserError:
        """The error to raise for something in this file."""
        return UserError(problem, file=self.path, field=field)


def read_golden(path: Path) -> Golden:
    """Reads a golden file.

    Raises:
      UserError: it cannot be read, or does not say of which model it is.
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
    """Arrays of batch/*, integers as int32 but for times.

    Args:
      golden: the file.
      layouts: {name: (a letter for each axis, equal where sizes must be; what the numbers are ids of, or None)}.
      rows: how many ids there are of each kind.

    Raises:
      UserError: one is missing, shapes that do not go together, or ids out of range.
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
