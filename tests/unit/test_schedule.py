from __future__ import annotations

import datetime as dt
import itertools
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasar.calendars import calendar_for
from quasar.errors import InvalidArgument
from quasar.model.instants import day_ns, to_ns
from quasar.model.intervals import CANONICAL_CODES, Interval
from quasar.schedule import Coalesce, MisfirePolicy, Schedule, due_times, history_range

DAILY, HOURLY = Interval.parse("1d"), Interval.parse("1h")
_CRONS = st.sampled_from(
    ["* * * * *", "*/15 * * * *", "0 */4 * * *", "0 0 * * *", "30 16 * * 1-5", "0 0 1 * *", "0 0 * * 0"]
)
_OFFSETS = st.timedeltas(dt.timedelta(days=-3), dt.timedelta(days=3)).map(
    lambda offset: dt.timedelta(seconds=int(offset.total_seconds()))
)
_NOWS = st.datetimes(
    dt.datetime.fromisoformat("2000-01-01"), dt.datetime.fromisoformat("2040-01-01"), timezones=st.just(dt.UTC)
)


def utc(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.UTC)  # type: ignore[arg-type, misc]


def hours(number: float) -> dt.timedelta:
    return dt.timedelta(hours=number)


@pytest.mark.parametrize(
    ("cron", "offset", "now", "fires"),
    [
        ("0 0 * * *", hours(6), utc(2024, 6, 14, 23), [utc(2024, 6, 15, 6), utc(2024, 6, 16, 6)]),
        ("0 0 * * *", hours(6), utc(2024, 6, 15, 1), [utc(2024, 6, 15, 6)]),
        ("0 16 * * *", dt.timedelta(seconds=-30), utc(2024, 6, 14, 15), [utc(2024, 6, 14, 15, 59, 30)]),
        ("0 16 * * *", dt.timedelta(seconds=-300), utc(2024, 6, 14, 15), [utc(2024, 6, 14, 15, 55)]),
        ("0 16 * * *", dt.timedelta(seconds=3600), utc(2024, 6, 14, 15), [utc(2024, 6, 14, 17)]),
        (
            "* * * * *",
            dt.timedelta(seconds=-30),
            utc(2024, 6, 14, 10, 0, 10),
            [utc(2024, 6, 14, 10, 0, 30), utc(2024, 6, 14, 10, 1, 30), utc(2024, 6, 14, 10, 2, 30)],
        ),
        ("0 0 * * *", hours(24), utc(2024, 6, 14, 23), [utc(2024, 6, 15), utc(2024, 6, 16), utc(2024, 6, 17)]),
        (
            "*/15 * * * *",
            hours(1),
            utc(2024, 6, 14, 10, 1),
            [utc(2024, 6, 14, 10, 15), utc(2024, 6, 14, 10, 30), utc(2024, 6, 14, 10, 45)],
        ),
        ("0 0 * * 1", hours(0), utc(2026, 1, 1), [utc(2026, 1, 5), utc(2026, 1, 12)]),
    ],
)
def test_an_offset_moves_every_time_and_skips_or_repeats_none(
    cron: str, offset: dt.timedelta, now: dt.datetime, fires: list[dt.datetime]
) -> None:
    assert Schedule(cron, offset=offset).fire_times(now, len(fires)) == fires


@given(_CRONS, _OFFSETS, _NOWS)
def test_due_times_with_an_offset_are_the_times_of_the_expression_each_moved_once(
    cron: str, offset: dt.timedelta, now: dt.datetime
) -> None:
    moved = Schedule(cron, offset=offset).fire_times(now, 5)
    plain = Schedule(cron).fire_times(now - offset, 5)
    assert moved == [time + offset for time in plain]
    assert all(first < second for first, second in itertools.pairwise(moved))
    assert moved[0] > now


@given(_CRONS, _OFFSETS, _NOWS)
def test_the_last_due_time_is_the_one_that_no_other_follows(cron: str, offset: dt.timedelta, now: dt.datetime) -> None:
    schedule = Schedule(cron, offset=offset)
    last = schedule.last_fire(now)
    assert last is not None
    assert last <= now
    following = schedule.next_fire(last)
    assert following is not None
    assert following > now
    assert schedule.next_fire(last - dt.timedelta(microseconds=1)) == last


