"""Standard streams that never stop a command: not if closed, on a full disk, or in an encoding with few characters."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
import unicodedata
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_PLAIN = {"·": "*", "•": "*", "×": "x", "−": "-", "–": "-", "→": "->", "…": "...", "≤": "<=", "≥": ">=", "±": "+-"}
_PLAIN |= {"γ": "gamma", "λ": "lambda", "²": "^2", "³": "^3", "√": "sqrt", "⌊": "", "⌋": ""}
_PLAIN |= dict.fromkeys("─━═┄┈", "-") | dict.fromkeys("│┃║", "|")
_REPLACED = "lrd_jax.replaced"


class _Lossy(io.FileIO):
    """A file descriptor that drops output it cannot write and keeps the first reason; a closed pipe is an error.

    Attributes:
      problem: the first reason; None while nothing is lost.
    """

    problem: OSError | None = None

    def write(self, data: ReadableBuffer) -> int:
        """As `io.FileIO.write`."""
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            self.problem = self.problem or error
            return memoryview(data).nbytes


def set_up() -> None:
    """Replaces stdout and stderr by such streams, written line by line; output to a closed one is discarded."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # else the next opened file would get this number, and the stream's output
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    codecs.register_error(_REPLACED, _replaced)
    sys.stdout, sys.stderr = _stream(1, sys.stdout), _stream(2, sys.stderr)


def lost() -> OSError | None:
    """Why output on stdout or stderr was lost; None if none was."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        problem: OSError | None = getattr(getattr(getattr(stream, "buffer", None), "raw", None), "problem", None)
        if problem is not None:
            return problem
    return None


def discard() -> None:
    """Discards all further output, including what is still in the buffers, because nobody reads it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError, ValueError):
        os.dup2(nowhere, sys.stdout.fileno())


def _stream(number: int, before: TextIO | None) -> io.TextIOWrapper:
    encoding = getattr(before, "encoding", None) or "utf-8"
    binary = io.BufferedWriter(_Lossy(number, "w", closefd=False))
    return io.TextIOWrapper(binary, encoding=encoding, errors=_REPLACED, line_buffering=True)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """Replaces characters that the encoding lacks by similar ASCII characters, or by Python escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_in_ascii, error.object[error.start : error.end])), error.end


def _in_ascii(character: str) -> str:
    if character in _PLAIN:
        return _PLAIN[character]
    letters = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return letters or character.encode("ascii", "backslashreplace").decode()
