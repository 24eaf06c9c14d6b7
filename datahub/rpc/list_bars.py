"""Bars and their former versions as pages of rows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import numpy as np

from datahub.collection.runs import public_id
from datahub.reads.adjustment import adjusted, needs_total
from datahub.reads.forming import FormingOf, forming_row, nothing_forms
from datahub.reads.query import BarQuery
from datahub.reads.readable import Readable
from datahub.reads.resampling import BarSource
from datahub.rpc.bar_messages import bar_messages, revision_message
from datahub.rpc.read_bars import bar_query
from datahub.rpc.readable_series import ReadableFinder, readable_info
from datahub.rpc.series_messages import SeriesFinder, series_info, time_range
from datahub.series.series import Series
from datahub.store import series_table
from datahub.store.statements import SQL
from quasar import paging
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import FieldViolation, InvalidFilter
from quasar.filters import Field, condition
from quasar.filters.matching import Predicate, predicate
from quasar.model.bars import BarColumns
from quasar.model.columns import BoolArray
from quasar.model.instants import MIN_NS, TimeRange
from quasar.model.intervals import Interval
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb

_FIELDS: Mapping[str, Field] = {
    "state": Field(
        "case when b.revision > 0 then 'REVISED' else 'CLOSED' end", "enum", ("FORMING", "CLOSED", "REVISED")
    ),
    "origin": Field(
        "(array['HISTORICAL', 'LIVE_PROVIDER', 'LIVE_TICKS', 'REPAIRED', 'IMPORTED', 'RESAMPLED'])[b.origin]",
        "enum",
        ("HISTORICAL", "LIVE_PROVIDER", "LIVE_TICKS", "REPAIRED", "IMPORTED", "RESAMPLED"),
    ),
    "volume": Field("b.volume", "number"),
    "close": Field("b.close", "number"),
}
_SHOWN = ("trade_count", "vwap", "quote_volume", "origin", "source_series_id", "known_time_ns")
_COMPUTED = ("trade_count", "vwap", "quote_volume", "origin", "known_time_ns")


class BarPages:
    """Answers `ListBars` and `ListBarRevisions`."""

    def __init__(
        self,
        database: Database,
        source: BarSource,
        finder: SeriesFinder,
        clock: Clock,
        forming: FormingOf = nothing_forms,
    ) -> None:
        """Read from `database`; `forming` tells the bars that are forming."""
        self._forming = forming
        self._database = database
        self._source = source
        self._finder = finder
        self._readable = ReadableFinder(database, finder)
        self._clock = clock

    async def bars(self, request: pb.ListBarsRequest) -> pb.ListBarsResponse:
        """Return a page of bars."""
        size, newest_first = paging.page_size(request.page_size), _newest_first(request.order_by)
        target = Interval.parse(request.resample_interval) if request.resample_interval else None
        found = await self._readable.find(request.series, target)
        asked = _asked("ListBars", request)
        key = paging.page_key(asked, request.page_token)
        query = bar_query(request, self._clock.now())
        if key is not None:
            query = replace(query, span=_rest(query.span, int(key[0]), newest_first))
        if found.target is None:
            bars = await self._stored(found.series, query, request.filter, size, newest_first)
            bars = self._with_forming(found.series, query, request, bars, size, newest_first)
        else:
            bars = await self._computed(found, query, request, size, newest_first)
        shown = bars[:size]
        response = pb.ListBarsResponse(series=readable_info(found))
        response.bars.extend(bar_messages(shown, int(query.adjustment), await self._sources(shown)))
        if len(bars) > size:
            response.next_page_token = paging.page_token(asked, [int(shown.open_time_ns[-1])])
        return response

    async def revisions(self, request: pb.ListBarRevisionsRequest) -> pb.ListBarRevisionsResponse:
        """Return a page of former versions, the newest replacement first."""
        size = paging.page_size(request.page_size)
        series = await self._finder.find(request.series)
        asked = _asked("ListBarRevisions", request)
        key = paging.page_key(asked, request.page_token)
        place: Sequence[Any] = (None, None, None)
        if key is not None:
            place = (dt.datetime.fromisoformat(str(key[0])), dt.datetime.fromisoformat(str(key[1])), int(key[2]))
        span = time_range(request.range)
        rows = await self._database.fetch(
            SQL["bar_revisions"], series.series_id, span.start, span.end, *place, size + 1
        )
        response = pb.ListBarRevisionsResponse(series=series_info(series))
        for row in rows[:size]:
            response.revisions.append(revision_message(row, public_id(row["run_id"]) if row["run_id"] else ""))
        if len(rows) > size:
            last = rows[size - 1]
            key = [last["known_until"].isoformat(), last["open_time"].isoformat(), last["revision"]]
            response.next_page_token = paging.page_token(asked, key)
        return response

    async def _stored(
        self, series: Series, query: BarQuery, filter_text: str, size: int, newest_first: bool
    ) -> BarColumns:
        where = condition(filter_text, _FIELDS, first_parameter=6)
        wanted = needs_total(replace(query, columns=_SHOWN))
        page = await self._source.reader.page(series, wanted, size + 1, newest_first=newest_first, where=where)
        return adjusted(page, query, await self._source.reader.splits(series, query))

    def _with_forming(
        self,
        series: Series,
        query: BarQuery,
        request: pb.ListBarsRequest,
        bars: BarColumns,
        size: int,
        newest_first: bool,
    ) -> BarColumns:
        """Add the bar that is forming, if it is wanted, where it belongs; what was known at a time has none."""
        last_page = newest_first or len(bars) <= size
        if not request.include_forming or request.HasField("as_of") or not last_page:
            return bars
        live = self._forming([series.series_id]).get(series.series_id)
        row = forming_row(live, query, int(bars.open_time_ns.max()) if len(bars) else MIN_NS)
        if request.filter and live is not None and len(row):
            passes = predicate(request.filter, _FIELDS)
            facts = {"state": "FORMING", "origin": live.origin.name, "volume": live.bar.volume, "close": live.bar.close}
            row = row if passes(facts) else BarColumns.empty()
        return BarColumns.concatenate([row, bars] if newest_first else [bars, row])[: size + 1]

    async def _computed(
        self, found: Readable, query: BarQuery, request: pb.ListBarsRequest, size: int, newest_first: bool
    ) -> BarColumns:
        """Compute a page of coarser bars from as much of the series as it takes."""
        passes = predicate(request.filter, _FIELDS)
        pages = self._source.pages(
            found,
            replace(query, columns=_COMPUTED),
            include_forming=request.include_forming,
            newest_first=newest_first,
            most=size + 1,
        )
        parts: list[BarColumns] = []
        async with aclosing(pages):
            async for page in pages:
                ordered = page[::-1] if newest_first else page
                parts.append(ordered[_passing(ordered, passes)] if request.filter else ordered)
                if sum(map(len, parts)) > size:
                    break
        return BarColumns.concatenate(parts)[: size + 1]

    async def _sources(self, bars: BarColumns) -> Mapping[int, Series]:
        if bars.source_series_id is None or not bars.source_series_id.any():
            return {}
        async with self._database.acquire() as connection:
            return await series_table.by_ids(connection, {int(one) for one in bars.source_series_id if one})


def _passing(bars: BarColumns, passes: Predicate) -> BoolArray:
    """Tell of each computed bar whether it passes a filter."""
    rows = (
        {"state": bar.state.name, "origin": "RESAMPLED", "volume": bar.volume, "close": bar.close}
        for bar in bars.bars()
    )
    return np.fromiter((passes(row) for row in rows), np.bool_, len(bars))


def _rest(span: TimeRange, last_ns: int, newest_first: bool) -> TimeRange:
    if newest_first:
        return TimeRange(span.start_ns, max(span.start_ns, min(last_ns, span.end_ns)))
    return TimeRange(min(max(last_ns + 1_000, span.start_ns), span.end_ns), span.end_ns)


def _newest_first(order_by: str) -> bool:
    orders = {(): True, ("open_time", "desc"): True, ("open_time",): False, ("open_time", "asc"): False}
    words = tuple(order_by.split())
    if words not in orders:
        description = f"must be 'open_time' or 'open_time desc', was {order_by!r}"
        raise InvalidFilter(f"order_by {description}.", violations=[FieldViolation("order_by", description)])
    return orders[words]


def _asked(method: str, request: Any) -> tuple[str, str]:
    without = type(request)()
    without.CopyFrom(request)
    without.page_token = ""
    without.page_size = 0
    return method, without.SerializeToString(deterministic=True).hex()
