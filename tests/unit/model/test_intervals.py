from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasar.errors import InvalidArgument
from quasar.model.instants import day_ns, to_ns
from quasar.model.intervals import CANONICAL_CODES, Interval, IntervalKind

_TIMES = st.integers(to_ns(dt.datetime(1700, 1, 1, tzinfo=dt.UTC)), to_ns(dt.datetime(2250, 1, 1, tzinfo=dt.UTC)))
_TIME_CODES = st.sampled_from([*CANONICAL_CODES, "7min", "45min", "90min", "3h", "5h", "2d", "10s"])


def utc(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.UTC)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("1m", "1min"),
        ("1M", "1M"),
        ("5m", "5min"),
        ("60min", "1h"),
        ("60m", "1h"),
        ("1mo", "1M"),
        ("1Month", "1M"),
        ("daily", "1d"),
        ("Weekly", "1w"),
        ("1D", "1d"),
        ("24h", "1d"),
        ("7d", "1w"),
        ("90min", "90min"),
        ("14d", "14d"),
        (" 4H ", "4h"),
        ("500ticks", "500tick"),
        ("10000volume", "10000volume"),
        ("0.50volume", "0.5volume"),
        ("1000000value", "1000000value"),
        ("120 s", "2min"),
    ],
)
def test_aliases_are_read_as_the_canonical_interval(written: str, canonical: str) -> None:
    assert Interval.parse(written).code == canonical
    assert Interval.parse(canonical) == Interval.parse(written)


@pytest.mark.parametrize(
    "text", ["", "m", "0min", "-1h", "1.5h", "1fortnight", "5M", "400d", "weird", "1min1", "0tick"]
)
def test_what_is_no_interval_is_refused_by_name_value_and_remedy(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"interval must be .*, was ") as caught:
        Interval.parse(text)
    assert caught.value.violations[0].field == "interval"


def test_five_capital_m_is_not_taken_for_minutes_or_months_silently() -> None:
    with pytest.raises(InvalidArgument, match=r"minutes are written min"):
        Interval.parse("5M")


def test_the_nine_canonical_intervals_have_the_crons_that_people_expect() -> None:
    crons = {code: Interval.parse(code).cron for code in CANONICAL_CODES}
    assert crons == {
        "1min": "* * * * *",
        "5min": "*/5 * * * *",
        "15min": "*/15 * * * *",
        "30min": "*/30 * * * *",
        "1h": "0 * * * *",
        "4h": "0 */4 * * *",
        "1d": "0 0 * * *",
        "1w": "0 0 * * 1",
        "1M": "0 0 1 * *",
    }
    assert Interval.parse("45min").cron == "*/15 * * * *"
    assert Interval.parse("7min").cron == "* * * * *"
    assert Interval.parse("500tick").cron is None


@pytest.mark.parametrize(
    ("code", "now", "boundary"),
    [
        ("1h", utc(2025, 12, 10, 23, 0, 30), utc(2025, 12, 11)),
        ("4h", utc(2025, 12, 31, 20, 0, 30), utc(2026, 1, 1)),
        ("1d", utc(2025, 12, 31), utc(2026, 1, 1)),
        ("1w", utc(2025, 12, 29), utc(2026, 1, 5)),
        ("1M", utc(2025, 12, 15), utc(2026, 1, 1)),
        ("1min", utc(2025, 12, 10, 11, 59, 59), utc(2025, 12, 10, 12)),
    ],
)
def test_the_next_boundary_crosses_hours_days_months_and_years(
    code: str, now: dt.datetime, boundary: dt.datetime
) -> None:
    assert Interval.parse(code).next_boundary(now) == boundary


def test_every_minute_of_a_month_has_a_next_boundary_at_every_canonical_interval() -> None:
    minutes = np.arange(to_ns(utc(2025, 12, 1)), to_ns(utc(2026, 1, 1)), 60_000_000_000, dtype=np.int64)
    for code in CANONICAL_CODES:
        interval = Interval.parse(code)
        closes = interval.closes(minutes)
        assert np.all(closes > minutes)
        assert np.array_equal(interval.floors(closes), closes)


@given(_TIME_CODES, _TIMES)
def test_one_at_a_time_and_in_columns_give_the_same_boundaries(code: str, time_ns: int) -> None:
    interval = Interval.parse(code)
    column = np.array([time_ns], dtype=np.int64)
    assert interval.floors(column)[0] == interval.floor_ns(time_ns)
    assert interval.closes(column)[0] == interval.next_boundary_ns(time_ns)
    assert interval.floor_ns(time_ns) <= time_ns < interval.next_boundary_ns(time_ns)


@given(_TIME_CODES, _TIMES, st.integers(0, 40 * 24 * 3600 * 10**9))
def test_slots_are_exactly_the_boundaries_of_a_half_open_range(code: str, start: int, length: int) -> None:
    interval = Interval.parse(code)
    length = min(length, 300 * (interval.length_ns or 10**18))
    slots = interval.slots(start, start + length)
    assert np.array_equal(interval.floors(slots), slots)
    assert np.array_equal(interval.closes(slots[:-1]), slots[1:])
    if len(slots):
        assert slots[0] == interval.ceil_ns(start)
        assert slots[-1] < start + length <= interval.next_boundary_ns(int(slots[-1]))
    else:
        assert interval.ceil_ns(start) >= start + length


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    assert Interval.parse("1w").floor(utc(2026, 1, 4, 23, 59)) == utc(2025, 12, 29)
    assert Interval.parse("1M").floor(utc(1969, 12, 31, 23)) == utc(1969, 12, 1)
    months = Interval.parse("1M").slots(utc(2024, 12, 2), utc(2025, 3, 1))
    assert months.tolist() == [day_ns(dt.date(2025, 1, 1)), day_ns(dt.date(2025, 2, 1))]


def test_only_intervals_that_fit_add_up() -> None:
    fits = [("1min", "5min"), ("1d", "1M"), ("1d", "1w"), ("5min", "1d"), ("4h", "1M"), ("1M", "1M")]
    not_fits = [("5min", "1min"), ("1w", "1M"), ("7min", "1h"), ("1M", "1d"), ("500tick", "1h"), ("1min", "500tick")]
    assert all(Interval.parse(a).divides(Interval.parse(b)) for a, b in fits)
    assert not any(Interval.parse(a).divides(Interval.parse(b)) for a, b in not_fits)


def test_bars_of_volume_have_no_boundaries() -> None:
    interval = Interval.parse("10volume")
    assert interval.kind is IntervalKind.VOLUME
    with pytest.raises(InvalidArgument, match="cut by time"):
        interval.floor_ns(0)
