"""Bars computed on reading from finer stored ones, page after page in bounded memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Final

import numpy as np

from datahub.reads.bars import PAGE_ROWS, BarReader
from datahub.reads.hourly import HourlyReader
from datahub.reads.query import BarQuery
from datahub.reads.readable import Readable
from datahub.series.series import Series
from datahub.store.statements import SQL
from quasar.database.pool import Database
from quasar.model.bar_aggregates import PagedAggregation
from quasar.model.bars import BarColumns, BarOrigin, BarState
from quasar.model.columns import Int64Array
from quasar.model.coverage import TimeRanges
from quasar.model.instants import MAX_NS, MIN_NS, NS_PER_DAY, TimeRange, from_ns, to_ns
from quasar.model.intervals import Interval

WAIT_NS: Final = NS_PER_DAY
"""How long after its end a bar waits for finer bars that are late before it counts as closed without them."""
_LEAST_ROWS: Final = 512
_MONTH_NS: Final = 31 * NS_PER_DAY


class BarSource:
    """Reads bars as they are stored or computed from finer ones, whichever a `Readable` says."""

    def __init__(self, database: Database, reader: BarReader) -> None:
        """Read through `reader`; ask `database` how far the ledger goes."""
        self._database = database
        self._hourly = HourlyReader(database, reader)
        self.reader = reader
        """Reads what is stored."""

    async def pages(
        self,
        readable: Readable,
        query: BarQuery,
        *,
        include_forming: bool = False,
        newest_first: bool = False,
        most: int = 0,
        rows: int = PAGE_ROWS,
    ) -> AsyncGenerator[BarColumns, None]:
        """Yield bars whose open time lies in the range; each page is ascending.

        A computed bar holds every finer bar of its interval, also of those beyond the range. It is FORMING until finer
        bars reach its end, the ledger says that none is missing up to there, or `WAIT_NS` has passed.

        Args:
            readable: What to read.
            query: What is wanted; SPLIT and TOTAL adjust the finer bars.
            include_forming: Also yield the newest bar while it is forming.
            newest_first: The newest page comes first.
            most: About how many bars will be taken, which keeps the first page small. 0: all.
            rows: Stored rows of one statement at most.

        Raises:
            InvalidArgument: The interval is not a multiple of the stored one.
            FailedPrecondition: An adjusted read, and no factors are known.
        """
        if readable.target is None:
            stored = self.reader.pages(readable.series, query, rows=rows, newest_first=newest_first)
        else:
            at_once = min(rows, _rows_of(most, readable.series.interval, readable.target))
            stored = self._computed(readable.series, readable.target, query, include_forming, newest_first, at_once)
        async with aclosing(stored) as pages:
            async for page in pages:
                yield page

    async def newest(
        self, readable: Readable, query: BarQuery, count: int, *, include_forming: bool = False
    ) -> BarColumns:
        """Return the newest bars of a range in ascending order, `count` at most."""
        parts: list[BarColumns] = []
        found = 0
        pages = self.pages(readable, query, include_forming=include_forming, newest_first=True, most=count)
        async with aclosing(pages):
            async for page in pages:
                parts.append(page)
                found += len(page)
                if found >= count:
                    break
        return BarColumns.concatenate(parts[::-1])[max(0, found - count) :]

    async def oldest(self, readable: Readable, query: BarQuery) -> BarColumns:
        """Return some bars from the beginning of a range on; none when there are none."""
        async with aclosing(self.pages(readable, query, most=1)) as pages:
            async for page in pages:
                return page
        return BarColumns.empty()

    async def span_of_newest(
        self, readable: Readable, query: BarQuery, count: int, *, include_forming: bool = False
    ) -> TimeRange:
        """Return the part of a range that holds its newest bars, `count` at most."""
        if readable.target is None:
            return await self.reader.start_of_last(readable.series, query.span, count)
        found, first_ns = 0, query.span.end_ns
        bare = replace(query, columns=())
        pages = self.pages(readable, bare, include_forming=include_forming, newest_first=True, most=count)
        async with aclosing(pages):
            async for page in pages:
                if found + len(page) >= count:
                    return TimeRange(int(page.open_time_ns[found + len(page) - count]), query.span.end_ns)
                found, first_ns = found + len(page), int(page.open_time_ns[0])
        return TimeRange(first_ns, query.span.end_ns)

    async def _computed(
        self,
        series: Series,
        target: Interval,
        query: BarQuery,
        include_forming: bool,
        newest_first: bool,
        rows: int,
    ) -> AsyncGenerator[BarColumns, None]:
        computing = PagedAggregation(series.interval, target, series.calendar, backwards=newest_first)
        needed = tuple(name for name in query.columns if name not in ("origin", "source_series_id"))
        wanted = replace(query, span=_source_span(query.span, target, series), columns=needed)
        newest_close_ns = MIN_NS
        unsettled = newest_first
        finer = self._hourly.pages(series, target, wanted, rows=rows, newest_first=newest_first)
        async with aclosing(finer) as pages:
            async for page in pages:
                assert page.close_time_ns is not None  # stored bars have them
                newest_close_ns = max(newest_close_ns, int(page.close_time_ns[-1]))
                bars = _shown(computing.add(page), query)
                if len(bars) and unsettled:
                    bars, unsettled = await self._settled(series, query, bars, newest_close_ns, include_forming), False
                if len(bars):
                    yield bars
        bars = _shown(computing.finish(), query)
        if len(bars) and (unsettled or not newest_first):
            bars = await self._settled(series, query, bars, newest_close_ns, include_forming)
        if len(bars):
            yield bars

    async def _settled(
        self, series: Series, query: BarQuery, bars: BarColumns, newest_close_ns: int, include_forming: bool
    ) -> BarColumns:
        """Return bars with the last one marked, or left out, when it is forming."""
        assert bars.close_time_ns is not None
        if await self._closed(series, query, int(bars.close_time_ns[-1]), newest_close_ns):
            return bars
        if not include_forming:
            return bars[:-1]
        states = np.full(len(bars), BarState.CLOSED, np.uint8) if bars.state is None else bars.state.copy()
        states[-1] = BarState.FORMING
        return replace(bars, state=states)

    async def _closed(self, series: Series, query: BarQuery, close_ns: int, newest_close_ns: int) -> bool:
        """Tell whether nothing of a bar that ends then is outstanding, by what was known at the time of the query."""
        known_ns = to_ns(query.known_at)
        if close_ns > known_ns:
            return False
        if newest_close_ns >= close_ns or close_ns + WAIT_NS <= known_ns:
            return True
        if await self._database.fetchval(SQL["classified_to"], series.series_id, from_ns(close_ns), query.known_at):
            return True
        later = replace(query, span=TimeRange(close_ns, MAX_NS), columns=())
        return len(await self.reader.page(series, later, 1)) > 0


def touched(starts: Int64Array, ends: Int64Array, ranges: TimeRanges) -> int:
    """Return how many slots overlap some ranges.

    Args:
        starts: First instants of the slots, ascending.
        ends: First instants after them.
        ranges: The ranges.
    """
    first = np.searchsorted(ends, ranges.start_ns, side="right")
    last = np.searchsorted(starts, ranges.end_ns, side="left")
    # Neighbouring ranges may end and begin in one slot.
    first = np.maximum(first, np.append(0, np.maximum.accumulate(last)[:-1]))
    return int(np.maximum(last - first, 0).sum())


def _rows_of(most: int, source: Interval, target: Interval) -> int:
    """Return how many stored rows a page needs for some coarser bars, and one more that is cut."""
    if not most:
        return PAGE_ROWS
    each = -(-(target.length_ns or _MONTH_NS) // source.length_ns)
    return min(PAGE_ROWS, max(_LEAST_ROWS, (most + 1) * each))


def _source_span(span: TimeRange, target: Interval, series: Series) -> TimeRange:
    """Return where the finer bars of all coarser bars of a range lie; hours of a session may be off its date."""
    off = NS_PER_DAY if target.is_dated and not series.calendar.always_open else 0
    start, end = target.ceil_ns(span.start_ns), max(span.end_ns, span.start_ns + 1)
    last = target.next_boundary_ns(end - 1)
    return TimeRange(max(MIN_NS, start - off), max(MIN_NS, start - off, min(MAX_NS, last + off)))


def _shown(bars: BarColumns, query: BarQuery) -> BarColumns:
    bars = bars.within(query.span) if len(bars) else bars
    if "origin" not in query.columns:
        return bars
    return replace(bars, origin=np.full(len(bars), BarOrigin.RESAMPLED, np.uint8))
