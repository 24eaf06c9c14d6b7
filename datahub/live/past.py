"""The stored trades that bars go on from after a restart: of the last hour, and of bars that are filled by trades."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from datahub.live.bars import BuiltBar, SoFar
from datahub.live.event_bars import Progress
from datahub.live.gaps import FeedGap
from datahub.live.recovery import Recovered
from datahub.live.so_far import READ_NS, Window, read_so_far
from datahub.live.symbols import LiveSeries
from datahub.store import bar_table
from datahub.store.statements import SQL
from quasar.convert.columns import TickChunk
from quasar.database.copy import Column, RowFormat
from quasar.database.pool import Database
from quasar.model.bars import BarOrigin
from quasar.model.columns import MISSING, Int64Array
from quasar.model.instants import NS_PER_HOUR, from_ns, to_ns
from quasar.model.intervals import Interval
from quasar.model.ticks import TickColumns, TickKind

_LATE: Final = dt.timedelta(hours=1)
"""Ticks that came after the last bar are looked for from so long before its end: some come late."""
_REVISED_NS: Final = 2 * NS_PER_HOUR
_AT_ONCE: Final = 50
"""Symbols of one statement: an hour of each fits into memory."""
_FORMAT: Final = RowFormat(
    [
        Column("series_id", "int4"),
        Column("event_time", "timestamptz"),
        Column("event_ns", "int2"),
        Column("sequence", "int8"),
        Column("flags", "int2"),
        Column("price", "float8"),
        Column("size", "float8"),
    ]
)


@dataclass(frozen=True, slots=True)
class StoredEnd:
    """Where the known ticks of a series end."""

    sequence: int = 0
    """Of the last tick of any kind."""
    event_ns: int = 0
    """Event time of the last trade; 0: none is known."""
    trade_id: int = MISSING
    """The venue's id of that trade."""
    row_ns: int = 0
    """Event time of the last tick of any kind; 0: none is known."""


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """What is known of a symbol from before this process."""

    end: StoredEnd = StoredEnd()
    trades: TickColumns = field(default_factory=TickColumns.empty)
    """By number."""
    sequences: Int64Array = field(default_factory=lambda: np.zeros(0, np.int64))
    complete_from_ns: int = 0
    """Since when none of the trades is missing."""
    progress: Mapping[int, Progress] = field(default_factory=dict)
    """How far bars that are filled by trades are, by series."""
    closed: Mapping[int, int] = field(default_factory=dict)
    """Open time of the last bar that was closed, by series."""
    gap: FeedGap | None = None
    """A hole that was open when the process ended."""
    so_far: Mapping[Interval, SoFar] = field(default_factory=dict)
    """Bars of time that are longer than those which the trades make, as they were."""


async def read_past(database: Database, series: Sequence[LiveSeries]) -> dict[int, Past]:
    """Return what is stored of some symbols, by their series of ticks."""
    found: dict[int, Past] = {}
    for first in range(0, len(series), _AT_ONCE):
        found |= await _read(database, series[first : first + _AT_ONCE])
    return found


async def _read(database: Database, series: Sequence[LiveSeries]) -> dict[int, Past]:
    ids = [one.ticks.series_id for one in series]
    ends = {row["series_id"]: _end(row) for row in await database.fetch(SQL["tick_ends"], ids)}
    bars = [bar.series_id for one in series for bar in one.bars.values()]
    standing = {row["series_id"]: row for row in await database.fetch(SQL["live_standing"], bars)}
    names = {one.ticks.series_id: one.ticks.name for one in series}
    gaps = {row["series_id"]: row for row in await database.fetch(SQL["feed_gaps_open"], ids)}
    wholes = await _wholes(database, series, ends, standing)
    past: dict[int, Past] = {}
    for one in series:
        series_id = one.ticks.series_id
        end, gap = ends[series_id], gaps.get(series_id)
        trades, sequences, complete_from_ns, so_far = wholes.get(series_id, (TickColumns.empty(), _NONE, 0, {}))
        past[series_id] = Past(
            end,
            trades,
            sequences,
            complete_from_ns,
            _progress(one, standing),
            {bar.series_id: _ns(standing[bar.series_id]["last_open"]) or 0 for bar in one.bars.values()},
            None if gap is None else _gap(gap, names[series_id]),
            so_far,
        )
    return past


_NONE: Final = np.zeros(0, np.int64)
_Whole = tuple[TickColumns, Int64Array, int, Mapping[Interval, SoFar]]


async def _wholes(
    database: Database, series: Sequence[LiveSeries], ends: Mapping[int, StoredEnd], standing: Mapping[int, Any]
) -> dict[int, _Whole]:
    """Return stored trades, their numbers, since when they are complete, and longer bars so far, by series."""
    asked = [one for one in series if ends[one.ticks.series_id].event_ns]
    if not asked:
        return {}
    ids = [one.ticks.series_id for one in asked]
    since = [_since_ns(one, ends[one.ticks.series_id].event_ns) for one in asked]
    numbers = [_first_number(one, standing, ends[one.ticks.series_id].sequence) for one in asked]
    earliest = [
        min([from_ns(since_ns), *(row["watermark"] - _LATE for row in _events_of(one, standing) if row["watermark"])])
        for one, since_ns in zip(asked, since, strict=True)
    ]
    begins = [from_ns(each) for each in since]
    rows = await database.fetch(SQL["live_complete_from"], ids, begins)
    complete = {row["series_id"]: row for row in rows}
    async with database.acquire() as connection:
        raw = await bar_table.copy_out(connection, SQL["live_past"], ids, begins, numbers, earliest)
    columns = _FORMAT.decode(raw).columns
    windows = [
        Window(one, ends[one.ticks.series_id].event_ns, since_ns, number, to_ns(early))
        for one, since_ns, number, early in zip(asked, since, numbers, earliest, strict=True)
    ]
    so_far = await read_so_far(database, windows)
    found: dict[int, _Whole] = {}
    for series_id, since_ns in zip(ids, since, strict=True):
        mine = columns["series_id"] == series_id
        trades = TickColumns(
            event_time_ns=columns["event_time"][mine] * 1_000 + columns["event_ns"][mine],
            price=columns["price"][mine],
            size=columns["size"][mine],
            flags=columns["flags"][mine].astype(np.uint8),
        )
        row = complete[series_id]
        begin_ns = since_ns if row["older"] or not len(trades) else int(trades.event_time_ns.min())
        complete_from_ns = max(begin_ns, _ns(row["hole_end"]) or 0)
        found[series_id] = trades, columns["sequence"][mine], complete_from_ns, so_far.get(series_id, {})
    return found


def _since_ns(series: LiveSeries, event_ns: int) -> int:
    """Return when the oldest bar of time began that is still forming, or was when the last trade came."""
    lengths = [each for each in series.bars if each.is_time and 0 < each.length_ns <= READ_NS]
    return min([event_ns, *(each.floor_ns(event_ns) for each in lengths)])


def _events_of(series: LiveSeries, standing: Mapping[int, Any]) -> list[Any]:
    return [standing[bar.series_id] for interval, bar in series.bars.items() if not interval.is_time]


def _first_number(series: LiveSeries, standing: Mapping[int, Any], end: int) -> int:
    """Return the number after which trades are wanted, whenever they were: those of bars that trades fill."""
    return min(
        [end, *(int(row["last_sequence"]) for row in _events_of(series, standing) if row["last_sequence"] is not None)]
    )


def _progress(series: LiveSeries, standing: Mapping[int, Any]) -> dict[int, Progress]:
    return {
        row["series_id"]: Progress(row["last_sequence"], _ns(row["last_open"]))
        for row in _events_of(series, standing)
        if row["last_sequence"] is not None
    }


@dataclass(frozen=True, slots=True, eq=False)
class Unstored:
    """What was published in a former life of this process and may not be stored."""

    ticks: Sequence[TickChunk] = ()
    bars: Sequence[BuiltBar] = ()


