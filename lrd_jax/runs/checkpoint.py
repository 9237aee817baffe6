"""Checkpoints of a run, through orbax: complete or absent, whenever the process dies.

Orbax writes a checkpoint to FOLDER/NAME/EPOCH.new (itself through a temporary folder and a rename), which is then
renamed to FOLDER/NAME/EPOCH; what is to go is renamed to EPOCH.old before it is deleted. So at every instant a folder
whose name is a number is a complete checkpoint, and what a killed process left is told by its name.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import orbax.checkpoint as ocp

from lrd_jax.errors import UserError

PyTree = Any
Name = Literal["latest", "best"]

KEEP: dict[Name, int] = {"latest": 1, "best": 2}
"""Checkpoints kept of each kind. A new best is saved before the latest state that refers to it; a run killed between
the two resumes from a latest state that refers to the best one before."""


class CheckpointReader:
    """The complete checkpoints of one run, under FOLDER/latest and FOLDER/best; nothing there is made or deleted."""

    def __init__(self, folder: Path) -> None:
        """Open the folder, which may be missing."""
        self._folder = Path(folder).absolute()  # orbax takes no relative paths
        self._orbax = ocp.Checkpointer(ocp.CompositeCheckpointHandler())

    def restore(self, name: Name, like: PyTree, epoch: int | None = None) -> tuple[int, PyTree]:
        """Read a state back, equal bit for bit.

        Args:
          name: which kind.
          like: a state of the same structure, shapes and types; its values do not matter (`jax.eval_shape` will do).
          epoch: which epoch; the last by default.

        Returns:
          (epoch, state): the state's arrays are NumPy's, in the structure of `like`.

        Raises:
          UserError: there is no such checkpoint, it cannot be read, or it differs from `like` in structure, shapes
            or types. (Orbax by itself restores a tree with missing leaves without complaint.)
        """
        epoch = self.latest_epoch(name) if epoch is None else epoch
        path = self._path(name, epoch)
        assert epoch is not None  # since there is a path
        expected = [_describe(key, leaf) for key, leaf in _leaves(like)]
        with _readable(path):
            saved = self._leaves_of(path)
            _compare(path, saved, expected)
            leaves = self._arrays_of(path, saved)
        _compare(path, [_describe(leaf["key"], array) for leaf, array in zip(saved, leaves, strict=True)], expected)
        return epoch, jax.tree.unflatten(jax.tree.structure(like), leaves)

    def restore_leaf(self, name: Name, key: str) -> np.ndarray:
        """Read one array of the last checkpoint of a kind, whatever else it holds.

        Args:
          name: which kind.
          key: of the leaf, such as ".fingerprint".

        Raises:
          UserError: there is no such checkpoint or leaf, or it cannot be read.
        """
        path = self._path(name, self.latest_epoch(name))
        with _readable(path):
            saved = self._leaves_of(path)
            number = [leaf["key"] for leaf in saved].index(key)
            return self._arrays_of(path, saved, only=number)[0]

    def _path(self, name: Name, epoch: int | None) -> Path:
        """The folder of a checkpoint, which must exist."""
        folder = self._folder / name
        if epoch is None or not (folder / str(epoch)).is_dir():
            raise UserError(
                f"there is no {name} checkpoint" + (f" of epoch {epoch}" if epoch is not None else ""),
                file=folder,
                remedy="Start the run afresh in another --run.workdir",
            )
        return folder / str(epoch)

    def _leaves_of(self, path: Path) -> list[dict[str, Any]]:
        """Key, shape and dtype of every leaf of a checkpoint."""
        request = ocp.args.Composite(leaves=ocp.args.JsonRestore())
        leaves: list[dict[str, Any]] = self._orbax.restore(path, args=request).leaves
        return leaves

    def _arrays_of(self, path: Path, saved: list[dict[str, Any]], only: int | None = None) -> list[np.ndarray]:
        """The arrays of the leaves of a checkpoint, or of the only one that is wanted."""
        chosen = [(i, leaf) for i, leaf in enumerate(saved) if only in (None, i)]
        wanted = {
            _entry(i): jax.ShapeDtypeStruct(tuple(leaf["shape"]), np.dtype(leaf["dtype"]))
            for i, leaf in chosen
            if np.prod(leaf["shape"])
        }
        arrays: dict[str, np.ndarray] = {}
        if wanted:
            plain = {entry: ocp.RestoreArgs(restore_type=np.ndarray) for entry in wanted}
            request = ocp.args.PyTreeRestore(wanted, restore_args=plain, partial_restore=only is not None)
            arrays = self._orbax.restore(path, args=ocp.args.Composite(arrays=request)).arrays
        return [
            np.asarray(arrays[_entry(i)]) if _entry(i) in arrays else np.zeros(leaf["shape"], np.dtype(leaf["dtype"]))
            for i, leaf in chosen
        ]

    def latest_epoch(self, name: Name) -> int | None:
        """The last epoch of which there is a checkpoint; None where there is none."""
        return max(_epochs(self._folder / name), default=None)

    def close(self) -> None:
        """Release orbax's threads."""
        self._orbax.close()


