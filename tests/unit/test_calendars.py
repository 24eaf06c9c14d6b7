from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import itertools
import json
import subprocess
import sys
import zipfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from zoneinfo import ZoneInfo

import exchange_calendars
import numpy as np
import pytest

from quasar.calendars import Calendar, Sessions, SlotAnchor, calendar_for, calendar_name
from quasar.calendars.forex import forex_sessions
from quasar.calendars.names import ALWAYS, EXCHANGES
from quasar.errors import InvalidArgument
from quasar.model.asset_classes import AssetClass
from quasar.model.instants import MISSING_NS, NS_PER_DAY, day_ns, from_ns, to_ns
from quasar.model.intervals import Interval
from tests.unit.recorded import recorded

MINUTE, HOUR, DAY, WEEK, MONTH = (Interval.parse(code) for code in ("1min", "1h", "1d", "1w", "1M"))


def utc(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.UTC)  # type: ignore[arg-type, misc]


def column(values: list[str]) -> list[int]:
    return [to_ns(dt.datetime.fromisoformat(value)) if value else MISSING_NS for value in values]


def truth() -> dict[str, dict[str, list[str]]]:
    text = gzip.decompress(recorded("calendars/sessions_2015_2026.csv.gz").read_bytes()).decode()
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in csv.DictReader(io.StringIO(text)):
        for name, value in row.items():
            found[row["mic"]][name].append(value)
    return found


def test_every_recorded_session_of_every_market_has_its_open_close_and_break() -> None:
    markets = truth()
    assert len(markets) >= 6
    for mic, sessions in markets.items():
        known = calendar_for(mic).sessions_dated(dt.date(2015, 1, 1), dt.date(2027, 1, 1))
        last = day_ns(dt.date.fromisoformat(sessions["session"][-1]))
        known = known[known.date_ns <= last]
        assert known.date_ns.tolist() == [day_ns(dt.date.fromisoformat(day)) for day in sessions["session"]], mic
        assert known.open_ns.tolist() == column(sessions["open_utc"]), mic
        assert known.close_ns.tolist() == column(sessions["close_utc"]), mic
        assert known.break_start_ns.tolist() == column(sessions["break_start_utc"]), mic
        assert known.break_end_ns.tolist() == column(sessions["break_end_utc"]), mic


def test_the_night_of_every_change_of_clocks_moves_the_open() -> None:
    rows = csv.DictReader(io.StringIO(recorded("calendars/dst_edges_2015_2026.csv").read_text()))
    for row in rows:
        calendar = calendar_for(row["mic"])
        for opened in (row["prev_open_utc"], row["next_open_utc"]):
            time = to_ns(dt.datetime.fromisoformat(opened))
            assert calendar.is_open(time), row
            assert not calendar.is_open(time - 1), row


@pytest.mark.parametrize(
    ("time", "is_open"),
    [
        (utc(2025, 12, 23, 14, 29), False),
        (utc(2025, 12, 23, 14, 30), True),
        (utc(2025, 12, 23, 20, 59), True),
        (utc(2025, 12, 23, 21, 0), False),
        (utc(2025, 12, 24, 17, 59), True),
        (utc(2025, 12, 24, 18, 0), False),
        (utc(2025, 12, 25, 15, 0), False),
        (utc(2025, 12, 27, 15, 0), False),
    ],
)
def test_new_york_is_open_from_the_open_to_the_close_half_days_included(time: dt.datetime, is_open: bool) -> None:
    assert calendar_for("XNYS").is_open(time) is is_open


@pytest.mark.parametrize("day", [dt.date(2025, 12, 25), dt.datetime.fromisoformat("2025-12-25"), utc(2025, 12, 25)])
def test_a_date_in_any_form_is_a_session_or_not(day: dt.date) -> None:
    calendar = calendar_for("XNYS")
    assert not calendar.is_session(day)
    assert calendar.is_session(day.replace(month=1, day=6))


