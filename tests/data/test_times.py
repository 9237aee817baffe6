"""Time columns: recognised from all values, at full resolution, rejected if the values disagree."""

from __future__ import annotations

import datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrd_jax.data.sources.times import FULL, parse_times
from lrd_jax.errors import UserError

NS = 10**9
WEEKDAY = "%a %b %d %H:%M:%S %z %Y"


def times(values, unit=None, form=None, **series):
    found, words = parse_times(pl.Series(values, **series), unit, form=form, file="f.csv", field="time")
    assert found.dtype == FULL
    return found.to_physical().to_list(), words


@pytest.mark.parametrize(
    ("values", "nanoseconds", "words"),
    [
        (["1000000000", "0"], 0, "s"),
        ([1000000000, 0], 0, "s"),
        ([" 1000000000.9", "0"], 900_000_000, "s"),
        (["1000000000.123456789", "0"], 123_456_789, "s"),
        (["1.0e9", "0"], 0, "s"),
        ([1000000000.5, 0.0], 500_000_000, "s"),
        (["1000000000999", "0"], 999_000_000, "ms"),
        (["1000000000999.5", "0"], 999_500_000, "ms"),
        ([1000000000999999, 0], 999_999_000, "us"),
        (["1000000000999999999", "0"], 999_999_999, "ns"),
        (["2001-09-09T01:46:40", "1970-01-01"], 0, "ISO dates"),
        (["2001-09-09 01:46:40.75", "1970-01-01 00:00"], 750_000_000, "ISO dates"),
        (["2001-09-09T01:46:40Z", "1970-01-01T01:00:00+01:00"], 0, "ISO dates"),
        (["2001-09-09 01:46:40,123456789 UTC", "1969-12-31 22:30:00-0130"], 123_456_789, "ISO dates"),
        (["20010909T014640Z", "1970-01-01t00:00:00z"], 0, "ISO dates"),
        ([datetime.datetime(2001, 9, 9, 1, 46, 40, 5), datetime.datetime(1970, 1, 1)], 5000, "ISO dates"),
        (["20010909014640", "19700101"], 0, "dates written as numbers"),
        ([20010909014640, 19700101], 0, "dates written as numbers"),
        (["20010909014640250", "1970010100"], 250_000_000, "dates written as numbers"),
    ],
)
def test_what_is_recognised(values, nanoseconds, words):
    assert times(values) == ([10**9 * NS + nanoseconds, 0], words)
    assert times(values[::-1]) == ([0, 10**9 * NS + nanoseconds], words), "whatever comes first"


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_datetimes_of_parquet(tmp_path, unit, zone):
    dates = pl.Series("time", [1_600_000_000_123_456_789, 0]).cast(pl.Datetime("ns")).dt.cast_time_unit(unit)
    dates = dates if zone is None else dates.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    dates.to_frame().write_parquet(tmp_path / "t.parquet")
    found = times(pl.read_parquet(tmp_path / "t.parquet")["time"])[0]
    each = {"ms": 10**6, "us": 1000, "ns": 1}[unit]
    assert found == [1_600_000_000_123_456_789 // each * each, 0]


def test_days_and_whole_floats():
    assert times([datetime.date(1970, 1, 2)]) == ([86400 * NS], "ISO dates")
    assert times([20200913.0])[0] == times(["2020-09-13"])[0] == times(["20200913.0"])[0]
    assert times(["2020-09-13", "20200914T10"][:1] + ["20200914"])[1] == "ISO dates"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([10**9, 2 * 10**9, 10**12], "row 3 has 1000000000000, which looks like ms, but row 1 has 1000000000, .* s. "),
        (["5"] * 3 + ["1600000000000"] * 4, "row 1 has '5', which looks like s, but row 4 has '1600000000000', .* ms"),
        ([16 * 10**17] * 2 + [16 * 10**14], "row 3 has 1600000000000000, which looks like us, but row 1 .* ns"),
        (["20200913", "20201301"], "row 2 has '20201301', which looks like s, but row 1 .* looks like a date"),
        (["20200913", "1600000000"], "row 2 has '1600000000', which looks like s, but row 1"),
        (["1600000000", "1600000001", "20200913"], "row 1 has '1600000000'.*row 3 has '20200913'"),
        (
            ["1600000000", "2020-09-13"],
            "row 1 has '1600000000', which is not a recognised time.* row 2 has '2020-09-13'",
        ),
        (["1600000000", "1600000000", "2020-09-13"], "row 3 has '2020-09-13', which is not a recognised time"),
        (["0", "1e9", "1e9", "1e300"], "row 4 has '1e300'"),
        (["5", "inf"], "row 2 has 'inf', which is not a recognised time"),
        ([5.0, float("nan")], "row 2 has nan"),
        ([1.0, 1e300], "row 2 has 1e[+]?300"),
        (["-1e300", "5"], "row 1 has '-1e300'"),
        ([None, 5], "row 1 has None"),
        (["1", ""], "row 2 has ''"),
        (["1", "x"], "row 2 has 'x'"),
        (["2001-09-09", "soon"], "row 2 has 'soon'.*--time-format '%a %b"),
        (["2001-13-09"], "row 1 has '2001-13-09'"),
        (["3001-01-01"], "row 1 has '3001-01-01'"),
        (["nan"], "row 1 has 'nan'"),
        ([5, -1], "row 2 has -1, which is before 1970"),
        (["-0.5"], "row 1 has '-0.5', which is before 1970"),
        (["1969-12-31T23:59:59.9Z"], "which is before 1970"),
        ([datetime.datetime(2001, 9, 9), None], "row 2 has None"),
        ([datetime.timedelta(1)], "its cells are Duration"),
        ([datetime.time(1)], "its cells are Time"),
    ],
)
def test_what_is_refused(values, message):
    with pytest.raises(UserError, match=f"f.csv, field 'time': .*{message}"):
        times(values)


