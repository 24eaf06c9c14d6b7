"""What an operator does to collection: fetch now, stop, try again, pause."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datahub.collection import index_jobs, joining
from datahub.collection.planner import due_end_ns, due_span, new_run, repair_runs
from datahub.collection.runs import NewRun, RunState, Trigger
from datahub.providers.entry import ProviderEntry
from datahub.series.series import Series
from datahub.store import series_table
from datahub.store.statements import SQL
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import FailedPrecondition, NotFound, Resource
from quasar.model.instants import TimeRange
from quasar.ops.actors import Actor
from quasar.ops.events import Events

_BATCHES = uuid.UUID("9f1c54a6-2f0b-4a53-9a54-0c1f2f6f7d10")
_RETRIES = uuid.UUID("1d0a3b4e-6a0e-4b0c-8a55-5a3a2c1f7e21")


@dataclass(frozen=True, slots=True)
class Triggered:
    """Runs that were made together."""

    batch_id: uuid.UUID
    run_ids: tuple[int, ...]
    up_to_date: int
    """Series for which nothing was due."""


class Steering:
    """Changes what collection does."""

    def __init__(self, database: Database, events: Events, clock: Clock) -> None:
        """Work on `database` and tell `events`."""
        self._database = database
        self._events = events
        self._clock = clock

    @property
    def events(self) -> Events:
        """Where it tells what was done."""
        return self._events

    async def trigger(
        self,
        series: Sequence[Series],
        providers: Mapping[str, ProviderEntry],
        *,
        span: TimeRange | None = None,
        ignore_pause: bool = False,
        request_id: str = "",
        jobs: Mapping[int, int] | None = None,
        syncs: Mapping[int, str] | None = None,
    ) -> Triggered:
        """Make runs now for what is due of some series, or for a range of them, and for syncs of indices.

        What a run at work fetches already is not fetched twice: that run belongs to the batch too.

        Args:
            series: Which ones.
            providers: The active providers.
            span: Fetch this range whatever is known of it; None: what is due.
            ignore_pause: Also of providers that are paused.
            request_id: The same id gives the same runs.
            jobs: The job of each series, by its id.
            syncs: Jobs of index syncs, each with its provider.

        Raises:
            NotFound: A provider is not active.
            FailedPrecondition: A provider is paused, or has no history at an interval.
        """
        for one in series:
            refuse_unserved(one, providers)
        syncs = syncs or {}
        for name in syncs.values():
            _refuse_inactive(name, providers)
        if not ignore_pause:
            await self._refuse_paused({one.name.provider for one in series} | {*syncs.values()})
        now = self._clock.now()
        batch_id = uuid.uuid5(_BATCHES, request_id) if request_id else uuid.uuid4()
        async with self._database.transaction() as connection:
            former = await connection.fetch(SQL["runs_of_batch"], batch_id)
            if former:
                return Triggered(batch_id, tuple(row["run_id"] for row in former), 0)
            runs = await self._due(connection, series, providers, span, jobs or {}, now)
            batch = joining.Batch(Trigger.MANUAL, now, batch_id, past_pause=ignore_pause)
            found = await joining.make(connection, runs, {one.series_id: one for one in series}, batch)
            synced = await index_jobs.sync_now(connection, list(syncs), batch)
        together = found.made + found.joined + synced.made + synced.joined
        return Triggered(batch_id, tuple(sorted(together)), len(series) - len(runs))

    async def _due(
        self,
        connection: Any,
        series: Sequence[Series],
        providers: Mapping[str, ProviderEntry],
        span: TimeRange | None,
        jobs: Mapping[int, int],
        now: dt.datetime,
    ) -> list[NewRun]:
        rows = await connection.fetch(SQL["progress_of_series"], [one.series_id for one in series])
        progress = {row["series_id"]: row for row in rows}
        runs: list[NewRun] = []
        for one in series:
            entry = providers[one.name.provider]
            row = progress[one.series_id]
            wanted = span_until(one, entry, span, now) if span else None
            if span is None:
                wanted = due_span(one, entry, row["classified_until"], row["backfill_start"], now)
            if wanted is not None:
                runs.append(new_run(one, wanted, jobs.get(one.series_id)))
        return [run for run in runs if run.slots or span]

    async def _refuse_paused(self, names: set[str]) -> None:
        rows = await self._database.fetch(SQL["pauses"], "")
        paused = sorted(names & {row["provider"] for row in rows})
        if paused:
            raise FailedPrecondition(
                f"Provider {paused[0]} is paused; resume it, or set ignore_pause.",
                resource=Resource("provider", paused[0]),
            )

    async def cancel(self, run_id: int, reason: str, actor: Actor | None) -> None:
        """Ask a run to stop; one that has ended stays as it is.

        Raises:
            NotFound: There is no such run.
        """
        now = self._clock.now()
        async with self._database.transaction() as connection:
            row = await self._run(connection, run_id)
            stopped = await connection.fetchval(SQL["index_sync_stop"], run_id, now)
            if stopped is None and await connection.fetchval(SQL["run_cancel"], run_id, now) is None:
                return
            await self._events.record(
                connection,
                "RunCancelRequested",
                f"A run of provider {row['provider']} was asked to stop.",
                subject_type="provider",
                subject_name=row["provider"],
                data={"run": run_id, "reason": reason},
                actor=actor,
            )
            await connection.execute(SQL["notify_collection"], "work")

    async def retry(self, run_id: int, request_id: str = "") -> int:
        """Make a run for what an ended run left undone, or bring the next attempt of one forward; return its number.

        Args:
            run_id: The run.
            request_id: The same id gives the same run.

        Raises:
            NotFound: There is no such run.
            FailedPrecondition: It succeeded, was skipped or is running.
        """
        now = self._clock.now()
        async with self._database.transaction() as connection:
            row = await self._run(connection, run_id)
            asked = uuid.uuid5(_RETRIES, request_id) if request_id else None
            former = await connection.fetch(SQL["runs_of_batch"], asked) if asked else ()
            if former:
                return int(former[0]["run_id"])
            tried = await self._try_again(connection, row, now)
            if asked:
                await connection.execute(SQL["runs_join"], [tried], asked, now)
            return tried

    async def _try_again(self, connection: Any, row: Any, now: dt.datetime) -> int:
        state, run_id = RunState(row["state"]), int(row["run_id"])
        if state is RunState.BACKING_OFF:
            await connection.execute(SQL["run_hurry"], run_id, now)
            await connection.execute(SQL["notify_collection"], "work")
            return run_id
        if state not in (RunState.FAILED, RunState.PARTIAL, RunState.CANCELLED):
            raise FailedPrecondition(
                f"A run must have failed, ended in part or been cancelled to be tried again, was {state.value}."
            )
        if row["kind"] == index_jobs.KIND:
            return await _sync_again(connection, row, now)
        if row["series_id"] is None:
            raise FailedPrecondition("Maintenance is tried again by itself.")
        one = (await series_table.by_ids(connection, [row["series_id"]]))[row["series_id"]]
        batch = joining.Batch(Trigger.RETRY, now, row["batch_id"])
        found = await joining.make(connection, [new_run(one, _left(row), row["job_id"])], {one.series_id: one}, batch)
        return (found.made + found.joined)[0]

    async def pause(
        self, provider: str, reason: str, resume_at: dt.datetime | None, actor: Actor | None
    ) -> tuple[Any, int]:
        """Stop what is due of a provider from beginning, and return the pause and how many runs wait."""
        now = self._clock.now()
        who = {"principal": actor.principal, "role": int(actor.role), "request_id": actor.request_id} if actor else None
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(SQL["pause_put"], provider, reason, now, who, resume_at)
            waiting = await connection.fetchval(SQL["waiting_runs"], provider)
            await self._tell(connection, "ProviderPaused", provider, {"reason": reason}, actor)
        return row, waiting

    async def resume(self, provider: str, actor: Actor | None) -> tuple[Any | None, int]:
        """Let a provider go on, and return the pause that ended, if there was one, and how many runs go on."""
        async with self._database.transaction() as connection:
            waiting = await connection.fetchval(SQL["waiting_runs"], provider)
            row = await connection.fetchrow(SQL["pause_end"], provider)
            if row is not None:
                await self._tell(connection, "ProviderResumed", provider, {}, actor)
            await connection.execute(SQL["notify_collection"], "work")
        return row, waiting

    async def repair(self, gap_ids: Sequence[int], *, own_provider_only: bool = False) -> int:
        """Make runs for gaps, whatever their next attempt, and return how many."""
        now = self._clock.now()
        async with self._database.transaction() as connection:
            rows = await connection.fetch(SQL["gaps_to_repair"], list(gap_ids))
            return await repair_runs(connection, rows, Trigger.MANUAL, now, own_provider_only=own_provider_only)

    async def _run(self, connection: Any, run_id: int) -> Any:
        row = await connection.fetchrow(SQL["run_lock"], run_id)
        if row is None:
            raise NotFound("There is no such run.", resource=Resource("run", str(run_id)))
        return row

    async def _tell(
        self, connection: Any, kind: str, provider: str, data: Mapping[str, Any], actor: Actor | None
    ) -> None:
        word = "paused" if kind == "ProviderPaused" else "resumed"
        await self._events.record(
            connection,
            kind,
            f"Provider {provider} was {word}.",
            subject_type="provider",
            subject_name=provider,
            data=data,
            actor=actor,
        )


def span_until(series: Series, entry: ProviderEntry, span: TimeRange, now: dt.datetime) -> TimeRange | None:
    """Return the slots of a range that have ended; None when there are none."""
    interval = series.interval
    end = min(span.end_ns, due_end_ns(interval, entry, now))
    earliest = entry.history_start(interval, now, None)
    start = interval.ceil_ns(
        max(span.start_ns, TimeRange.of(earliest, now).start_ns) if span.start_ns < 0 else span.start_ns
    )
    return TimeRange(start, end) if start < end else None


def _left(row: Any) -> TimeRange:
    """Return the range that an ended run left undone: what it had stored is not fetched again."""
    mark = row["watermark"]
    if RunState(row["state"]) is RunState.PARTIAL or mark is None or mark >= row["range_end"]:
        return TimeRange.of(row["range_start"], row["range_end"])
    return TimeRange.of(max(mark, row["range_start"]), row["range_end"])


def refuse_unserved(series: Series, providers: Mapping[str, ProviderEntry]) -> None:
    """Refuse a series that nobody can be asked for.

    Raises:
        NotFound: Its provider is not active.
        FailedPrecondition: The provider has no history at its interval.
    """
    name = series.name
    entry = _refuse_inactive(name.provider, providers)
    if not entry.serves(name.interval):
        offered = ", ".join(entry.manifest.intervals) or "none"
        wanted = name.interval or "ticks"
        raise FailedPrecondition(f"Provider {name.provider} has no history at {wanted}; it has: {offered}.")


def _refuse_inactive(name: str, providers: Mapping[str, ProviderEntry]) -> ProviderEntry:
    entry = providers.get(name)
    if entry is None:
        raise NotFound(f"No active provider is called {name!r}.", resource=Resource("provider", name))
    return entry


async def _sync_again(connection: Any, row: Any, now: dt.datetime) -> int:
    """Make a run that syncs the index of an ended one, and return its number."""
    job_id = await connection.fetchval(SQL["index_job_of"], row["provider"], row["index_name"])
    batch = joining.Batch(Trigger.RETRY, now, row["batch_id"])
    found = await index_jobs.sync_now(connection, [] if job_id is None else [job_id], batch)
    if not found.made + found.joined:
        raise FailedPrecondition(
            f"The index {row['index_name']!r} of provider {row['provider']} is gone, so that there is nothing to sync."
        )
    return (found.made + found.joined)[0]
