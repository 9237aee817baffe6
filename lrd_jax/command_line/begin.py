"""What a command does before its other imports, which take long enough for Ctrl-C to come."""

from __future__ import annotations

import os

from lrd_jax.command_line import interrupts, streams


def begin() -> None:
    """Makes this process one of a command: signals end it with one line, and its streams cannot fail it."""
    interrupts.listen()
    streams.set_up()
    if os.environ.get("NO_COLOR"):
        os.environ.setdefault("PYTHON_TYRO_ANSI_CODES", "False")
