"""Converts between written dates and the times in dataset files: whole seconds since 1970 in UTC."""

from __future__ import annotations

import datetime
import math

from lrd_jax.errors import UserError

_FIRST, _LAST = -62_135_596_800, 253_402_300_799  # the range of Python's dates: the years 1 to 9999


def parse_date(text: str, field: str) -> int:
    """Seconds since 1970 of a date such as 1998-03-01 or 1998-03-01T12:00, in UTC unless it has another offset.

    Args:
      text: ISO 8601; fractions of a second are rounded up, so that "at or after" keeps its meaning.
      field: the option, for messages.

    Raises:
      UserError: the text is not a date.
    """
    try:
        date = datetime.datetime.fromisoformat(text)
        date = date.replace(tzinfo=datetime.UTC) if date.tzinfo is None else date.astimezone(datetime.UTC)
        return math.ceil(date.timestamp())
    except (ValueError, OverflowError):
        remedy = "Write it as 1998-03-01 or as 1998-03-01T12:00, in UTC"
        raise UserError(f"{text!r} is not a date", field=field, remedy=remedy) from None


def date_text(seconds: int) -> str:
    """The date in UTC: 1998-03-01 at midnight, else 1998-03-01T12:00:00; in seconds if outside the years 1 to 9999."""
    if not _FIRST <= seconds <= _LAST:
        return f"{seconds} s"
    text = datetime.datetime.fromtimestamp(int(seconds), datetime.UTC).replace(tzinfo=None).isoformat()
    return text.removesuffix("T00:00:00")
