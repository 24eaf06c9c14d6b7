"""Stored bars in columns, page after page, as they were known at one moment."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from datahub.reads.adjustment import adjusted, needs_total
from datahub.reads.query import Adjustment, BarQuery, Source
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
    ("revision", "int4", "b.revision"),
)
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
        for span in await self._spans(series, query, newest_first):
            async for page in self._pages(series, replace(wanted, span=span), rows, newest_first):
                yield adjusted(page, query, splits)

    async def _spans(self, series: Series, query: BarQuery, newest_first: bool) -> list[TimeRange]:
        """Return a range in the parts that are read differently: plain history, and what has versions or live bars."""
        if query.source not in (Source.MERGED, Source.HISTORICAL):
            return [query.span]
        only_history = query.source is Source.HISTORICAL
        until = await self._database.fetchval(
            SQL["plain_until"], series.series_id, query.span.start, query.span.end, query.known_at, only_history
        )
        if until is None or to_ns(until) == query.span.start_ns:
            return [query.span]
        spans = [TimeRange(query.span.start_ns, to_ns(until)), TimeRange(to_ns(until), query.span.end_ns)]
        return spans[::-1] if newest_first else spans

    async def _pages(
        self, series: Series, query: BarQuery, rows: int, newest_first: bool
    ) -> AsyncGenerator[BarColumns, None]:
        """Yield unadjusted bars."""
        left = query.span
        while left.length_ns > 0:
            page = await self.page(series, replace(query, span=left), rows, newest_first=newest_first)
            full = len(page) == rows
            page = page[::-1] if newest_first else page
            if len(page):
                yield page
            if not full:
                return
            if newest_first:
                left = TimeRange(left.start_ns, int(page.open_time_ns[0]))
            else:
                left = TimeRange(min(int(page.open_time_ns[-1]) + 1_000, left.end_ns), left.end_ns)

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
            text = statement.format(
                columns=", ".join(f"{expression} as {name}" for name, _, expression in _listed(query.columns)),
                filter=f"{where.sql} and b.source_series_id = 0" if query.own_only else where.sql,
                direction="desc" if newest_first else "asc",
                source=_SOURCES[query.source],
                page="$5::bigint" if where == ALL and not query.own_only else "null::bigint",
            )
            raw = await bar_table.copy_out(
                connection,
                text,
                series.series_id,
                query.span.start,
                query.span.end,
                query.known_at,
                rows,
                *where.parameters,
            )
        return _columns(_format(query.columns).decode(raw).columns, query.columns)

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


def _listed(optional: tuple[str, ...]) -> list[tuple[str, Kind, str]]:
    return [*_BASE, *(_EXTRA[name] for name in optional)]


@lru_cache(maxsize=256)
def _format(optional: tuple[str, ...]) -> RowFormat:
    return RowFormat([Column(name, kind) for name, kind, _ in _listed(optional)])


def _columns(found: Mapping[str, Any], optional: tuple[str, ...]) -> BarColumns:
    """Return decoded columns; the state column is there only where a bar was revised."""
    extra = {name: found[_EXTRA[name][0]] for name in optional}
    if "known_time_ns" in extra:
        extra["known_time_ns"] = extra["known_time_ns"] * 1_000
    revised = found["revision"] > 0
    if revised.any():
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


def until(span: TimeRange, end: dt.datetime) -> TimeRange:
    """Return the part of a range before a time."""
    return TimeRange(span.start_ns, max(span.start_ns, min(span.end_ns, to_ns(end))))