def test_a_timestamp_of_pandas_is_as_good_as_a_datetime() -> None:
    import pandas

    assert not calendar_for("XNYS").is_session(pandas.Timestamp("2025-12-25"))
    assert calendar_for("XNYS").is_open(pandas.Timestamp("2025-12-23 14:30", tz="UTC"))


@pytest.mark.parametrize(
    ("name", "calendar"),
    [
        ("ARCX", "XNYS"),
        ("XASE", "XNYS"),
        ("XNAS", "XNYS"),
        ("BATS", "XNYS"),
        ("NYSE ARCA", "XNYS"),
        ("nyse mkt", "XNYS"),
        ("US", "XNYS"),
        ("PINK", "XNYS"),
        ("xlon", "XLON"),
        ("FOREX", "XFX"),
        ("CC", "24/7"),
        ("us_futures", "us_futures"),
        ("XXXX", None),
        ("", None),
        (None, None),
    ],
)
def test_markets_are_known_by_the_names_that_vendors_use(name: str | None, calendar: str | None) -> None:
    assert calendar_name(name) == calendar
    assert calendar_for(name).name == (calendar or ALWAYS)
    assert calendar_for(name).known is (calendar is not None)


def test_american_venues_share_one_calendar_and_are_closed_at_christmas() -> None:
    assert calendar_for("ARCX") is calendar_for("NYSE ARCA")
    assert not calendar_for("XASE").is_session(dt.date(2025, 12, 25))


def test_the_names_are_those_of_the_package() -> None:
    package = set(exchange_calendars.get_calendar_names(include_aliases=False))
    assert package == EXCHANGES | {ALWAYS}
    for alias in set(exchange_calendars.get_calendar_names()) - package:
        assert calendar_name(alias) is not None, alias


@pytest.mark.parametrize("name", ["XXXX", None, "", "KRAKEN"])
def test_an_unknown_market_and_a_crypto_market_are_always_open(name: str | None) -> None:
    calendar = calendar_for(name)
    assert calendar.is_open(utc(2025, 12, 25, 3))
    assert calendar.is_session(dt.date(2025, 12, 27))
    assert calendar.has_session(dt.date(2025, 12, 27), dt.date(2025, 12, 28))
    assert calendar.has_session(utc(2025, 12, 27), utc(2025, 12, 28))
    assert calendar.next_open(utc(2025, 12, 27)) is None
    assert calendar.next_close(utc(2025, 12, 27)) is None
    assert calendar.expected_slots(HOUR, utc(2025, 12, 27), utc(2025, 12, 28)).size == 24
    assert len(calendar.sessions(utc(2025, 12, 27), utc(2025, 12, 29))) == 2


def test_crypto_is_open_whatever_its_exchange_and_currencies_follow_forex() -> None:
    assert calendar_for("XNYS", AssetClass.CRYPTO).always_open
    assert calendar_for(None, AssetClass.CRYPTO).known
    assert calendar_for("", AssetClass.CURRENCY).name == "XFX"
    assert calendar_for("XLON", AssetClass.CURRENCY).name == "XLON"
    assert not calendar_for(None, AssetClass.EQUITY).known


@pytest.mark.parametrize(
    ("time", "is_open"),
    [
        (utc(2025, 6, 6, 20, 59), True),  # Friday before 17:00 New York, summer
        (utc(2025, 6, 6, 22, 30), False),
        (utc(2025, 6, 7, 3), False),
        (utc(2025, 6, 8, 20, 59), False),
        (utc(2025, 6, 8, 21), True),
        (utc(2025, 6, 10, 4, 59), True),
        (utc(2025, 1, 3, 21, 59), True),  # Friday before 17:00 New York, winter
        (utc(2025, 1, 3, 22), False),
        (utc(2025, 1, 5, 21, 30), False),
        (utc(2025, 1, 5, 22), True),
        (utc(2025, 12, 25, 12), False),
        (utc(2025, 12, 26, 12), True),
    ],
)
def test_currencies_trade_from_sunday_to_friday_five_in_the_afternoon_in_new_york(
    time: dt.datetime, is_open: bool
) -> None:
    assert calendar_for("XFX").is_open(time) is is_open


