"""Stored bars in columns, page after page, as they were known at one moment."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

import numpy as np

from datahub.reads.adjustment import adjusted, needs_total
from datahub.reads.query import Adjustment, BarQuery, Source
from datahub.reads.side_by_side import Windows, side_by_side
from datahub.series.series import Series
from datahub.store import bar_table
from datahub.store.statements import SQL
from quasar.database.copy import Column, Kind, RowFormat
from quasar.database.pool import Database
from quasar.errors import FailedPrecondition
from quasar.filters import Condition
from quasar.model.bars import BarColumns, BarState
from quasar.model.columns import Int64Array
from quasar.model.instants import TimeRange, to_ns

PAGE_ROWS = 50_000
"""Rows of one statement."""
FIRST_ROWS = 8_192
"""Rows of the first statement of a range: what comes after them is read while they are sent."""
_SOURCES: Mapping[Source, str] = {
    Source.MERGED: "true",
    Source.HISTORICAL: "rank = 0",
    Source.LIVE_PROVIDER: "rank = 2",
    Source.LIVE_TICKS: "rank = 3",
}
_BASE: Sequence[tuple[str, Kind, str]] = (
    ("open_time", "timestamptz", "b.open_time"),
    ("close_time", "timestamptz", "b.close_time"),
    *((name, "float8", f"b.{name}") for name in ("open", "high", "low", "close")),
    ("volume", "float8", "coalesce(b.volume, 'NaN'::float8)"),
)
_REVISION: tuple[str, Kind, str] = ("revision", "int4", "b.revision")
"""Costs the server a quarter of a read, so it is left out where no bar was revised."""
_EXTRA: Mapping[str, tuple[str, Kind, str]] = {
    "trade_count": ("trade_count", "int8", "coalesce(b.trade_count, -1)"),
    **{
        name: (name, "float8", f"coalesce(b.{name}, 'NaN'::float8)")
        for name in ("vwap", "quote_volume", "adjusted_close", "dividend", "split_factor", "open_interest")
    },
    "origin": ("origin", "int2", "b.origin::smallint"),
    "source_series_id": ("source_series_id", "int4", "b.source_series_id"),
    "known_time_ns": ("known_at", "timestamptz", "b.known_at"),
}
ALL = Condition("true", ())


class BarReader:
    """Reads bars."""

    def __init__(self, database: Database) -> None:
        """Read from `database`."""
        self._database = database

    async def start_of_last(self, series: Series, span: TimeRange, count: int) -> TimeRange:
        """Return the part of a range that holds its newest bars."""
        first = await self._database.fetchval(SQL["first_of_last"], series.series_id, span.start, span.end, count)
        return span if first is None else TimeRange(to_ns(first), span.end_ns)

    async def pages(
        self, series: Series, query: BarQuery, *, rows: int = PAGE_ROWS, newest_first: bool = False
    ) -> AsyncGenerator[BarColumns, None]:
        """Yield the bars of a series, `rows` at a time; each page is ascending.

        Args:
            series: Of which series.
            query: What is wanted.
            rows: How many at a time.
            newest_first: The newest page comes first.

        Raises:
            FailedPrecondition: An adjusted read, and no factors are known.
        """
        wanted = needs_total(query)
        splits = await self.splits(series, query)
        for span, untouched in await self._spans(series, query, newest_first):
            read = partial(self._untouched if untouched else self.page, series)
            part = replace(wanted, span=span)
            pages = _backward(read, part, rows) if newest_first else self._forward(series, read, part, rows)
            async with aclosing(pages):
                async for page in pages:
                    yield adjusted(page, query, splits)

    async def _spans(self, series: Series, query: BarQuery, newest_first: bool) -> list[tuple[TimeRange, bool]]:
        """Return a range in the parts that are read differently, each with whether no bar of it was ever revised."""
        whole = query.span
        if query.source not in (Source.MERGED, Source.HISTORICAL):
            return [(whole, False)]
        only_history = query.source is Source.HISTORICAL
        found = await self._database.fetchrow(
            SQL["plain_until"], series.series_id, whole.start, whole.end, query.known_at, only_history
        )
        plain, untouched = (whole.end_ns if until is None else to_ns(until) for until in found)
        cuts = [whole.start_ns, min(plain, untouched), plain, whole.end_ns]
        spans = [
            (TimeRange(start_ns, end_ns), place == 0)
            for place, (start_ns, end_ns) in enumerate(pairwise(cuts))
            if start_ns < end_ns
        ]
        return spans[::-1] if newest_first else spans

    async def _forward(
        self, series: Series, read: Callable[[BarQuery, int], Awaitable[BarColumns]], query: BarQuery, rows: int
    ) -> AsyncGenerator[BarColumns, None]:
        """Yield unadjusted bars in order of time; the first page is small, so that it can be sent soon."""
        few = min(rows, FIRST_ROWS)
        first = await read(query, few)
        if len(first):
            yield first
        if len(first) < few:
            return
        # Nothing lies beyond the newest bar, and a range without an end would be cut into windows for ever.
        newest = await self.start_of_last(series, query.span, 1)
        left = _after(first, TimeRange(query.span.start_ns, newest.start_ns + 1_000))
        windows = Windows(left, rows)
        windows.learn(TimeRange(int(first.open_time_ns[0]), left.start_ns), len(first))

        async def window(span: TimeRange) -> BarColumns:
            return await read(replace(query, span=span), rows)

        async def rest(span: TimeRange, page: BarColumns) -> AsyncGenerator[BarColumns, None]:
            while len(page) == rows:
                span = _after(page, span)
                page = await window(span)
                if len(page):
                    yield page

        async with aclosing(side_by_side(windows, window, rest, self._spare)) as pages:
            async for page in pages:
                yield page

    def _spare(self) -> bool:
        """Tell whether so many connections are free that one more keeps nobody waiting."""
        return self._database.free > self._database.most // 2

    async def page(
        self, series: Series, query: BarQuery, rows: int, *, newest_first: bool = False, where: Condition = ALL
    ) -> BarColumns:
        """Return the first or last bars of a range, unadjusted; with `newest_first` in descending order.

        Args:
            series: Of which series.
            query: What is wanted.
            rows: How many at most.
            newest_first: Begin at the end of the range.
            where: A further condition on the columns of `b`; its parameters begin at $6.
        """
        # What a page is read from must be what was looked at, also when a bar is revised between the two.
        async with (
            self._database.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            statement = await self._statement(connection, series, query)
            return await _read(connection, statement, series, query, rows, newest_first=newest_first, where=where)

    async def _untouched(self, series: Series, query: BarQuery, rows: int, *, newest_first: bool = False) -> BarColumns:
        """Return the same as `page` of a range in which no bar was ever revised, or was not a moment ago."""
        async with self._database.acquire() as connection:
            statement = SQL["read_untouched"]
            page = await _read(connection, statement, series, query, rows, newest_first=newest_first, revised=False)
        return page if len(page) else await self.page(series, query, rows, newest_first=newest_first)

    async def _statement(self, connection: Any, series: Series, query: BarQuery) -> str:
        only_history = query.source is Source.HISTORICAL
        if query.source in (Source.MERGED, Source.HISTORICAL):
            plain = await connection.fetchval(
                SQL["plain_history"], series.series_id, query.span.start, query.span.end, query.known_at, only_history
            )
            if plain:
                return SQL["read_plain"]
        return SQL["read_versions"]

    async def splits(self, series: Series, query: BarQuery) -> tuple[Int64Array, Any]:
        """Return open times and factors of the splits that an adjusted read needs; nothing for a raw one.

        Raises:
            FailedPrecondition: No factors are known.
        """
        if query.adjustment is Adjustment.RAW:
            return np.empty(0, np.int64), np.empty(0)
        if not await self._database.fetchval(SQL["adjustable"], series.series_id):
            raise FailedPrecondition(
                f"No split or dividend factors are known of {series.name}; read it with adjustment RAW."
            )
        rows = await self._database.fetch(SQL["splits"], series.series_id, query.known_at)
        times = np.array([to_ns(row["open_time"]) for row in rows], dtype=np.int64)
        return times, np.array([row["split_factor"] for row in rows], dtype=np.float64)


async def _backward(
    read: Callable[..., Awaitable[BarColumns]], query: BarQuery, rows: int
) -> AsyncGenerator[BarColumns, None]:
    """Yield unadjusted bars, the newest page first."""
    left = query.span
    while left.length_ns > 0:
        page = await read(replace(query, span=left), rows, newest_first=True)
        if len(page):
            yield page[::-1]
        if len(page) < rows:
            return
        left = TimeRange(left.start_ns, int(page.open_time_ns[-1]))


async def _read(
    connection: Any,
    statement: str,
    series: Series,
    query: BarQuery,
    rows: int,
    *,
    newest_first: bool,
    where: Condition = ALL,
    revised: bool = True,
) -> BarColumns:
    """Return the first or last bars that a statement finds; without `revised` all of them count as closed."""
    listed = _listed(query.columns, revised)
    text = statement.format(
        columns=", ".join(f"{expression} as {name}" for name, _, expression in listed),
        filter=f"{where.sql} and b.source_series_id = 0" if query.own_only else where.sql,
        direction="desc" if newest_first else "asc",
        source=_SOURCES[query.source],
        page="$5::bigint" if where == ALL and not query.own_only else "null::bigint",
        only_history=query.source is Source.HISTORICAL,
    )
    span = query.span
    arguments = (series.series_id, span.start, span.end, query.known_at, rows, *where.parameters)
    raw = await bar_table.copy_out(connection, text, *arguments)
    return _columns(_format(query.columns, revised).decode(raw).columns, query.columns)


def _listed(optional: tuple[str, ...], revised: bool) -> list[tuple[str, Kind, str]]:
    return [*_BASE, *([_REVISION] if revised else []), *(_EXTRA[name] for name in optional)]


@lru_cache(maxsize=256)
def _format(optional: tuple[str, ...], revised: bool) -> RowFormat:
    return RowFormat([Column(name, kind) for name, kind, _ in _listed(optional, revised)])


def _columns(found: Mapping[str, Any], optional: tuple[str, ...]) -> BarColumns:
    """Return decoded columns; the state column is there only where a bar was revised."""
    extra = {name: found[_EXTRA[name][0]] for name in optional}
    if "known_time_ns" in extra:
        extra["known_time_ns"] = extra["known_time_ns"] * 1_000
    revised = found["revision"] > 0 if "revision" in found else None
    if revised is not None and revised.any():
        extra["state"] = np.where(revised, BarState.REVISED, BarState.CLOSED).astype(np.uint8)
    return BarColumns(
        open_time_ns=found["open_time"] * 1_000,
        close_time_ns=found["close_time"] * 1_000,
        open=found["open"],
        high=found["high"],
        low=found["low"],
        close=found["close"],
        volume=found["volume"],
        **extra,
    )


def _after(page: BarColumns, span: TimeRange) -> TimeRange:
    """Return the part of a range that lies after a page that is not empty."""
    return TimeRange(min(int(page.open_time_ns[-1]) + 1_000, span.end_ns), span.end_ns)


def until(span: TimeRange, end: dt.datetime) -> TimeRange:
    """Return the part of a range before a time."""
    return TimeRange(span.start_ns, max(span.start_ns, min(span.end_ns, to_ns(end))))
