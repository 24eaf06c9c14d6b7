"""What there is: searches, descriptions, newest bars."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

from datahub.reads.query import BarQuery
from datahub.reads.readable import Readable
from datahub.reads.resampling import BarSource, touched
from datahub.rpc.gap_messages import gap_message
from datahub.rpc.readable_series import ReadableFinder, readable_info
from datahub.rpc.series_messages import SeriesFinder, series_info, series_key
from datahub.series.series import Series, SeriesName
from datahub.store.series_table import series_of
from datahub.store.statements import SQL
from quasar import paging
from quasar.clock import Clock
from quasar.convert.manifest import asset_class_to_proto
from quasar.database.pool import Database
from quasar.filters import Field, condition
from quasar.model.asset_classes import AssetClass
from quasar.model.coverage import SlotState, TimeRanges
from quasar.model.instants import TimeRange, from_ns, to_ns
from quasar.model.intervals import CANONICAL_CODES, Interval
from quasar.ordering import OrderField, Ordering
from quasar.rpc.wellknown import duration, timestamp
from quasar_proto.datahub.v1 import market_data_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb

_SEARCH: Mapping[str, Field] = {
    "provider": Field("m.provider"),
    "exchange": Field("m.exchange"),
    "asset_class": Field("m.asset_class", convert=str.lower),
    "base_currency": Field("m.base_currency"),
    "quote_currency": Field("m.quote_currency"),
    "interval": Field("m.intervals", "list"),
    "has_historical": Field("m.has_historical::text", "enum", ("false", "true"), str.lower),
    "has_live": Field("m.has_live::text", "enum", ("false", "true"), str.lower),
    "has_ticks": Field("m.has_ticks::text", "enum", ("false", "true"), str.lower),
}
_BEST_FIRST = Ordering(
    (
        (OrderField("-m.score", "double precision"), False),
        (OrderField("m.provider"), False),
        (OrderField("m.symbol"), False),
    )
)
_RECENT = dt.timedelta(days=400)


class SeriesPages:
    """Answers `SearchSeries` and `DescribeSeries`."""

    def __init__(self, database: Database, source: BarSource, finder: SeriesFinder, clock: Clock) -> None:
        """Read from `database`."""
        self._database = database
        self._source = source
        self._readable = ReadableFinder(database, finder)
        self._clock = clock

    async def search(self, request: pb.SearchSeriesRequest) -> pb.SearchSeriesResponse:
        """Return a page of symbols that match a text."""
        size = paging.page_size(request.page_size)
        asked = ("SearchSeries", request.query, request.filter)
        key = paging.page_key(asked, request.page_token)
        where = condition(request.filter, _SEARCH, first_parameter=3)
        after = _BEST_FIRST.after(key, first_parameter=3 + len(where.parameters))
        statement = SQL["search_series"].format(
            key=_BEST_FIRST.key, filter=f"{where.sql} and {after.sql}", order=_BEST_FIRST.clause
        )
        rows = await self._database.fetch(
            statement, request.query.strip(), size + 1, *where.parameters, *after.parameters
        )
        response = pb.SearchSeriesResponse(matches=await self._matches(rows[:size]))
        if len(rows) > size:
            response.next_page_token = paging.page_token(asked, rows[size - 1]["order_key"])
        return response

    async def _matches(self, rows: Sequence[Any]) -> list[pb.SeriesMatch]:
        recent = self._clock.now() - _RECENT
        found = await self._database.fetch(
            SQL["series_of_symbols"], [row["provider"] for row in rows], [row["symbol"] for row in rows], recent
        )
        by_symbol: dict[tuple[str, str], list[Any]] = {}
        for each in found:
            by_symbol.setdefault((each["provider"], each["symbol"]), []).append(each)
        return [_match(row, by_symbol.get((row["provider"], row["symbol"]), [])) for row in rows]

    async def describe(self, request: pb.DescribeSeriesRequest) -> pb.DescribeSeriesResponse:
        """Return what is known about one series."""
        found = await self._readable.find(request.series)
        series = found.series
        description = pb.SeriesDescription(series=readable_info(found))
        if found.target is not None:
            await self._describe_computed(found, description)
        elif series.name.interval:
            await self._describe_bars(series, description)
        else:
            row = await self._database.fetchrow(SQL["describe_ticks"], series.series_id)
            _set_times(description, row["first_time"], row["last_time"])
            description.rows = row["rows"]
        if found.target is None and description.rows:
            table = "datahub.historical_data" if series.name.interval else "datahub.ticks"
            row_bytes = await self._database.fetchval(SQL["bytes_a_row"], table)
            description.size_bytes = round((row_bytes or 0.0) * description.rows)
        rest = await self._database.fetchrow(SQL["describe_rest"], series.series_id)
        description.open_gaps = rest["open_gaps"]
        description.subscribed = bool(rest["subscribed"]) and found.target is None
        if rest["next_due"] is not None:
            description.next_due_time.FromDatetime(rest["next_due"])
        if rest["retention"] is not None:
            description.retention.CopyFrom(duration(rest["retention"].total_seconds()) or description.retention)
        for gap in await self._database.fetch(SQL["newest_gaps"], series.series_id):
            description.newest_gaps.append(gap_message(gap))
        for other in await self._database.fetch(SQL["related_series"], series.series_id):
            description.related.append(series_info(series_of(other)))
        return pb.DescribeSeriesResponse(description=description)

    async def _describe_bars(self, series: Series, description: pb.SeriesDescription) -> None:
        rows = await self._database.fetch(SQL["describe_sources"], series.series_id)
        for row in rows:
            description.sources.append(
                pb.SourceSummary(
                    origin=row["origin"],
                    provider=row["provider"] or series.name.provider,
                    rows=row["rows"],
                    first_time=timestamp(row["first_time"]),
                    last_time=timestamp(row["last_time"]),
                )
            )
        if not rows:
            return
        first, last = min(row["first_time"] for row in rows), max(row["last_time"] for row in rows)
        _set_times(description, first, last)
        description.rows = sum(row["rows"] for row in rows)
        description.revised_bars = sum(row["revised"] for row in rows)
        description.adjustable = any(row["with_factors"] for row in rows)
        await self._set_completeness(series, description, first, last)

    async def _describe_computed(self, found: Readable, description: pb.SeriesDescription) -> None:
        """Describe bars that are computed: their ends as they are read, their number by the ledger."""
        query = BarQuery(known_at=self._clock.now())
        first = await self._source.oldest(found, query)
        last = await self._source.newest(found, query, 1)
        if not len(first) or not len(last):
            return
        span = TimeRange(int(first.open_time_ns[0]), int(last.open_time_ns[-1]) + 1_000)
        summary = description.sources.add(
            origin=market_data_pb2.BAR_ORIGIN_RESAMPLED,
            provider=found.series.name.provider,
            rows=await self._computed_rows(found, span),
            first_time=timestamp(span.start),
            last_time=timestamp(from_ns(int(last.open_time_ns[-1]))),
        )
        _set_times(description, span.start, from_ns(int(last.open_time_ns[-1])))
        description.rows = summary.rows
        description.adjustable = await self._database.fetchval(SQL["adjustable"], found.series.series_id)
        await self._set_completeness(found.series, description, span.start, from_ns(int(last.open_time_ns[-1])))

    async def _computed_rows(self, found: Readable, span: TimeRange) -> int:
        """Return how many bars of the coarser interval hold finer ones, by the ledger or, without one, by counting."""
        rows = await self._database.fetch(SQL["observed_ranges"], found.series.series_id)
        if rows:
            ranges = TimeRanges.of((to_ns(row["start_time"]), to_ns(row["end_time"])) for row in rows)
            calendar = found.series.calendar
            slots = await asyncio.to_thread(calendar.expected_slots, found.interval, span.start_ns, span.end_ns)
            return touched(slots, found.interval.closes(slots), ranges)
        count = 0
        async with aclosing(self._source.pages(found, BarQuery(known_at=self._clock.now()))) as pages:
            async for page in pages:
                count += len(page)
        return count

    async def _set_completeness(
        self, series: Series, description: pb.SeriesDescription, first: dt.datetime, last: dt.datetime
    ) -> None:
        if not series.interval.is_time:
            return
        end = series.interval.next_boundary_ns(to_ns(last))
        expected = series.expected_between(to_ns(first), end)
        missing = await self._database.fetchval(
            SQL["missing_slots"], series.series_id, [int(SlotState.GAP), int(SlotState.UNREPAIRABLE)], first, last
        )
        if expected:
            description.complete_ratio = max(0.0, 1.0 - missing / expected)

    async def symbols(self, selector: market_data_pb2.SymbolSelector) -> list[tuple[str, str]]:
        """Return provider and symbol of each of a set of symbols.

        Raises:
            InvalidFilter: The filter cannot be understood.
        """
        kind = selector.WhichOneof("symbols")
        if kind == "provider_symbols":
            chosen = selector.provider_symbols
            return [(chosen.provider, symbol) for symbol in chosen.symbols]
        if kind == "common_symbols":
            names = list(selector.common_symbols.symbols)
            rows = await self._database.fetch(SQL["symbols_of_common"], names, selector.common_symbols.provider)
        elif kind == "index":
            rows = await self._database.fetch(SQL["symbols_of_index"], selector.index.index, selector.index.provider)
        else:
            where = condition(selector.filter, SUBSCRIBED, first_parameter=1)
            statement = SQL["subscribed_symbols"].format(filter=where.sql)
            rows = await self._database.fetch(statement, *where.parameters)
        return [(row["provider"], row["symbol"]) for row in rows if row["symbol"]]


SUBSCRIBED: Mapping[str, Field] = {  # what a filter of subscribed symbols may ask
    "provider": Field("f.provider"),
    "symbol": Field("f.symbol"),
    "common_symbol": Field("f.common_symbol"),
    "name": Field("f.name"),
    "exchange": Field("f.exchange"),
    "asset_class": Field("f.asset_class", convert=str.lower),
    "base_currency": Field("f.base_currency"),
    "quote_currency": Field("f.quote_currency"),
}


def _match(row: Any, series: Sequence[Any]) -> pb.SeriesMatch:
    ticks = next((each for each in series if not each["interval"]), None)
    name = SeriesName(row["provider"], row["symbol"], "")
    match = pb.SeriesMatch(
        symbol=market_data_pb2.SeriesInfo(
            series_id=ticks["series_id"] if ticks else 0,
            key=series_key(name),
            common_symbol=row["common_symbol"],
            name=row["name"],
            exchange=row["exchange"],
            asset_class=asset_class_to_proto(AssetClass(row["asset_class"]) if row["asset_class"] else None),
            base_currency=row["base_currency"],
            quote_currency=row["quote_currency"],
        ),
        has_ticks=row["has_ticks"],
        has_live=row["has_live"],
        score=row["score"],
    )
    bars = [each for each in series if each["interval"]]
    for each in sorted(bars, key=lambda one: _fineness(one["interval"])):
        match.intervals.append(
            pb.SeriesAvailability(
                series_id=each["series_id"],
                interval=each["interval"],
                has_historical=bool(each["rows"]),
                has_live=each["has_live"],
                first_bar_time=timestamp(each["first_bar"]),
                last_bar_time=timestamp(each["last_bar"]),
            )
        )
    match.computed_intervals.extend(_computed([each["interval"] for each in bars if each["last_bar"] is not None]))
    return match


def _computed(stored: Sequence[str]) -> list[str]:
    """Return the usual intervals that are not stored and that a stored one divides."""
    finer = [Interval.parse(code) for code in stored]
    return [
        code
        for code in CANONICAL_CODES
        if code not in stored and any(one.divides(Interval.parse(code)) for one in finer)
    ]


def _fineness(code: str) -> tuple[bool, int, str]:
    interval = Interval.parse(code)
    return not interval.is_time, interval.length_ns or 31 * 86_400 * 10**9, code


def _set_times(description: pb.SeriesDescription, first: dt.datetime | None, last: dt.datetime | None) -> None:
    if first is not None:
        description.first_time.FromDatetime(first)
    if last is not None:
        description.last_time.FromDatetime(last)
