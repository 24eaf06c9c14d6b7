"""Work that outlives a request: recorded, listed, watched and cancelled. `quasar.ops.runner` does it."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

from quasar import paging
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.database.statements import load_statements
from quasar.errors import AlreadyExists, NotFound, Resource
from quasar.filters import Field, condition
from quasar.ops.actors import Actor
from quasar.ops.events import Events, Severity
from quasar.ops.hints import Hint

CHANNEL = "quasar_operations"
"""NOTIFY channel: an operation was recorded, is to be cancelled, or changed."""
LOOK_S = 2.0
"""A watcher looks this often for changes whose notification was lost."""

SQL = load_statements("quasar.ops.store")


class OperationState(enum.IntEnum):
    """Where an operation stands; the numbers are those of `quasar.ops.v1.OperationState`."""

    PENDING = 1
    RUNNING = 2
    SUCCEEDED = 3
    FAILED = 4
    CANCELLED = 5

    @property
    def final(self) -> bool:
        """Whether it never changes again."""
        return self >= OperationState.SUCCEEDED


FIELDS: Mapping[str, Field] = {
    "kind": Field("kind"),
    "state": Field("state", "enum", tuple(each.name for each in OperationState)),
    "subject": Field("coalesce(subject_name, '')"),
    "principal": Field("actor"),
    "create_time": Field("created_at", "time"),
}
"""What a filter may name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an operation has come."""

    phase: str = ""
    """What is being done now, in a few words."""
    done: int = 0
    total: int | None = None
    unit: str = ""
    """What is counted ("rows", "symbols")."""
    wait_s: float = 0.0
    """Seconds spent waiting for rate limits so far."""
    remaining_s: float | None = None
    """Seconds left, estimated from the pace so far; None when it cannot be told."""
    counters: Mapping[str, float] = field(default_factory=dict)
    """Further figures by name."""


@dataclass(frozen=True, slots=True)
class OperationError:
    """Why an operation failed: the parts of a `QuasarError`, as they are stored."""

    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OperationResult:
    """What an operation produced."""

    summary: Mapping[str, Any] = field(default_factory=dict)
    """The result as JSON, for readers without the message's type."""
    type_url: str = ""
    """Type of the message that the starting RPC names; empty when it names none."""
    message: bytes = b""
    """That message, serialised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One piece of work."""

    operation_id: uuid.UUID
    kind: str
    service: str
    subject_type: str
    subject: str
    """What the work is about, for people."""
    request: Mapping[str, Any]
    """What was asked; private to the kind of work."""
    state: OperationState
    progress: Progress
    error: OperationError | None
    result: OperationResult | None
    actor: Actor | None
    create_time: dt.datetime
    start_time: dt.datetime | None
    update_time: dt.datetime
    end_time: dt.datetime | None
    attempts: int
    cancel_requested: bool
    """Somebody asked to cancel it and it has not stopped yet."""


