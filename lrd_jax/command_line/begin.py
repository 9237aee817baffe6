"""What a command does before its other imports, which take long enough for Ctrl-C to come."""

from __future__ import annotations

import os

from lrd_jax.command_line import interrupts, streams


def begin() -> None:
    """Makes this process one of a command: signals end it with one line, and its streams cannot fail it."""
    streams.set_up()  # first, since any file that is opened would take the place of a closed stream
    interrupts.listen()
    if os.environ.get("NO_COLOR"):
        os.environ.setdefault("PYTHON_TYRO_ANSI_CODES", "False")
