"""`quasar.strategy.v1.BacktestService` over `strategy_engine.backtests`."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from quasar.clock import Clock
from quasar.convert.plugin_report import report_to_proto
from quasar.errors import CodeRejected, FailedPrecondition, FieldViolation, InvalidArgument, Resource, Unimplemented
from quasar.plugins.manifest import Kind
from quasar.plugins.report import Severity
from quasar.plugins.validation import validate
from quasar.rpc.caller import ADMIN, require_role
from quasar.rpc.context import current_call
from quasar.rpc.ops.actors import calling_actor
from quasar.rpc.ops.operation_service import operation_message
from quasar.rpc.wellknown import struct, timestamp
from quasar_proto.strategy.v1 import backtest_pb2, backtest_service_pb2_grpc, order_pb2, statistics_pb2
from quasar_proto.strategy.v1 import backtest_service_pb2 as pb
from strategy_engine.backtests.comparison import Compared
from strategy_engine.backtests.records import CURVES, BacktestState, BarReader, Document, EquityColumns
from strategy_engine.backtests.report import Report
from strategy_engine.backtests.runner import require_bars
from strategy_engine.backtests.starting import Asked, BacktestStart
from strategy_engine.portfolio.curves import thinned, within
from strategy_engine.rpc.backtest_messages import backtest_message, completed_terms, read_terms
from strategy_engine.rpc.comparison_messages import comparison_message, settings_of
from strategy_engine.rpc.curve_messages import column_names, nanoseconds_of, require_plain_resumption
from strategy_engine.rpc.statistics_messages import statistics_message
from strategy_engine.rpc.universe_messages import loaded_message, wanted_series
from strategy_engine.rpc.values import document, message_of, plain
from strategy_engine.store.backtest_table import BacktestRow, BacktestTable
from strategy_engine.store.pages import Asked as Paged

_CHUNK_ROWS: Final = 10_000
_REPORT_TRADES: Final = 1_000
_TRADES: Final = "backtest_trades"
_TOLD_FINDINGS: Final = 10
"""Of a refused source, in the details of the status: those are small."""


class BacktestService(backtest_service_pb2_grpc.BacktestServiceServicer):
    """Begins, shows and deletes back-tests."""

    def __init__(self, start: BacktestStart, table: BacktestTable, bars: BarReader, clock: Clock) -> None:
        """Serve the back-tests of `table`; what one would see is read from `bars`."""
        self._bars = bars
        self._start = start
        self._table = table
        self._clock = clock

    async def StartBacktest(self, request: pb.StartBacktestRequest, context: Any) -> pb.StartBacktestResponse:
        """Begin a back-test as an operation."""
        asked = self._asked(request)
        await self._require_readable(asked)
        found = await self._start.find(asked)
        if request.validate_only:
            terms = message_of(asked.terms, backtest_pb2.BacktestTerms)
            series = await self._bars.read(wanted_series(request.universe), read_terms(terms, request.universe))
            require_bars(series)
            shown = backtest_pb2.Backtest(
                series=[loaded_message(each) for each in series],
                strategy=found.code.name,
                code_version=found.code.version,
                code_sha256=found.sha256,
                universe=request.universe,
                parameters=struct(found.parameters),
                terms=terms,
            )
            return pb.StartBacktestResponse(backtest=shown)
        operation, row = await self._start.begin(asked, found)
        return pb.StartBacktestResponse(
            operation=operation_message(operation),
            backtest_id=str(row.backtest_id),
            backtest=backtest_message(row),
        )

    async def _require_readable(self, asked: Asked) -> None:
        """Refuse inline source that is no strategy, before anything is recorded; what it does is seen as it runs."""
        if not asked.source:
            return
        report = await validate(
            Kind.STRATEGY, asked.file_name, asked.source, static_only=True, validator="strategy", clock=self._clock
        )
        if not report.passed:
            worst = next(each for each in report.findings if each.severity is Severity.ERROR)
            place = f" ({worst.place})" if worst.place else ""
            text = f"The source must pass validation, was refused: {worst.message}{place}"
            told = report_to_proto(replace(report, findings=report.findings[:_TOLD_FINDINGS]))
            raise CodeRejected(text, details=[told])

    def _asked(self, request: pb.StartBacktestRequest) -> Asked:
        inline = request.code.WhichOneof("code") == "source"
        if inline:
            caller = current_call().caller
            assert caller is not None
            require_role(caller, ADMIN)
        wanted_series(request.universe)
        terms = completed_terms(request.terms, self._clock.now())
        # The same map is written in any order unless asked for.
        fingerprint = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
        return Asked(
            strategy="" if inline else request.code.strategy.name,
            version=0 if inline else request.code.strategy.version,
            source=request.code.source.content if inline else b"",
            file_name=request.code.source.file_name if inline else "",
            parameters=plain(request.parameters),
            universe=document(request.universe),
            terms=document(terms),
            display_name=request.display_name,
            labels=dict(request.labels),
            request_id=request.request_id,
            fingerprint=fingerprint,
            actor=calling_actor(),
        )

    async def GetBacktest(self, request: pb.GetBacktestRequest, context: Any) -> pb.GetBacktestResponse:
        """Return one back-test."""
        return pb.GetBacktestResponse(backtest=backtest_message(await self._get(request.backtest_id)))

    async def _get(self, backtest_id: str) -> BacktestRow:
        return await self._table.get(uuid.UUID(backtest_id))

    async def ListBacktests(self, request: pb.ListBacktestsRequest, context: Any) -> pb.ListBacktestsResponse:
        """Return a page of back-tests."""
        found, following = await self._table.page(Paged.of(request))
        shown = [backtest_message(row, in_list=True) for row in found]
        return pb.ListBacktestsResponse(backtests=shown, next_page_token=following)

    async def UpdateBacktest(self, request: pb.UpdateBacktestRequest, context: Any) -> pb.UpdateBacktestResponse:
        """Change the name or the labels of a back-test."""
        row, paths = await self._get(request.backtest_id), set(request.update_mask.paths)
        for path in sorted(paths - {"display_name", "labels"}):
            text = f"must be among display_name, labels, was {path}"
            raise InvalidArgument(f"update_mask {text}.", violations=[FieldViolation("update_mask", text)])
        name = request.display_name if "display_name" in paths else None
        await self._table.update(row.backtest_id, name, dict(request.labels) if "labels" in paths else None)
        return pb.UpdateBacktestResponse(backtest=backtest_message(await self._get(request.backtest_id)))

    async def DeleteBacktest(self, request: pb.DeleteBacktestRequest, context: Any) -> pb.DeleteBacktestResponse:
        """Delete a back-test that has ended."""
        await self._start.delete(uuid.UUID(request.backtest_id), calling_actor())
        return pb.DeleteBacktestResponse()

    async def ListTrades(self, request: pb.ListTradesRequest, context: Any) -> pb.ListTradesResponse:
        """Return a page of round trips."""
        found, following, total = await self._records(_TRADES, request)
        trades = [message_of(each, statistics_pb2.Trade) for each in found]
        return pb.ListTradesResponse(trades=trades, next_page_token=following, total_size=total)

    async def ListBacktestFills(
        self, request: pb.ListBacktestFillsRequest, context: Any
    ) -> pb.ListBacktestFillsResponse:
        """Return a page of fills."""
        found, following, total = await self._records("backtest_fills", request)
        fills = [message_of(each, order_pb2.Fill) for each in found]
        return pb.ListBacktestFillsResponse(fills=fills, next_page_token=following, total_size=total)

    async def ListBacktestOrders(
        self, request: pb.ListBacktestOrdersRequest, context: Any
    ) -> pb.ListBacktestOrdersResponse:
        """Return a page of orders."""
        found, following, total = await self._records("backtest_orders", request)
        orders = [message_of(each, order_pb2.Order) for each in found]
        return pb.ListBacktestOrdersResponse(orders=orders, next_page_token=following, total_size=total)

    async def _records(self, table: str, request: Any) -> tuple[Sequence[Document], str, int]:
        row = await self._get(request.backtest_id)
        _require_kept(row, backtest_pb2.RECORD_LEVEL_TRADES if table == _TRADES else backtest_pb2.RECORD_LEVEL_FULL)
        return await self._table.records(table, row.backtest_id, Paged.of(request))

    async def ListBacktestLogs(self, request: pb.ListBacktestLogsRequest, context: Any) -> pb.ListBacktestLogsResponse:
        """Return a page of the lines that the strategy wrote."""
        row = await self._get(request.backtest_id)
        _require_kept(row, backtest_pb2.RECORD_LEVEL_FULL)
        rows, following = await self._table.logs(row.backtest_id, Paged.of(request))
        lines = [
            backtest_pb2.LogLine(
                sequence=row["sequence"],
                event_time=timestamp(row["event_time"]),
                record_time=timestamp(row["recorded_at"]),
                level=row["level"],
                message=row["message"],
                place=row["place"],
            )
            for row in rows
        ]
        return pb.ListBacktestLogsResponse(lines=lines, next_page_token=following)

    async def ReadEquity(
        self, request: pb.ReadEquityRequest, context: Any
    ) -> AsyncGenerator[pb.ReadEquityResponse, None]:
        """Stream the equity curve in columns."""
        row = await self._get(request.backtest_id)
        _require_kept(row, backtest_pb2.RECORD_LEVEL_TRADES)
        require_plain_resumption(request)
        found = await self._table.curves(row.backtest_id, column_names(request.columns, CURVES))
        matching = within(found.time_ns, *nanoseconds_of(request))
        chosen = matching[request.first_row :]
        if request.max_rows:
            chosen = chosen[thinned(found.time_ns[chosen], found.columns["equity"][chosen], request.max_rows)]
        currency = message_of(row.terms, backtest_pb2.BacktestTerms).cash.currency
        for first in range(0, len(chosen) or (not request.first_row), _CHUNK_ROWS):
            yield pb.ReadEquityResponse(
                chunk=_chunk(found, chosen[first : first + _CHUNK_ROWS], request.first_row + first),
                total_rows=len(matching),
                currency=currency,
            )

    async def GetStatistics(self, request: pb.GetStatisticsRequest, context: Any) -> pb.GetStatisticsResponse:
        """Return the figures of a back-test."""
        figures = (await self._succeeded(request.backtest_id))[1]
        if request.HasField("range") or request.HasField("benchmark") or request.HasField("risk_free_rate"):
            raise Unimplemented("range, benchmark and risk_free_rate must be left out in this build, was set.")
        return pb.GetStatisticsResponse(statistics=statistics_message(figures))

    async def _succeeded(self, backtest_id: str) -> tuple[BacktestRow, Mapping[str, Any]]:
        row = await self._get(backtest_id)
        if row.statistics is None:
            raise FailedPrecondition(
                f"back-test {row.backtest_id} must have succeeded to have figures, was {row.state.value}.",
                resource=Resource("backtest", str(row.backtest_id)),
                metadata={"state": row.state.value, "final": str(row.state is not BacktestState.RUNNING).lower()},
            )
        return row, row.statistics

    async def CompareBacktests(self, request: pb.CompareBacktestsRequest, context: Any) -> pb.CompareBacktestsResponse:
        """Return back-tests side by side; the first one is the reference."""
        unknown = sorted(set(request.figures) - set(statistics_pb2.Statistics.DESCRIPTOR.fields_by_name))
        if unknown:
            text = f"must be names of figures of Statistics, was {unknown[0]}"
            raise InvalidArgument(f"figures {text}.", violations=[FieldViolation("figures", text)])
        rows, compared = [], []
        for backtest_id in request.backtest_ids:
            row, figures = await self._succeeded(backtest_id)
            terms = message_of(row.terms, backtest_pb2.BacktestTerms)
            rows.append(row)
            compared.append(
                Compared(
                    figures=figures,
                    settings=settings_of(row),
                    initial=float(terms.cash.amount.value),
                    equity=await self._table.curves(row.backtest_id, ["equity"]),
                )
            )
        return comparison_message(rows, compared, request.figures, request.max_rows)

    async def GetBacktestReport(
        self, request: pb.GetBacktestReportRequest, context: Any
    ) -> pb.GetBacktestReportResponse:
        """Return a report for people as one HTML file."""
        row, figures = await self._succeeded(request.backtest_id)
        trades, total = None, 0
        if not request.omit_trades:
            trades, _, total = await self._table.records(_TRADES, row.backtest_id, Paged(page_size=_REPORT_TRADES))
        report = Report(
            title=request.title or row.display_name or row.strategy,
            subtitle=f"{row.strategy}, version {row.code_version}; back-test {row.backtest_id}",
            currency=message_of(row.terms, backtest_pb2.BacktestTerms).cash.currency,
            figures=figures,
            curve=await self._table.curves(row.backtest_id, ["equity"]),
            trades=trades,
            trades_total=total,
        )
        name = re.sub(r"[^a-z0-9]+", "-", (row.display_name or row.strategy).lower()).strip("-") or "backtest"
        return pb.GetBacktestReportResponse(
            content=report.html().encode(),
            content_type="text/html; charset=utf-8",
            file_name=f"{name}-{row.create_time:%Y-%m-%d}.html",
        )


def _require_kept(row: BacktestRow, level: int) -> None:
    kept = message_of(row.terms, backtest_pb2.BacktestTerms).record_level
    if kept < level:
        names = backtest_pb2.RecordLevel
        raise FailedPrecondition(
            f"back-test {row.backtest_id} must have been run with record_level {names.Name(level)} or more for this, "  # type: ignore[arg-type]  # enum values travel as plain integers
            f"was {names.Name(kept)}.",
            resource=Resource("backtest", str(row.backtest_id)),
        )


def _chunk(found: EquityColumns, rows: Any, first_row: int) -> statistics_pb2.EquityChunk:
    columns = {name: values[rows].tolist() for name, values in found.columns.items()}
    return statistics_pb2.EquityChunk(first_row=first_row, time_ns=found.time_ns[rows].tolist(), **columns)
