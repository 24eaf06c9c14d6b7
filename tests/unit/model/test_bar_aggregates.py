from __future__ import annotations

import csv
import datetime as dt
import io
import math
import zipfile
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow.feather
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasar.calendars import calendar_for
from quasar.errors import InvalidArgument
from quasar.model.bar_aggregates import PagedAggregation, aggregate
from quasar.model.bars import Bar, BarColumns, BarState
from quasar.model.instants import NS_PER_MINUTE, day_ns, from_ns, to_ns
from quasar.model.intervals import Interval
from quasar.model.tick_bars import bars_from_trades
from tests.unit.model.test_tick_bars import Trade, trades
from tests.unit.recorded import recorded

MINUTE, FIVE, DAY, WEEK = (Interval.parse(code) for code in ("1min", "5min", "1d", "1w"))


def test_recorded_minutes_add_up_to_the_recorded_five_minutes() -> None:
    minutes, truth = (
        BarColumns(
            table["date"].to_numpy().astype("int64"), *(table[name].to_numpy() for name in table.column_names[1:])
        )
        for table in (
            pyarrow.feather.read_table(recorded(f"ohlcv/freqtrade/XRP_ETH-{code}.feather")) for code in ("1m", "5m")
        )
    )
    built = aggregate(minutes, MINUTE, FIVE)
    for name in ("open_time_ns", "open", "high", "low", "close", "volume"):
        assert getattr(built, name).tolist() == getattr(truth, name).tolist()


@given(
    st.lists(
        st.tuples(st.integers(0, 10**13), st.integers(1, 10**6).map(float), st.integers(0, 10**6).map(float)),
        max_size=40,
    )
)
def test_coarse_bars_from_fine_bars_equal_coarse_bars_from_the_trades(rows: list[Trade]) -> None:
    ticks = trades(*rows)
    from_bars = aggregate(bars_from_trades(ticks, MINUTE), MINUTE, FIVE)
    direct = bars_from_trades(ticks, FIVE)
    for name in ("open_time_ns", "close_time_ns", "open", "high", "low", "close", "volume", "quote_volume"):
        assert getattr(from_bars, name) is None or getattr(from_bars, name).tolist() == getattr(direct, name).tolist()


def read_lean_minutes(path: str, day: dt.date) -> BarColumns:
    with zipfile.ZipFile(recorded(path)) as archive:
        rows = list(csv.reader(io.TextIOWrapper(archive.open(archive.namelist()[0]))))
    midnight = to_ns(dt.datetime.combine(day, dt.time(), tzinfo=ZoneInfo("America/New_York")))
    table = np.array(rows, dtype=np.float64)
    times = (midnight + table[:, 0] * 1_000_000).astype(np.int64)
    open_, high, low, close = table[:, 1:5].T / 10_000
    return BarColumns(times, open_, high, low, close, table[:, 5])


def test_a_daily_bar_of_an_exchange_holds_its_session_only_and_closes_with_it() -> None:
    day = dt.date(2013, 10, 8)
    minutes = read_lean_minutes("lean/equity/usa/minute/spy/20131008_trade.zip", day)
    (bar,) = aggregate(minutes, MINUTE, DAY, calendar_for("ARCX")).bars()
    session = [
        row
        for row in minutes.bars()
        if dt.time(9, 30) <= row.open_time.astimezone(ZoneInfo("America/New_York")).time() < dt.time(16)
    ]
    assert len(session) < len(minutes)
    assert bar.open_time_ns == day_ns(day)
    assert bar.close_time == dt.datetime(2013, 10, 8, 20, tzinfo=dt.UTC)
    assert (bar.open, bar.close) == (session[0].open, session[-1].close)
    assert (bar.high, bar.low) == (max(row.high for row in session), min(row.low for row in session))
    assert bar.volume == sum(row.volume or 0 for row in session)


def test_forex_on_sunday_evening_belongs_to_monday() -> None:
    sunday = to_ns(dt.datetime(2025, 6, 8, 22, tzinfo=dt.UTC))
    (bar,) = aggregate(BarColumns.from_bars([Bar(sunday, 1, 1, 1, 1)]), MINUTE, DAY, calendar_for("XFX")).bars()
    assert bar.open_time.date() == dt.date(2025, 6, 9)


def test_a_week_closes_with_its_last_session_also_before_that_was_seen() -> None:
    monday = Bar(day_ns(dt.date(2025, 12, 22)), 1, 1, 1, 1, 1.0)
    calendar = calendar_for("XNYS")
    close = to_ns(dt.datetime(2025, 12, 26, 21, tzinfo=dt.UTC))
    columns = BarColumns.from_bars([monday])
    (bar,) = aggregate(columns, DAY, WEEK, calendar, complete_until_ns=close - 1).bars()
    assert bar.close_time == from_ns(close)
    assert bar.state is BarState.FORMING
    (bar,) = aggregate(columns, DAY, WEEK, calendar, complete_until_ns=close).bars()
    assert bar.state is BarState.CLOSED


