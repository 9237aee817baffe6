"""Errors caused by user input, and names that are safe to print: a terminal would obey escape codes in them."""

from __future__ import annotations

import contextlib
import unicodedata
from collections.abc import Iterator
from os import PathLike

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # control, format, lone surrogate, line and paragraph separators


class UserError(Exception):
    """Bad input, explained in one message: where it is, what is wrong, what to do.

    Commands print it without a traceback and exit with code 2 (`lrd_jax.command_line.parse.run_command`).

    Args:
      problem: what is wrong, as a sentence without a full stop.
      file: the file that holds it.
      line: 1-based line of that file (the header is line 1).
      field: the column or option.
      remedy: what the user can do, as a sentence without a full stop.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str | PathLike[str] | None = None,
        line: int | None = None,
        field: str | None = None,
        remedy: str | None = None,
    ) -> None:
        """Compose the message from its parts."""
        where = ", ".join(
            part
            for part in (
                quoted(file) if file is not None else "",
                f"line {line}" if line is not None else "",
                f"field {field!r}" if field is not None else "",
            )
            if part
        )
        self.problem, self.file, self.line, self.field, self.remedy = problem, file, line, field, remedy
        text = f"{where}: {problem}" if where else problem
        super().__init__(printable(f"{text}. {remedy}." if remedy else f"{text}."))


class UnderWay(Exception):
    """No error: what was asked for takes its time elsewhere, and the same command goes on with it later."""


@contextlib.contextmanager
def told_of(file: str | PathLike[str], prefix: str = "") -> Iterator[None]:
    """A `UserError` within that names no file becomes one of this file, its field preceded by `prefix`."""
    try:
        yield
    except UserError as error:
        if error.file is not None:
            raise
        field = error.field and prefix + error.field
        raise UserError(error.problem, file=file, field=field, remedy=error.remedy) from error


def printable(text: str) -> str:
    """The text with every character that is no visible one as an escape, such as \\x1b; line breaks stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode() if _is_hidden(character) and character != "\n" else character
        for character in text
    )


def quoted(name: object) -> str:
    """A name as it is, or in quotation marks with escapes where it holds characters that are not visible."""
    text = str(name)
    return repr(text) if any(map(_is_hidden, text)) else text


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN
