"""What is read back from the kept log of a former life."""

from __future__ import annotations

import numpy as np

from datahub.live.bars import BuiltBar
from datahub.live.chunks import bar_field, tick_field
from datahub.live.past import Past, StoredEnd, recovered_past
from datahub.live.recovery import Recovered
from datahub.live.symbols import LiveName, LiveSeries
from datahub.series.series import Series, SeriesName
from datahub.stream.log import Entry
from datahub.stream.topic import Content, Topic
from quasar.model.bars import Bar, BarOrigin, BarState
from quasar.model.intervals import Interval
from quasar.providers.market import MINUTE_NS, Market

MINUTE = Interval.parse("1min")
START = 29_000_000 * MINUTE_NS
TRADES = Market().trades("BTC/USD", START, START + 2 * MINUTE_NS)
TICKS, MINUTES = 1, 2
SERIES = LiveSeries(
    LiveName("vendor", "BTC/USD"),
    Series(series_id=TICKS, name=SeriesName("vendor", "BTC/USD", "")),
    {MINUTE: Series(series_id=MINUTES, name=SeriesName("vendor", "BTC/USD", "1min"))},
)


def trades_entry(position: int, first: int, last: int) -> Entry:
    field = tick_field(TICKS, TRADES[first:last], first + 1, START, None)
    return Entry(position, Topic(TICKS, Content.TRADES), field, last - first, START)


def bar_entry(position: int, minute: int, close: float, origin: BarOrigin = BarOrigin.LIVE_TICKS) -> Entry:
    at = START + minute * MINUTE_NS
    bar = Bar(at, 1.0, 9.0, 1.0, close, 2.0, close_time_ns=at + MINUTE_NS, state=BarState.CLOSED)
    field = bar_field(BuiltBar(MINUTES, MINUTE, bar, origin=origin))
    return Entry(position, Topic(MINUTES, Content.CLOSED_BARS), field, 1, START)


def test_ticks_that_the_table_lacks_come_back_under_their_numbers_also_from_within_a_chunk() -> None:
    recovered = Recovered([trades_entry(1, 0, 5), trades_entry(2, 5, 9), trades_entry(3, 9, 20)])
    tail = recovered.ticks_after(TICKS, 7)
    assert [(chunk.first_sequence, len(chunk.columns)) for chunk in tail] == [(8, 2), (10, 11)]
    ids = np.concatenate([chunk.columns.trade_id for chunk in tail if chunk.columns.trade_id is not None])
    assert TRADES.trade_id is not None
    assert ids.tolist() == TRADES.trade_id[7:20].tolist()
    assert Recovered([trades_entry(1, 0, 5)]).ticks_after(TICKS, 5) == []


def test_a_symbol_goes_on_behind_what_was_published_and_not_stored() -> None:
    recovered = Recovered([trades_entry(1, 0, 5), trades_entry(2, 5, 9), bar_entry(3, 0, 4.0), bar_entry(4, 1, 5.0)])
    stored = Past(end=StoredEnd(5, int(TRADES.event_time_ns[4])))
    past, unstored = recovered_past(stored, SERIES, recovered)
    assert TRADES.trade_id is not None
    assert past.end == StoredEnd(9, int(TRADES.event_time_ns[8]), int(TRADES.trade_id[8]))
    assert past.sequences.tolist() == [6, 7, 8, 9]
    assert past.closed[MINUTES] == START + MINUTE_NS
    assert [one.bar.close for one in unstored.bars] == [4.0, 5.0]
    assert [chunk.first_sequence for chunk in unstored.ticks] == [6]


def test_bars_keep_who_made_them() -> None:
    recovered = Recovered([bar_entry(1, 0, 4.0), bar_entry(2, 0, 4.5, BarOrigin.LIVE_PROVIDER)])
    assert [origin for _, origin in recovered.bars(MINUTES)] == [BarOrigin.LIVE_TICKS, BarOrigin.LIVE_PROVIDER]


def test_nothing_kept_changes_nothing() -> None:
    stored = Past(end=StoredEnd(5, 7))
    past, unstored = recovered_past(stored, SERIES, Recovered())
    assert (past.end, len(unstored.ticks), len(unstored.bars)) == (stored.end, 0, 0)