class Operations:
    """The operations of one service."""

    def __init__(self, database: Database, service: str, events: Events, clock: Clock) -> None:
        """Keep the operations of `service`; what happens to them is told to `events`."""
        self.database = database
        self.service = service
        self.events = events
        self.work = Hint(clock)
        """Given when there is something to take or to cancel."""
        self.change = Hint(clock)
        """Given when any operation changed."""

    def notified(self, payload: str) -> None:
        """Wake whom a notification concerns; fits as a callback of a `Listener` on `CHANNEL`."""
        if not payload.startswith("change"):
            self.work.give()
        self.change.give()

    async def submit(
        self,
        kind: str,
        request: Mapping[str, Any],
        *,
        subject_type: str = "",
        subject: str = "",
        actor: Actor | None = None,
        request_id: str = "",
        connection: Any = None,
    ) -> Operation:
        """Record work to be done.

        Args:
            kind: What kind of work; a worker with a handler for it takes it.
            request: What to do, as JSON; private to the kind.
            subject_type: The noun that the work is about.
            subject: Which one, for people.
            actor: Who began it; None where the platform acts by itself.
            request_id: Makes it idempotent: the same id for the same kind returns the operation that is there.
            connection: Record in this connection's transaction; None: in one of its own.

        Returns:
            The operation.

        Raises:
            AlreadyExists: The request id was used with another request.
        """
        values = (
            self.service,
            kind,
            subject_type or None,
            subject or None,
            dict(request),
            request_id or None,
            actor.principal if actor else "",
            actor.role.word if actor else None,
            {"request_id": actor.request_id} if actor and actor.request_id else {},
        )
        if connection is not None:
            return await self._submit(connection, values)
        async with self.database.transaction() as own:
            return await self._submit(own, values)

    async def _submit(self, connection: Any, values: tuple[Any, ...]) -> Operation:
        row = await connection.fetchrow(SQL["insert_operation"], *values)
        if row is not None:
            await connection.execute(SQL["notify_operations"], f"work {row['id']}")
            return operation(row)
        service, kind, _, _, request, request_id, *_ = values
        former = operation(await connection.fetchrow(SQL["operation_by_request"], service, kind, request_id))
        if former.request != request:
            raise AlreadyExists(
                f"The request_id {request_id!r} was used for another {kind} before; choose a new one.",
                resource=Resource("operation", str(former.operation_id)),
            )
        return former

    async def get(self, operation_id: uuid.UUID) -> Operation:
        """Return one operation.

        Raises:
            NotFound: This service has none of that id.
        """
        row = await self.database.fetchrow(SQL["operation_by_id"], self.service, operation_id)
        if row is None:
            raise NotFound(
                f"The {self.service} has no operation {operation_id}.",
                resource=Resource("operation", str(operation_id)),
            )
        return operation(row)

    async def list(
        self, *, filter_text: str = "", page_size: int = 0, page_token: str = ""
    ) -> tuple[list[Operation], str]:
        """Return a page of operations, newest first, and the token of the next page.

        Raises:
            InvalidFilter: The filter cannot be understood.
            InvalidCursor: The page token belongs to another query.
        """
        size = paging.page_size(page_size)
        query = ("ListOperations", self.service, filter_text)
        key = paging.page_key(query, page_token)
        before = (dt.datetime.fromisoformat(str(key[0])), uuid.UUID(str(key[1]))) if key else (None, None)
        where = condition(filter_text, FIELDS, first_parameter=5)
        statement = SQL["operations_newest_first"].replace("{filter}", where.sql)
        rows = await self.database.fetch(statement, self.service, *before, size + 1, *where.parameters)
        found = [operation(row) for row in rows[:size]]
        if len(rows) <= size:
            return found, ""
        last = found[-1]
        return found, paging.page_token(query, (last.create_time.isoformat(), str(last.operation_id)))

    async def cancel(self, operation_id: uuid.UUID, *, reason: str = "", actor: Actor | None = None) -> Operation:
        """Ask an operation to stop and return it; one that has ended, or was asked already, stays as it is.

        Raises:
            NotFound: This service has none of that id.
        """
        async with self.database.transaction() as connection:
            row = await connection.fetchrow(SQL["request_cancel"], self.service, operation_id)
            if row is not None:
                found = operation(row)
                await self.events.record(
                    connection,
                    "OperationCancelRequested",
                    f"{found.kind} of {found.subject or 'the platform'} was asked to stop.",
                    subject_type="operation",
                    subject_name=str(operation_id),
                    data={"reason": reason, "kind": found.kind},
                    actor=actor,
                )
                if found.state.final:  # nobody had taken it
                    await self.record_end(connection, found)
                await connection.execute(SQL["notify_operations"], f"work {operation_id}")
                return found
        return await self.get(operation_id)

    async def watch(self, operation_id: uuid.UUID) -> AsyncGenerator[Operation, None]:
        """Yield an operation as it is now, then at every change; the last one is final.

        Raises:
            NotFound: This service has none of that id.
        """
        last: Operation | None = None
        while last is None or not last.state.final:
            mark = self.change.mark()
            found = await self.get(operation_id)
            if found != last:
                last = found
                yield found
            else:
                await self.change.after(mark, LOOK_S)

    async def record_end(self, connection: Any, ended: Operation) -> None:
        """Record the event that an operation ended, in the transaction that ended it."""
        severity = Severity.ERROR if ended.state is OperationState.FAILED else Severity.INFO
        words = {OperationState.SUCCEEDED: "succeeded", OperationState.FAILED: "failed"}.get(
            ended.state, "was cancelled"
        )
        why = f": {ended.error.message}" if ended.error else "."
        await self.events.record(
            connection,
            f"Operation{ended.state.name.title()}",
            f"{ended.kind} of {ended.subject or 'the platform'} {words}{why}",
            subject_type="operation",
            subject_name=str(ended.operation_id),
            severity=severity,
            data={"kind": ended.kind, "attempts": ended.attempts},
            actor=ended.actor,
        )


def operation(row: Any) -> Operation:
    """Return the operation that a row holds."""
    detail = row["detail"]
    progress = Progress(
        phase=row["phase"],
        done=row["done"],
        total=row["total"],
        unit=row["unit"],
        wait_s=row["wait_s"],
        remaining_s=detail.get("remaining_s"),
        counters=detail.get("counters", {}),
    )
    state = OperationState[row["state"]]
    return Operation(
        operation_id=row["id"],
        kind=row["kind"],
        service=row["service"],
        subject_type=row["subject_type"] or "",
        subject=row["subject_name"] or "",
        request=row["request"],
        state=state,
        progress=progress,
        error=OperationError(**row["error"]) if row["error"] else None,
        result=_result(row["result"]),
        actor=Actor.of(row["actor"], row["role"], detail.get("request_id")),
        create_time=row["created_at"],
        start_time=row["started_at"],
        update_time=row["updated_at"],
        end_time=row["finished_at"],
        attempts=row["attempts"],
        cancel_requested=row["cancel_requested"] and not state.final,
    )


def _result(stored: Mapping[str, Any] | None) -> OperationResult | None:
    if stored is None:
        return None
    return OperationResult(stored["summary"], stored["type_url"], bytes.fromhex(stored["message"]))


def stored_result(result: OperationResult) -> dict[str, Any]:
    """Return a result as it is stored."""
    return {"summary": dict(result.summary), "type_url": result.type_url, "message": result.message.hex()}
