"""The job of upkeep: done hourly by one of the replicas, each time a run that tells what it did or why it failed."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict
from typing import Any, Final

import asyncpg

from datahub.collection.past_runs import PastRuns
from datahub.collection.runs import Failure, RunState, Trigger
from datahub.collection.upkeep import Kept, Upkeep
from datahub.store.statements import SQL
from quasar import logs
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import DatabaseUnavailable, DeadlineExceeded
from quasar.ops.events import Events, Severity
from quasar.schedule import Schedule

KIND: Final = "MAINTENANCE"
_SCHEDULE: Final = Schedule("0 * * * *", "UTC", dt.timedelta(0))
_AFTER_FAILURE: Final = dt.timedelta(minutes=5)
_LEASE: Final = dt.timedelta(minutes=10)
_LOOK_S: Final = 30.0
_MISFIRE: Final = dt.timedelta(minutes=5)
_TROUBLE = (DatabaseUnavailable, DeadlineExceeded, asyncpg.PostgresError)
_BROKEN_OFF = Failure("ABORTED", "The DataHub that did it ended before it was done.")

_log = logs.get(__name__)


class Maintenance:
    """Has upkeep done when it is due, by whoever is first."""

    def __init__(
        self, database: Database, upkeep: Upkeep, past: PastRuns, events: Events, clock: Clock, *, worker: str
    ) -> None:
        """Do `upkeep` and drop `past` runs; `worker` names this process."""
        self._database = database
        self._upkeep = upkeep
        self._past = past
        self._events = events
        self._clock = clock
        self._worker = worker

    async def run(self) -> None:
        """Do it at once, since the settings may have changed, and then whenever it is due, until cancelled."""
        begun = False
        while True:
            try:
                await self.once(now=not begun)
                begun = True
            except _TROUBLE as error:
                _log.warning("upkeep not done", error=type(error).__name__)
            await self._clock.sleep(_LOOK_S)

    async def once(self, *, now: bool = False) -> bool:
        """Do it if it is due, or now; tell whether it was done or tried."""
        run = await self._claim(at_once=now)
        if run is None:
            return False
        try:
            kept = await self._upkeep.once()
            dropped = await self._past.drop()
        except _TROUBLE as error:
            _log.warning("upkeep failed", error=type(error).__name__)
            await self._failed(run, type(error).__name__)
        else:
            await self._succeeded(run, kept, dropped)
        return True

    async def _claim(self, *, at_once: bool) -> Any | None:
        """Record the run of the job, if it is due, and set when it fires next."""
        now = self._clock.now()
        async with self._database.transaction() as connection:
            await connection.execute(SQL["maintenance_job_put"], _SCHEDULE.cron, now)
            job = await connection.fetchrow(SQL["maintenance_due"], now, at_once)
            if job is None:
                return None
            await connection.execute(SQL["maintenance_broken_off"], job["job_id"], now, _BROKEN_OFF.stored)
            due = now if at_once else job["next_fire_at"]
            trigger = Trigger.CATCH_UP if now - due > _MISFIRE else Trigger.SCHEDULE
            await connection.execute(SQL["job_fired"], job["job_id"], _SCHEDULE.next_fire(now), due, now)
            run = await connection.fetchrow(
                SQL["maintenance_begin"], job["job_id"], trigger.value, due, self._worker, now + _LEASE, now
            )
            await connection.execute(SQL["maintenance_attempt"], run["run_id"], self._worker, now)
            return run

    async def _succeeded(self, run: Any, kept: Kept, dropped: int) -> None:
        async with self._database.transaction() as connection:
            await self._end(connection, run, RunState.SUCCEEDED, None, asdict(kept) | {"runs_dropped": dropped})

    async def _failed(self, run: Any, error: str) -> None:
        failure = Failure("DATABASE_UNAVAILABLE", f"Retention and partitions could not be looked after ({error}).")
        async with self._database.transaction() as connection:
            await self._end(connection, run, RunState.FAILED, failure, None)
            again = self._clock.now() + _AFTER_FAILURE
            await connection.execute(SQL["maintenance_again"], run["job_id"], again)
            await self._events.record(
                connection,
                "MaintenanceFailed",
                f"{failure.message} It is tried again in {_AFTER_FAILURE.seconds // 60} minutes.",
                severity=Severity.ERROR,
                data={"run": run["run_id"], "error": error, "next_attempt": again.isoformat()},
            )

    async def _end(
        self, connection: Any, run: Any, state: RunState, failure: Failure | None, result: dict[str, Any] | None
    ) -> None:
        error = failure.stored if failure else None
        arguments = (run["run_id"], state.value, error, result, self._clock.now())
        await connection.execute(SQL["maintenance_end"], *arguments)
        await connection.execute(SQL["maintenance_attempt_end"], run["run_id"], error, self._clock.now())
        await connection.execute(SQL["notify_collection"], f"change {run['run_id']}")
