"""Hours in the place of minutes: what TimescaleDB's continuous aggregate saves a read of coarser bars.

The aggregate is used only where it says what the minutes say. An hour counts when nothing of it changed since it was
made and all of it was known at the time of the query; every other hour is read as minutes. Both can be mixed in one
read, since coarser bars are made of whichever rows there are.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final

import asyncpg
import numpy as np

from datahub.reads.bars import PAGE_ROWS, BarReader
from datahub.reads.query import Adjustment, BarQuery, Source
from datahub.series.series import Series
from datahub.store import bar_table
from datahub.store.statements import SQL
from quasar import logs
from quasar.database.copy import Column, RowFormat
from quasar.database.pool import Database
from quasar.model.bars import BarColumns, BarState
from quasar.model.coverage import NO_RANGES, TimeRanges
from quasar.model.instants import NS_PER_DAY, NS_PER_HOUR, NS_PER_MINUTE, TimeRange, to_ns
from quasar.model.intervals import Interval

_LEAST_NS: Final = NS_PER_DAY
"""Shorter stretches are read as minutes: a statement costs more than they save."""
_PAGE_HOURS: Final = 10_000
_COARSEST_NS: Final = 30 * NS_PER_MINUTE
_KEPT: Final = frozenset({"trade_count", "quote_volume", "vwap", "known_time_ns"})
"""Optional columns that the aggregate has."""
_FORMAT: Final = RowFormat(
    [
        Column("open_time", "timestamptz"),
        Column("close_time", "timestamptz"),
        *(Column(name, "float8") for name in ("open", "high", "low", "close", "volume", "quote_volume", "vwap")),
        Column("trade_count", "int8"),
        Column("known_at", "timestamptz"),
        Column("revision", "int4"),
    ]
)
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A part of a range that is read in one way."""

    span: TimeRange
    hours: bool