def test_zeros_are_of_any_unit():
    assert times([0, 0, 0, 10**12]) == ([0, 0, 0, 10**9 * NS], "ms")


def test_a_unit_that_is_given_is_not_guessed():
    assert times(["5000", "999"], "ms") == ([5 * NS, 999 * 10**6], "ms")
    assert times([20200913], "s") == ([20200913 * NS], "s")
    with pytest.raises(UserError, match="row 1 has '5000', which is not a recognised time"):
        times(["5000"], "iso")
    with pytest.raises(UserError, match="row 2 has 1000000000000, which is not a recognised time"):
        times([10**9, 10**12], "s")  # the year 33658


@pytest.mark.parametrize(
    ("value", "form", "expected"),
    [
        ("Sun Jul 30 07:44:10 -0700 2017", WEEKDAY, "2017-07-30T14:44:10"),
        (20200913, "%Y%m%d", "2020-09-13"),
        (20200913.0, "%Y%m%d", "2020-09-13"),
        ("09 3, 2017", "%m %d, %Y", "2017-09-03"),
        ("13.09.2020 12:26:40.25", "%d.%m.%Y %H:%M:%S.%f", "2020-09-13T12:26:40.25"),
    ],
)
def test_forms(value, form, expected):
    assert times([value], form=form)[0] == times([expected])[0]


def test_wrong_forms():
    for form in ("%Q", "%d%d", "%"):
        with pytest.raises(UserError, match=f"field '--time-format': '{form}' is not a valid format"):
            times(["1"], form=form)
    with pytest.raises(UserError, match="%Z \\(names of time zones\\) is not supported"):
        times(["Sun Jul 30 07:44:10 PST 2017"], form="%a %b %d %H:%M:%S %Z %Y")
    with pytest.raises(UserError, match="row 2 has 'x', which is not a recognised time"):
        times(["1", "x"], form="%d")
    with pytest.raises(UserError, match="--time-unit is given too"):
        times(["1"], "s", "%d")


@settings(deadline=None)
@given(st.lists(st.integers(10**9 * NS, 2 * 10**9 * NS), min_size=1), st.randoms())
def test_every_way_to_write_a_time_means_the_same(nanoseconds, random):
    def text(value):
        return str(datetime.datetime.fromtimestamp(value // NS, datetime.UTC).replace(tzinfo=None))

    seconds = [f"{value // NS}.{value % NS:09}" for value in nanoseconds]
    iso = [f"{text(value)}.{value % NS:09}{random.choice(['', 'Z', '+00:00', ' UTC'])}" for value in nanoseconds]
    assert times(seconds)[0] == times(iso)[0] == times(nanoseconds)[0] == times(list(map(str, nanoseconds)))[0]
    assert times(seconds)[0] == nanoseconds
