"""Quality of series: the report, and the single findings behind it."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import numpy as np

from datahub.ingest.ledger import LedgerRow, ranges_of
from datahub.quality.findings import Check
from datahub.quality.sample import session_dates
from datahub.rpc.listing import Listing
from datahub.rpc.series_messages import SeriesFinder, described, series_info, time_range
from datahub.series.series import Series
from datahub.store import ledger_table, series_table
from datahub.store.statements import SQL
from quasar import paging
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import QuasarError
from quasar.filters import Field
from quasar.model.coverage import SlotState
from quasar.model.instants import NS_PER_DAY, TimeRange, day_ns, ns_date, to_ns
from quasar.ordering import OrderField, Ordering
from quasar.rpc.wellknown import timestamp
from quasar_proto.datahub.v1 import market_data_pb2, quality_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb

_FINDINGS = Listing(
    method="ListQualityFindings",
    statement="quality_rows",
    fields={
        "provider": Field("f.provider"),
        "symbol": Field("f.symbol"),
        "interval": Field("f.interval"),
        "common_symbol": Field("f.common_symbol"),
        "check": Field("q.kind", "enum", tuple(check.value for check in Check)),
        "start_time": Field("q.start_time", "time"),
        "detect_time": Field("q.detected_at", "time"),
    },
    orders={
        "start_time": OrderField("q.start_time", "timestamptz"),
        "detect_time": OrderField("q.detected_at", "timestamptz"),
    },
    default_order="start_time desc",
    tie=(OrderField("q.finding_id", "bigint"),),
)
_MOST_FOUND_FIRST = Ordering(
    (
        (OrderField("-c.found", "bigint"), False),
        (OrderField("c.series_id", "integer"), False),
    )
)
_REPORTED_NS = 30 * NS_PER_DAY
_COMPLETE = (SlotState.OBSERVED, SlotState.NO_TRADE, SlotState.EMPTY, SlotState.REPAIRED)
_HAVE_BARS = (SlotState.OBSERVED, SlotState.REPAIRED)

Symbols = Callable[[market_data_pb2.SymbolSelector], Awaitable[list[tuple[str, str]]]]
"""Returns provider and symbol of each of a set of symbols."""


class QualityPages:
    """Answers `GetQualityReport` and `ListQualityFindings`."""

    def __init__(self, database: Database, finder: SeriesFinder, symbols: Symbols, clock: Clock) -> None:
        """Read from `database`; `symbols` resolves selectors."""
        self._database = database
        self._finder = finder
        self._symbols = symbols
        self._clock = clock

    async def findings(self, request: pb.ListQualityFindingsRequest) -> pb.ListQualityFindingsResponse:
        """Return a page of findings."""
        rows, token = await _FINDINGS.rows(self._database, request)
        ids = {row["series_id"] for row in rows} | {row["other_series_id"] for row in rows if row["other_series_id"]}
        async with self._database.acquire() as connection:
            series = await series_table.by_ids(connection, ids)
        return pb.ListQualityFindingsResponse(
            findings=[_finding_message(row, series) for row in rows], next_page_token=token
        )

    async def report(self, request: pb.GetQualityReportRequest) -> pb.GetQualityReportResponse:
        """Return a page of the report."""
        response = pb.GetQualityReportResponse()
        span = self._span(request)
        kinds = [_word(check) for check in request.checks] or [check.value for check in Check]
        chosen = await self._chosen(request, response)
        size = paging.page_size(request.page_size)
        asked = ("GetQualityReport", _without_page(request))
        after = _MOST_FOUND_FIRST.after(paging.page_key(asked, request.page_token), first_parameter=7)
        statement = SQL["quality_series"].format(
            key=_MOST_FOUND_FIRST.key, filter=after.sql, order=_MOST_FOUND_FIRST.clause
        )
        everyone = not request.only_with_findings
        rows = await self._database.fetch(
            statement, chosen, span.start, span.end, kinds, everyone, size + 1, *after.parameters
        )
        if len(rows) > size:
            rows = rows[:size]
            response.next_page_token = paging.page_token(asked, rows[-1]["order_key"])
        await self._fill(response, rows, span, kinds, clean_days=request.include_clean_days)
        if request.page_token:
            del response.missing[:]
        else:
            totals = await self._database.fetch(SQL["quality_totals"], chosen, span.start, span.end, kinds)
            response.totals.extend(_counts({row["kind"]: row["bars"] for row in totals}))
        return response

    def _span(self, request: pb.GetQualityReportRequest) -> TimeRange:
        """Return the range: without an end up to now, without a start 30 days."""
        now = self._clock.time_ns()
        end = time_range(request.range, default=TimeRange(-(2**62), now)).end_ns
        return time_range(request.range, default=TimeRange(min(end, now) - _REPORTED_NS, end))

    async def _chosen(
        self, request: pb.GetQualityReportRequest, response: pb.GetQualityReportResponse
    ) -> list[int] | None:
        """Return the series that are asked for; None: those that are subscribed."""
        if not request.series and not request.HasField("symbols"):
            return None
        chosen: list[int] = []
        for reference, found in zip(request.series, await self._finder.find_all(request.series), strict=True):
            if isinstance(found, QuasarError):
                response.missing.add(requested=described(reference), message="unknown series")
            else:
                chosen.append(found.series_id)
        if request.HasField("symbols"):
            symbols = await self._symbols(request.symbols)
            names = [each[0] for each in symbols], [each[1] for each in symbols]
            rows = await self._database.fetch(SQL["quality_bar_series"], *names)
            known = {(row["provider"], row["symbol"]) for row in rows}
            for provider, symbol in symbols:
                if (provider, symbol) not in known:
                    response.missing.add(requested=f"{provider}:{symbol}", message="no series of bars")
            chosen += [row["series_id"] for row in rows]
        return sorted(set(chosen))

    async def _fill(
        self,
        response: pb.GetQualityReportResponse,
        rows: Sequence[Any],
        span: TimeRange,
        kinds: Sequence[str],
        *,
        clean_days: bool,
    ) -> None:
        ids = [row["series_id"] for row in rows]
        async with self._database.acquire() as connection:
            series = await series_table.by_ids(connection, ids)
            ledgers: dict[int, list[LedgerRow]] = {}
            for row in await connection.fetch(SQL["quality_ledgers"], ids, span.start, span.end):
                ledgers.setdefault(row["series_id"], []).append(ledger_table.ledger_row(row))
            found: dict[int, dict[dt.date, dict[str, int]]] = {}
            for row in await connection.fetch(SQL["quality_days"], ids, span.start, span.end, kinds):
                days = found.setdefault(row["series_id"], {})
                days.setdefault(row["session_date"], {})[row["kind"]] = row["bars"]
        for row in rows:
            one = series[row["series_id"]]
            # Years of minutes are millions of slots: counted beside the event loop.
            message = await asyncio.to_thread(
                _series_message, one, span, ledgers.get(one.series_id, []), found.get(one.series_id, {}), clean_days
            )
            checked = _check_time(row, span)
            if checked is not None:
                message.check_time.FromDatetime(checked)
            response.series.append(message)


def _series_message(
    series: Series,
    span: TimeRange,
    ledger: Sequence[LedgerRow],
    found: Mapping[dt.date, Mapping[str, int]],
    clean_days: bool,
) -> quality_pb2.SeriesQuality:
    message = quality_pb2.SeriesQuality(series=series_info(series))
    totals: Counter[str] = Counter()
    for counts in found.values():
        totals.update(counts)
    message.totals.extend(_counts(totals))
    known = _known(span, ledger) if series.interval.is_time else None
    expected: dict[int, int] = {}
    observed: dict[int, int] = {}
    if known is not None:
        slots = series.calendar.expected_slots(series.interval, known.start_ns, known.end_ns)
        dates = session_dates(series.calendar, series.interval, slots)
        have, complete = ranges_of(ledger, *_HAVE_BARS), ranges_of(ledger, *_COMPLETE)
        expected, observed = _by_date(dates), _by_date(dates[have.contains(slots)])
        if len(slots):
            message.complete_ratio = float(complete.contains(slots).mean())
    days = {ns_date(date) for date in expected} if clean_days else set()
    for day in sorted(days | set(found)):
        message.days.add(
            date=day.isoformat(),
            expected_slots=expected.get(day_ns(day), 0),
            observed_slots=observed.get(day_ns(day), 0),
            counts=_counts(found.get(day, {})),
        )
    return message


def _known(span: TimeRange, ledger: Sequence[LedgerRow]) -> TimeRange | None:
    """Return the part of a range that the ledger reaches over."""
    if not ledger:
        return None
    return span.intersect(TimeRange(min(row.start_ns for row in ledger), max(row.end_ns for row in ledger)))


def _by_date(dates: Any) -> dict[int, int]:
    found, counts = np.unique(dates, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _check_time(row: Any, span: TimeRange) -> dt.datetime | None:
    """Return when the checks last ran over the end of a range."""
    times = [row["swept_at"]]
    if row["checked_from"] is not None and to_ns(row["checked_from"]) < span.end_ns:
        times.append(row["checked_at"])
    known = [time for time in times if time is not None]
    return max(known) if known else None


def _counts(found: Mapping[str, int]) -> list[quality_pb2.QualityCount]:
    return [
        quality_pb2.QualityCount(check=_number(check.value), count=found[check.value])
        for check in Check
        if found.get(check.value)
    ]


def _number(word: str) -> quality_pb2.QualityCheck.ValueType:
    return quality_pb2.QualityCheck.Value(f"QUALITY_CHECK_{word}")


def _word(check: quality_pb2.QualityCheck.ValueType) -> str:
    return quality_pb2.QualityCheck.Name(check).removeprefix("QUALITY_CHECK_")


def _without_page(request: pb.GetQualityReportRequest) -> str:
    """Return what a page token is bound to."""
    asked = pb.GetQualityReportRequest()
    asked.CopyFrom(request)
    asked.ClearField("page_token")
    asked.ClearField("page_size")
    return asked.SerializeToString(deterministic=True).hex()


def _finding_message(row: Any, series: Mapping[int, Series]) -> quality_pb2.QualityFinding:
    message = quality_pb2.QualityFinding(
        finding_id=str(row["finding_id"]),
        series=series_info(series[row["series_id"]]),
        check=_number(row["kind"]),
        start_time=timestamp(row["start_time"]),
        end_time=timestamp(row["end_time"]),
        observed=row["observed"],
        expected=row["expected"],
        limit=row["bound"],
        message=row["message"],
        detect_time=timestamp(row["detected_at"]),
    )
    other = series.get(row["other_series_id"] or 0)
    if other is not None:
        message.other_series.CopyFrom(series_info(other))
    return message
