from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasar.errors import InvalidArgument
from quasar.model.bars import BarState
from quasar.model.event_bars import EventBarBuilder, event_bars_from_trades
from quasar.model.intervals import Interval
from tests.unit.model.test_tick_bars import Trade, trades

_TRADES = st.lists(st.tuples(st.integers(0, 20_000), st.floats(0.01, 100), st.floats(0, 50)), max_size=300).map(
    lambda rows: [*sorted(rows, key=lambda row: row[0])]
)


@given(_TRADES, st.sampled_from(["1tick", "7tick", "100volume", "0.5volume", "2000value"]))
def test_one_by_one_and_all_at_once_give_the_same_bars(rows: list[Trade], code: str) -> None:
    interval = Interval.parse(code)
    builder = EventBarBuilder(interval)
    one_by_one = [bar for row in rows for bar in builder.add_trade(*row)]
    if builder.forming is not None:
        one_by_one.append(builder.forming)
    assert list(event_bars_from_trades(trades(*rows), interval).bars()) == one_by_one
    again = EventBarBuilder(interval)
    assert again.add_trades(trades(*rows)) == [bar for bar in one_by_one if bar.state is BarState.CLOSED]
    assert again.forming == builder.forming


@given(_TRADES)
def test_every_trade_belongs_to_exactly_one_bar_and_no_two_bars_share_a_key(rows: list[Trade]) -> None:
    bars = event_bars_from_trades(trades(*rows), Interval.parse("3tick"))
    assert sum(bar.trade_count or 0 for bar in bars.bars()) == len(rows)
    assert bars.is_sorted
    assert all(bar.close_time_ns is not None and bar.close_time_ns >= bar.open_time_ns for bar in bars.bars())


def test_the_trade_that_fills_a_bar_belongs_to_it_whole() -> None:
    builder = EventBarBuilder(Interval.parse("10volume"))
    assert builder.add_trade(1_000, 5.0, 9.0) == []
    (bar,) = builder.add_trade(2_000, 6.0, 100.0)
    assert (bar.volume, bar.high, bar.open_time_ns, bar.close_time_ns) == (109.0, 6.0, 1_000, 2_000)
    assert builder.forming is None


def test_a_builder_that_starts_again_does_not_reuse_the_last_stored_key() -> None:
    builder = EventBarBuilder(Interval.parse("1tick"), last_open_time_ns=5_000)
    (bar,) = builder.add_trade(5_000, 1.0, 1.0)
    assert bar.open_time_ns == 6_000


def test_a_builder_of_event_bars_refuses_time_bars() -> None:
    with pytest.raises(InvalidArgument, match="one of ticks, volume or value"):
        EventBarBuilder(Interval.parse("1min"))