@pytest.mark.parametrize(
    ("weekday", "days"),
    [
        ("1", "Mon"),
        ("0", "Sun"),
        ("7", "Sun"),
        ("1-5", "Mon Tue Wed Thu Fri"),
        ("mon-fri", "Mon Tue Wed Thu Fri"),
        ("5-7", "Fri Sat Sun"),
        ("fri-mon", "Mon Fri Sat Sun"),
        ("0,3", "Wed Sun"),
        ("*/2", "Tue Thu Sat Sun"),
        ("SAT", "Sat"),
        ("*", "Mon Tue Wed Thu Fri Sat Sun"),
        ("0-6", "Mon Tue Wed Thu Fri Sat Sun"),
    ],
)
def test_weekdays_are_counted_as_people_count_them(weekday: str, days: str) -> None:
    week = Schedule(f"0 12 * * {weekday}").fire_times(utc(2026, 1, 5), len(days.split()))
    assert " ".join(time.strftime("%a") for time in week) == days


def test_a_day_of_the_month_or_a_weekday_is_enough_when_both_are_given() -> None:
    times = Schedule("0 0 13 * 5").fire_times(utc(2026, 1, 1), 4)
    assert [time.day for time in times] == [2, 9, 13, 16]


@pytest.mark.parametrize("code", CANONICAL_CODES)
def test_the_usual_cron_of_an_interval_fires_at_every_boundary_of_it(code: str) -> None:
    interval = Interval.parse(code)
    assert interval.cron is not None
    fires = Schedule(interval.cron).fire_times(utc(2025, 12, 30, 23, 59, 59), 40)
    boundary = utc(2025, 12, 30, 23, 59, 59)
    for fire in fires:
        boundary = interval.next_boundary(boundary)
        assert fire == boundary


def test_a_fixed_local_hour_happens_once_on_the_night_that_has_it_twice() -> None:
    times = Schedule("30 1 * * *", "America/New_York").fire_times(utc(2025, 11, 1, 12), 3)
    assert times == [utc(2025, 11, 2, 5, 30), utc(2025, 11, 3, 6, 30), utc(2025, 11, 4, 6, 30)]


def test_a_fixed_local_hour_happens_once_on_the_night_that_lacks_it() -> None:
    times = Schedule("30 2 * * *", "America/New_York").fire_times(utc(2025, 3, 8), 3)
    assert times == [utc(2025, 3, 8, 7, 30), utc(2025, 3, 9, 7, 30), utc(2025, 3, 10, 6, 30)]


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/London", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"])
def test_every_quarter_of_an_hour_stays_that_through_both_changes_of_clocks(zone: str) -> None:
    for start in (utc(2025, 3, 8), utc(2025, 4, 4), utc(2025, 10, 4), utc(2025, 11, 1)):
        times = Schedule("*/15 * * * *", zone).fire_times(start, 200)
        assert {second - first for first, second in itertools.pairwise(times)} <= {dt.timedelta(minutes=15)}


def test_a_local_close_keeps_its_wall_clock_time_all_year() -> None:
    times = Schedule("0 16 * * 1-5", "America/New_York").fire_times(utc(2025, 1, 1), 250)
    assert {time.astimezone(ZoneInfo("America/New_York")).hour for time in times} == {16}
    assert {time.hour for time in times} == {20, 21}


@pytest.mark.parametrize(
    "cron",
    ["", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "* * * * xyz",
     "*/0 * * * *", "a * * * *", "* * * foo *", "* * * * *-3", "5-1 * * * *", "@reboot", "* * last * *", "0 0 30 2 *"],
)  # fmt: skip
def test_a_cron_expression_that_means_nothing_is_refused(cron: str) -> None:
    with pytest.raises(InvalidArgument, match="cron must be") as caught:
        Schedule(cron)
    assert caught.value.violations[0].field == "cron"


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../etc/passwd"])
def test_an_unknown_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(InvalidArgument, match="timezone must be an IANA time zone"):
        Schedule("* * * * *", zone)


def test_names_of_months_and_macros_are_understood() -> None:
    assert Schedule("0 0 1 jan,JUL *").fire_times(utc(2025, 1, 2), 2) == [utc(2025, 7, 1), utc(2026, 1, 1)]
    assert Schedule("@daily").next_fire(utc(2025, 1, 2, 3)) == utc(2025, 1, 3)


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="after must be aware"):
        Schedule("* * * * *").next_fire(dt.datetime.fromisoformat("2025-01-01"))


def test_a_rare_day_is_found_in_both_directions() -> None:
    leap = Schedule("0 0 29 2 *")
    assert leap.last_fire(utc(2024, 2, 28)) == utc(2020, 2, 29)
    assert leap.next_fire(utc(2096, 3, 1)) == utc(2104, 2, 29)


