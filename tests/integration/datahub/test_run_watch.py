"""Watching more runs than fit into one message: none is left out, at the beginning and of later changes."""

from __future__ import annotations

import asyncio
from typing import Any

from datahub.rpc.run_pages import RunPages
from quasar.ops.hints import Hint
from quasar_proto.datahub.v1 import collection_service_pb2 as pb
from tests.integration.datahub.test_collection import House, house

__all__ = ["house"]
RUNS = 2_500
INSERT = """
insert into collection_runs (kind, trigger, provider, scheduled_for, created_at, updated_at)
select 'BARS', 'MANUAL', 'vendor', $1, $1, $1 from generate_series(1, $2)
"""


async def test_a_watch_of_thousands_of_runs_misses_none_of_them(house: House) -> None:
    now = house.clock.now()
    await house.database.execute(INSERT, now, RUNS)
    watch = RunPages(house.database, house.clock, Hint(house.clock)).watch(pb.WatchRunsRequest())
    seen: set[str] = set()
    async with asyncio.timeout(30):
        async for message in watch:
            seen |= {run.run_id for run in message.runs}
            if message.snapshot_complete:
                break
        assert len(seen) == RUNS
        await house.database.execute("update collection_runs set slots_done = 1, updated_at = $1", now)
        await house.clock.advance(2)
        await house.database.execute(
            "update collection_runs set state = 'SUCCEEDED', finished_at = $1, updated_at = $1", house.clock.now()
        )
        ended: set[str] = set()
        changes: Any = watch
        follow = asyncio.create_task(_until(changes, ended, RUNS))
        while not follow.done():
            await asyncio.sleep(0.01)
            await house.clock.advance(1)
        await follow
    await watch.aclose()
    assert ended == seen


async def _until(watch: Any, ended: set[str], count: int) -> None:
    async for message in watch:
        ended |= {run.run_id for run in message.runs if run.HasField("end_time")}
        if len(ended) >= count:
            return
