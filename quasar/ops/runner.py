"""Does operations: takes them under a lease, renews it, resumes after a restart, stops them when asked.

A row is claimed by one worker of its service (`FOR UPDATE SKIP LOCKED`), which holds a lease and renews it. When the
worker dies the lease runs out, and another worker, or the same service after its restart, takes the operation up from
its checkpoint. So an operation is done at least once: a handler must bear being repeated from its last checkpoint.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import asyncpg

from quasar import logs
from quasar.clock import Clock
from quasar.errors import Cancelled, DatabaseUnavailable, DeadlineExceeded, Internal, QuasarError
from quasar.ops.operation_context import LeaseLost, OperationContext
from quasar.ops.operations import (
    SQL,
    OperationError,
    OperationResult,
    Operations,
    OperationState,
    operation,
    stored_result,
)
from quasar.ops.workers import dead_workers, worker_identity

Handler: TypeAlias = Callable[[OperationContext], Awaitable[OperationResult | None]]

LEASE_S = 15.0
LOOK_S = 2.0
"""A runner looks this often for work whose notification was lost."""
PROGRESS_S = 0.25
"""Progress is written this often at most."""
LOSSES_BORNE = 5
"""An operation that ended its process so often in a row, without a checkpoint in between, is not tried again."""
_AFTER_FAILURE_S = 0.5
_HAND_BACK_S = 2.0
# What a database says that is away, overloaded or being migrated; all of it may pass.
_TROUBLE = (DatabaseUnavailable, DeadlineExceeded, asyncpg.PostgresError)

_log = logs.get(__name__)


@dataclass(slots=True)
class _Attempt:
    """An operation in this process's hands."""

    context: OperationContext
    renewed: float
    """When the lease was last known to be ours, on the monotonic clock."""
    task: asyncio.Task[None] | None = None
    stop: Literal["", "asked", "lost"] = ""
    """Why it is being stopped."""
    settling: bool = False
    """The work is over and its end is being written."""

    def end(self, why: Literal["asked", "lost"]) -> None:
        """Stop the work, once. What is over cannot be cancelled any more."""
        if not self.stop and self.task is not None and not (self.settling and why == "asked"):
            self.stop = why
            self.task.cancel()


@dataclass(frozen=True, slots=True)
class _End:
    """How an operation ended."""

    state: OperationState
    result: OperationResult | None = None
    error: OperationError | None = None