def test_missing_volumes_stay_missing_and_revisions_show() -> None:
    bars = [
        Bar(0, 1, 1, 1, 1, None, trade_count=2),
        Bar(NS_PER_MINUTE, 1, 1, 1, 1, None, state=BarState.REVISED),
        Bar(5 * NS_PER_MINUTE, 1, 1, 1, 1, 2.0, trade_count=2, vwap=1.0),
        Bar(6 * NS_PER_MINUTE, 1, 1, 1, 1, 6.0, trade_count=3, vwap=2.0),
    ]
    first, second = aggregate(BarColumns.from_bars(bars), MINUTE, FIVE).bars()
    assert (first.volume, first.trade_count, first.vwap, first.state) == (None, None, None, BarState.REVISED)
    assert (second.volume, second.trade_count, second.vwap) == (8.0, 5, 1.75)
    assert second.vwap is not None
    assert not math.isnan(second.vwap)


def test_dividends_add_up_and_splits_multiply() -> None:
    bars = [
        Bar(
            day_ns(dt.date(2025, 1, 6)), 1, 1, 1, 1, dividend=0.5, split_factor=2.0, adjusted_close=0.5, open_interest=1
        ),
        Bar(
            day_ns(dt.date(2025, 1, 7)),
            1,
            1,
            1,
            1,
            dividend=0.25,
            split_factor=3.0,
            adjusted_close=0.6,
            open_interest=7,
        ),
    ]
    (bar,) = aggregate(BarColumns.from_bars(bars), DAY, WEEK).bars()
    assert (bar.dividend, bar.split_factor, bar.adjusted_close, bar.open_interest) == (0.75, 6.0, 0.6, 7.0)


def test_bars_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"a multiple of 5min, .*, was '7min'"):
        aggregate(BarColumns.empty(), FIVE, Interval.parse("7min"))


def test_nothing_gives_nothing() -> None:
    assert len(aggregate(BarColumns.empty(), MINUTE, DAY)) == 0
    saturday = BarColumns.from_bars([Bar(to_ns(dt.datetime(2025, 6, 7, 15, tzinfo=dt.UTC)), 1, 1, 1, 1)])
    assert len(aggregate(saturday, MINUTE, DAY, calendar_for("XNYS"))) == 0


def walk(days: int, seed: int = 1) -> BarColumns:
    """Minutes with holes, over some days from Sunday 2024-06-30 on, hours of no session included."""
    start = to_ns(dt.datetime(2024, 6, 30, tzinfo=dt.UTC))
    choice = np.random.default_rng(seed)
    rows = np.flatnonzero(choice.random(days * 1440) < 0.3)
    price = 100 + choice.standard_normal(len(rows)).cumsum()
    volume = np.where(choice.random(len(rows)) < 0.1, np.nan, 1.0 + np.arange(len(rows)) % 5)
    return BarColumns(start + rows * NS_PER_MINUTE, price, price + 1, price - 1, price + 0.5, volume)


@pytest.mark.parametrize("market", ["XNYS", "XASX", "FOREX", None])
@pytest.mark.parametrize("code", ["5min", "4h", "1d", "1w", "1M"])
@pytest.mark.parametrize("backwards", [False, True])
def test_pages_of_any_size_give_the_bars_of_the_whole(market: str | None, code: str, backwards: bool) -> None:
    target, calendar = Interval.parse(code), calendar_for(market)
    for rows, days in ((1, 1), (77, 40), (1000, 40), (100_000, 40)):
        minutes = walk(days)
        whole = aggregate(minutes, MINUTE, target, calendar)
        computing = PagedAggregation(MINUTE, target, calendar, backwards=backwards)
        pages = [minutes[start : start + rows] for start in range(0, len(minutes), rows)]
        parts = [computing.add(page) for page in (pages[::-1] if backwards else pages)]
        parts.append(computing.finish())
        assert BarColumns.concatenate(parts[::-1] if backwards else parts).equals(whole)


def test_pages_wait_for_no_more_than_the_bar_that_is_cut() -> None:
    computing = PagedAggregation(MINUTE, FIVE)
    minutes = walk(2)
    given = sum(len(computing.add(minutes[start : start + 10])) for start in range(0, len(minutes), 10))
    assert given == len(aggregate(minutes, MINUTE, FIVE)) - 1


def test_pages_of_what_does_not_add_up_are_refused() -> None:
    with pytest.raises(InvalidArgument):
        PagedAggregation(FIVE, Interval.parse("7min"))
