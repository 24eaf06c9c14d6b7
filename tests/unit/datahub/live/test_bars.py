from __future__ import annotations

import numpy as np

from datahub.live.bars import LATE_NS, SymbolBars
from quasar.model.bars import BarState
from quasar.model.intervals import Interval
from quasar.model.ticks import TickColumns
from quasar.providers.market import MINUTE_NS, Market

MINUTE, FIVE = Interval.parse("1min"), Interval.parse("5min")
START = 29_000_000 * MINUTE_NS // FIVE.next_boundary_ns(0) * FIVE.next_boundary_ns(0)


def test_closed_bars_are_the_markets_own_and_a_bar_that_began_before_the_feed_is_not_published() -> None:
    market = Market()
    bars = SymbolBars({MINUTE: 1, FIVE: 2}, complete_from_ns=START + 30_000_000_000)
    ticks = market.trades("BTC/USD", START + 30_000_000_000, START + 11 * MINUTE_NS)
    built = bars.add(ticks)
    minutes = [one.bar for one in built if one.series_id == 1]
    truth = market.minute_bars("BTC/USD", START + MINUTE_NS, START + 10 * MINUTE_NS)
    assert [bar.close for bar in minutes] == truth.close.tolist()
    fives = [one.bar.open_time_ns for one in built if one.series_id == 2]
    assert fives == [START + 5 * MINUTE_NS]


def test_a_bar_closes_by_the_clock_when_nothing_trades_any_more() -> None:
    bars = SymbolBars({MINUTE: 1}, complete_from_ns=START)
    bars.add(Market().trades("BTC/USD", START, START + MINUTE_NS))
    assert bars.advance(START + MINUTE_NS + LATE_NS - 1) == []
    (closed,) = bars.advance(START + MINUTE_NS + LATE_NS)
    assert closed.bar.state is BarState.CLOSED
    assert bars.advance(START + 10 * MINUTE_NS) == []


def test_a_forming_bar_is_told_once_for_each_change() -> None:
    market = Market()
    bars = SymbolBars({MINUTE: 1}, complete_from_ns=START)
    ticks = market.trades("BTC/USD", START, START + MINUTE_NS)
    bars.add(ticks[np.arange(5)])
    assert len(bars.forming({1})) == 1
    assert bars.forming({1}) == []
    bars.add(ticks[np.arange(5, 6)])
    assert bars.forming({2}) == []
    assert len(bars.forming({1})) == 1


def test_a_late_trade_revises_its_bar_at_every_interval() -> None:
    bars = SymbolBars({MINUTE: 1, FIVE: 2}, complete_from_ns=START)
    minute = 60_000_000_000

    def brought(at: int, price: float) -> list[tuple[int, BarState, float]]:
        ticks = TickColumns(np.array([START + at], np.int64), np.array([price]), np.array([1.0]))
        return [(one.series_id, one.bar.state, one.bar.high) for one in bars.add(ticks)]

    assert brought(0, 10.0) == []
    assert brought(5 * minute, 11.0) == [(1, BarState.CLOSED, 10.0), (2, BarState.CLOSED, 10.0)]
    assert brought(30_000_000_000, 12.0) == [(1, BarState.REVISED, 12.0), (2, BarState.REVISED, 12.0)]
