"""Coverage and gaps, as they stand in the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from datahub.ingest.off_session import expected_count
from datahub.rpc.gap_messages import gap_message
from datahub.rpc.listing import Listing
from datahub.rpc.series_messages import SeriesFinder, described, range_message, series_info, time_range
from datahub.series.series import Series
from datahub.store import ledger_table, series_table
from datahub.store.ledger_table import ledger_row
from datahub.store.series_table import series_of
from datahub.store.statements import SQL
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import NotFound, QuasarError, Resource
from quasar.filters import Field, condition
from quasar.model.columns import Int64Array
from quasar.model.coverage import SlotState
from quasar.model.instants import NS_PER_MINUTE, TimeRange
from quasar.ordering import OrderField
from quasar.rpc.wellknown import seconds, timestamp_ns
from quasar_proto.datahub.v1 import collection_pb2
from quasar_proto.datahub.v1 import collection_service_pb2 as pb

_GAP_CAUSES = (
    "FEED_INTERRUPTED",
    "SEQUENCE_BROKEN",
    "INCOMPLETE_ANSWER",
    "RUN_FAILED",
    "NOT_COLLECTED",
    "QUARANTINED",
    "OVERLOAD",
    "PROVIDER_PAUSED",
)
_GAP_FIELDS = {
    "provider": Field("f.provider"),
    "symbol": Field("f.symbol"),
    "interval": Field("f.interval"),
    "common_symbol": Field("f.common_symbol"),
    "state": Field("g.state", "enum", ("OPEN", "REPAIRING", "REPAIRED", "UNREPAIRABLE")),
    "cause": Field("g.cause", "enum", _GAP_CAUSES),
    "start_time": Field("g.start_time", "time"),
    "detect_time": Field("g.detected_at", "time"),
    "missing_slots": Field("g.missing_slots", "integer"),
    "attempts": Field("g.attempts", "integer"),
}
_GAPS = Listing(
    method="ListGaps",
    statement="gap_rows",
    fields=_GAP_FIELDS,
    orders={
        "start_time": OrderField("g.start_time", "timestamptz"),
        "detect_time": OrderField("g.detected_at", "timestamptz"),
        "missing_slots": OrderField("g.missing_slots", "bigint"),
        "next_attempt_time": OrderField("coalesce(g.next_attempt_at, 'infinity'::timestamptz)", "timestamptz"),
    },
    default_order="detect_time desc",
    tie=(OrderField("g.gap_id", "bigint"),),
    without_filter="g.state <> 'REPAIRED'",
)
_SERIES_FIELDS = {
    "provider": Field("f.provider"),
    "symbol": Field("f.symbol"),
    "interval": Field("f.interval"),
    "common_symbol": Field("f.common_symbol"),
    "exchange": Field("f.exchange"),
    "asset_class": Field("f.asset_class", convert=str.lower),
    "complete_ratio": Field("c.complete_ratio", "number"),
}
_COVERED = Listing(
    method="GetCoverage",
    statement="covered_series",
    fields=_SERIES_FIELDS,
    orders={"provider": OrderField("f.provider")},
    default_order="provider",
    tie=(OrderField("f.symbol"), OrderField("f.interval"), OrderField("f.series_id", "integer")),
)
_RANGES, _BUCKETS, _INLINE_ROWS = 1_000, 120, 2_000
_COMPLETE = (SlotState.OBSERVED, SlotState.NO_TRADE, SlotState.EMPTY, SlotState.REPAIRED)
_HAVE_BARS = (SlotState.OBSERVED, SlotState.REPAIRED)


class CoveragePages:
    """Answers `GetCoverage` and `ListGaps`."""

    def __init__(self, database: Database, finder: SeriesFinder, clock: Clock) -> None:
        """Read from `database`."""
        self._database = database
        self._finder = finder
        self._clock = clock

    async def gaps(self, request: pb.ListGapsRequest) -> pb.ListGapsResponse:
        """Return a page of gaps."""
        rows, token = await _GAPS.rows(self._database, request)
        check = await self._database.fetchrow(SQL["gap_check"])
        response = pb.ListGapsResponse(
            gaps=[gap_message(row) for row in rows], next_page_token=token, checked_series=check["checked"]
        )
        if check["at"] is not None:
            response.check_time.FromDatetime(check["at"])
        return response

    async def gap_ids(self, gap_ids: Sequence[str], filter_text: str) -> list[int]:
        """Return the gaps that a request names, or those of its filter.

        Raises:
            NotFound: A gap does not exist.
        """
        if not gap_ids:
            where = condition(filter_text, _GAP_FIELDS, first_parameter=1)
            text = where.sql if filter_text.strip() else "g.state <> 'REPAIRED'"
            rows = await self._database.fetch(SQL["gap_ids"].format(filter=text), *where.parameters)
            return [row["gap_id"] for row in rows]
        numbers = [int(each) if each.isdecimal() else 0 for each in gap_ids]
        rows = await self._database.fetch(SQL["gap_ids"].format(filter="g.gap_id = any($1::bigint[])"), numbers)
        known = {row["gap_id"] for row in rows}
        for text, number in zip(gap_ids, numbers, strict=True):
            if number not in known:
                raise NotFound(f"There is no gap {text}.", resource=Resource("gap", text))
        return numbers

    async def coverage(self, request: pb.GetCoverageRequest) -> pb.GetCoverageResponse:
        """Return the coverage of series."""
        response = pb.GetCoverageResponse()
        if request.series:
            series = []
            found = await self._finder.find_all(request.series)
            for reference, each in zip(request.series, found, strict=True):
                if isinstance(each, QuasarError):
                    response.unknown.append(described(reference))
                else:
                    series.append(each)
        else:
            rows, response.next_page_token = await _COVERED.rows(self._database, request)
            series = [series_of(row) for row in rows]
        await self._fill(request, series, response)
        if not request.page_token:
            await self._total(request, response)
        return response

    async def _fill(
        self, request: pb.GetCoverageRequest, series: Sequence[Series], response: pb.GetCoverageResponse
    ) -> None:
        ids = [one.series_id for one in series]
        span = time_range(request.range)
        progress = {row["series_id"]: row for row in await self._database.fetch(SQL["progress_of_series"], ids)}
        found = await self._database.fetch(SQL["coverage_rows"], ids, span.start, span.end)
        slots = await self._slots(series, span)

        def fill() -> None:
            rows: dict[int, list[Any]] = {}
            for row in found:
                rows.setdefault(row["series_id"], []).append(row)
            for one in series:
                own = rows.get(one.series_id, [])
                response.series.append(_SeriesCoverage(one, request, own, progress[one.series_id], slots).message())

        # Every row of the ledger is looked at, in a series full of holes one for each of its bars.
        if len(found) > _INLINE_ROWS:
            await asyncio.to_thread(fill)
        else:
            fill()

    async def _slots(self, series: Sequence[Series], span: TimeRange) -> ExpectedSlots:
        """Return what counts the expected slots of some series."""
        bound = [one for one in series if one.interval.is_time and not one.calendar.always_open]
        async with self._database.acquire() as connection:
            return ExpectedSlots(await ledger_table.off_session_of(connection, bound, span) if bound else {})

    async def _total(self, request: pb.GetCoverageRequest, response: pb.GetCoverageResponse) -> None:
        if request.series:
            counts: dict[SlotState, int] = {}
            for each in response.series:
                for count in each.counts:
                    counts[SlotState(count.state)] = counts.get(SlotState(count.state), 0) + count.count
            counts.pop(SlotState.CLOSED, None)
        else:
            counts = await self._totals(request)
        response.totals.extend(_counts(counts))
        expected = _expected(counts)
        if expected:
            response.complete_ratio = sum(counts.get(state, 0) for state in _COMPLETE) / expected

    async def _totals(self, request: pb.GetCoverageRequest) -> dict[SlotState, int]:
        """Return the slots of all series that match, those of other pages included, by state."""
        span = time_range(request.range)
        where = condition(request.filter, _SERIES_FIELDS, first_parameter=3)
        text = SQL["coverage_totals"].format(filter=where.sql)
        rows = await self._database.fetch(text, span.start, span.end, *where.parameters)
        cut = [row for row in rows if row["series_id"] is not None]
        async with self._database.acquire() as connection:
            series = await series_table.by_ids(connection, {row["series_id"] for row in cut})
        slots = await self._slots(list(series.values()), span)

        def count() -> dict[SlotState, int]:
            counts: dict[SlotState, int] = {}
            for row in rows:
                state, found = SlotState(row["state"]), row["slots"]
                if row["series_id"] is not None:
                    part = TimeRange.of(row["start_time"], row["end_time"]).intersect(span)
                    found = slots.count(series[row["series_id"]], part) if part else 0
                counts[state] = counts.get(state, 0) + found
            return counts

        return await asyncio.to_thread(count) if cut else count()


class ExpectedSlots:
    """Counts slots in which a bar is expected: by the calendar, and where there once was a bar outside of it."""

    def __init__(self, off_session: Mapping[int, Int64Array]) -> None:
        """Count with the slots outside the calendar of each series."""
        self._off_session = off_session
        self._counted: dict[tuple[str, str, TimeRange], int] = {}

    def count(self, series: Series, span: TimeRange) -> int:
        """Return how many there are; series of one market at one interval share what was counted for one answer."""
        own = self._off_session.get(series.series_id)
        if own is not None:
            return expected_count(series, span.start_ns, span.end_ns, own)
        key = (series.calendar.name, series.name.interval, span)
        if key not in self._counted:
            self._counted[key] = series.expected_between(span.start_ns, span.end_ns)
        return self._counted[key]


class _SeriesCoverage:
    """The coverage of one series over a range."""

    def __init__(
        self, series: Series, request: pb.GetCoverageRequest, rows: Sequence[Any], progress: Any, slots: ExpectedSlots
    ) -> None:
        self._slots = slots
        self._series = series
        self._request = request
        self._rows = [(ledger_row(row), row["source_provider"]) for row in rows]
        self._progress = progress
        self._span = self._range(rows)

    def message(self) -> collection_pb2.SeriesCoverage:
        """Return it as a message."""
        message = collection_pb2.SeriesCoverage(series=series_info(self._series))
        if self._progress["classified_until"] is not None:
            message.classified_until_time.FromDatetime(self._progress["classified_until"])
        if self._span is None:
            return message
        message.range.CopyFrom(range_message(self._span.start, self._span.end))
        counts = self._count(self._span)
        message.counts.extend(_counts(counts))
        message.expected_slots = _expected(counts)
        # Bars outside the hours of the market that are older than the list of them are slots that nobody expects.
        message.unknown_slots = max(0, self._expected_in(self._span) - message.expected_slots)
        if message.expected_slots:
            message.complete_ratio = sum(counts.get(s, 0) for s in _COMPLETE) / message.expected_slots
            message.observed_ratio = sum(counts.get(s, 0) for s in _HAVE_BARS) / message.expected_slots
        if self._request.view == pb.COVERAGE_VIEW_RANGES:
            self._add_ranges(message)
        if self._request.view == pb.COVERAGE_VIEW_BUCKETS:
            self._add_buckets(message, self._span)
        return message

    def _range(self, rows: Sequence[Any]) -> TimeRange | None:
        """Return what was asked for, cut to what is classified."""
        if not rows:
            return None
        asked = time_range(self._request.range)
        first = self._progress["classified_from"] or rows[0]["start_time"]
        last = self._progress["classified_until"] or rows[-1]["end_time"]
        return asked.intersect(TimeRange.of(min(first, rows[0]["start_time"]), max(last, rows[-1]["end_time"])))

    def _count(self, span: TimeRange) -> dict[SlotState, int]:
        """Count the slots of a range by state; closed ones follow from the calendar."""
        counts: dict[SlotState, int] = {}
        for row, _ in self._rows:
            if row.start_ns >= span.start_ns and row.end_ns <= span.end_ns:
                counts[row.state] = counts.get(row.state, 0) + row.slots
            elif (part := row.span.intersect(span)) is not None:
                counts[row.state] = counts.get(row.state, 0) + self._expected_in(part)
        interval, calendar = self._series.interval, self._series.calendar
        if interval.is_time and not calendar.always_open:
            closed = interval.slot_count(span.start_ns, span.end_ns) - self._expected_in(span)
            if closed > 0:
                counts[SlotState.CLOSED] = closed
        return counts

    def _expected_in(self, span: TimeRange) -> int:
        return self._slots.count(self._series, span)

    def _add_ranges(self, message: collection_pb2.SeriesCoverage) -> None:
        wanted = {SlotState(state) for state in self._request.states}
        rows = [(row, source) for row, source in self._rows if not wanted or row.state in wanted]
        most = self._request.max_ranges or _RANGES
        message.ranges_truncated = len(rows) > most
        for row, source in rows[-most:]:
            repaired = row.state is SlotState.REPAIRED
            message.ranges.add(
                start_time=timestamp_ns(row.start_ns),
                end_time=timestamp_ns(row.end_ns),
                state=int(row.state),
                slots=row.slots,
                repaired_from=(source or self._series.name.provider) if repaired else "",
            )

    def _add_buckets(self, message: collection_pb2.SeriesCoverage, span: TimeRange) -> None:
        if self._request.HasField("bucket"):
            length = int(seconds(self._request.bucket) * 1e9)
        else:
            length = -(-span.length_ns // _BUCKETS // NS_PER_MINUTE) * NS_PER_MINUTE or NS_PER_MINUTE
        length = max(length, self._series.interval.length_ns)
        start = span.start_ns
        while start < span.end_ns:
            cell = TimeRange(start, min(start + length, span.end_ns))
            message.buckets.add(
                start_time=timestamp_ns(cell.start_ns),
                end_time=timestamp_ns(cell.end_ns),
                counts=_counts(self._count(cell)),
            )
            start = cell.end_ns


def _counts(counts: dict[SlotState, int]) -> list[collection_pb2.SlotCount]:
    return [
        collection_pb2.SlotCount(state=int(state), count=count)  # type: ignore[arg-type]  # plain integers
        for state, count in sorted(counts.items())
        if count
    ]


def _expected(counts: dict[SlotState, int]) -> int:
    return sum(count for state, count in counts.items() if state is not SlotState.CLOSED)
