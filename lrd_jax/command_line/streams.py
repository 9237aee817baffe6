"""Standard streams that cannot fail a command: closed, on a full disk, or in an encoding without our characters."""

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
    """A file descriptor of which what cannot be written is lost, and the first reason kept; a closed pipe is an error.

    Attributes:
      problem: the reason; None while nothing is lost.
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
    """Makes stdout and stderr such streams, written line by line; a closed one leads nowhere."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # else the next file that is opened would get the number, and what is meant for a stream
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    codecs.register_error(_REPLACED, _replaced)
    sys.stdout, sys.stderr = _stream(1, sys.stdout), _stream(2, sys.stderr)


def lost() -> OSError | None:
    """Why output on stdout or stderr was lost; None where none was."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        problem: OSError | None = getattr(getattr(getattr(stream, "buffer", None), "raw", None), "problem", None)
        if problem is not None:
            return problem
    return None


def discard() -> None:
    """Nothing is written any more: nobody reads what is still in the buffers."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError, ValueError):
        os.dup2(nowhere, sys.stdout.fileno())


def _stream(number: int, before: TextIO | None) -> io.TextIOWrapper:
    encoding = getattr(before, "encoding", None) or "utf-8"
    binary = io.BufferedWriter(_Lossy(number, "w", closefd=False))
    return io.TextIOWrapper(binary, encoding=encoding, errors=_REPLACED, line_buffering=True)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """Characters that the encoding lacks: by similar ones of ASCII, or by their number as Python writes it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_in_ascii, error.object[error.start : error.end])), error.end


def _in_ascii(character: str) -> str:
    if character in _PLAIN:
        return _PLAIN[character]
    letters = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return letters or character.encode("ascii", "backslashreplace").decode()
