"""Run folders claimed by this process, so that several studies can work side by side on one folder.

The claim is the operating system's lock on a file beside the run folder; it ends with the process, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from lrd_jax.config import Config
from lrd_jax.errors import UserError


@contextlib.contextmanager
def claimed(runs: Sequence[Config]) -> Iterator[list[Config]]:
    """Hold the runs that no other process holds; yields those."""
    with contextlib.ExitStack() as locks:
        held = []
        for run in runs:
            lock = _open(run.run_folder.with_name(f".{run.run_folder.name}.lock"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                continue
            locks.enter_context(lock)
            held.append(run)
        yield held


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file of that name, waiting for it."""
    with _open(path) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _open(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "a", encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"cannot be written ({error.strerror})", file=path, remedy="Choose another --workdir"
        ) from error
