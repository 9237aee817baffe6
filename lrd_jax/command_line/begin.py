"""First step of every command, before its slow imports, during which the user may press Ctrl-C."""

from __future__ import annotations

import os

from lrd_jax.command_line import interrupts, streams


def begin() -> None:
    """Sets up this process for a command: signals end it with one line, and output errors do not stop it."""
    streams.set_up()  # first, because an opened file would take the file descriptor of a closed stream
    interrupts.listen()
    if os.environ.get("NO_COLOR"):
        os.environ.setdefault("PYTHON_TYRO_ANSI_CODES", "False")
