"""The tables of runs and their attempts."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datahub.collection.runs import Failure, NewRun, Outcome, Progress, Trigger, Work
from datahub.store.statements import SQL
from quasar.model.instants import TimeRange

MAX_ATTEMPTS = 5
_COUNTED = [
    "fetched",
    "inserted",
    "updated",
    "unchanged",
    "quarantined",
    "bytes",
    "vendor_calls",
    "wait_s",
    "slots_done",
]
_BROKEN_OFF = Failure(
    "ABORTED", "The worker ended, or was ended, before the attempt did; another one took the run over."
)


async def insert(
    connection: Any,
    runs: Sequence[NewRun],
    *,
    kind: str,
    trigger: Trigger,
    scheduled_for: dt.datetime,
    now: dt.datetime,
    batch_id: uuid.UUID | None = None,
    operation_id: uuid.UUID | None = None,
    own_provider_only: bool = False,
    past_pause: bool = False,
) -> dict[int, int]:
    """Record runs for one slot of time, of a series one at most, and return those that are new: numbers by series.

    A series of which a run is at work on the same time gets none; with `past_pause` such a run that waits for its
    provider to be resumed does not count.
    """
    if not runs:
        return {}
    rows = await connection.fetch(
        SQL["runs_insert"],
        kind,
        trigger.value,
        scheduled_for,
        batch_id,
        operation_id,
        MAX_ATTEMPTS,
        now,
        [run.job_id for run in runs],
        [run.series_id for run in runs],
        [run.provider for run in runs],
        [run.span.start for run in runs],
        [run.span.end for run in runs],
        [",".join(map(str, run.gap_ids)) for run in runs],
        [run.slots for run in runs],
        own_provider_only,
        past_pause,
    )
    if rows:
        await connection.execute(SQL["notify_collection"], "work")
    return {row["series_id"]: row["run_id"] for row in sorted(rows, key=lambda each: each["run_id"])}


@dataclass(frozen=True, slots=True)
class BrokenOff:
    """An attempt that its worker never ended."""

    work: Work
    """The run, in the hands of whoever took it over."""
    worker: str
    """Who had it before."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """Runs that were taken."""

    works: list[Work]
    broken: list[BrokenOff]
    """Those among them whose attempt before was broken off."""


async def claim(
    connection: Any, free: Mapping[str, int], worker: str, now: dt.datetime, lease: dt.timedelta
) -> Claimed:
    """Take runs that are due, of each provider at most as many as are free."""
    names = list(free)
    slots = [free[name] for name in names]
    rows = await connection.fetch(SQL["runs_claim"], names, slots, now, worker, now + lease)
    if not rows:
        return Claimed([], [])
    works = [work_of(row) for row in rows]
    again = {work.run_id: work for work in works if work.attempt > 1}
    broken = []
    if again:
        found = await connection.fetch(SQL["attempts_broken_off"], list(again), now, _BROKEN_OFF.stored, _COUNTED)
        broken = [BrokenOff(again[row["run_id"]], row["worker"]) for row in found]
    for row in rows:
        await connection.execute(SQL["attempt_begin"], row["run_id"], row["attempts"], worker, now)
    return Claimed(works, broken)


async def advance(
    connection: Any, work: Work, watermark: dt.datetime | None, done: Progress, slots_done: int, now: dt.datetime
) -> bool:
    """Write how far a run has come; tell whether it is still this worker's."""
    counts = done.counts
    found = await connection.fetchval(
        SQL["run_advance"],
        *work.fence,
        watermark,
        counts.fetched,
        counts.inserted,
        counts.updated,
        counts.unchanged,
        counts.quarantined,
        done.received_bytes,
        done.vendor_calls,
        done.wait_s,
        slots_done,
        now,
    )
    return found is not None


async def show_throttled(connection: Any, work: Work, throttled: bool, now: dt.datetime) -> None:
    """Write whether a run waits for a permit; nothing happens when it is somebody else's now."""
    await connection.execute(SQL["run_throttled"], *work.fence, throttled, now)
    await connection.execute(SQL["notify_collection"], f"change {work.run_id}")


async def finish(connection: Any, work: Work, outcome: Outcome, now: dt.datetime) -> bool:
    """End a run; tell whether it was still this worker's."""
    failure = outcome.failure
    row = await connection.fetchrow(
        SQL["run_finish"],
        *work.fence,
        outcome.state.value,
        failure.stored if failure else None,
        dict(outcome.result) if outcome.result is not None else None,
        outcome.slots_done,
        outcome.slots_gap,
        now,
    )
    if row is not None:
        await _end_attempt(connection, work, failure, outcome.irregular, now)
    return row is not None


async def back_off(connection: Any, work: Work, failure: Failure, until: dt.datetime, now: dt.datetime) -> bool:
    """Leave a run for another attempt; tell whether it was still this worker's."""
    row = await connection.fetchrow(SQL["run_back_off"], *work.fence, failure.stored, until, now)
    if row is not None:
        await _end_attempt(connection, work, failure, failure.irregular, now)
    return row is not None


async def _end_attempt(connection: Any, work: Work, failure: Failure | None, irregular: int, now: dt.datetime) -> None:
    await connection.execute(
        SQL["attempt_end"],
        work.run_id,
        work.attempt,
        now,
        _COUNTED,
        failure.stored if failure else None,
        failure.retry_after_s if failure else None,
        [f"{irregular} rows came again or out of order; each was stored once and in its place."] if irregular else [],
    )
    await connection.execute(SQL["notify_collection"], f"change {work.run_id}")


def work_of(row: Any) -> Work:
    """Return the work that a claimed row holds."""
    span = None if row["range_start"] is None else TimeRange.of(row["range_start"], row["range_end"])
    return Work(
        run_id=row["run_id"],
        kind=row["kind"],
        trigger=Trigger(row["trigger"]),
        provider=row["provider"],
        series_id=row["series_id"],
        span=span,
        index_name=row["index_name"],
        job_id=row["job_id"],
        gap_ids=tuple(row["gap_ids"]),
        own_provider_only=row["own_provider_only"],
        attempt=row["attempts"],
        max_attempts=row["max_attempts"],
        worker=row["worker"],
        watermark=row["watermark"],
        slots_total=row["slots_total"],
        cancel_requested=row["cancel_requested"],
        operation_id=row["operation_id"],
    )


async def watermark(connection: Any, run_id: int) -> dt.datetime | None:
    """Return up to where a run has stored its range."""
    found: dt.datetime | None = await connection.fetchval(SQL["run_watermark"], run_id)
    return found
