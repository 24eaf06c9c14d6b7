"""How fast and how late a feed is, and when its markets are open."""

from __future__ import annotations

import datetime as dt

import numpy as np

from datahub.live.hours import ALWAYS, hours_of
from datahub.live.meter import FeedMeter
from quasar.calendars import calendar_for
from quasar.model.instants import to_ns
from quasar.model.ticks import TickColumns

NOW = 1_800_000_000 * 10**9


def ticks(*lags_ms: int, now_ns: int = NOW) -> TickColumns:
    return TickColumns(now_ns - np.array(lags_ms) * 10**6, receive_time_ns=np.full(len(lags_ms), now_ns))


def test_the_rate_is_that_of_the_last_ten_seconds() -> None:
    meter = FeedMeter()
    meter.take(ticks(*[1] * 50), NOW)
    assert meter.rows_per_second(NOW) == 5
    assert meter.rows_per_second(NOW + 10 * 10**9) == 0


def test_lags_are_those_of_the_last_minute_and_may_be_negative() -> None:
    meter = FeedMeter()
    assert meter.lags_s(NOW) is None
    meter.take(ticks(-5, -5, -5, 900), NOW)
    lags = meter.lags_s(NOW)
    assert lags is not None
    assert (lags[0], lags[1] > 0.8) == (-0.005, True)
    assert meter.lags_s(NOW + 61 * 10**9) is None


def test_an_exchange_is_closed_on_a_weekend_until_its_next_open() -> None:
    hours = hours_of(calendar_for("XNYS"), to_ns(dt.datetime(2026, 1, 10, 12, tzinfo=dt.UTC)))
    assert not hours.open
    assert hours.since_ns == to_ns(dt.datetime(2026, 1, 9, 21, tzinfo=dt.UTC))
    assert hours.until_ns == to_ns(dt.datetime(2026, 1, 12, 14, 30, tzinfo=dt.UTC))


def test_a_market_that_never_closes_has_no_next_change() -> None:
    assert hours_of(calendar_for("24/7"), NOW) == ALWAYS
