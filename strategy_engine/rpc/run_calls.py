"""Calls about the runs of instances: their figures, what they told, and their trades."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

from quasar.clock import Clock
from quasar.errors import CursorExpired, FieldViolation, InvalidCursor
from quasar.filters import Field
from quasar.model.instants import from_ns
from quasar.ops.events import Events
from quasar.rpc.ops.streams import until_drained
from quasar.rpc.wellknown import seconds, timestamp
from quasar_proto.strategy.v1 import strategy_service_pb2 as pb
from strategy_engine.rpc.computed_lists import ComputedList
from strategy_engine.rpc.instance_messages import add_marks, log_line, run_message, telemetry_entry
from strategy_engine.rpc.record_messages import trade_message
from strategy_engine.rpc.run_figures import statistics_of
from strategy_engine.store.field_words import BOOLEANS
from strategy_engine.store.instance_table import InstanceTable
from strategy_engine.store.pages import Asked
from strategy_engine.trading.desk import TradingDesk
from strategy_engine.trading.round_trips import RoundTrip, round_trips
from strategy_engine.trading.survey import midnight

_HEARTBEAT_S: Final = 10.0
_LOOK_S: Final = 1.0
_BATCH: Final = 500
_TRADES: Final = ComputedList(
    name="ListRunTrades",
    fields={
        "symbol": Field(""),
        "side": Field("", "enum", ("LONG", "SHORT")),
        "entry_time": Field("", "time"),
        "exit_time": Field("", "time", nullable=True),
        "net_profit": Field("", "number", nullable=True),
        "return_ratio": Field("", "number", nullable=True),
        "bars_held": Field("", "integer", nullable=True),
        "entry_tag": Field(""),
        "exit_tag": Field(""),
        "open": Field("", "enum", BOOLEANS),
    },
    orders=("trade_number", "entry_time", "exit_time", "net_profit", "return_ratio", "bars_held"),
    default="trade_number",
)
_FINAL: Final = ("COMPLETED", "STOPPED", "FAILED")


class RunCalls:
    """The part of `StrategyService` that shows runs."""

    def __init__(
        self, table: InstanceTable, desk: TradingDesk, events: Events, draining: asyncio.Event, clock: Clock
    ) -> None:
        """Show the runs of `table`."""
        self._table = table
        self._desk = desk
        self._events = events
        self._draining = draining
        self._clock = clock

    async def ListRuns(self, request: pb.ListRunsRequest, context: Any) -> pb.ListRunsResponse:
        """Return a page of runs, newest first."""
        rows, following = await self._table.runs(Asked.of(request))
        return pb.ListRunsResponse(runs=[run_message(row, in_list=True) for row in rows], next_page_token=following)

    async def GetRun(self, request: pb.GetRunRequest, context: Any) -> pb.GetRunResponse:
        """Return one run."""
        row = await self._table.run(uuid.UUID(request.run_id))
        run = run_message(row)
        add_marks(run.metrics, await self._marks(row))
        return pb.GetRunResponse(run=run)

    async def _marks(self, row: Any) -> Any:
        return await self._table.run_marks(row["run_id"], row["instance_id"], midnight(self._clock.now()))

    async def GetRunMetrics(self, request: pb.GetRunMetricsRequest, context: Any) -> pb.GetRunMetricsResponse:
        """Return the figures of a run."""
        row = await self._table.run(uuid.UUID(request.run_id))
        marks = await self._marks(row)
        answer = pb.GetRunMetricsResponse(metrics=run_message(row).metrics)
        add_marks(answer.metrics, marks)
        if request.include_statistics:
            curve = await self._table.run_curve(row["run_id"])
            fills = [each.fill for each in await self._desk.records.orders.fills_of_run(row["run_id"])]
            answer.statistics.CopyFrom(statistics_of(row, marks, curve, fills, await self._trips(row)))
        return answer

    async def _trips(self, row: Any) -> list[RoundTrip]:
        records = self._desk.records
        owned = await records.accounts.positions("", row["instance_id"], include_flat=True)
        held = {each.symbol: each.multiplier for each in owned}
        fills = [each.fill for each in await records.orders.fills_of_run(row["run_id"])]
        return [replace(each, mark=self._desk.mark(each.entry.symbol)) for each in round_trips(fills, held)]

    async def ListRunTrades(self, request: pb.ListRunTradesRequest, context: Any) -> pb.ListRunTradesResponse:
        """Return a page of the round trips of a run, oldest entry first unless ordered otherwise."""
        row = await self._table.run(uuid.UUID(request.run_id))
        trips = [(_trade_row(each), each) for each in await self._trips(row)]
        shown, following = _TRADES.page(trips, Asked.of(request), request.run_id)
        return pb.ListRunTradesResponse(trades=[trade_message(each) for each in shown], next_page_token=following)

    async def ListRunEvents(self, request: pb.ListRunEventsRequest, context: Any) -> pb.ListRunEventsResponse:
        """Return a page of the events of a run, oldest first unless ordered otherwise."""
        await self._table.run(uuid.UUID(request.run_id))
        rows, following = await self._table.event_page(request.run_id, Asked.of(request))
        entries = [telemetry_entry(request.run_id, row) for row in rows]
        return pb.ListRunEventsResponse(entries=entries, next_page_token=following)

    async def GetRunLogs(self, request: pb.GetRunLogsRequest, context: Any) -> pb.GetRunLogsResponse:
        """Return a page of the lines of a run, oldest first unless ordered otherwise."""
        await self._table.run(uuid.UUID(request.run_id))
        rows, following = await self._table.log_page(request.run_id, Asked.of(request))
        return pb.GetRunLogsResponse(lines=[log_line(row) for row in rows], next_page_token=following)

    async def WatchRun(self, request: pb.WatchRunRequest, context: Any) -> AsyncGenerator[pb.WatchRunResponse, None]:
        """Stream the events of a run by their sequence, until it has ended."""
        async with aclosing(until_drained(self._told(request), self._draining)) as messages:
            async for message in messages:
                yield message

    async def _told(self, request: pb.WatchRunRequest) -> AsyncGenerator[pb.WatchRunResponse, None]:
        run_id = uuid.UUID(request.run_id)
        row = await self._table.run(run_id)
        heartbeat_s = seconds(request.heartbeat_interval) if request.HasField("heartbeat_interval") else _HEARTBEAT_S
        position = row["event_sequence"]
        if request.HasField("after_sequence"):
            position = request.after_sequence
            _require_kept(position, row["first_sequence"], row["event_sequence"])
        silent_s = heartbeat_s
        while True:
            mark = self._events.hint.mark()
            row = await self._table.run(run_id)
            rows = await self._table.events(run_id, position, _BATCH)
            entries = [telemetry_entry(request.run_id, each) for each in rows]
            position = rows[-1]["run_sequence"] if rows else position
            wanted = [each for each in entries if not request.kinds or each.kind in request.kinds]
            if wanted or silent_s >= heartbeat_s:
                silent_s = 0.0
                yield pb.WatchRunResponse(
                    entries=wanted,
                    through_sequence=position,
                    state=run_message(row).state,
                    time=timestamp(self._clock.now()),
                )
            if not rows:
                if row["state"] in _FINAL:
                    return
                before = self._clock.monotonic()
                await self._events.hint.after(mark, min(_LOOK_S, heartbeat_s))
                silent_s += self._clock.monotonic() - before


def _trade_row(trip: RoundTrip) -> dict[str, Any]:
    priced = trip.exit is not None or trip.mark is not None
    return {
        "trade_number": trip.number,
        "symbol": trip.entry.symbol,
        "side": "LONG" if trip.long else "SHORT",
        "entry_time": trip.entry_time,
        "exit_time": None if trip.exit is None else from_ns(trip.exit.fill_time_ns),
        "net_profit": float(trip.net_profit) if priced else None,
        "return_ratio": trip.return_ratio if priced else None,
        "bars_held": None,  # live data has no count of bars between two fills
        "entry_tag": trip.entry.tag,
        "exit_tag": trip.exit.tag if trip.exit else "",
        "open": BOOLEANS[trip.exit is None],
    }


def _require_kept(after: int, first: int, last: int) -> None:
    """Refuse a place from which a run cannot be told without a hole; `first` and `last` are 0 where nothing is kept."""
    if after > last:
        text = f"must be at most {last}, the sequence of the last entry, was {after}"
        raise InvalidCursor(f"after_sequence {text}.", violations=[FieldViolation("after_sequence", text)])
    if last and after < first - 1:
        raise CursorExpired(
            f"after_sequence must be at least {first - 1}, for entries before {first} are no longer kept, was {after}.",
            metadata={"first_sequence": str(first)},
        )
