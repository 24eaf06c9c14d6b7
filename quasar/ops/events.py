"""What happened: recorded in the transaction that made it happen, listed, and watched without loss."""

from __future__ import annotations

import datetime as dt
import enum
import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

from quasar import paging
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.database.statements import load_statements
from quasar.errors import CursorExpired, FieldViolation, InvalidCursor, InvalidFilter
from quasar.filters import Condition, Field, condition
from quasar.ops.actors import Actor
from quasar.ops.event_horizon import EventHorizon
from quasar.ops.hints import Hint

CHANNEL = "quasar_events"
"""NOTIFY channel: events were recorded."""
LOOK_S = 2.0
"""A watcher looks this often for events whose notification was lost."""
HOLE_LOOK_S = 0.05
"""A watcher looks this often while an event waits for a transaction with an earlier id."""
BATCH = 500
"""Events in one message at most."""

_SQL = load_statements("quasar.ops.store")


class Severity(enum.IntEnum):
    """How much an event matters to an operator; the numbers are those of `quasar.ops.v1.Severity`."""

    DEBUG = 1
    INFO = 2
    WARNING = 3
    ERROR = 4


FIELDS: Mapping[str, Field] = {
    "service": Field("service"),
    "kind": Field("kind"),
    "severity": Field("severity", "enum", tuple(each.name for each in Severity)),
    "subject_type": Field("subject_type"),
    "subject_name": Field("subject_name"),
    "principal": Field("actor"),
    "run_id": Field("coalesce(run_id, '')"),
    "time": Field("time", "time"),
}
"""What a filter may name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened."""

    event_id: int
    time: dt.datetime
    service: str
    kind: str
    severity: Severity
    subject_type: str
    subject_name: str
    message: str
    data: Mapping[str, Any] = field(default_factory=dict)
    actor: Actor | None = None
    run_id: str = ""
    run_sequence: int = 0


@dataclass(frozen=True, slots=True)
class EventBatch:
    """What a watcher is sent: some events in the order of their ids, or none in a heartbeat."""

    events: tuple[Event, ...]
    cursor: str
    """Position after them."""