class OperationRunner:
    """Does the operations of one service in this process."""

    def __init__(
        self,
        operations: Operations,
        clock: Clock,
        *,
        at_once: int = 4,
        lease_s: float = LEASE_S,
        worker: str | None = None,
    ) -> None:
        """Do `operations`.

        Args:
            operations: Where they are kept.
            clock: For waits.
            at_once: How many are done at the same time.
            lease_s: How long an operation of a dead worker stays untouched.
            worker: Identity of this process; made from host, process id and start when absent.
        """
        self._operations = operations
        self._database = operations.database
        self._clock = clock
        self._at_once = at_once
        self._lease_s = lease_s
        self._worker = worker or worker_identity()
        self._handlers: dict[str, Handler] = {}
        self._attempts: dict[uuid.UUID, _Attempt] = {}
        self._told = asyncio.Event()

    def register(self, kind: str, handler: Handler) -> None:
        """Have operations of a kind done by `handler`, which returns the result and raises `QuasarError` when it fails.

        It is cancelled when the operation is, and when the service stops; then it begins again from its checkpoint.
        """
        if kind in self._handlers:
            raise ValueError(f"the kind of operation {kind!r} must have one handler, had two")
        self._handlers[kind] = handler

    async def run(self) -> None:
        """Work until cancelled; what is in hand then is handed back."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_leases())
            group.create_task(self._keep_telling())
            reclaimed = False
            while True:
                mark = self._operations.work.mark()
                try:
                    reclaimed = reclaimed or await self._take_from_the_dead()
                    while len(self._attempts) < self._at_once and (row := await self._claim()) is not None:
                        self._begin(group, row)
                except _TROUBLE as error:
                    _log.warning("operations not claimed", error=type(error).__name__)
                    await self._clock.sleep(_AFTER_FAILURE_S)
                await self._operations.work.after(mark, LOOK_S)

    async def _take_from_the_dead(self) -> bool:
        """End the leases of workers of this machine that are gone, so that their operations need not wait."""
        rows = await self._database.fetch(SQL["workers_with_leases"], self._operations.service)
        if dead := dead_workers(row["worker"] for row in rows):
            await self._database.execute(SQL["end_leases"], self._operations.service, dead)
        return True

    async def _claim(self) -> Any:
        if not self._handlers:
            return None
        lease = dt.timedelta(seconds=self._lease_s)
        return await self._database.fetchrow(
            SQL["claim_operation"], self._operations.service, list(self._handlers), self._worker, lease
        )

    def _begin(self, group: asyncio.TaskGroup, row: Any) -> None:
        context = OperationContext(row, self._worker, self._database, self._clock, self._told.set)
        attempt = _Attempt(context, self._clock.monotonic())
        self._attempts[context.operation.operation_id] = attempt
        attempt.task = group.create_task(self._attempt(attempt))

    async def _attempt(self, attempt: _Attempt) -> None:
        """Do one operation and record its end."""
        operation_id = attempt.context.operation.operation_id
        try:
            end = await self._do(attempt)
            attempt.settling = True
            if end is None:
                await self._settle(attempt, lambda: self._hand_back(attempt.context, losses=attempt.context.losses + 1))
            else:
                await self._settle(attempt, lambda: self._finish(attempt.context, end))
        except LeaseLost:
            _log.warning("operation taken over by another worker", operation_id=str(operation_id))
        except asyncio.CancelledError:
            if not attempt.stop:
                await self._hand_back_quickly(attempt)
                raise
        finally:
            del self._attempts[operation_id]
            self._operations.work.give()

    async def _do(self, attempt: _Attempt) -> _End | None:
        """Run the handler and return the end; None when the database was away, so that it is to be tried again."""
        context = attempt.context
        asked = _End(OperationState.CANCELLED)
        if context.operation.cancel_requested:
            return asked
        if context.losses >= LOSSES_BORNE:
            times = f"{context.losses} times in a row"
            return _failed(
                Internal.reason, f"The work lost its process or its database {times} without getting further."
            )
        try:
            result = await self._handlers[context.operation.kind](context)
        except LeaseLost:
            raise
        except (DatabaseUnavailable, Cancelled) as error:
            return None if isinstance(error, DatabaseUnavailable) else asked
        except asyncio.CancelledError:
            if attempt.stop != "asked":
                raise
            return asked
        except QuasarError as error:
            return _failed(error.reason, error.message, error.metadata)
        except Exception as error:
            operation_id = str(context.operation.operation_id)
            _log.error("operation failed", operation_id=operation_id, kind=context.operation.kind, exc_info=error)
            return _failed(
                Internal.reason, f"A defect of the server; its log has an entry of operation {operation_id}."
            )
        return asked if attempt.stop == "asked" else _End(OperationState.SUCCEEDED, result or OperationResult())

    async def _settle(self, attempt: _Attempt, write: Callable[[], Awaitable[None]]) -> None:
        """Write the end, again and again while the database is away and the lease may still be ours."""
        while True:
            try:
                return await write()
            except _TROUBLE:
                if self._clock.monotonic() - attempt.renewed > self._lease_s:
                    raise LeaseLost from None
                await self._clock.sleep(_AFTER_FAILURE_S)

    async def _finish(self, context: OperationContext, end: _End) -> None:
        await context.flush()
        result = stored_result(end.result) if end.result is not None else None
        error = asdict(end.error) if end.error is not None else None
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(SQL["finish_operation"], *context.fence, end.state.name, result, error)
            if row is None:
                raise LeaseLost
            ended = operation(row)
            await self._operations.record_end(connection, ended)
            await connection.execute(SQL["notify_operations"], f"change {ended.operation_id}")

    async def _hand_back(self, context: OperationContext, *, losses: int) -> None:
        """Leave the operation to whoever takes it next."""
        async with self._database.transaction() as connection:
            if not await connection.fetchval(SQL["release_operation"], *context.fence, {"lost": losses}):
                raise LeaseLost
            await connection.execute(SQL["notify_operations"], f"work {context.operation.operation_id}")

    async def _hand_back_quickly(self, attempt: _Attempt) -> None:
        """Hand back while the service stops; when that fails, the lease runs out or the next start ends it."""
        try:
            async with asyncio.timeout(_HAND_BACK_S):
                await attempt.context.flush()
                await self._hand_back(attempt.context, losses=attempt.context.losses)
        except (*_TROUBLE, LeaseLost, TimeoutError) as error:
            operation_id = str(attempt.context.operation.operation_id)
            _log.warning("operation not handed back", operation_id=operation_id, error=type(error).__name__)

    async def _keep_leases(self) -> None:
        """Renew the leases, and stop what is to be cancelled or is not ours any more."""
        while True:
            mark = self._operations.work.mark()
            try:
                await self._renew()
            except _TROUBLE as error:
                _log.warning("leases of operations not renewed", error=type(error).__name__)
                await self._clock.sleep(_AFTER_FAILURE_S)
            now = self._clock.monotonic()
            for attempt in self._attempts.values():
                if now - attempt.renewed > self._lease_s:
                    attempt.end("lost")
            await self._operations.work.after(mark, self._lease_s / 3)

    async def _renew(self) -> None:
        held = dict(self._attempts)
        if not held:
            return
        asked_at = self._clock.monotonic()
        lease = dt.timedelta(seconds=self._lease_s)
        rows = await self._database.fetch(SQL["renew_leases"], self._worker, lease, list(held))
        ours = {row["id"]: row["cancel_requested"] for row in rows}
        for operation_id, attempt in held.items():
            if operation_id not in ours:
                attempt.end("lost")
                continue
            attempt.renewed = asked_at
            if ours[operation_id]:
                attempt.end("asked")

    async def _keep_telling(self) -> None:
        """Write progress as it is told."""
        while True:
            await self._told.wait()
            self._told.clear()
            for attempt in list(self._attempts.values()):
                try:
                    await attempt.context.flush()
                except LeaseLost:
                    continue  # the next renewal stops the work
                except _TROUBLE as error:
                    _log.warning("progress of an operation not written", error=type(error).__name__)
                    self._told.set()
            await self._clock.sleep(PROGRESS_S)


def _failed(reason: str, message: str, metadata: dict[str, str] | None = None) -> _End:
    return _End(OperationState.FAILED, error=OperationError(reason, message, metadata or {}))
