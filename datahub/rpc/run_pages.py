"""Runs as pages and as a watch."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from datahub.collection.runs import ACTIVE, RunState, Trigger, private_id, public_id
from datahub.rpc.listing import Listing
from datahub.rpc.run_messages import attempt_message, run_message
from datahub.store.statements import SQL
from quasar import paging
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import InvalidCursor, NotFound, Resource
from quasar.filters import Field, condition
from quasar.ops.hints import Hint
from quasar.ordering import OrderField
from quasar.rpc.wellknown import seconds
from quasar_proto.datahub.v1 import collection_pb2
from quasar_proto.datahub.v1 import collection_service_pb2 as pb

_JOB_NAME = (
    "case when r.kind = 'REPAIR' and r.trigger = 'REPAIR' then 'repair/' || r.provider "
    "when j.kind = 'MAINTENANCE' then 'maintenance/storage' "
    "when j.kind = 'INDEX_SYNC' then 'index_sync/' || j.provider || '/' || j.index_name "
    "else 'bars/' || j.provider || '/' || "
    "j.interval || '/' || j.cron || case when j.time_zone in ('', 'UTC') then '' else '@' || j.time_zone end end"
)
_NEVER = "coalesce({}, '-infinity'::timestamptz)"
FIELDS = {
    "kind": Field("r.kind", "enum", ("BARS", "INDEX_SYNC", "REPAIR", "MAINTENANCE")),
    "trigger": Field("r.trigger", "enum", tuple(each.value for each in Trigger)),
    "state": Field("r.state", "enum", tuple(each.value for each in RunState)),
    "provider": Field("r.provider"),
    "symbol": Field("f.symbol"),
    "interval": Field("f.interval"),
    "index": Field("r.index_name"),
    "job_id": Field(_JOB_NAME),
    "batch_id": Field("(r.joined_batches || r.batch_id)::text[]", "list"),
    "operation_id": Field("r.operation_id::text"),
    "scheduled_time": Field("r.scheduled_for", "time"),
    "create_time": Field("r.created_at", "time"),
    "end_time": Field("r.finished_at", "time"),
    "quarantined": Field("r.quarantined", "integer"),
}
_LISTING = Listing(
    method="ListRuns",
    statement="run_rows",
    fields=FIELDS,
    orders={
        "create_time": OrderField("r.created_at", "timestamptz"),
        "scheduled_time": OrderField("r.scheduled_for", "timestamptz"),
        "start_time": OrderField(_NEVER.format("r.started_at"), "timestamptz"),
        "end_time": OrderField(_NEVER.format("r.finished_at"), "timestamptz"),
    },
    default_order="create_time desc",
    tie=(OrderField("r.run_id", "bigint"),),
)
_WATCHED = 1_000
"""Runs in one message of a watch at most."""
_LOOK_S = 1.0
_OVERLAP = dt.timedelta(seconds=5)
"""Changes that were committed late carry an earlier time: a watcher looks back so far."""


class RunPages:
    """Answers `ListRuns`, `GetRun` and `WatchRuns`."""

    def __init__(self, database: Database, clock: Clock, hint: Hint) -> None:
        """Read from `database`; `hint` tells that runs changed."""
        self._database = database
        self._clock = clock
        self._hint = hint

    async def page(self, request: pb.ListRunsRequest) -> pb.ListRunsResponse:
        """Return a page of runs."""
        rows, token = await _LISTING.rows(self._database, request)
        return pb.ListRunsResponse(runs=[run_message(row) for row in rows], next_page_token=token)

    async def get(self, text: str) -> pb.GetRunResponse:
        """Return one run with its attempts."""
        run_id = private_id(text)
        row = await self._row(run_id)
        attempts = await self._database.fetch(SQL["run_attempts"], run_id)
        held = await self._database.fetchval(SQL["held_rows_of_run"], run_id)
        return pb.GetRunResponse(
            run=run_message(row), attempts=[attempt_message(each) for each in attempts], held_rows=held
        )

    async def one(self, run_id: int) -> collection_pb2.Run:
        """Return one run by its number."""
        return run_message(await self._row(run_id))

    async def some(self, run_ids: Sequence[int]) -> list[collection_pb2.Run]:
        """Return some runs by their numbers."""
        rows = await self._select("r.run_id = any($2::bigint[])", "r.run_id", len(run_ids) or 1, list(run_ids))
        return [run_message(row) for row in rows]

    async def watch(self, request: pb.WatchRunsRequest) -> AsyncGenerator[pb.WatchRunsResponse, None]:
        """Yield the runs that match, then every change."""
        asked = ("WatchRuns", request.filter)
        beat = seconds(request.heartbeat_interval) if request.HasField("heartbeat_interval") else 10.0
        since = self._since(asked, request.cursor)
        mark = self._hint.mark()
        known: dict[int, dt.datetime] = {}
        if since is None:
            since = self._clock.now()
            async for rows, last in self._active(request.filter):
                known |= {row["run_id"]: row["updated_at"] for row in rows}
                runs = [run_message(row) for row in rows]
                yield pb.WatchRunsResponse(runs=runs, cursor=_cursor(asked, since), snapshot_complete=last)
        said = self._clock.monotonic()
        while True:
            seen: dict[int, dt.datetime] = {}
            async for rows in self._changed(request.filter, since - _OVERLAP):
                seen |= {row["run_id"]: row["updated_at"] for row in rows}
                fresh = [row for row in rows if known.get(row["run_id"]) != row["updated_at"]]
                since = max([since, *(row["updated_at"] for row in rows)])
                if fresh or self._clock.monotonic() - said >= beat:
                    said = self._clock.monotonic()
                    yield pb.WatchRunsResponse(runs=[run_message(row) for row in fresh], cursor=_cursor(asked, since))
            known = seen
            await self._hint.after(mark, min(_LOOK_S, beat))
            mark = self._hint.mark()

    async def _active(self, filter_text: str) -> AsyncGenerator[tuple[list[Any], bool], None]:
        """Yield the runs that have not ended, some at a time, and whether these are the last."""
        further, last_id = f"r.state = any('{{{','.join(ACTIVE)}}}') and r.run_id > $2", 0
        while True:
            rows = await self._matching(filter_text, further, "r.run_id", last_id)
            yield rows, len(rows) < _WATCHED
            if len(rows) < _WATCHED:
                return
            last_id = rows[-1]["run_id"]

    async def _changed(self, filter_text: str, since: dt.datetime) -> AsyncGenerator[list[Any], None]:
        """Yield the runs that changed since a time, some at a time, in the order of their changes."""
        place = (since, 0)
        while True:
            further, order = "(r.updated_at, r.run_id) > ($2, $3)", "r.updated_at, r.run_id"
            rows = await self._matching(filter_text, further, order, *place)
            yield rows
            if len(rows) < _WATCHED:
                return
            place = (rows[-1]["updated_at"], rows[-1]["run_id"])

    def _since(self, asked: tuple[str, ...], cursor: str) -> dt.datetime | None:
        try:
            key = paging.page_key(asked, cursor)
            return None if key is None else dt.datetime.fromisoformat(str(key[0]))
        except (InvalidCursor, ValueError) as error:
            raise InvalidCursor("The cursor must be one that an earlier watch with the same filter gave.") from error

    async def _matching(self, filter_text: str, further: str, order: str, *leading: Any) -> list[Any]:
        where = condition(filter_text, FIELDS, first_parameter=2 + len(leading))
        return await self._select(f"({where.sql}) and {further}", order, _WATCHED, *leading, *where.parameters)

    async def _select(self, where: str, order: str, limit: int, *arguments: Any) -> list[Any]:
        text = SQL["run_rows"].format(key="'{}'::text[]", filter=where, order=order)
        return await self._database.fetch(text, limit, *arguments)

    async def _row(self, run_id: int) -> Any:
        rows = await self._select("r.run_id = $2", "r.run_id", 1, run_id)
        if not rows:
            text = public_id(run_id)
            raise NotFound(f"There is no run {text}.", resource=Resource("run", text))
        return rows[0]


def _cursor(asked: tuple[str, ...], since: dt.datetime) -> str:
    return paging.page_token(asked, [since.isoformat()])
