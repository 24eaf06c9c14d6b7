"""Schedules looked at in advance: in words, with what each firing fetches."""

from __future__ import annotations

import datetime as dt

import pytest

from datahub.collection.schedule_words import in_words
from datahub.rpc.schedule_preview import Planned, preview
from quasar.calendars import calendar_for
from quasar.model.intervals import Interval
from quasar.schedule import Schedule

MONDAY = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("* * * * *", "every minute"),
        ("*/5 * * * *", "every 5 minutes"),
        ("0 * * * *", "every hour"),
        ("15 * * * *", "every hour, 15 minutes past"),
        ("0 */4 * * *", "every 4 hours"),
        ("0 0 * * *", "every day at 00:00 UTC"),
        ("0 6 * * 1", "every Monday at 06:00 UTC"),
        ("30 16 * * 1-5", "every Monday to Friday at 16:30 UTC"),
        ("0 6 * * mon,7", "every Monday, Sunday at 06:00 UTC"),
        ("0 0 1 * *", "on day 1 of every month at 00:00 UTC"),
        ("0 0 31 12 *", "every year on 31 December at 00:00 UTC"),
        ("@weekly", "every Sunday at 00:00 UTC"),
        ("5,35 9-17 * * *", 'when "5,35 9-17 * * *" matches UTC'),
    ],
)
def test_a_schedule_has_words(cron: str, words: str) -> None:
    assert in_words(Schedule(cron)) == words


def test_the_words_name_another_zone_and_an_offset() -> None:
    schedule = Schedule("0 16 * * 1-5", "America/New_York", dt.timedelta(seconds=90))
    assert in_words(schedule) == "every Monday to Friday at 16:00 America/New_York, 90 seconds later"
    assert in_words(Schedule("0 * * * *", "UTC", dt.timedelta(seconds=-5))) == "every hour, 5 seconds earlier"


def test_a_firing_fetches_all_slots_since_the_one_before() -> None:
    planned = Planned(
        schedule=Schedule("0 * * * *", "UTC", dt.timedelta(minutes=2)),
        interval=Interval.parse("1min"),
        calendars=[calendar_for(None)],
    )
    first, second = preview(planned, MONDAY + dt.timedelta(minutes=10), 2).fires
    assert first.fire_time.ToDatetime(dt.UTC) == MONDAY + dt.timedelta(hours=1, minutes=2)
    assert [each.range.start.ToDatetime(dt.UTC).hour for each in (first, second)] == [0, 1]
    assert [each.range.end.ToDatetime(dt.UTC).hour for each in (first, second)] == [1, 2]


def test_a_firing_is_closed_only_when_every_market_is() -> None:
    saturday = MONDAY + dt.timedelta(days=5)
    schedule, day = Schedule("0 0 * * *"), Interval.parse("1d")
    shares, always = calendar_for("XNYS"), calendar_for(None)
    closed = [
        preview(Planned(schedule=schedule, interval=day, calendars=markets), saturday, 1).fires[0].session_closed
        for markets in ([shares], [shares, always])
    ]
    assert closed == [True, False]
