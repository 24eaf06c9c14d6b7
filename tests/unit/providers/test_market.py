from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quasar.model.intervals import Interval
from quasar.model.tick_bars import bars_from_trades
from quasar.providers.market import LISTINGS, MINUTE_NS, Market

START = 29_000_000 * MINUTE_NS
MINUTE = Interval.parse("1min")


@pytest.mark.parametrize("symbol", [listing.symbol for listing in LISTINGS])
def test_the_trades_of_a_minute_make_exactly_its_bar(symbol: str) -> None:
    market = Market()
    bars = market.minute_bars(symbol, START, START + 60 * MINUTE_NS)
    built = bars_from_trades(market.trades(symbol, START, START + 60 * MINUTE_NS), MINUTE)
    for column in ("open_time_ns", "open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(getattr(built, column), getattr(bars, column), column)


@given(cut=st.integers(1, 30 * MINUTE_NS - 1))
@settings(max_examples=40)
def test_trades_are_the_same_however_they_are_asked_for(cut: int) -> None:
    market = Market()
    whole = market.trades("BTC/USD", START, START + 30 * MINUTE_NS)
    first, second = (
        market.trades("BTC/USD", START, START + cut),
        market.trades("BTC/USD", START + cut, START + 30 * MINUTE_NS),
    )
    assert np.array_equal(np.concatenate([first.event_time_ns, second.event_time_ns]), whole.event_time_ns)
    assert (np.diff(whole.event_time_ns) > 0).all()


def test_prices_join_from_minute_to_minute_and_lie_on_the_grid() -> None:
    bars = Market().minute_bars("BTC/USD", START, START + 1000 * MINUTE_NS)
    np.testing.assert_array_equal(bars.open[1:], bars.close[:-1])
    assert (bars.high >= np.maximum(bars.open, bars.close)).all()
    assert (bars.low <= np.minimum(bars.open, bars.close)).all()
    np.testing.assert_array_equal(np.round(bars.close, 1), bars.close)


def test_another_seed_is_another_market_and_the_same_seed_the_same() -> None:
    one, again, other = (Market(seed).minute_bars("ETH/USD", START, START + 50 * MINUTE_NS) for seed in (7, 7, 8))
    np.testing.assert_array_equal(one.close, again.close)
    assert not np.array_equal(one.close, other.close)
