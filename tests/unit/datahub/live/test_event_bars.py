"""Bars of ticks, volume and value: the same over any restarts, and none over a hole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datahub.live.bars import BuiltBar
from datahub.live.event_bars import EventBars, Progress
from quasar.model.event_bars import event_bars_from_trades
from quasar.model.intervals import Interval
from quasar.model.ticks import TickColumns, TickFlag
from quasar.providers.market import MINUTE_NS, Market

TRADES = Market().trades("BTC/USD", 29_000_000 * MINUTE_NS, 29_000_008 * MINUTE_NS)
CODES = ("7tick", "0.5volume", "20000value")
SERIES = 5


def bars_of(code: str) -> EventBars:
    bars = EventBars()
    bars.begin(Interval.parse(code), SERIES, Progress(0))
    return bars


def figures(built: list[BuiltBar]) -> list[tuple[object, ...]]:
    return [(one.bar.open_time_ns, one.bar.close, one.bar.volume, one.bar.trade_count) for one in built]


def numbered(first: int, last: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.arange(first + 1, last + 1, dtype=np.int64)


@pytest.mark.parametrize("code", CODES)
def test_the_bars_are_those_of_all_trades_at_once(code: str) -> None:
    whole = event_bars_from_trades(TRADES, Interval.parse(code))
    built = bars_of(code).add(TRADES, numbered(0, len(TRADES)))
    complete = [bar for bar in whole.bars() if bar.state.name == "CLOSED"]
    assert len(complete) > 5
    assert figures(built) == [(bar.open_time_ns, bar.close, bar.volume, bar.trade_count) for bar in complete]


@settings(max_examples=30, deadline=None)
@given(code=st.sampled_from(CODES), restarts=st.lists(st.integers(1, len(TRADES) - 1), max_size=5, unique=True))
def test_restarts_change_nothing(code: str, restarts: list[int]) -> None:
    expected = figures(bars_of(code).add(TRADES, numbered(0, len(TRADES))))
    got: list[BuiltBar] = []
    progress, begin = Progress(0), 0
    for end in [*sorted(restarts), len(TRADES)]:
        bars = EventBars()
        bars.begin(Interval.parse(code), SERIES, progress)
        # What is stored comes again: everything before, of which only what no bar counts yet is taken.
        assert bars.add(TRADES[:begin], numbered(0, begin)) == []
        built = bars.add(TRADES[begin:end], numbered(begin, end))
        if built:
            progress = Progress(built[-1].end_sequence, built[-1].bar.open_time_ns)
        got += built
        begin = end
    assert figures(got) == expected


def test_what_a_hole_cuts_is_given_up() -> None:
    bars = bars_of("7tick")
    bars.add(TRADES[:5], numbered(0, 5))
    assert bars.cut(5) == {SERIES: Progress(5)}
    (bar,) = bars.add(TRADES[5:12], numbered(5, 12))
    assert (bar.bar.open, bar.bar.trade_count, bar.end_sequence) == (TRADES[5:].tick(0).price, 7, 12)


def test_trades_that_the_venue_excludes_fill_nothing() -> None:
    flags = np.zeros(14, np.uint8)
    flags[:7] = TickFlag.EXCLUDED
    part = TRADES[:14]
    marked = TickColumns(part.event_time_ns, part.price, part.size, flags=flags)
    (bar,) = bars_of("7tick").add(marked, numbered(0, 14))
    assert bar.end_sequence == 14


def test_a_forming_bar_is_told_when_it_changed() -> None:
    bars = bars_of("7tick")
    bars.add(TRADES[:3], numbered(0, 3))
    (forming,) = bars.forming({SERIES})
    assert forming.bar.trade_count == 3
    assert bars.forming({SERIES}) == []
    assert bars.forming({SERIES + 1}) == []