def test_currencies_trade_without_a_pause_within_the_week() -> None:
    calendar = calendar_for("XFX")
    assert calendar.next_close(utc(2025, 6, 9)) == utc(2025, 6, 13, 21)
    assert calendar.next_open(utc(2025, 6, 9)) == utc(2025, 6, 15, 21)
    slots = calendar.expected_slots(HOUR, utc(2025, 6, 8), utc(2025, 6, 15))
    assert len(slots) == 5 * 24
    assert calendar.expected_slots(DAY, utc(2025, 6, 7), utc(2025, 6, 15)).tolist() == [
        day_ns(dt.date(2025, 6, day)) for day in (9, 10, 11, 12, 13)
    ]


def test_tokyo_closes_for_lunch() -> None:
    calendar = calendar_for("XTKS")
    assert calendar.is_open(utc(2025, 6, 10, 2, 29))
    assert not calendar.is_open(utc(2025, 6, 10, 2, 30))
    assert not calendar.is_open(utc(2025, 6, 10, 3, 29))
    assert calendar.is_open(utc(2025, 6, 10, 3, 30))
    assert calendar.next_close(utc(2025, 6, 10, 1)) == utc(2025, 6, 10, 2, 30)
    assert calendar.next_open(utc(2025, 6, 10, 1)) == utc(2025, 6, 10, 3, 30)
    minutes = calendar.expected_slots(Interval.parse("1min"), utc(2025, 6, 10), utc(2025, 6, 11))
    assert len(minutes) == 150 + 180


@pytest.mark.parametrize("market", ["XCME", "us_futures"])
def test_globex_stands_still_for_an_hour_every_day_also_over_every_change_of_clocks(market: str) -> None:
    calendar, chicago, hour = calendar_for(market), ZoneInfo("America/Chicago"), dt.timedelta(hours=1)
    day, changes = dt.datetime(2015, 1, 5, 16, tzinfo=chicago), 0
    while day.year < 2027:
        if day.utcoffset() != (day + dt.timedelta(days=1)).utcoffset():
            changes += 1
            near = [day + dt.timedelta(days=number) for number in range(-3, 5)]
            halts = [at for at in near if calendar.is_session(at.date())]
            assert [halt.weekday() for halt in halts] == [2, 3, 4, 0, 1, 2], day
            for halt in halts:
                late = halt + dt.timedelta(minutes=15) if halt.year == 2015 and halt.month < 9 else halt
                assert calendar.is_open(late - dt.timedelta(microseconds=1))
                assert not calendar.is_open(late)
                minutes = calendar.expected_slots(MINUTE, late - hour, halt + 2 * hour)
                again = 0 if halt.weekday() == 4 else 60
                assert len(minutes) == 60 + again, halt
                assert calendar.is_open(halt + hour) is (again > 0)
            sunday = day + dt.timedelta(days=1)
            assert calendar.next_open(sunday) == sunday.replace(hour=17)
        day += dt.timedelta(days=1)
    assert changes == 24


def test_the_halt_of_globex_was_a_quarter_of_an_hour_later_until_september_2015() -> None:
    calendar = calendar_for("XCME")
    assert calendar.next_close(utc(2015, 9, 18, 12)) == utc(2015, 9, 18, 21, 15)
    assert calendar.next_close(utc(2015, 9, 21, 12)) == utc(2015, 9, 21, 21)
    assert calendar.next_close(utc(2023, 11, 24, 12)) == utc(2023, 11, 24, 18)  # a half day keeps its hours


