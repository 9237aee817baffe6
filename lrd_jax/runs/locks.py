"""Locks on run folders and on the files of studies: locks of the operating system, which always end with the process.

Each lock is on a file that names the process holding it and is removed with the lock. A killed process leaves the file
but not the lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from lrd_jax.config.schema import Config
from lrd_jax.errors import UserError


class GoingOn(UserError):
    """Another process holds the lock of the run folder."""


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Holds the lock of a run folder. Creates a missing folder, and removes it again if it stays empty.

    Raises:
      GoingOn: another process holds the lock.
      UserError: the folder cannot be written.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        with locked(folder / ".lock", wait=False):
            yield
    finally:
        for place in made:
            with contextlib.suppress(OSError):
                place.rmdir()


@contextlib.contextmanager
def claimed(runs: Sequence[Config]) -> Iterator[list[Config]]:
    """Holds the locks of the run folders that no other process holds; yields these runs.

    Raises:
      UserError: a folder cannot be written.
    """
    with contextlib.ExitStack() as locks:
        mine = []
        for run in runs:
            with contextlib.suppress(GoingOn):
                locks.enter_context(held(run.run_folder))
                mine.append(run)
        yield mine


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Holds the lock on a file of this name; creates its folder if missing.

    Raises:
      GoingOn: another process holds the lock, and `wait` is off.
      UserError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _take(path, wait)
    except OSError as error:
        remedy = "Choose another folder with --run.workdir (in a study, --workdir)"
        problem = f"the run folder cannot be written ({error.strerror})"
        raise UserError(problem, file=path.parent, remedy=remedy) from error
    with file:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _take(path: Path, wait: bool) -> IO[str]:
    """The locked file, with the number of this process in it."""
    while True:
        file = open(path, "a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _going_on(file, path.parent) from error
        except OSError:
            pass  # a file system without locks: run without protection
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                file.truncate(0)
                print(f"process {os.getpid()} on {platform.node()}", file=file, flush=True)
                return file
        file.close()  # the previous holder has removed the file meanwhile


def _going_on(file: IO[str], folder: Path) -> GoingOn:
    with file:
        file.seek(0)
        holder = file.read().strip().removesuffix(f" on {platform.node()}") or "another process"
    return GoingOn(f"the run is in progress in {holder}", file=folder, remedy="Wait until it ends, or stop it")