def recovered_past(past: Past, series: LiveSeries, recovered: Recovered) -> tuple[Past, Unstored]:
    """Return the past of a symbol with what was published last, and what of that is to be stored."""
    tail = recovered.ticks_after(series.ticks.series_id, past.end.sequence)
    closed, bars = dict(past.closed), list[BuiltBar]()
    for interval, series_id in time_intervals(series).items():
        stored = closed.get(series_id, 0)
        for bar, origin in recovered.bars(series_id):
            if origin is BarOrigin.LIVE_TICKS:
                closed[series_id] = max(closed.get(series_id, 0), bar.open_time_ns)
            # Late trades revise a bar after its end, so the stored one may not be the last that was told.
            if bar.open_time_ns + _REVISED_NS >= stored:
                bars.append(BuiltBar(series_id, interval, bar, origin=origin))
    return _with_tail(replace(past, closed=closed), tail), Unstored(tail, bars)


def _with_tail(past: Past, tail: Sequence[TickChunk]) -> Past:
    """Return the past with ticks that were published and, when the process ended, not stored."""
    if not tail:
        return past
    trades = [part for part in tail if _is_trade(part.columns)]
    last, end = tail[-1], past.end
    end = replace(end, sequence=last.first_sequence + len(last.columns) - 1)
    if not trades:
        return replace(past, end=end)
    newest = trades[-1].columns
    times = max(int(part.columns.event_time_ns.max()) for part in trades)
    ids = [int(part.columns.trade_id.max()) for part in trades if part.columns.trade_id is not None]
    end = replace(end, event_ns=max(end.event_ns, times), trade_id=max([end.trade_id, *ids]))
    complete_from_ns = past.complete_from_ns
    if not len(past.trades):
        complete_from_ns = int(trades[0].columns.event_time_ns[0])
    known = [_plain(part.columns) for part in trades]
    numbers = [np.arange(part.first_sequence, part.first_sequence + len(part.columns)) for part in trades]
    assert newest.price is not None
    return replace(
        past,
        end=end,
        trades=TickColumns.concatenate([past.trades, *known]) if len(past.trades) else TickColumns.concatenate(known),
        sequences=np.concatenate([past.sequences, *numbers]),
        complete_from_ns=complete_from_ns,
    )


def _is_trade(ticks: TickColumns) -> bool:
    return ticks.kind is None or (len(ticks) > 0 and ticks.kind[0] == TickKind.TRADE)


def _plain(ticks: TickColumns) -> TickColumns:
    return TickColumns(ticks.event_time_ns, ticks.price, ticks.size, flags=ticks.flags)


def _end(row: Any) -> StoredEnd:
    if row["event_time"] is None:
        return StoredEnd(row["sequence"], row_ns=_ns(row["watermark"]) or 0)
    trade_id = MISSING if row["trade_id"] is None else row["trade_id"]
    return StoredEnd(row["sequence"], to_ns(row["event_time"]) + row["event_ns"], trade_id, _ns(row["watermark"]) or 0)


def _gap(row: Any, name: Any) -> FeedGap:
    return FeedGap(
        gap_id=row["gap_id"],
        series_id=row["series_id"],
        name=name,
        start_ns=to_ns(row["start_time"]),
        cause=row["cause"],
        attempts=row["attempts"],
        detect_ns=to_ns(row["detected_at"]),
    )


def _ns(time: Any) -> int | None:
    return None if time is None else to_ns(time)


def event_intervals(series: LiveSeries) -> dict[Interval, int]:
    """Return the series of bars that trades fill, by interval."""
    return {interval: bar.series_id for interval, bar in series.bars.items() if not interval.is_time}


def time_intervals(series: LiveSeries) -> dict[Interval, int]:
    """Return the series of bars of time, by interval."""
    return {interval: bar.series_id for interval, bar in series.bars.items() if interval.is_time}
