"""The folder of an exported run, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save_file

from lrd_jax import exported as loader
from lrd_jax.api.run import Run
from lrd_jax.data.corpus import Corpus
from lrd_jax.errors import UserError
from lrd_jax.export.program import PLATFORMS, RESULTS, arguments_of, export_programs
from lrd_jax.models.sequence_system import SequenceSystem
from lrd_jax.ranking.similar import item_vectors
from lrd_jax.version import __version__


def check_can_write(out: Path) -> None:
    """Refuses, before the long work, a folder that holds something or cannot be made.

    Raises:
      UserError: of what is wrong.
    """
    if os.path.lexists(out) and (not out.is_dir() or any(out.iterdir())):
        raise UserError("it is there already", file=out, field="--out", remedy="Name a new folder, or delete this one")
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    if not os.access(parent, os.W_OK):
        raise UserError("cannot be written", file=out, field="--out", remedy="Name a folder in one that can")


def export_run(run: Run, out: Path, *, with_histories: bool = False) -> dict[str, Any]:
    """Writes a run as a folder for `lrd_jax.exported.Exported`.

    Args:
      run: a trained run.
      out: the folder; it must not exist, or be empty.
      with_histories: write the known users' interactions too, all of them, with their times.

    Returns:
      The manifest.

    Raises:
      UserError: the folder holds something or cannot be written, or the model cannot be exported.
    """
    check_can_write(out)
    exported, weights = export_programs(run.ranker)
    programs = {name: program.serialize() for name, program in exported.items()}
    arrays = {name: np.ascontiguousarray(x) for name, x in jax.device_get(weights).items()}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
        try:
            _fill(run, temporary, programs, arrays, with_histories)
            manifest = _manifest(run, temporary, list(programs), arrays)
            (temporary / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
            for path in (temporary, *temporary.iterdir()):  # mkdtemp and safetensors let only the owner read
                os.chmod(path, 0o755 if path.is_dir() else 0o644)
            os.replace(temporary, out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        problem = f"cannot be written ({error.strerror})"
        raise UserError(problem, file=out, field="--out", remedy="Name another folder") from error
    return manifest


def _fill(
    run: Run, folder: Path, programs: dict[str, bytearray], weights: dict[str, np.ndarray], with_histories: bool
) -> None:
    for name, program in programs.items():
        (folder / _program_file(name)).write_bytes(program)
    save_file(weights, folder / "params.safetensors")
    dataset = run.dataset
    for name, ids in (("items.json", dataset.item_ids), ("users.json", dataset.user_ids)):
        (folder / name).write_text(json.dumps(ids.to_list(), ensure_ascii=False), encoding="utf-8")
    if isinstance(run.model, SequenceSystem):
        np.save(folder / "item_vectors.npy", item_vectors(run.model, run.params, dataset.corpus.num_items)[1:])
    if with_histories:
        save_file(_histories(dataset.corpus), folder / "histories.safetensors")
    shutil.copyfile(loader.__file__, folder / "load.py")


def _manifest(run: Run, folder: Path, programs: list[str], weights: dict[str, np.ndarray]) -> dict[str, Any]:
    corpus, system, length = run.dataset.corpus, run.model, run.ranker.history_length
    sizes = {"H": length, "I": corpus.num_items, "U": corpus.num_users, "D": run.config.model.embedding_dim}
    convention = {
        name: {
            "file": _program_file(name),
            "arguments": [{**each._asdict(), "shape": list(each.shape)} for each in arguments_of(name, length)],
            "returns": RESULTS[name],
        }
        for name in programs
    }
    return {
        "format": loader.FORMAT,
        "lrd_jax": __version__,
        "commit": _commit(),
        "jax": jax.__version__,
        "model": run.config.model.name,
        "dataset": {"name": corpus.name, "hash": corpus.content_hash},
        "epoch": run.epoch,
        "test": (run.results or {}).get("test"),
        "platforms": list(PLATFORMS),
        "sizes": sizes,
        "at_once": {
            "users": dict(system.users_at_once),
            "candidates": system.candidates_per_block,
            "items": system.items_per_block,
        },
        "calling_convention": (
            "jax.export.deserialize(file).call(weights, *arguments); weights are a dictionary of all arrays of"
            " params.safetensors by name. Letters in shapes stand for any size: b users, c candidates of each, n blocks"
            " of m items. In StableHLO, main takes the place in platforms (int32) where they are several, then the"
            " weights in the order of their names, then the arguments. A user without a known id is user 0, whose"
            " vector is the mean of all users'."
        ),
        "weights": {name: {"dtype": str(x.dtype), "shape": list(x.shape)} for name, x in weights.items()},
        "programs": convention,
        "files": {
            path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            for path in sorted(folder.iterdir())
        },
    }


def _program_file(name: str) -> str:
    return f"{name}.jax_export"


def _histories(corpus: Corpus) -> dict[str, np.ndarray]:
    """All interactions of users 1..U, those of dev and test too; user u's lie at offsets[u − 1]:offsets[u]."""
    offsets = corpus.sequence_offsets[1:].astype(np.int64)
    start, end = offsets[0], offsets[-1]
    items, times = (x[start:end] for x in (corpus.sequence_items, corpus.sequence_times))
    return {"items": items.astype(np.int32), "times": times.astype(np.int64), "offsets": offsets - start}


def _commit() -> str | None:
    """Of the checkout that this package is in; None where it is in none."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