def test_after_a_long_absence_a_coalescing_schedule_runs_once_for_the_last_missed_time() -> None:
    minutely = Schedule("* * * * *")
    assert due_times(minutely, utc(2024, 1, 1), utc(2025, 1, 1, 0, 0, 30), MisfirePolicy()) == [utc(2025, 1, 1)]
    assert due_times(minutely, utc(2025, 1, 1), utc(2025, 1, 1, 0, 0, 30), MisfirePolicy()) == []


def test_without_coalescing_every_missed_time_runs_once_in_order_and_in_bounded_portions() -> None:
    policy = MisfirePolicy(coalesce=Coalesce.ALL, limit=2)
    hourly = Schedule("0 * * * *")
    first = due_times(hourly, utc(2025, 1, 1), utc(2025, 1, 1, 3), policy)
    assert first == [utc(2025, 1, 1, 1), utc(2025, 1, 1, 2)]
    assert due_times(hourly, first[-1], utc(2025, 1, 1, 3), policy) == [utc(2025, 1, 1, 3)]


def test_what_is_later_than_the_grace_is_dropped_and_what_is_just_as_late_is_not() -> None:
    policy = MisfirePolicy(grace=hours(2), coalesce=Coalesce.ALL)
    times = due_times(Schedule("0 * * * *"), utc(2025, 1, 1), utc(2025, 1, 1, 6), policy)
    assert times == [utc(2025, 1, 1, 4), utc(2025, 1, 1, 5), utc(2025, 1, 1, 6)]
    late = MisfirePolicy(grace=dt.timedelta(minutes=5))
    assert due_times(Schedule("0 0 * * *"), utc(2025, 1, 1), utc(2025, 1, 2, 1), late) == []


@pytest.mark.parametrize("last", [dt.date(2025, 12, 21), dt.date(2025, 12, 22)])
def test_a_series_whose_last_bar_is_of_yesterday_or_today_is_not_asked_for(last: dt.date) -> None:
    assert history_range(DAILY, utc(2025, 12, 22, 10), last_open_ns=day_ns(last)) is None


def test_a_gap_without_a_session_is_not_asked_for_and_one_with_a_session_is() -> None:
    friday = day_ns(dt.date(2025, 12, 19))
    calendar = calendar_for("XNYS")
    assert history_range(DAILY, utc(2025, 12, 21, 10), last_open_ns=friday, calendar=calendar) is None
    asked = history_range(DAILY, utc(2025, 12, 23, 10), last_open_ns=friday, calendar=calendar)
    assert asked is not None
    assert (asked.start, asked.end) == (utc(2025, 12, 20), utc(2025, 12, 23))
    assert history_range(DAILY, utc(2025, 12, 21, 10), last_open_ns=friday) is not None


@pytest.mark.parametrize(
    ("interval", "now", "start", "end"),
    [
        (DAILY, utc(2025, 12, 22, 10), utc(2025, 12, 21), utc(2025, 12, 22)),
        (HOURLY, utc(2025, 12, 22, 10, 30), utc(2025, 12, 22), utc(2025, 12, 22, 10)),
        (Interval.parse("1w"), utc(2025, 12, 24), utc(2025, 12, 15), utc(2025, 12, 22)),
        (Interval.parse("1M"), utc(2025, 12, 24), utc(2025, 11, 1), utc(2025, 12, 1)),
    ],
)
def test_a_new_series_with_a_look_back_of_one_day_asks_for_the_last_bars_that_are_over(
    interval: Interval, now: dt.datetime, start: dt.datetime, end: dt.datetime
) -> None:
    asked = history_range(interval, now, lookback_days=1)
    assert asked is not None
    assert (asked.start, asked.end) == (start, end)


def test_intraday_history_does_not_wait_for_midnight() -> None:
    asked = history_range(HOURLY, utc(2025, 12, 22, 10, 30), last_open_ns=to_ns(utc(2025, 12, 22, 7)))
    assert asked is not None
    assert (asked.start, asked.end) == (utc(2025, 12, 22, 8), utc(2025, 12, 22, 10))


def test_a_provider_that_is_late_is_asked_later() -> None:
    last = day_ns(dt.date(2025, 12, 20))
    assert history_range(DAILY, utc(2025, 12, 22, 5), last_open_ns=last, delay=hours(6)) is None
    assert history_range(DAILY, utc(2025, 12, 22, 6), last_open_ns=last, delay=hours(6)) is not None


def test_a_look_back_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="lookback_days must be at least 1, was 0"):
        history_range(DAILY, utc(2025, 12, 22), lookback_days=0)