def test_recorded_minutes_of_globex_lie_within_its_hours() -> None:
    text = gzip.decompress(recorded("ohlcv/nautilus/6EH4.XCME_1min_bars_20240101_20240131.csv.gz").read_bytes())
    rows = list(csv.DictReader(io.StringIO(text.decode())))
    ends = [dt.datetime.fromisoformat(row["timestamp_utc"]).replace(tzinfo=dt.UTC) for row in rows]
    times = np.array([to_ns(end) for end in ends]) - MINUTE.length_ns
    slots = calendar_for("XCME").expected_slots(MINUTE, utc(2024, 1, 2), utc(2024, 1, 31))
    within = times[(times >= slots[0]) & (times < to_ns(utc(2024, 1, 31)))]
    # Currencies trade on in the afternoon of a holiday on which equity indices stop at noon.
    assert {from_ns(time).date() for time in within[~np.isin(within, slots)].tolist()} == {dt.date(2024, 1, 15)}
    assert np.isin(slots, within).mean() > 0.985


def test_recorded_minutes_of_2013_reach_up_to_the_later_halt() -> None:
    with zipfile.ZipFile(recorded("lean/future/cme/minute/es/20131007_trade.zip")) as archive:
        rows = archive.read("20131007_es_minute_trade_201312.csv").decode().split()
    times = to_ns(utc(2013, 10, 7)) + np.array([int(row.split(",")[0]) for row in rows]) * 1_000_000
    assert np.isin(times, calendar_for("CME").expected_slots(MINUTE, utc(2013, 10, 7), utc(2013, 10, 8))).all()
    assert utc(2013, 10, 7, 21, 14) in {from_ns(time) for time in times.tolist()}


def test_the_hours_of_globex_are_those_of_an_independent_calendar() -> None:
    text = gzip.decompress(recorded("calendars/lean_market-hours-database.json.gz").read_bytes())
    hours = json.loads(text)["entries"]["Future-cme-6E"]
    calendar, chicago = calendar_for("XCME"), ZoneInfo(hours["exchangeTimeZone"])
    for number, name in enumerate(("monday", "tuesday", "wednesday", "thursday", "friday")):
        parts = [(part["start"], part["end"]) for part in hours[name]]
        assert parts[1][1] == "16:00:00"
        midnight = dt.datetime(2024, 6, 3, tzinfo=chicago) + dt.timedelta(days=number)
        opened = {at for at in range(24) if calendar.is_open(midnight + dt.timedelta(hours=at))}
        assert opened == {at for at in range(24) for start, end in parts if int(start[:2]) <= at < _hour(end)}


def _hour(text: str) -> int:
    return 24 if text.startswith("1.") else int(text[:2])


def test_the_next_open_and_close_cross_weekends_and_holidays() -> None:
    calendar = calendar_for("XNYS")
    assert calendar.next_open(utc(2025, 12, 24, 18)) == utc(2025, 12, 26, 14, 30)
    assert calendar.next_open(utc(2025, 12, 26, 14, 30)) == utc(2025, 12, 29, 14, 30)
    assert calendar.next_close(utc(2025, 12, 24, 15)) == utc(2025, 12, 24, 18)


def test_hourly_slots_of_a_half_day_follow_the_clock_or_the_open() -> None:
    calendar, start, end = calendar_for("XNYS"), utc(2025, 12, 24), utc(2025, 12, 25)
    clock = calendar.expected_slots(HOUR, start, end)
    session = calendar.expected_slots(HOUR, start, end, SlotAnchor.SESSION)
    assert [from_ns(slot).strftime("%H:%M") for slot in clock.tolist()] == ["14:00", "15:00", "16:00", "17:00"]
    assert [from_ns(slot).strftime("%H:%M") for slot in session.tolist()] == ["14:30", "15:30", "16:30", "17:30"]


def test_slots_from_the_open_leave_out_what_lies_within_the_break() -> None:
    calendar = calendar_for("XHKG")
    slots = calendar.expected_slots(Interval.parse("30min"), utc(2025, 6, 10), utc(2025, 6, 11), SlotAnchor.SESSION)
    assert [from_ns(slot).strftime("%H:%M") for slot in slots.tolist()] == [
        "01:30", "02:00", "02:30", "03:00", "03:30", "05:00", "05:30", "06:00", "06:30", "07:00", "07:30",
    ]  # fmt: skip


