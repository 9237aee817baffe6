"""The one kind of error that is the user's to mend."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from os import PathLike

from lrd_jax.printable import printable, quoted


class UserError(Exception):
    """Bad input, told in one message: where it is, what is wrong, what to do.

    Commands print it without a traceback and exit with code 2 (`lrd_jax.cli.run_command`).

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
        file: str | PathLike | None = None,
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
def told_of(file: str | PathLike, prefix: str = "") -> Iterator[None]:
    """A `UserError` within that names no file becomes one of this file, its field preceded by `prefix`."""
    try:
        yield
    except UserError as error:
        if error.file is not None:
            raise
        field = error.field and prefix + error.field
        raise UserError(error.problem, file=file, field=field, remedy=error.remedy) from error
