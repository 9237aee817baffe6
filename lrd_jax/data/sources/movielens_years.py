"""The bins of years of release that MovieLens's attribute `year` has."""

from __future__ import annotations

_DECADES: tuple[tuple[int, str], ...] = ((1900, "1800-1899"), (1940, "1900-1939"), (1950, "1940-1949"))
_DECADES += ((1960, "1950-1959"), (1970, "1960-1969"))
_DECADES += ((1980, "1970-1979"), (1985, "1980-1984"), (1990, "1985-1989"))


def year_bin(year: int) -> str | None:
    """The bin of a year of release, None for a year of 0, that is unknown.

    The bins are those of ReChorus's MovieLens notebook, 1900-1939, the 1940s to the 1970s, 1980-1984, 1985-1989, and
    from 1990 on one for each year; before 1900 it has none, and we one. The notebook bins the release date, which for
    movies that were released again is later than the year in the title, the only year that all copies of the data hold.
    """
    if not year:
        return None
    return next((name for end, name in _DECADES if year < end), str(year))