def test_days_weeks_and_months_are_keyed_by_date_at_midnight_utc() -> None:
    calendar = calendar_for("XNYS")
    days = calendar.expected_slots(DAY, utc(2025, 12, 22), utc(2026, 1, 2))
    assert [from_ns(slot).day for slot in days.tolist()] == [22, 23, 24, 26, 29, 30, 31]
    assert not np.any(days % NS_PER_DAY)
    weeks = calendar.expected_slots(WEEK, utc(2025, 12, 22), utc(2025, 12, 30))
    assert weeks.tolist() == [day_ns(dt.date(2025, 12, 22)), day_ns(dt.date(2025, 12, 29))]
    months = calendar.expected_slots(MONTH, utc(2025, 11, 2), utc(2026, 1, 2))
    assert months.tolist() == [day_ns(dt.date(2025, 12, 1)), day_ns(dt.date(2026, 1, 1))]


def test_slots_of_a_long_range_are_the_slots_of_its_parts() -> None:
    calendar = calendar_for("XTKS")
    cuts = [utc(2019, 12, 30), utc(2020, 1, 1, 0, 7), utc(2020, 1, 6, 1, 30), utc(2020, 1, 7, 3, 1), utc(2020, 3, 1)]
    for interval in (HOUR, Interval.parse("5min"), DAY, WEEK, MONTH):
        for anchor in SlotAnchor:
            whole = calendar.expected_slots(interval, cuts[0], cuts[-1], anchor).tolist()
            parts = [
                slot
                for start, end in itertools.pairwise(cuts)
                for slot in calendar.expected_slots(interval, start, end, anchor).tolist()
            ]
            assert whole == parts, interval


@pytest.mark.parametrize("mic", ["XNYS", "XKRX", "XSAU", "XFX"])
def test_any_date_gets_an_answer(mic: str) -> None:
    calendar = calendar_for(mic)
    assert len(calendar.sessions(utc(2001, 1, 1), utc(2002, 1, 1))) > 200
    assert len(calendar.sessions(utc(1700, 1, 1), utc(1701, 1, 1))) > 200
    assert len(calendar.sessions(utc(2250, 1, 1), utc(2251, 1, 1))) > 200
    assert calendar.next_open(utc(2199, 12, 31)) is not None
    assert isinstance(calendar.is_open(utc(1800, 1, 1)), bool)
    assert len(calendar.sessions(utc(2025, 1, 1), utc(2025, 1, 1))) == 0


def test_a_range_without_trading_is_told_from_one_with() -> None:
    calendar = calendar_for("XNYS")
    assert not calendar.has_session(dt.date(2025, 12, 20), dt.date(2025, 12, 22))
    assert calendar.has_session(dt.date(2025, 12, 20), dt.date(2025, 12, 23))
    assert not calendar.has_session(utc(2025, 12, 19, 21), utc(2025, 12, 22, 14, 30))
    assert calendar.has_session(utc(2025, 12, 19, 20), utc(2025, 12, 19, 20, 1))


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="must be aware"):
        calendar_for("XNYS").is_open(dt.datetime.fromisoformat("2025-01-06T15:00:00"))


def test_questions_from_many_threads_load_every_decade_once() -> None:
    loaded: list[tuple[int, int]] = []

    def load(first_ns: int, end_ns: int) -> Sessions:
        loaded.append((first_ns, end_ns))
        return forex_sessions(first_ns, end_ns)

    calendar = Calendar("XFX", load)
    years = [1985, 1995, 2005, 2015] * 8
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda year: len(calendar.sessions(utc(year, 3, 1), utc(year, 9, 1))), years))
    assert answers == [len(forex_sessions(day_ns(dt.date(y, 3, 1)), day_ns(dt.date(y, 9, 2)))) for y in years]
    ranges = sorted(loaded)
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(ranges))


def test_importing_the_calendars_does_not_import_pandas() -> None:
    code = "import sys, quasar.calendars as c; c.calendar_for('ARCX'); sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
