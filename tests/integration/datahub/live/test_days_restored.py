"""Bars of hours and days go on after a restart: what was stored is summed by the database, not read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from datahub.ingest.room import Room
from datahub.live.bars import BuiltBar, SymbolBars
from datahub.live.past import Past, read_past, time_intervals
from datahub.live.storage import LiveStore
from datahub.live.symbols import LiveName, LiveSeries
from datahub.series.series import SeriesName
from datahub.store import series_table
from quasar.database.pool import Database
from quasar.model.instants import NS_PER_HOUR, to_ns
from quasar.model.intervals import Interval
from quasar.model.slots import AUCTION_NS, slots_of
from quasar.model.tick_bars import TimeBarBuilder
from quasar.model.ticks import TickColumns, TickFlag
from quasar.providers.market import Market
from quasar.testing.clock import FakeClock

DAY = dt.datetime(2026, 1, 7, tzinfo=dt.UTC)
CODES = ("1min", "1h", "4h", "1d", "1w")


def at(hours: float) -> int:
    """Return an instant of the day."""
    return to_ns(DAY) + round(hours * NS_PER_HOUR)


async def symbol(database: Database, calendar: str) -> LiveSeries:
    """Return a symbol of a provider with a calendar, with its series."""
    names = [SeriesName("vendor", "A", code) for code in ("", *CODES)]
    async with database.transaction() as connection:
        found = await series_table.ensure(connection, names, {"vendor": calendar})
    bars = {Interval.parse(code): found[SeriesName("vendor", "A", code)] for code in CODES}
    ids = frozenset(one.series_id for one in found.values())
    return LiveSeries(LiveName("vendor", "A"), found[names[0]], bars, all_ids=ids)


async def stored(database: Database, series: LiveSeries, trades: TickColumns) -> Past:
    """Store trades as a feed does, and return what a new process knows of them."""
    store = LiveStore(database, Room(database), FakeClock(DAY))
    for first in range(0, len(trades), 5_000):
        part = trades[np.arange(first, min(first + 5_000, len(trades)))]
        store.add_ticks(series.ticks.series_id, part, first + 1)
    await store.flush()
    return (await read_past(database, [series]))[series.ticks.series_id]


def going_on(series: LiveSeries, past: Past, later: TickColumns, end_ns: int) -> list[BuiltBar]:
    """Return the bars that a new process closes until an instant."""
    bars = SymbolBars(time_intervals(series), past.complete_from_ns, series.ticks.calendar)
    for interval, so_far in past.so_far.items():
        bars.go_on(interval, so_far)
    bars.restore(past.trades, past.closed)
    return [*bars.add(later), *bars.advance(end_ns)]


def figures(bars: Sequence[BuiltBar], code: str) -> list[tuple[float, ...]]:
    """Return the bars of an interval."""
    return [
        (
            b.bar.open_time_ns,
            b.bar.open,
            b.bar.high,
            b.bar.low,
            b.bar.close,
            b.bar.volume or 0.0,
            b.bar.trade_count or 0,
        )
        for b in bars
        if b.interval.code == code
    ]


def truth(series: LiveSeries, trades: TickColumns, code: str, end_ns: int) -> tuple[float, ...]:
    """Return the last bar that all trades make at once."""
    interval = Interval.parse(code)
    builder = TimeBarBuilder(interval, slots=slots_of(interval, series.ticks.calendar))
    bar = [*builder.add_trades(trades), *builder.advance(end_ns)][-1]
    return (bar.open_time_ns, bar.open, bar.high, bar.low, bar.close, bar.volume or 0.0, bar.trade_count or 0)


async def test_a_day_goes_on_after_a_restart_as_if_there_had_been_none(database: Database) -> None:
    series = await symbol(database, "24/7")
    trades = Market().trades("ATLAS", at(-2), at(24))
    flags = np.zeros(len(trades), np.uint8)
    flags[::97] = TickFlag.EXCLUDED
    trades = replace(trades, flags=flags)
    known = trades.event_time_ns < at(17.34)
    past = await stored(database, series, trades[known])

    assert len(past.trades) < 60 * 12, "of the last hour alone"
    assert {interval.code for interval in past.so_far} == {"4h", "1d"}
    built = going_on(series, past, trades[~known], at(24) + NS_PER_HOUR)
    for code in ("4h", "1d"):
        assert figures(built, code)[-1] == pytest.approx(truth(series, trades, code, at(25)), rel=1e-12)
    assert len(figures(built, "4h")) == 2
    assert figures(built, "1w") == [], "a week is left to the provider's history"


async def test_a_session_goes_on_after_a_restart_without_what_was_traded_before_its_open(database: Database) -> None:
    series = await symbol(database, "XNYS")
    trades = Market().trades("ATLAS", at(13), at(22))
    known = trades.event_time_ns < at(18.5)
    past = await stored(database, series, trades[known])

    built = going_on(series, past, trades[~known], at(22))
    (day,) = figures(built, "1d")
    assert day[0] == at(0)
    in_session = (trades.event_time_ns >= at(14.5)) & (trades.event_time_ns < at(21) + AUCTION_NS)
    assert trades.price is not None
    assert (day[1], day[6]) == (trades.price[in_session][0], int(in_session.sum()))
    assert day == pytest.approx(truth(series, trades, "1d", at(22)), rel=1e-12)


async def test_a_day_with_a_hole_that_nobody_filled_is_not_told(database: Database) -> None:
    series = await symbol(database, "24/7")
    trades = Market().trades("ATLAS", at(-2), at(24))
    known = trades.event_time_ns < at(17.34)
    await database.execute(
        """insert into gaps (series_id, start_time, end_time, cause, state, evidence)
           values ($1, $2, $3, 'FEED_INTERRUPTED', 'UNREPAIRABLE', '[]')""",
        series.ticks.series_id,
        DAY + dt.timedelta(hours=3),
        DAY + dt.timedelta(hours=3.5),
    )
    past = await stored(database, series, trades[known])

    built = going_on(series, past, trades[~known], at(25))
    assert figures(built, "1d") == []
    assert figures(built, "4h")[-1] == pytest.approx(truth(series, trades, "4h", at(25)), rel=1e-12)


async def test_a_day_whose_begin_nobody_saw_is_not_told(database: Database) -> None:
    series = await symbol(database, "24/7")
    trades = Market().trades("ATLAS", at(9.5), at(24))
    known = trades.event_time_ns < at(17.34)
    past = await stored(database, series, trades[known])

    built = going_on(series, past, trades[~known], at(25))
    assert figures(built, "1d") == []
    assert [row[0] for row in figures(built, "4h")] == [at(16), at(20)]
