"""The nights in which clocks change, 2015 to 2026, in every market: no slot is skipped, none comes twice."""

from __future__ import annotations

import datetime as dt
import itertools
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from quasar.calendars import Calendar, calendar_for
from quasar.calendars.names import ALWAYS, EXCHANGES, FOREX
from quasar.model.coverage import SlotState, classify
from quasar.model.instants import MISSING_NS, NS_PER_DAY, NS_PER_HOUR, NS_PER_MINUTE, TimeRange, from_ns
from quasar.model.intervals import Interval
from quasar.model.sessions import Sessions
from quasar.schedule import Schedule

MINUTE, HOUR, DAY = (Interval.parse(code) for code in ("1min", "1h", "1d"))
FIRST, END = dt.date(2015, 1, 1), dt.date(2027, 1, 1)
# pandas warns of what exchange_calendars does for Bermuda.
pytestmark = pytest.mark.filterwarnings("ignore:The behavior of array concatenation:FutureWarning")
ZONES = ("America/New_York", "Europe/London", "Europe/Berlin", "America/Sao_Paulo", "Australia/Sydney", "Asia/Tehran")


def changes(calendar: Calendar) -> list[Sessions]:
    """Pairs of neighbouring sessions between which the market's hours in UTC moved."""
    sessions = calendar.sessions_dated(FIRST, END)
    hours = sessions.open_ns - sessions.date_ns
    moved = np.flatnonzero(np.diff(hours) % NS_PER_DAY != 0)
    return [sessions[place : place + 2] for place in moved.tolist()]


def minutes_of(sessions: Sessions) -> list[int]:
    """The open minutes, counted by hand."""
    found: list[int] = []
    for row in range(len(sessions)):
        edges = [(int(sessions.open_ns[row]), int(sessions.close_ns[row]))]
        if sessions.break_start_ns[row] != MISSING_NS:
            pause = int(sessions.break_start_ns[row]), int(sessions.break_end_ns[row])
            edges = [(edges[0][0], pause[0]), (pause[1], edges[0][1])]
        for start, end in edges:
            found += range(start - start % NS_PER_MINUTE, end, NS_PER_MINUTE)
    return sorted(set(found))


@pytest.mark.parametrize("name", [*sorted(EXCHANGES), FOREX, ALWAYS])
def test_over_every_change_of_hours_each_slot_is_expected_once(name: str) -> None:
    calendar = calendar_for(name)
    for pair in changes(calendar):
        span = TimeRange(int(pair.open_ns[0]) // NS_PER_HOUR * NS_PER_HOUR, int(pair.close_ns[1]) + NS_PER_HOUR)
        within = calendar.sessions(span.start_ns, span.end_ns)
        slots = calendar.expected_slots(MINUTE, span.start_ns, span.end_ns)
        wanted = [time for time in minutes_of(within) if span.start_ns <= time < span.end_ns]
        assert slots.tolist() == wanted, from_ns(span.start_ns)
        hours = calendar.expected_slots(HOUR, span.start_ns, span.end_ns)
        assert hours.tolist() == sorted({time // NS_PER_HOUR * NS_PER_HOUR for time in wanted})
        days = calendar.expected_slots(DAY, int(pair.date_ns[0]), int(pair.date_ns[1]) + NS_PER_DAY)
        assert days.tolist() == pair.date_ns.tolist()


@pytest.mark.parametrize("name", [*sorted(EXCHANGES), FOREX, ALWAYS])
def test_over_every_change_of_hours_each_slot_is_classified_once(name: str) -> None:
    calendar = calendar_for(name)
    for pair in changes(calendar):
        span = TimeRange(int(pair.open_ns[0]), int(pair.close_ns[1]))
        expected = calendar.expected_slots(MINUTE, span.start_ns, span.end_ns)
        whole = classify(MINUTE, span, expected, expected)
        assert (whole.count(SlotState.OBSERVED), whole.count(SlotState.GAP)) == (len(expected), 0)
        lacking = classify(MINUTE, span, expected, expected[: len(expected) // 2])
        assert lacking.count(SlotState.GAP) == len(expected) - len(expected) // 2
        runs = lacking.runs()
        assert all(run.end_ns <= following.start_ns for run, following in itertools.pairwise(runs))


@pytest.mark.parametrize("zone", ZONES)
def test_the_day_of_a_change_is_neither_skipped_nor_repeated(zone: str) -> None:
    local = ZoneInfo(zone)
    day, offset = dt.datetime(2015, 1, 1, 12, tzinfo=local), None
    for _ in range(12 * 365):
        if offset is not None and day.utcoffset() != offset:
            before = (day - dt.timedelta(days=2)).replace(hour=12)
            for hour in (0, 1, 2, 3):
                fires = Schedule(f"15 {hour} * * *", zone).fire_times(before.astimezone(dt.UTC), 4)
                dates = [fire.astimezone(local).date() for fire in fires]
                assert dates == [(before + dt.timedelta(days=number)).date() for number in range(1, 5)], (zone, hour)
        offset = day.utcoffset()
        day += dt.timedelta(days=1)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("cron", ["30 * * * *", "0,45 * * * *"])
def test_every_hour_of_the_night_of_a_change_has_its_times(zone: str, cron: str) -> None:
    local = ZoneInfo(zone)
    day, offset = dt.datetime(2021, 1, 1, tzinfo=dt.UTC), None
    while day.year < 2023:
        if offset is not None and day.astimezone(local).utcoffset() != offset:
            start = day - dt.timedelta(days=1, microseconds=1)
            wanted = [start + dt.timedelta(microseconds=1, minutes=minute) for minute in range(2 * 24 * 60)]
            minutes = {int(each) for each in cron.split()[0].split(",")}
            wanted = [time for time in wanted if time.astimezone(local).minute in minutes]
            assert Schedule(cron, zone).fire_times(start, len(wanted)) == wanted
        offset = day.astimezone(local).utcoffset()
        day += dt.timedelta(days=1)
