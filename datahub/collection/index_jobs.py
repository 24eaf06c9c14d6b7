"""Jobs that sync provider indices: when each is due says the registry, and the DataHub has it done then.

The registry's own time of the next sync is the time at which a job fires, so that both say the same. A job that has
fired waits for what the registry makes of it, which is another time; where nothing comes of it, it fires again.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any, Final

from datahub.collection.joining import Batch, Joined
from datahub.collection.runs import Trigger
from datahub.collection.subscriptions import schedule_of
from datahub.store.run_table import MAX_ATTEMPTS
from datahub.store.statements import SQL

KIND: Final = "INDEX_SYNC"
AGAIN: Final = dt.timedelta(hours=1)
"""A due sync that came to nothing, as when the registry was away for all attempts, is due again after so long."""


async def fire(connection: Any, job: Any, now: dt.datetime) -> int:
    """Make the run of a job that is due, set when it fires next, and return how many runs were made.

    However much was missed, one sync makes up for it.
    """
    due: dt.datetime | None = job["next_fire_at"]
    following = schedule_of(job["cron"], job["time_zone"], job["offset_s"]).next_fire(now) if job["cron"] else None
    made = None
    if due is not None:
        following = now + AGAIN if following is None else min(following, now + AGAIN)
        late = (now - due).total_seconds() > job["misfire_s"]
        if await _active(connection, job, past_pause=False) is None:
            batch = Batch(Trigger.CATCH_UP if late else Trigger.SCHEDULE, due, uuid.uuid4())
            made = await _insert(connection, job, batch, now)
    await connection.execute(SQL["job_fired"], job["job_id"], following, due, now)
    return int(made is not None)


async def sync_now(connection: Any, job_ids: Sequence[int], batch: Batch) -> Joined:
    """Make a run for each of some jobs, or count the one that is at work on its index to the batch.

    Args:
        connection: In a transaction.
        job_ids: Jobs of this kind.
        batch: What the runs have in common.
    """
    made: list[int] = []
    joined: list[int] = []
    for job in await connection.fetch(SQL["index_jobs_take"], list(job_ids)):
        active = await _active(connection, job, past_pause=batch.past_pause)
        if active is not None:
            joined.append(active)
        elif (found := await _insert(connection, job, batch, batch.scheduled_for)) is not None:
            made.append(found)
    if joined and batch.batch_id is not None:
        await connection.execute(SQL["runs_join"], joined, batch.batch_id, batch.scheduled_for)
    return Joined(tuple(made), tuple(joined))


async def _active(connection: Any, job: Any, *, past_pause: bool) -> int | None:
    found: int | None = await connection.fetchval(
        SQL["index_sync_active"], job["provider"], job["index_name"], past_pause
    )
    return found


async def _insert(connection: Any, job: Any, batch: Batch, now: dt.datetime) -> int | None:
    found: int | None = await connection.fetchval(
        SQL["index_sync_insert"],
        job["job_id"],
        batch.trigger.value,
        job["provider"],
        job["index_name"],
        batch.scheduled_for,
        batch.batch_id,
        MAX_ATTEMPTS,
        now,
    )
    if found is not None:
        await connection.execute(SQL["notify_collection"], "work")
    return found
