"""Rows that are held back: listed, released, discarded."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from datahub.collection.runs import private_id, public_id
from datahub.ingest.delivery import Delivery
from datahub.ingest.quarantine import FURTHER
from datahub.ingest.writer import BarWriter
from datahub.rpc.listing import Listing
from datahub.store import series_table
from datahub.store.statements import SQL
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import FailedPrecondition, FieldViolation, InvalidArgument, NotFound, Resource
from quasar.filters import Field, condition
from quasar.model.bars import Bar, BarColumns
from quasar.model.instants import to_ns
from quasar.ops.actors import Actor
from quasar.ops.events import Events
from quasar.ordering import OrderField
from quasar.rpc.wellknown import struct, timestamp
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import collection_pb2
from quasar_proto.datahub.v1 import collection_service_pb2 as pb

_REASONS = tuple(
    name.removeprefix("QUARANTINE_REASON_")
    for name in collection_pb2.QuarantineReason.keys()  # noqa: SIM118
)
_FIELDS = {
    "provider": Field("q.provider"),
    "symbol": Field("q.symbol"),
    "interval": Field("q.interval"),
    "reason": Field("q.reason", "enum", _REASONS[1:]),
    "state": Field("q.state", "enum", ("HELD", "RELEASED", "DISCARDED")),
    "run_id": Field("coalesce(q.run_id::text, '')", convert=lambda text: str(private_id(text))),
    "operation_id": Field("coalesce(q.operation_id::text, '')"),
    "row_time": Field("q.row_time", "time"),
    "quarantine_time": Field("q.quarantined_at", "time"),
}
_LISTING = Listing(
    method="ListQuarantine",
    statement="quarantine_rows",
    fields=_FIELDS,
    orders={
        "quarantine_time": OrderField("q.quarantined_at", "timestamptz"),
        "row_time": OrderField("coalesce(q.row_time, '-infinity'::timestamptz)", "timestamptz"),
    },
    default_order="quarantine_time desc",
    tie=(OrderField("q.row_id", "bigint"),),
    without_filter="q.state = 'HELD'",
)
_MOST = 100_000
_MOST_REFUSED = 1_000
_NUMBERS = ("open", "high", "low", "close")


class QuarantinePages:
    """Answers what is asked about rows that are held back."""

    def __init__(self, database: Database, writer: BarWriter, events: Events, clock: Clock) -> None:
        """Read from `database`, store released rows with `writer`, and tell `events` what became of rows."""
        self._database = database
        self._events = events
        self._writer = writer
        self._clock = clock

    async def page(self, request: pb.ListQuarantineRequest) -> pb.ListQuarantineResponse:
        """Return a page of rows."""
        rows, token = await _LISTING.rows(self._database, request)
        return pb.ListQuarantineResponse(rows=[_message(row) for row in rows], next_page_token=token)

    async def release(self, request: pb.ReleaseQuarantineRequest, actor: Actor | None) -> pb.ReleaseQuarantineResponse:
        """Merge rows into their series, and return those that cannot be stored."""
        rows = [row for row in await self._chosen(request.row_ids, request.filter) if row["state"] == "HELD"]
        response = pb.ReleaseQuarantineResponse()
        by_series: dict[int, list[tuple[Any, Bar]]] = {}
        for row in rows:
            bar = _bar(row)
            if bar is not None:
                by_series.setdefault(row["series_id"], []).append((row, bar))
            elif len(response.refused) < _MOST_REFUSED:
                refused = _message(row)
                refused.detail = f"it cannot be stored: {row['detail']}"
                response.refused.append(refused)
        async with self._database.acquire() as connection:
            series = await series_table.by_ids(connection, by_series)
        for series_id, held in by_series.items():
            await self._writer.store(
                Delivery(
                    series=series[series_id],
                    columns=BarColumns.from_bars([bar for _, bar in held]).dedupe(),
                    lax=True,
                    revision_cause="released from quarantine",
                )
            )
            response.released += await self._settle([row["row_id"] for row, _ in held], "RELEASED", actor)
        return response

    async def discard(self, request: pb.DiscardQuarantineRequest, actor: Actor | None) -> pb.DiscardQuarantineResponse:
        """Mark rows as discarded."""
        rows = await self._chosen(request.row_ids, request.filter)
        done = await self._settle([row["row_id"] for row in rows], "DISCARDED", actor, request.reason)
        return pb.DiscardQuarantineResponse(discarded=done)

    async def _chosen(self, row_ids: Sequence[str], filter_text: str) -> list[Any]:
        if not row_ids and not filter_text.strip():
            # An empty request must not settle everything that is held.
            description = "must be given, or filter must be"
            raise InvalidArgument(f"row_ids {description}.", violations=[FieldViolation("row_ids", description)])
        where = condition(filter_text, _FIELDS, first_parameter=2)
        text, parameters = where.sql, list(where.parameters)
        if row_ids:
            text = "q.row_id = any($2::bigint[])"
            parameters = [[int(each) if each.isdecimal() else 0 for each in row_ids]]
        statement = SQL["quarantine_chosen"].format(filter=text)
        rows = await self._database.fetch(statement, _MOST + 1, *parameters)
        if len(rows) > _MOST:
            raise FailedPrecondition(f"At most {_MOST} rows may be settled at once; make the filter narrower.")
        known = {str(row["row_id"]) for row in rows}
        for each in row_ids:
            if each not in known:
                raise NotFound(f"There is no held row {each}.", resource=Resource("quarantined row", each))
        return rows

    async def _settle(self, row_ids: list[int], state: str, actor: Actor | None, reason: str = "") -> int:
        """Write what became of rows, tell it as an event, and return how many were still held."""
        who = {"principal": actor.principal, "role": int(actor.role), "request_id": actor.request_id} if actor else None
        async with self._database.transaction() as connection:
            rows = await connection.fetch(SQL["quarantine_settle"], row_ids, state, self._clock.now(), who)
            for provider, count in sorted(Counter(row["provider"] for row in rows).items()):
                word = state.lower()
                await self._events.record(
                    connection,
                    f"Quarantine{word.capitalize()}",
                    f"{count} held rows of provider {provider} were {word}.",
                    subject_type="provider",
                    subject_name=provider,
                    data={"rows": count, "reason": reason},
                    actor=actor,
                )
        return len(rows)


def _bar(row: Any) -> Bar | None:
    """Return the bar that a held row is, or None when it cannot be one."""
    payload = row["payload"]
    if row["row_time"] is None or row["series_id"] is None:
        return None
    prices = [_number(payload.get(name)) for name in _NUMBERS]
    if None in prices:
        return None
    open_, high, low, close = (float(price or 0.0) for price in prices)
    more: dict[str, Any] = {name: _number(payload.get(name)) for name in FURTHER}
    if more["trade_count"] is not None:
        more["trade_count"] = int(more["trade_count"])
    return Bar(to_ns(row["row_time"]), open_, high, low, close, volume=_number(payload.get("volume")), **more)


def _number(value: object) -> float | None:
    """Return a finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _message(row: Any) -> collection_pb2.QuarantinedRow:
    message = collection_pb2.QuarantinedRow(
        row_id=str(row["row_id"]),
        key=values_pb2.SeriesKey(provider=row["provider"], symbol=row["symbol"], interval=row["interval"]),
        row_time=timestamp(row["row_time"]),
        reason=collection_pb2.QuarantineReason.Value(f"QUARANTINE_REASON_{row['reason']}"),
        detail=row["detail"],
        payload=struct(row["payload"]),
        run_id=public_id(row["run_id"]) if row["run_id"] else "",
        operation_id=str(row["operation_id"] or ""),
        quarantine_time=timestamp(row["quarantined_at"]),
        state=collection_pb2.QuarantineState.Value(f"QUARANTINE_STATE_{row['state']}"),
        resolve_time=timestamp(row["resolved_at"]),
    )
    if row["resolved_by"]:
        message.resolved_by.CopyFrom(values_pb2.Actor(**row["resolved_by"]))
    return message
