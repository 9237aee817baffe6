"""Files: only regular ones are opened, since a FIFO would wait for ever; they are written completely or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from lrd_jax.errors import UserError

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def is_there(path: Path) -> bool:
    """Whether anything exists under this name. A broken link counts, so that reading it raises an error."""
    return os.path.lexists(path)


def refuse_irregular(path: Path) -> None:
    """Rejects what cannot be read as a file. A missing file passes; opening it raises the error.

    Raises:
      UserError: the path is a broken or circular link, a FIFO, a device or a socket.
    """
    try:
        kind = _KINDS.get(stat.S_IFMT(os.stat(path).st_mode))
    except OSError as error:
        if os.path.islink(path):
            problem = f"it is a link to {os.readlink(path)}, which cannot be opened ({error.strerror})"
            raise UserError(problem, file=path, remedy="Fix the link, or remove it") from None
        return
    if kind is not None:
        raise UserError(f"it is {kind}, not a regular file", file=path, remedy="Save it as a file and give that")


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that readers see the old or the new one, even after a kill."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