class Checkpoints(CheckpointReader):
    """The checkpoints of a run that is being trained.

    Example:
      checkpoints = Checkpoints(run_folder / "checkpoints")
      checkpoints.save("latest", epoch, state)
      epoch, state = checkpoints.restore("latest", like=state)
    """

    def __init__(self, folder: Path) -> None:
        """Open or create the folder and clear away what a killed process left half done.

        Raises:
          UserError: the folder cannot be written.
        """
        super().__init__(folder)
        try:
            for name in KEEP:
                (self._folder / name).mkdir(parents=True, exist_ok=True)
                _recover(self._folder / name)
        except OSError as error:
            raise UserError(
                f"the checkpoint folder cannot be written ({error.strerror})",
                file=folder,
                remedy="Choose another run folder with --run.workdir",
            ) from error

    def save(self, name: Name, epoch: int, state: PyTree) -> None:
        """Save a state, replacing one of the same epoch; returns when it is on disk.

        Older checkpoints beyond those to keep, and any of a later epoch (a future that was abandoned when the run
        resumed), are deleted once the new one is complete.

        Args:
          name: which kind.
          epoch: the epoch after which this is the state.
          state: pytree of arrays (jax or NumPy, of any shape and numeric type; random keys as their uint32 data).

        Raises:
          UserError: it cannot be written, for example because the disk is full.
        """
        folder = self._folder / name
        leaves = _leaves(jax.device_get(state))
        arrays = {_entry(i): leaf for i, (_, leaf) in enumerate(leaves) if leaf.size}
        items = {"leaves": ocp.args.JsonSave([_describe(key, leaf) for key, leaf in leaves])}
        if arrays:
            items["arrays"] = ocp.args.PyTreeSave(arrays)
        try:
            with _quiet():
                self._orbax.save(folder / f"{epoch}.new", args=ocp.args.Composite(**items))
            _install(folder, epoch)
            kept = [e for e in _epochs(folder) if e <= epoch][-KEEP[name] :]
            for stale in set(_epochs(folder)) - set(kept):
                _delete(folder / str(stale))
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"the checkpoint cannot be written ({str(error).splitlines()[0] if str(error) else repr(error)})",
                file=folder / str(epoch),
                remedy="Make room on the disk, then continue with --resume",
            ) from error

    def discard_after(self, epoch: int) -> None:
        """Delete the checkpoints of later epochs: a future that is abandoned when a run resumes from `epoch`."""
        for name in KEEP:
            for later in _epochs(self._folder / name):
                if later > epoch:
                    _delete(self._folder / name / str(later))


def _leaves(state: PyTree) -> list[tuple[str, Any]]:
    """(key, array) of every leaf; scalars become arrays, abstract leaves (`jax.ShapeDtypeStruct`) stay."""
    return [
        (jax.tree_util.keystr(path), leaf if hasattr(leaf, "shape") else np.asarray(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    ]


def _describe(key: str, leaf: Any) -> dict[str, Any]:
    return {"key": key, "shape": list(leaf.shape), "dtype": str(leaf.dtype)}


def _entry(index: int) -> str:
    """Name of a leaf's array in the checkpoint: its number, since keys hold characters that paths should not."""
    return f"{index:05d}"


def _compare(path: Path, saved: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Refuse a checkpoint that does not hold exactly what is expected, in this order."""
    if saved == expected:
        return
    old, new = ({leaf["key"]: f"{leaf['dtype']}{leaf['shape']}" for leaf in leaves} for leaves in (saved, expected))
    differences = [
        f"{key} is {old.get(key, 'missing')} there and {new.get(key, 'missing')} here"
        for key in [*old, *(key for key in new if key not in old)]
        if old.get(key) != new.get(key)
    ] or ["its arrays come in another order"]
    more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
    raise UserError(
        f"the checkpoint does not fit this run: {'; '.join(differences[:3])}{more}",
        file=path,
        remedy="Resume with the configuration, data and version that made it, or start afresh in another --run.workdir",
    )


def _epochs(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal())


def _install(folder: Path, epoch: int) -> None:
    """Give the complete checkpoint EPOCH.new its name; one that bears it already makes way."""
    target, old = folder / str(epoch), folder / f"{epoch}.old"
    if target.exists():
        target.rename(old)
    (folder / f"{epoch}.new").rename(target)
    if old.exists():
        shutil.rmtree(old)


def _delete(path: Path) -> None:
    """Delete a checkpoint such that a half-deleted one never bears the name of a complete one."""
    shutil.rmtree(path.rename(path.with_name(f"{path.name}.old")))


def _recover(folder: Path) -> None:
    """Finish or undo what a killed process had begun."""
    for pattern in ("*.old", "*.orbax-checkpoint-tmp*"):
        for path in folder.glob(pattern):
            shutil.rmtree(path)
    for path in folder.glob("*.new"):
        _install(folder, int(path.name.removesuffix(".new")))


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Whatever orbax raises while it reads a checkpoint becomes a `UserError`."""
    try:
        with _quiet():
            yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"the checkpoint cannot be read ({str(error).splitlines()[0] if str(error) else repr(error)})",
            file=path,
            remedy="Start the run afresh in another --run.workdir",
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep orbax's running commentary, which goes through absl, off the terminal; its exceptions still come."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
