"""Price, change and VWAP of a session go on after a restart as if there had been none."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from datahub.ingest.room import Room
from datahub.live.bars import SymbolBars
from datahub.live.past import Past, Unstored, time_intervals
from datahub.live.prices import PriceBoard, Quote
from datahub.live.session_figures import KnownPast, go_on
from datahub.live.storage import LiveStore
from datahub.live.symbols import LiveSeries
from quasar.database.pool import Database
from quasar.model.ticks import TickColumns
from quasar.providers.market import Market
from quasar.testing.clock import FakeClock
from tests.integration.datahub.live.test_days_restored import DAY, at, stored, symbol

FIGURES = (
    "last",
    "last_time_ns",
    "session_open_ns",
    "session_open",
    "session_high",
    "session_low",
    "session_volume",
    "session_value",
    "session_trades",
    "previous_close",
)


async def with_minutes(database: Database, series: LiveSeries, trades: TickColumns) -> Past:
    """Store trades and their minutes as a feed does, and return what a new process knows of them."""
    bars = SymbolBars(time_intervals(series), 0, series.ticks.calendar)
    store = LiveStore(database, Room(database), FakeClock(DAY))
    store.add_bars([one for one in bars.add(trades) if one.interval.code == "1min"])
    await store.flush()
    return await stored(database, series, trades)


def shown(series: LiveSeries, board: PriceBoard, trades: TickColumns) -> Quote:
    """Show trades one after the other, and return what is shown."""
    for row in range(len(trades)):
        board.update(series.ticks.series_id, trades[row : row + 1])
    return board.quotes[series.ticks.series_id]


def board_of(series: LiveSeries) -> PriceBoard:
    board = PriceBoard()
    board.know(series.ticks.series_id, series.ticks.calendar)
    return board


@pytest.mark.parametrize(("calendar", "end"), [("24/7", 17.34), ("24/7", 24.5), ("XNYS", 17.34), ("XNYS", 14.75)])
async def test_a_session_is_shown_after_a_restart_as_before_it(database: Database, calendar: str, end: float) -> None:
    series = await symbol(database, calendar)
    trades = Market().trades("ATLAS", at(-6), at(26))
    known = trades.event_time_ns < at(end)
    past = await with_minutes(database, series, trades[known])
    board = board_of(series)
    await go_on(database, board, [KnownPast(series, past, Unstored())], at(end))
    before = board_of(series)
    there = asdict(shown(series, before, trades[known]))
    assert {name: asdict(board.quotes[series.ticks.series_id])[name] for name in FIGURES} == pytest.approx(
        {name: there[name] for name in FIGURES}
    )
    later = trades[~known]
    after, whole = asdict(shown(series, board, later)), asdict(shown(series, before, later))
    assert {name: after[name] for name in FIGURES} == pytest.approx({name: whole[name] for name in FIGURES})
    assert whole["previous_close"] is not None


async def test_where_ticks_are_not_stored_the_minutes_count_and_no_price_is_made_up(database: Database) -> None:
    series = await symbol(database, "24/7")
    trades = Market().trades("ATLAS", at(0), at(12))
    known = trades.event_time_ns < at(10)
    await with_minutes(database, series, trades[known])
    board = board_of(series)
    await go_on(database, board, [KnownPast(series, Past(), Unstored())], at(10))
    assert not board.quotes, "the newest bar tells the price until something trades"
    quote = shown(series, board, trades[~known])
    assert quote.session_open == trades.price[0] if trades.price is not None else None
    assert quote.session_open_ns == at(0)
    assert quote.session_trades == pytest.approx(len(trades), rel=0.01)
