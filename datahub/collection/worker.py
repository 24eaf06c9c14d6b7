"""Takes runs under a lease and has them done; a run of a replica that died is taken up where it stopped."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import asyncpg

from datahub.collection import run_events
from datahub.collection.collector import RunLost, retry_delay
from datahub.collection.runs import Failure, Outcome, RunState, Trigger, Work
from datahub.quality.watch import GATHERED, SOON
from datahub.store import quality_table, run_table
from datahub.store.statements import SQL
from quasar import logs
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import DatabaseUnavailable, DeadlineExceeded, QuasarError
from quasar.ops.events import Events
from quasar.ops.hints import Hint
from quasar.ops.workers import dead_workers, worker_identity

LEASE_S = 30.0
LOOK_S = 1.0
"""A worker looks this often for runs whose notification was lost or whose time comes."""
_AFTER_FAILURE_S = 0.5
_GIVEN_BACK_S = 5.0
_TROUBLE = (DatabaseUnavailable, DeadlineExceeded, asyncpg.PostgresError)

Handler = Callable[[Work], Awaitable[Outcome | Failure]]
GiveUp = Callable[[Work, str], Awaitable[int]]
Cancel = Callable[[Work], Awaitable[None]]

_log = logs.get(__name__)


@dataclass(slots=True)
class _Attempt:
    """A run in this process's hands."""

    work: Work
    renewed: float
    task: asyncio.Task[None] | None = None
    stop: Literal["", "asked", "lost"] = ""

    def end(self, why: Literal["asked", "lost"]) -> None:
        """Stop the work, once."""
        if not self.stop and self.task is not None:
            self.stop = why
            self.task.cancel()


