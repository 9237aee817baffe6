"""Files that the user names: only regular ones are opened, since a FIFO would wait for ever and a device never end."""

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
    """Whether anything has this name. A link that leads nowhere counts: it is refused when read, not passed over."""
    return os.path.lexists(path)


def refuse_irregular(path: Path) -> None:
    """Refuse what cannot be read as a file; a file that is missing is left to whoever reads it.

    Raises:
      UserError: a link that leads nowhere or to itself, a FIFO, a device or a socket.
    """
    try:
        kind = _KINDS.get(stat.S_IFMT(os.stat(path).st_mode))
    except OSError as error:
        if os.path.islink(path):
            problem = f"it is a link to {os.readlink(path)}, which cannot be opened ({error.strerror})"
            raise UserError(problem, file=path, remedy="Correct the link, or remove it") from None
        return
    if kind is not None:
        raise UserError(f"it is {kind}, not a regular file", file=path, remedy="Save it as a file, and name that")