class Events:
    """The log of events, as one service writes and reads it."""

    def __init__(self, database: Database, service: str, clock: Clock) -> None:
        """Write as `service`."""
        self._database = database
        self._service = service
        self._clock = clock
        self.hint = Hint(clock)
        """Given when events were recorded; `hint.give` fits as a callback of a `Listener` on `CHANNEL`."""

    async def record(
        self,
        connection: Any,
        kind: str,
        message: str,
        *,
        subject_type: str = "",
        subject_name: str = "",
        severity: Severity = Severity.INFO,
        data: Mapping[str, Any] | None = None,
        actor: Actor | None = None,
        run_id: str = "",
    ) -> int:
        """Record an event in the caller's transaction: it is there exactly if what it tells of is.

        Args:
            connection: A connection of the pool, inside a transaction. Record late in it: watchers of later events
                wait for its end.
            kind: What happened, in the past tense ("CodeActivated").
            message: One sentence for people.
            subject_type: The noun that it is about ("provider").
            subject_name: Which one ("kraken").
            severity: How much it matters.
            data: The facts by name; for a change `before` and `after`. Never a secret.
            actor: Who did it; None where the platform acted by itself.
            run_id: The strategy run that it belongs to; its events are numbered from 1 without holes.

        Returns:
            The event's id.
        """
        sequence = await self._run_sequence(connection, run_id) if run_id else None
        event_id: int = await connection.fetchval(
            _SQL["insert_event"],
            self._service,
            kind,
            severity.name,
            subject_type,
            subject_name,
            message,
            dict(data or {}),
            actor.principal if actor else "",
            actor.role.word if actor else "",
            actor.request_id if actor else "",
            run_id or None,
            sequence,
        )
        await connection.execute(_SQL["notify_events"])
        return event_id

    async def _run_sequence(self, connection: Any, run_id: str) -> int:
        await connection.execute(_SQL["lock_run"], run_id)
        sequence: int = await connection.fetchval(_SQL["next_run_sequence"], run_id)
        return sequence

    async def list(
        self, *, filter_text: str = "", order_by: str = "", page_size: int = 0, page_token: str = ""
    ) -> tuple[list[Event], str]:
        """Return a page of events, newest first unless ordered by `event_id`, and the token of the next page.

        Raises:
            InvalidFilter: The filter or the ordering cannot be understood.
            InvalidCursor: The page token belongs to another query.
        """
        newest_first = _newest_first(order_by)
        size = paging.page_size(page_size)
        query = ("ListEvents", filter_text, str(newest_first))
        key = paging.page_key(query, page_token)
        after = int(key[0]) if key else (None if newest_first else 0)
        where = condition(filter_text, FIELDS, first_parameter=3)
        statement = _SQL["events_newest_first" if newest_first else "events_oldest_first"]
        rows = await self._database.fetch(_filtered(statement, where), after, size + 1, *where.parameters)
        events = [_event(row) for row in rows[:size]]
        return events, paging.page_token(query, (events[-1].event_id,)) if len(rows) > size else ""

    async def watch(
        self, *, filter_text: str = "", cursor: str = "", since: dt.datetime | None = None, heartbeat_s: float = 10.0
    ) -> AsyncGenerator[EventBatch, None]:
        """Yield events as they become visible, each once, in the order of their ids.

        A batch without events is a heartbeat. The first batch comes at once and may be empty: it carries the cursor
        to resume from.

        Args:
            filter_text: Which events; the cursor goes over the others too.
            cursor: Begin after this position; "" begins with what becomes visible from now on.
            since: Instead of a cursor: begin with the events recorded since this time.
            heartbeat_s: Time without events after which a heartbeat is sent.

        Raises:
            InvalidFilter: The filter cannot be understood.
            InvalidCursor: The cursor is none, or is of another log.
            CursorExpired: Events after the cursor are not kept any more.
        """
        where = condition(filter_text, FIELDS, first_parameter=4)
        horizon = EventHorizon(self._database, _SQL)
        position, seen = await self._begin(horizon, cursor, since)
        due = self._clock.monotonic()
        while True:
            mark = self.hint.mark()
            events, position = await self._next(horizon, position, where, seen)
            now = self._clock.monotonic()
            if events or now >= due:
                due = now + heartbeat_s
                yield EventBatch(events, str(position))
            if not events:
                look = HOLE_LOOK_S if horizon.waiting else LOOK_S
                await self.hint.after(mark, max(0.0, min(look, due - now)))

    async def _next(
        self, horizon: EventHorizon, position: int, where: Condition, seen: frozenset[int]
    ) -> tuple[tuple[Event, ...], int]:
        """Return the next events of a watcher and its position after them."""
        complete = await horizon.advance(position)
        if complete == position:
            return (), position
        statement = _filtered(_SQL["events_between"], where)
        rows = await self._database.fetch(statement, position, complete, BATCH, *where.parameters)
        events = tuple(_event(row) for row in rows if row["id"] not in seen)
        return events, rows[-1]["id"] if len(rows) == BATCH else complete

    async def _begin(self, horizon: EventHorizon, cursor: str, since: dt.datetime | None) -> tuple[int, frozenset[int]]:
        """Return the position that a watcher begins after, and what it is not to be sent though it lies behind."""
        if cursor:
            return await self._position(cursor), frozenset()
        if since is not None:
            first = await self._database.fetchval(_SQL["first_event_id_since"], since)
            if first is not None:
                return first - 1, frozenset()
        return await horizon.present()

    async def _position(self, cursor: str) -> int:
        bounds = await self._database.fetchrow(_SQL["event_id_bounds"])
        newest, oldest = bounds["newest"] or 0, bounds["oldest"] or 0
        if re.fullmatch(r"[0-9]{1,19}", cursor) is None or int(cursor) > newest:
            description = f"must be a cursor that this platform gave, was {cursor[:40]!r}"
            raise InvalidCursor(f"cursor {description}.", violations=[FieldViolation("cursor", description)])
        if 0 < int(cursor) < oldest - 1:
            raise CursorExpired(
                "Events after the cursor are not kept any more; begin again without it.",
                metadata={"earliest_cursor": str(oldest - 1)},
            )
        return int(cursor)


def _newest_first(order_by: str) -> bool:
    words = tuple(order_by.split())
    orders = {(): True, ("event_id", "desc"): True, ("event_id",): False, ("event_id", "asc"): False}
    if words not in orders:
        description = f"must be 'event_id' or 'event_id desc', was {order_by!r}"
        raise InvalidFilter(f"order_by {description}.", violations=[FieldViolation("order_by", description)])
    return orders[words]


def _filtered(statement: str, where: Condition) -> str:
    return statement.replace("{filter}", where.sql)


def _event(row: Any) -> Event:
    return Event(
        event_id=row["id"],
        time=row["time"],
        service=row["service"],
        kind=row["kind"],
        severity=Severity[row["severity"]],
        subject_type=row["subject_type"],
        subject_name=row["subject_name"],
        message=row["message"],
        data=row["data"],
        actor=Actor.of(row["actor"], row["role"], row["request_id"]),
        run_id=row["run_id"] or "",
        run_sequence=row["run_sequence"] or 0,
    )
