"""Makes runs for what is due: what is due is computed from the ledger, the schedule only says when to look."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datahub.collection import index_jobs
from datahub.collection.clock_steps import ClockSteps
from datahub.collection.runs import NewRun, Trigger
from datahub.collection.subscriptions import schedule_of
from datahub.providers.entry import ProviderEntry
from datahub.series.series import Series
from datahub.store import run_table, series_table
from datahub.store.statements import SQL
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.model.instants import NS_PER_DAY, TimeRange, to_ns
from quasar.model.intervals import Interval
from quasar.schedule import Coalesce, MisfirePolicy, due_times

NEW_SERIES_AT_ONCE = 1_000
GAPS_AT_ONCE = 200
TOGETHER_SLOTS = 5_000
"""Gaps within so many slots are asked for with one request: a page or a few of what vendors answer."""
WAITING_S = 60.0
"""New series that have nothing to fetch are looked at again after so long."""
_LATEST = MisfirePolicy(coalesce=Coalesce.LATEST)


@dataclass(frozen=True, slots=True)
class Planned:
    """What one look made."""

    runs: int
    next_look: dt.datetime | None
    """When the next job fires; None: none does."""


class Planner:
    """Makes runs. Several replicas may plan at once: a job is planned by whoever holds its row."""

    def __init__(self, database: Database, clock: Clock, steps: ClockSteps | None = None) -> None:
        """Plan from and into `database`; `steps` takes back what was planned while the clock was ahead."""
        self._database = database
        self._clock = clock
        self._steps = steps
        self._waiting: set[int] = set()
        """New series of which no slot has ended so far."""
        self._waiting_until = float("-inf")

    async def plan(self, providers: Mapping[str, ProviderEntry]) -> Planned:
        """Make the runs that are due now: of jobs that fire, of new series, of gaps.

        A job that fires late or again after a pause makes one run a series for all that was missed: the ledger knows
        what that is.
        """
        await self._database.execute(SQL["pauses_over"], self._clock.now())
        if self._steps is not None:
            await self._steps.set_right(self._clock.now())
        made = 0
        while (fired := await self._fire_one(providers)) is not None:
            made += fired
        made += await self._begin_series(providers)
        made += await self._repair(providers)
        following = await self._database.fetchval(SQL["next_fire"], list(providers))
        return Planned(made, following)

    async def _fire_one(self, providers: Mapping[str, ProviderEntry]) -> int | None:
        """Fire one job that is due; None when there is none."""
        now = self._clock.now()
        async with self._database.transaction() as connection:
            job = await connection.fetchrow(SQL["job_due"], now, list(providers))
            if job is None:
                return None
            if job["kind"] == index_jobs.KIND:
                return await index_jobs.fire(connection, job, now)
            schedule = schedule_of(job["cron"], job["time_zone"], job["offset_s"])
            fired = None
            made = 0
            if job["next_fire_at"] is not None:
                since = job["next_fire_at"] - dt.timedelta(microseconds=1)
                fired = next(iter(due_times(schedule, since, now, _LATEST)), None)
            if fired is not None:
                late = (now - job["next_fire_at"]).total_seconds() > job["misfire_s"]
                trigger = Trigger.CATCH_UP if late else Trigger.SCHEDULE
                made = await self._fire(connection, job, providers[job["provider"]], trigger, fired)
            await connection.execute(SQL["job_fired"], job["job_id"], schedule.next_fire(now), fired, now)
        return made

    async def _fire(self, connection: Any, job: Any, entry: ProviderEntry, trigger: Trigger, fired: dt.datetime) -> int:
        now = self._clock.now()
        runs = await due_runs(connection, job["job_id"], entry, now)
        found = await run_table.insert(
            connection,
            runs,
            kind="BARS",
            trigger=trigger,
            scheduled_for=fired,
            now=now,
            batch_id=uuid.uuid4(),
        )
        return len(found)

    async def _begin_series(self, providers: Mapping[str, ProviderEntry]) -> int:
        """Make the first run of series that are new, or whose history is wanted from further back."""
        now = self._clock.now()
        if self._clock.monotonic() >= self._waiting_until:
            self._waiting.clear()
            await self._database.execute(SQL["gaps_stranded"], now)
            self._waiting_until = self._clock.monotonic() + WAITING_S
        async with self._database.transaction() as connection:
            await connection.execute(SQL["lock_refresh"])
            waiting = list(self._waiting)
            starts = _preferred_starts(providers, now)
            rows = await connection.fetch(SQL["new_series"], list(providers), NEW_SERIES_AT_ONCE, waiting, *starts)
            series = await series_table.by_ids(connection, [row["series_id"] for row in rows])
            runs = []
            for row in rows:
                one = series[row["series_id"]]
                span = _first_span(one, providers[row["provider"]], row, now)
                if span is not None and one.interval.is_time:
                    runs.append(new_run(one, span, row["job_id"]))
                else:
                    # It must not stand in the way of those behind it.
                    self._waiting.add(row["series_id"])
            made = await run_table.insert(
                connection, runs, kind="BARS", trigger=Trigger.INITIAL, scheduled_for=now, now=now
            )
        return len(made)

    async def _repair(self, providers: Mapping[str, ProviderEntry]) -> int:
        """Make runs for gaps whose next attempt is due."""
        now = self._clock.now()
        async with self._database.transaction() as connection:
            rows = await connection.fetch(SQL["gaps_due"], now, list(providers), GAPS_AT_ONCE)
            return await repair_runs(connection, rows, Trigger.REPAIR, now) if rows else 0


async def repair_runs(
    connection: Any, rows: Sequence[Any], trigger: Trigger, now: dt.datetime, *, own_provider_only: bool = False
) -> int:
    """Make runs for gaps; those whose series is being worked on are looked at again in a minute."""
    series = await series_table.by_ids(connection, {row["series_id"] for row in rows})
    made = 0
    for place, group in enumerate(_neighbours(rows, series)):
        ids = [row["gap_id"] for row in group]
        span = TimeRange.of(group[0]["start_time"], max(row["end_time"] for row in group))
        run = new_run(series[group[0]["series_id"]], span, None, gap_ids=tuple(ids))
        # Gaps of one series that were found together are due together, and the slot of each run is its own.
        slot = (group[0]["next_attempt_at"] or now) + dt.timedelta(microseconds=place)
        found = await run_table.insert(
            connection,
            [run],
            kind="REPAIR",
            trigger=trigger,
            scheduled_for=slot,
            now=now,
            own_provider_only=own_provider_only,
        )
        if found:
            await connection.execute(SQL["gap_repairing"], ids, now)
        else:
            await connection.execute(SQL["gap_postpone"], ids, now + dt.timedelta(minutes=1))
        made += len(found)
    return made


def _neighbours(rows: Sequence[Any], series: Mapping[int, Series]) -> list[list[Any]]:
    """Return gaps in groups: those of one series that lie near each other are asked for with one request."""
    groups: list[list[Any]] = []
    for row in sorted(rows, key=lambda each: (each["series_id"], each["start_time"])):
        last = groups[-1] if groups else None
        if last is not None and last[0]["series_id"] == row["series_id"] and last[0]["end_time"] < row["end_time"]:
            one = series[row["series_id"]]
            reach = to_ns(row["end_time"]) - to_ns(last[0]["start_time"])
            if one.interval.is_time and reach <= TOGETHER_SLOTS * (one.interval.length_ns or NS_PER_DAY * 31):
                last.append(row)
                continue
        groups.append([row])
    return groups


async def due_runs(connection: Any, job_id: int, entry: ProviderEntry, now: dt.datetime) -> list[NewRun]:
    """Return a run for each series of a job that has slots which ended and are not in its ledger."""
    rows = await connection.fetch(SQL["job_series"], job_id)
    series = await series_table.by_ids(connection, [row["series_id"] for row in rows])
    runs = []
    for row in rows:
        one = series[row["series_id"]]
        span = due_span(one, entry, row["classified_until"], row["backfill_start"], now)
        if span is not None:
            runs.append(new_run(one, span, job_id))
    return [run for run in runs if run.slots]


def due_span(
    series: Series,
    entry: ProviderEntry,
    classified_until: dt.datetime | None,
    backfill_start: dt.datetime | None,
    now: dt.datetime,
) -> TimeRange | None:
    """Return the slots of a series that have ended and are not classified; None when there are none."""
    interval = series.interval
    start = classified_until or entry.history_start(interval, now, backfill_start)
    start_ns, end_ns = interval.ceil_ns(to_ns(start)), due_end_ns(interval, entry, now)
    return TimeRange(start_ns, end_ns) if start_ns < end_ns else None


def due_end_ns(interval: Interval, entry: ProviderEntry, now: dt.datetime) -> int:
    """Return where the slots end that the provider should have by now."""
    return interval.floor_ns(to_ns(now - entry.delay))


def _preferred_starts(
    providers: Mapping[str, ProviderEntry], now: dt.datetime
) -> tuple[list[str], list[str], list[dt.datetime]]:
    """Return provider, interval and where a history begins that nobody gave a start, as columns.

    The start is the next midnight: what was asked for earlier this day began before it and is not asked for again.
    """
    rows = [
        (name, code, entry.history_start(Interval.parse(code), now, None))
        for name, entry in providers.items()
        for code in entry.manifest.intervals
    ]
    midnights = [
        start.replace(hour=0, minute=0, second=0, microsecond=0) + dt.timedelta(days=1) for _, _, start in rows
    ]
    return [name for name, _, _ in rows], [code for _, code, _ in rows], midnights


def _first_span(series: Series, entry: ProviderEntry, row: Any, now: dt.datetime) -> TimeRange | None:
    end_ns = due_end_ns(series.interval, entry, now)
    if row["classified_from"] is not None:
        end_ns = min(end_ns, to_ns(row["classified_from"]))
    start = entry.history_start(series.interval, now, row["backfill_start"])
    start_ns = series.interval.ceil_ns(to_ns(start))
    return TimeRange(start_ns, end_ns) if start_ns < end_ns else None


def new_run(series: Series, span: TimeRange, job_id: int | None, *, gap_ids: tuple[int, ...] = ()) -> NewRun:
    """Return a run for a range of a series."""
    slots = series.expected_between(span.start_ns, span.end_ns)
    return NewRun(
        provider=series.name.provider,
        series_id=series.series_id,
        span=span,
        job_id=job_id,
        gap_ids=gap_ids,
        slots=slots,
    )
