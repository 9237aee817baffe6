"""The bins of release years for MovieLens's attribute `year`."""

from __future__ import annotations

_DECADES: tuple[tuple[int, str], ...] = ((1900, "1800-1899"), (1940, "1900-1939"), (1950, "1940-1949"))
_DECADES += ((1960, "1950-1959"), (1970, "1960-1969"))
_DECADES += ((1980, "1970-1979"), (1985, "1980-1984"), (1990, "1985-1989"))


def year_bin(year: int) -> str | None:
    """The bin of a year of release; None for year 0, which means unknown.

    The bins are those of ReChorus's MovieLens notebook: 1900-1939, the 1940s to the 1970s, 1980-1984, 1985-1989, and
    one per year from 1990 on. Years before 1900 have one more bin here, and none in the notebook. The notebook bins the
    release date, which is later than the year in the title for rereleased movies; but only the year in the title is in
    all copies of the data.
    """
    if not year:
        return None
    return next((name for end, name in _DECADES if year < end), str(year))