class RunWorker:
    """Does runs in this process."""

    def __init__(
        self,
        database: Database,
        events: Events,
        clock: Clock,
        *,
        handlers: Mapping[str, Handler],
        give_up: GiveUp,
        slots: Callable[[], Mapping[str, int]],
        cancel: Mapping[str, Cancel] | None = None,
        lease_s: float = LEASE_S,
        worker: str | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Do runs.

        Args:
            database: Where they are.
            events: Hears of runs that failed.
            clock: For waits and leases.
            handlers: What does a kind of run.
            give_up: Classifies what a run left undone and returns the number of gaps.
            slots: Returns how many runs of each provider may be done at once.
            cancel: Stops, by kind of run, what a cancelled one has begun elsewhere.
            lease_s: How long a run of a dead worker stays untouched.
            worker: Identity of this process; made from host, process id and start when absent.
            jitter: Spreads repeated attempts.
        """
        self._database = database
        self._events = events
        self._clock = clock
        self._handlers = handlers
        self._give_up = give_up
        self._slots = slots
        self._cancel = cancel or {}
        self._lease_s = lease_s
        self._worker = worker or worker_identity()
        self._jitter = jitter
        self._attempts: dict[int, _Attempt] = {}
        self._dropped_at: float | None = None
        """When the end of a run could not be written, so that it stands in the database as ours and nobody does it."""
        self.hint = Hint(clock)
        """Give it when there may be something to do or to cancel."""

    @property
    def in_flight(self) -> int:
        """How many runs are at work here."""
        return len(self._attempts)

    async def run(self) -> None:
        """Work until cancelled; what is in hand then is handed back."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_leases())
                await self._take_from_the_dead()
                while True:
                    mark = self.hint.mark()
                    try:
                        for work in await self._claim():
                            self._begin(group, work)
                    except _TROUBLE as error:
                        _log.warning("runs not claimed", error=type(error).__name__)
                        await self._clock.sleep(_AFTER_FAILURE_S)
                    await self.hint.after(mark, LOOK_S)
        finally:
            await self._hand_back()

    async def _take_from_the_dead(self) -> None:
        """End the leases of workers of this machine that are gone, so that their runs need not wait."""
        try:
            rows = await self._database.fetch(SQL["workers_of_runs"])
            for name in dead_workers(row["worker"] for row in rows):
                await self._database.execute(SQL["runs_end_leases"], name, self._clock.now())
        except _TROUBLE as error:
            _log.warning("runs of dead workers not taken", error=type(error).__name__)

    async def _claim(self) -> list[Work]:
        busy = Counter(attempt.work.provider for attempt in self._attempts.values())
        free = {name: most - busy[name] for name, most in self._slots().items() if most > busy[name]}
        if not free:
            return []
        lease = dt.timedelta(seconds=self._lease_s)
        if self._dropped_at is not None and self._clock.monotonic() - self._dropped_at >= _GIVEN_BACK_S:
            # The database was away when they ended: they need not wait for their leases once it is back.
            await self._database.execute(SQL["runs_give_back"], self._worker, self._clock.now(), list(self._attempts))
            self._dropped_at = None
        async with self._database.transaction() as connection:
            claimed = await run_table.claim(connection, free, self._worker, self._clock.now(), lease)
            for taken in claimed.broken:
                await run_events.taken_over(self._events, connection, taken)
            return claimed.works

    def _begin(self, group: asyncio.TaskGroup, work: Work) -> None:
        attempt = _Attempt(work, self._clock.monotonic())
        self._attempts[work.run_id] = attempt
        attempt.task = group.create_task(self._do(attempt), name=f"run {work.run_id}")

    async def _do(self, attempt: _Attempt) -> None:
        """Do one attempt and record how it ended."""
        work = attempt.work
        try:
            await self._settle(work, await self._result(attempt))
        except RunLost:
            _log.warning("run taken over by another worker", run_id=work.run_id)
        except _TROUBLE as error:
            _log.warning("end of a run not written; it begins again", run_id=work.run_id, error=type(error).__name__)
            self._dropped_at = self._clock.monotonic()
        except asyncio.CancelledError:
            if attempt.stop != "asked":
                if not attempt.stop:
                    raise
                return
            await self._settle(work, Outcome(state=RunState.CANCELLED))
        finally:
            self._attempts.pop(work.run_id, None)
            self.hint.give()

    async def _result(self, attempt: _Attempt) -> Outcome | Failure:
        work = attempt.work
        if work.cancel_requested:
            return Outcome(state=RunState.CANCELLED)
        try:
            return await self._handlers[work.kind](work)
        except RunLost:
            raise
        except QuasarError as error:
            # Also of a database that is away or full: whether that can be written, the run's end will show.
            return Failure(error.reason, error.message, error.metadata, error.retry_after_s)
        except asyncpg.PostgresError as error:
            _log.error("run failed in the database", run_id=work.run_id, exc_info=error)
            return Failure("DATABASE_UNAVAILABLE", "The database refused what was to be stored.")
        except Exception as error:
            _log.error("run failed", run_id=work.run_id, kind=work.kind, exc_info=error)
            return Failure("INTERNAL", f"A defect of the server; its log has an entry of run {work.run_id}.")

    async def _settle(self, work: Work, result: Outcome | Failure) -> None:
        if isinstance(result, Failure):
            if not result.final and work.attempt < work.max_attempts:
                await self._back_off(work, result)
                return
            result = Outcome(state=RunState.FAILED, failure=result, irregular=result.irregular)
        if result.state is RunState.CANCELLED and not await self._stopped_elsewhere(work):
            return
        if result.state in (RunState.FAILED, RunState.CANCELLED) and work.series_id is not None:
            cause = "RUN_FAILED" if result.state is RunState.FAILED else "NOT_COLLECTED"
            missing = await self._give_up(work, cause)
            result = replace(result, slots_gap=missing)
        now = self._clock.now()
        async with self._database.transaction() as connection:
            if not await run_table.finish(connection, work, result, now):
                raise RunLost
            if work.series_id is not None and work.span is not None and work.span.length_ns:
                later = GATHERED if work.trigger is Trigger.SCHEDULE else SOON
                await quality_table.want(connection, work.series_id, work.span, now + later)
            await run_events.answered(self._events, connection, work, result)
            await run_events.ended(self._events, connection, work, result)

    async def _stopped_elsewhere(self, work: Work) -> bool:
        """Stop what a cancelled run has begun elsewhere; where that fails, it is tried again, and the run goes on."""
        cancel = self._cancel.get(work.kind)
        if cancel is None:
            return True
        try:
            await cancel(work)
        except QuasarError as error:
            if work.attempt < work.max_attempts:
                await self._back_off(work, Failure(error.reason, error.message, error.metadata, error.retry_after_s))
                return False
            _log.warning("what a run has begun elsewhere goes on", run_id=work.run_id, problem=error.message)
        return True

    async def _back_off(self, work: Work, failure: Failure) -> None:
        now = self._clock.now()
        until = now + retry_delay(work.attempt, failure, self._jitter())
        async with self._database.transaction() as connection:
            if not await run_table.back_off(connection, work, failure, until, now):
                raise RunLost
            await run_events.answered(self._events, connection, work, failure)
            await run_events.backed_off(self._events, connection, work, failure, until)

    async def _keep_leases(self) -> None:
        """Renew the leases, and stop what is to be cancelled or is not ours any more."""
        while True:
            mark = self.hint.mark()
            try:
                await self._renew()
            except _TROUBLE as error:
                _log.warning("leases of runs not renewed", error=type(error).__name__)
                await self._clock.sleep(_AFTER_FAILURE_S)
            now = self._clock.monotonic()
            for attempt in list(self._attempts.values()):
                if now - attempt.renewed > self._lease_s:
                    attempt.end("lost")
            await self.hint.after(mark, self._lease_s / 3)

    async def _renew(self) -> None:
        held = dict(self._attempts)
        if not held:
            return
        asked_at = self._clock.monotonic()
        until = self._clock.now() + dt.timedelta(seconds=self._lease_s)
        rows = await self._database.fetch(SQL["runs_renew"], list(held), self._worker, until)
        ours = {row["run_id"]: row["cancel_requested"] for row in rows}
        for run_id, attempt in held.items():
            if run_id in ours:
                attempt.renewed = asked_at
                if ours[run_id]:
                    attempt.end("asked")

    async def _hand_back(self) -> None:
        """Leave what is in hand to whoever looks next; when that fails, the leases run out."""
        try:
            async with asyncio.timeout(2.0):
                await self._database.execute(SQL["runs_end_leases"], self._worker, self._clock.now())
        except (*_TROUBLE, TimeoutError) as error:
            _log.warning("runs not handed back", error=type(error).__name__)
