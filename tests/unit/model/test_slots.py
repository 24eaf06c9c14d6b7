from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from quasar.calendars import calendar_for
from quasar.model.asset_classes import AssetClass
from quasar.model.bars import BarState
from quasar.model.columns import MISSING
from quasar.model.instants import to_ns
from quasar.model.intervals import Interval
from quasar.model.slots import SessionSlots, Slots, slots_of
from quasar.model.tick_bars import TimeBarBuilder
from quasar.model.ticks import TickColumns

NEW_YORK = calendar_for("XNYS")
DAY = Interval.parse("1d")
SECOND = 1_000_000_000


def ns(text: str) -> int:
    return to_ns(dt.datetime.fromisoformat(text + "+00:00"))


def slots(interval: str = "1d", market: str = "XNYS") -> Slots:
    return slots_of(Interval.parse(interval), calendar_for(market))


@pytest.mark.parametrize(
    ("at", "key", "closes"),
    [
        ("2025-11-26T14:30", "2025-11-26", "2025-11-26T21:00"),
        ("2025-11-28T17:59:59", "2025-11-28", "2025-11-28T18:00"),  # the half day after Thanksgiving
        ("2025-11-28T18:04", "2025-11-28", "2025-11-28T18:00"),  # its closing auction
        ("2025-07-03T13:30", "2025-07-03", "2025-07-03T17:00"),  # summer time, and half a day
        ("2025-07-07T13:30", "2025-07-07", "2025-07-07T20:00"),
    ],
)
def test_a_day_of_new_york_is_its_session(at: str, key: str, closes: str) -> None:
    slot = slots().at(ns(at))
    assert slot is not None
    assert (slot.open_time_ns, slot.close_time_ns) == (ns(key + "T00:00"), ns(closes))


@pytest.mark.parametrize("at", ["2025-11-26T14:29:59", "2025-11-26T21:05", "2025-11-27T16:00", "2025-11-29T16:00"])
def test_what_trades_outside_of_sessions_belongs_to_no_day(at: str) -> None:
    assert slots().at(ns(at)) is None
    assert slots().keys(np.array([ns(at)], np.int64)).tolist() == [MISSING]


def test_days_of_currencies_begin_the_evening_before_their_date() -> None:
    found = slots(market="XFX")
    slot = found.at(ns("2025-11-23T22:30"))
    assert slot is not None
    monday = ns("2025-11-24T00:00")
    assert (slot.open_time_ns, slot.close_time_ns) == (monday, ns("2025-11-24T22:00"))
    assert found.begin_ns(monday) == ns("2025-11-23T22:00")
    assert found.at(ns("2025-11-22T12:00")) is None


def test_days_of_a_market_that_never_closes_are_those_of_utc() -> None:
    found = slots_of(DAY, calendar_for(None, AssetClass.CRYPTO))
    slot = found.at(ns("2025-11-29T23:59:59"))
    assert slot is not None
    assert (slot.open_time_ns, slot.close_time_ns) == (ns("2025-11-29T00:00"), ns("2025-11-30T00:00"))


@pytest.mark.parametrize(
    ("interval", "key", "begins", "closes", "sessions"),
    [
        ("1w", "2025-11-24T00:00", "2025-11-24T14:30", "2025-11-28T18:00", 4),
        ("1M", "2025-11-01T00:00", "2025-11-03T14:30", "2025-11-28T18:00", 19),
    ],
)
def test_weeks_and_months_close_with_their_last_session(
    interval: str, key: str, begins: str, closes: str, sessions: int
) -> None:
    found = slots(interval)
    slot = found.at(ns("2025-11-26T15:00"))
    assert slot is not None
    assert (slot.open_time_ns, slot.close_time_ns) == (ns(key), ns(closes))
    assert found.begin_ns(slot.open_time_ns) == ns(begins)
    assert len(found.ranges(slot.open_time_ns)) == sessions
    assert found.at(ns("2025-11-27T16:00")) is None


def test_shorter_bars_are_cut_by_the_clock_on_every_market() -> None:
    assert not isinstance(slots("4h"), SessionSlots)
    slot = slots("4h").at(ns("2025-11-27T16:30"))
    assert slot is not None
    assert slot.close_time_ns == ns("2025-11-27T20:00")


def test_a_day_closes_with_its_session_and_an_auction_after_the_close_revises_it() -> None:
    builder = TimeBarBuilder(DAY, slots=slots())
    before, first, last = (ns(f"2025-11-28T{at}") for at in ("14:29:59", "14:30:00", "17:59:58"))
    assert builder.add_trade(before, 99.0, 1.0) == []
    assert builder.forming is None
    builder.add_trade(first, 10.0, 1.0)
    builder.add_trade(last, 12.0, 2.0)
    close = ns("2025-11-28T18:00")
    assert builder.next_close_ns == close
    assert builder.advance(close - 1) == []
    (day,) = builder.advance(close)
    assert (day.state, day.open, day.close, day.volume, day.close_time_ns) == (BarState.CLOSED, 10, 12, 3, close)
    (revised,) = builder.add_trade(close + 90 * SECOND, 11.0, 100.0)
    assert (revised.state, revised.open_time_ns, revised.close, revised.volume) == (
        BarState.REVISED,
        day.open_time_ns,
        11,
        103,
    )
    assert builder.add_trade(close + 3600 * SECOND, 55.0, 1.0) == []
    assert builder.add_trade(ns("2025-12-01T14:30"), 13.0, 1.0) == []
    monday = builder.forming
    assert monday is not None
    assert monday.open_time_ns == ns("2025-12-01T00:00")


def test_one_by_one_and_all_at_once_give_the_same_days_and_weeks() -> None:
    times = np.arange(ns("2025-11-20T00:00"), ns("2025-12-05T00:00"), 37 * 60 * SECOND, dtype=np.int64)
    ticks = TickColumns(times, np.linspace(10.0, 20.0, len(times)), np.ones(len(times)))
    for code in ("1d", "1w"):
        single, batched = (TimeBarBuilder(Interval.parse(code), slots=slots(code)) for _ in range(2))
        one_by_one = [
            bar for row in ticks.ticks() for bar in single.add_trade(row.event_time_ns, row.price or 0.0, 1.0)
        ]
        assert batched.add_trades(ticks) == one_by_one
        assert batched.forming == single.forming
        expected = NEW_YORK.expected_slots(Interval.parse(code), ns("2025-11-20T00:00"), ns("2025-12-05T00:00"))
        assert [bar.open_time_ns for bar in one_by_one if bar.open_time_ns >= expected[0]] == expected[:-1].tolist()
