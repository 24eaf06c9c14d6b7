from __future__ import annotations

import gzip
import json

import numpy as np
import pyarrow.feather
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasar.errors import InvalidArgument
from quasar.model.bars import Bar, BarColumns, BarState
from quasar.model.instants import NS_PER_MINUTE, NS_PER_SECOND
from quasar.model.intervals import Interval
from quasar.model.tick_bars import TimeBarBuilder, bars_from_trades
from quasar.model.ticks import Tick, TickColumns, TickFlag, TickKind
from tests.unit.recorded import recorded

MINUTE = Interval.parse("1min")
_TRADES = st.lists(
    st.tuples(st.integers(0, 600).map(lambda s: s * NS_PER_SECOND), st.floats(0.01, 1e6), st.floats(0, 1e6)),
    max_size=60,
)
Trade = tuple[int, float, float]


def trades(*rows: Trade) -> TickColumns:
    times, prices, sizes = zip(*rows, strict=True) if rows else ((), (), ())
    return TickColumns(
        np.array(times, dtype=np.int64), np.array(prices, dtype=np.float64), np.array(sizes, dtype=np.float64)
    )


def second(number: float, price: float = 1.0, size: float = 1.0) -> Trade:
    return int(number * NS_PER_SECOND), price, size


@pytest.fixture(scope="module")
def xrp_eth() -> TickColumns:
    rows = json.loads(gzip.decompress(recorded("ohlcv/freqtrade/XRP_ETH-trades.json.gz").read_bytes()))
    return trades(*((row[0] * 1_000_000, row[4], row[5]) for row in rows))


@pytest.mark.parametrize(("code", "file", "count"), [("1min", "1m", 2_469), ("5min", "5m", 706)])
def test_recorded_trades_rebuild_every_recorded_bar_exactly(
    xrp_eth: TickColumns, code: str, file: str, count: int
) -> None:
    truth = pyarrow.feather.read_table(recorded(f"ohlcv/freqtrade/XRP_ETH-{file}.feather"))
    interval = Interval.parse(code)
    built = bars_from_trades(xrp_eth, interval)
    builder = TimeBarBuilder(interval)
    one_by_one = [
        bar
        for time, price, size in zip(xrp_eth.event_time_ns, xrp_eth.price, xrp_eth.size, strict=True)  # type: ignore[arg-type]
        for bar in builder.add_trade(int(time), float(price), float(size))
    ]
    one_by_one += builder.advance(2**62)
    assert len(built) == count
    assert built.open_time_ns.tolist() == truth["date"].to_numpy().astype("int64").tolist()
    for name in ("open", "high", "low", "close", "volume"):
        assert getattr(built, name).tolist() == truth[name].to_numpy().tolist()
    assert one_by_one == list(built.bars())


def settled(published: list[Bar], builder: TimeBarBuilder) -> list[tuple[object, ...]]:
    last = {bar.open_time_ns: bar for bar in published}
    if builder.forming is not None:
        last[builder.forming.open_time_ns] = builder.forming
    return [values(last[key]) for key in sorted(last)]


def values(bar: Bar) -> tuple[object, ...]:
    return tuple(getattr(bar, name) for name in Bar.__slots__ if name != "state")


@given(_TRADES, st.data())
def test_trades_in_any_order_and_any_batches_give_the_bars_of_all_of_them_at_once(
    rows: list[Trade], data: st.DataObject
) -> None:
    expected = [values(bar) for bar in bars_from_trades(trades(*rows), MINUTE).bars()]
    single, batched = TimeBarBuilder(MINUTE), TimeBarBuilder(MINUTE)
    published = [bar for row in rows for bar in single.add_trade(*row)]
    assert settled(published, single) == expected
    rest, published = rows, []
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        published += batched.add_trades(trades(*rest[:size]))
        rest = rest[size:]
    assert settled(published, batched) == expected


@given(_TRADES)
def test_closed_bars_come_in_order_and_once_and_everything_else_is_a_revision(rows: list[Trade]) -> None:
    builder = TimeBarBuilder(MINUTE)
    published = [bar for row in rows for bar in builder.add_trade(*row)]
    closed = [bar.open_time_ns for bar in published if bar.state is BarState.CLOSED]
    assert closed == sorted(set(closed))
    assert {bar.state for bar in published} <= {BarState.CLOSED, BarState.REVISED}


def test_a_timer_closes_the_bar_when_nothing_trades_any_more_and_invents_none() -> None:
    builder = TimeBarBuilder(MINUTE)
    builder.add_trade(*second(5, 10.0, 2.0))
    assert builder.forming is not None
    assert builder.forming.state is BarState.FORMING
    assert builder.next_close_ns == NS_PER_MINUTE
    assert builder.advance(NS_PER_MINUTE - 1) == []
    (bar,) = builder.advance(NS_PER_MINUTE)
    assert (bar.state, bar.open_time_ns, bar.close, bar.volume) == (BarState.CLOSED, 0, 10.0, 2.0)
    assert builder.advance(10 * NS_PER_MINUTE) == []
    assert builder.next_close_ns is None


def test_a_late_trade_revises_its_bar() -> None:
    builder = TimeBarBuilder(MINUTE)
    builder.add_trade(*second(5, 10.0))
    (closed,) = builder.add_trade(*second(65, 11.0))
    (revised,) = builder.add_trade(*second(59, 12.0, 3.0))
    assert closed.close == 10.0
    assert revised.state is BarState.REVISED
    assert (revised.open_time_ns, revised.high, revised.close, revised.volume, revised.trade_count) == (0, 12, 12, 4, 2)


def test_a_late_trade_of_a_slot_that_had_none_makes_its_bar_a_revision() -> None:
    builder = TimeBarBuilder(MINUTE)
    builder.add_trade(*second(5))
    builder.add_trade(*second(125))
    (bar,) = builder.add_trade(*second(65))
    assert (bar.state, bar.open_time_ns) == (BarState.REVISED, NS_PER_MINUTE)


def test_a_trade_later_than_what_is_kept_is_counted_and_never_makes_a_wrong_bar() -> None:
    builder = TimeBarBuilder(MINUTE, revisable_bars=1)
    for minute in range(4):
        builder.add_trade(*second(60 * minute))
    assert builder.add_trade(*second(30)) == []
    assert builder.add_trades(trades(second(31), second(32))) == []
    assert builder.too_late == 3


def test_quotes_excluded_trades_and_trades_without_price_make_no_bars() -> None:
    ticks = TickColumns.from_ticks(
        [
            Tick(1, TickKind.QUOTE, bid_price=5.0),
            Tick(2, price=None, size=1.0),
            Tick(3, price=9.0, size=1.0, flags=TickFlag.EXCLUDED),
            Tick(4, price=2.0, size=None),
        ]
    )
    (bar,) = bars_from_trades(ticks, MINUTE).bars()
    assert (bar.open, bar.volume, bar.vwap, bar.trade_count) == (2.0, 0.0, None, 1)
    assert bars_from_trades(TickColumns.empty(), MINUTE).equals(BarColumns.empty())


def test_a_builder_of_time_bars_refuses_tick_bars() -> None:
    with pytest.raises(InvalidArgument, match="an interval of time, was '500tick'"):
        TimeBarBuilder(Interval.parse("500tick"))
