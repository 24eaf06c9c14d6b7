from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasar.errors import InvalidArgument
from quasar.model.instants import NS_PER_DAY, TimeRange, day_ns, from_ns, ns_date, to_ns

_AWARE = st.datetimes(
    dt.datetime.fromisoformat("1678-01-02"),
    dt.datetime.fromisoformat("2261-12-30"),
    timezones=st.just(ZoneInfo("America/New_York")),
)


@given(_AWARE)
def test_a_time_in_any_zone_survives_nanoseconds_to_the_microsecond(time: dt.datetime) -> None:
    assert from_ns(to_ns(time)) == time.astimezone(dt.UTC)


def test_a_naive_time_is_refused_because_it_names_no_instant() -> None:
    with pytest.raises(InvalidArgument, match=r"start must be aware, .*, was '2025-01-01T00:00:00'"):
        to_ns(dt.datetime.fromisoformat("2025-01-01"), "start")


@pytest.mark.parametrize("value", [True, 2**63, dt.datetime(1600, 1, 1, tzinfo=dt.UTC)])
def test_what_is_no_instant_is_refused(value: int | dt.datetime) -> None:
    with pytest.raises(InvalidArgument, match="must be"):
        to_ns(value)


@given(st.dates(dt.date(1678, 1, 1), dt.date(2261, 1, 1)))
def test_a_date_is_midnight_utc(day: dt.date) -> None:
    assert from_ns(day_ns(day)).date() == day
    assert ns_date(day_ns(day) + NS_PER_DAY - 1) == day


def test_a_range_holds_its_start_and_not_its_end() -> None:
    span = TimeRange(10, 20)
    assert 10 in span
    assert 20 not in span
    assert span.intersect(TimeRange(20, 30)) is None
    assert span.intersect(TimeRange(0, 11)) == TimeRange(10, 11)


def test_a_range_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="start must be at or before the end"):
        TimeRange(1, 0)