class HourlyReader:
    """Reads the finer bars that coarser ones are computed from: hours where they are kept, else what is stored."""

    def __init__(self, database: Database, reader: BarReader) -> None:
        """Read hours from `database` and bars through `reader`."""
        self._database = database
        self._reader = reader
        self._there: bool | None = None

    async def pages(
        self, series: Series, target: Interval, query: BarQuery, *, rows: int = PAGE_ROWS, newest_first: bool = False
    ) -> AsyncGenerator[BarColumns, None]:
        """Yield finer bars of a range that bars of `target` are made of, in pages as those of `BarReader.pages`.

        Args:
            series: A series of bars.
            target: What is computed from them; not finer than the series.
            query: What is wanted.
            rows: How many stored bars at a time.
            newest_first: The newest page comes first.
        """
        stretches = await self._stretches(series, target, query)
        for stretch in stretches[::-1] if newest_first else stretches:
            part = replace(query, span=stretch.span)
            if stretch.hours:
                pages = self._hours(series, part, rows, newest_first)
            else:
                pages = self._reader.pages(series, part, rows=rows, newest_first=newest_first)
            async with aclosing(pages):
                async for page in pages:
                    yield page

    async def _stretches(self, series: Series, target: Interval, query: BarQuery) -> list[_Stretch]:
        """Return a range in the parts that are read as hours and as stored, in order of time."""
        hours = (
            await self._settled(series, query) if _fits(series, target, query) and await self._exists() else NO_RANGES
        )
        found: list[_Stretch] = []
        start_ns = query.span.start_ns
        for span in hours:
            if start_ns < span.start_ns:
                found.append(_Stretch(TimeRange(start_ns, span.start_ns), hours=False))
            found.append(_Stretch(span, hours=True))
            start_ns = span.end_ns
        if start_ns < query.span.end_ns or not found:
            found.append(_Stretch(TimeRange(start_ns, query.span.end_ns), hours=False))
        return found

    async def _exists(self) -> bool:
        """Tell whether this database keeps hours; it is made before a service starts."""
        if self._there is None:
            self._there = bool(await self._database.fetchval(SQL["hourly_bars_exist"]))
        return self._there

    async def _settled(self, series: Series, query: BarQuery) -> TimeRanges:
        """Return where the hours that are kept say what the stored bars say."""
        only_history = query.source is Source.HISTORICAL
        asked = (series.series_id, query.span.start, query.span.end, query.known_at, only_history)
        extent = await self._database.fetchrow(SQL["hourly_extent"], *asked)
        first, until = extent["first"], extent["plain_until"]
        if first is None:
            return NO_RANGES
        # Hours whose bars retention has dropped are kept a little longer; nobody is to see them.
        start_ns = max(query.span.start_ns, to_ns(first))
        end_ns = query.span.end_ns if until is None else min(query.span.end_ns, to_ns(until))
        whole = TimeRange(-(-start_ns // NS_PER_HOUR) * NS_PER_HOUR, end_ns // NS_PER_HOUR * NS_PER_HOUR)
        if whole.length_ns < _LEAST_NS:
            return NO_RANGES
        try:
            rows = await self._database.fetch(SQL["hourly_stale"], whole.start, whole.end)
        except (asyncpg.SyntaxOrAccessError, asyncpg.NoDataFoundError) as error:
            _log.warning("hourly bars not used: this TimescaleDB does not show what changed", error=str(error))
            self._there = False
            return NO_RANGES
        stale = TimeRanges.of(TimeRange.of(row["stale_from"], row["stale_until"]) for row in rows)
        return TimeRanges.of(each for each in TimeRanges.of([whole]).subtract(stale) if each.length_ns >= _LEAST_NS)

    async def _hours(
        self, series: Series, query: BarQuery, rows: int, newest_first: bool
    ) -> AsyncGenerator[BarColumns, None]:
        count = _PAGE_HOURS if rows >= PAGE_ROWS else max(24, rows * series.interval.length_ns // NS_PER_HOUR)
        left = query.span
        while left.length_ns > 0:
            taken = min(left.length_ns, count * NS_PER_HOUR)
            if newest_first:
                span, left = TimeRange(left.end_ns - taken, left.end_ns), TimeRange(left.start_ns, left.end_ns - taken)
            else:
                span, left = (
                    TimeRange(left.start_ns, left.start_ns + taken),
                    TimeRange(left.start_ns + taken, left.end_ns),
                )
            page = await self._page(series, replace(query, span=span))
            if len(page):
                yield page

    async def _page(self, series: Series, query: BarQuery) -> BarColumns:
        """Return the hours of a range; in the place of those that were not known so then, what is stored."""
        async with self._database.acquire() as connection:
            raw = await bar_table.copy_out(
                connection, SQL["hourly_bars"], series.series_id, query.span.start, query.span.end
            )
        found = _FORMAT.decode(raw).columns
        late = found["known_at"] * 1_000 > to_ns(query.known_at)
        hours = _columns({name: column[~late] for name, column in found.items()}, query.columns)
        if not late.any():
            return hours
        opens = found["open_time"][late] * 1_000
        parts = [hours]
        for span in TimeRanges.merged(opens, opens + NS_PER_HOUR):
            pages = self._reader.pages(series, replace(query, span=span))
            async with aclosing(pages):
                parts += [page async for page in pages]
        return BarColumns.concatenate(parts).sort()


def _fits(series: Series, target: Interval, query: BarQuery) -> bool:
    """Tell whether bars of a target are made of whole hours, and a query wants what hours have."""
    interval = series.interval
    return (
        interval.is_time
        and not interval.is_dated
        and interval.length_ns <= _COARSEST_NS
        and NS_PER_HOUR % interval.length_ns == 0
        # Sessions begin at half past: their days are made of minutes.
        and (series.calendar.always_open if target.is_dated else target.length_ns % NS_PER_HOUR == 0)
        and query.source in (Source.MERGED, Source.HISTORICAL)
        and query.adjustment is Adjustment.RAW
        and not query.own_only
        and _KEPT.issuperset(query.columns)
    )


def _columns(found: dict[str, Any], optional: tuple[str, ...]) -> BarColumns:
    extra: dict[str, Any] = {name: found[name] for name in optional if name != "known_time_ns"}
    if "known_time_ns" in optional:
        extra["known_time_ns"] = found["known_at"] * 1_000
    revised = found["revision"] > 0
    if revised.any():
        extra["state"] = np.where(revised, BarState.REVISED, BarState.CLOSED).astype(np.uint8)
    prices = {name: found[name] for name in ("open", "high", "low", "close", "volume")}
    return BarColumns(
        open_time_ns=found["open_time"] * 1_000, close_time_ns=found["close_time"] * 1_000, **prices, **extra
    )
