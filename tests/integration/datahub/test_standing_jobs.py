"""Jobs beside collection, repair and maintenance, and what becomes of one whose subscriptions are paused."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import asyncpg
import pytest

from datahub.collection.answers import Answer
from datahub.collection.maintenance import Maintenance
from datahub.collection.past_runs import PastRuns
from datahub.collection.runs import public_id
from datahub.collection.steering import Steering
from datahub.collection.upkeep import Kept, Upkeep
from datahub.ingest.room import Room
from datahub.rpc.job_pages import JobPages
from datahub.rpc.run_pages import RunPages
from datahub.series.series import SeriesName
from quasar.config import DATAHUB, StoragePolicies
from quasar.database.pool import Database
from quasar.errors import FailedPrecondition
from quasar.model.bars import BarColumns
from quasar.ops.events import Events
from quasar.ops.hints import Hint
from quasar.rpc.wellknown import timestamp
from quasar.sdk.notices import EmptyRange
from quasar.sdk.requests import BarRequest
from quasar.testing.clock import FakeClock
from quasar_proto.datahub.v1 import collection_pb2
from quasar_proto.datahub.v1 import collection_service_pb2 as pb
from quasar_proto.datahub.v1.collection_service_pb2_grpc import CollectionServiceStub
from tests.integration.datahub.sources import DONE, bars_of, failed, part
from tests.integration.datahub.test_collection import NOW, House, house
from tests.integration.services.conftest import Bearers, as_

__all__ = ["house"]


def runs_of(house: House) -> RunPages:
    return RunPages(house.database, house.clock, Hint(house.clock))


def rest(request: BarRequest) -> EmptyRange:
    """What a request asks for beyond its first ninety minutes."""
    return EmptyRange(request.start_ns + 90 * 60_000_000_000, request.end_ns)


async def no_feeds(_symbols: object) -> dict[Any, Any]:
    return {}


async def jobs_of(house: House, which: str = "") -> pb.ListJobsResponse:
    pages = JobPages(house.database, house.clock, runs_of(house), no_feeds)
    return await pages.page(pb.ListJobsRequest(filter=which), house.providers)


class Failing(Upkeep):
    """Upkeep that the database refuses."""

    broken = True

    async def once(self) -> Kept:
        if self.broken:
            raise asyncpg.DiskFullError("no space left on device")
        return await super().once()


def maintenance(database: Database, clock: FakeClock) -> tuple[Maintenance, Failing]:
    upkeep = Failing(Room(database), StoragePolicies(), clock)
    past = PastRuns(database, clock, 30)
    return Maintenance(database, upkeep, past, Events(database, "datahub", clock), clock, worker="one/upkeep"), upkeep


async def test_maintenance_is_a_job_and_each_time_a_run_that_says_what_it_did(start: Any, bearers: Bearers) -> None:
    async with start(DATAHUB) as hub:
        stub = hub.stub(CollectionServiceStub)
        request = pb.ListRunsRequest(filter='job_id = "maintenance/storage" AND state = "SUCCEEDED"')
        runs: list[Any] = []
        async with asyncio.timeout(60):
            while not runs:
                await asyncio.sleep(0.05)
                runs = list((await stub.ListRuns(request, **as_(bearers.viewer))).runs)
        assert runs[0].kind == collection_pb2.JOB_KIND_MAINTENANCE
        assert runs[0].maintenance.partitions_made > 0
        found = await stub.ListJobs(pb.ListJobsRequest(filter='kind = "MAINTENANCE"'), **as_(bearers.viewer))
        (job,) = found.jobs
        assert (job.job_id, job.state) == ("maintenance/storage", collection_pb2.JOB_STATE_SCHEDULED)
        assert job.next_fire_time.ToDatetime() > job.last_fire_time.ToDatetime()
        assert [(each.state, each.count) for each in job.last_run_states] == [(collection_pb2.RUN_STATE_SUCCEEDED, 1)]


async def test_maintenance_that_fails_says_so_and_is_tried_again_soon(house: House) -> None:
    job, upkeep = maintenance(house.database, house.clock)
    assert await job.once(now=True)
    (run,) = (await runs_of(house).page(pb.ListRunsRequest(filter='kind = "MAINTENANCE"'))).runs
    assert run.state == collection_pb2.RUN_STATE_FAILED
    assert "DiskFullError" in run.error.message
    (event,) = await house.database.fetch("select * from ops.events where kind = 'MaintenanceFailed'")
    assert event["data"]["error"] == "DiskFullError"
    assert not await job.once()
    upkeep.broken = False
    await house.clock.advance(300)
    assert await job.once()
    assert not await job.once()
    shown = (await jobs_of(house, 'kind = "MAINTENANCE"')).jobs[0]
    assert [each.state for each in shown.last_run_states] == [collection_pb2.RUN_STATE_SUCCEEDED]
    assert shown.next_fire_time == timestamp(NOW.replace(minute=0, second=0) + dt.timedelta(hours=1))


async def test_maintenance_drops_runs_past_their_time_but_neither_the_first_nor_the_newest_of_a_series(
    house: House,
) -> None:
    house.source.scripts["A"] = [
        lambda request: [part(bars_of(request)), DONE],
        lambda request: [part(bars_of(request)), DONE],
        lambda _request: [failed(final=True)],
        lambda request: [part(bars_of(request)), DONE],
    ]
    await house.subscribe("A")
    for _ in range(5):
        await house.plan()
        await house.work()
        await house.clock.advance(60)
    told = [(run["trigger"], run["state"]) for run in await house.runs()]
    repair = ("REPAIR", "SUCCEEDED")
    assert [each for each in told if each != repair] == [
        ("INITIAL", "SUCCEEDED"),
        ("SCHEDULE", "SUCCEEDED"),
        ("SCHEDULE", "FAILED"),
        ("SCHEDULE", "SUCCEEDED"),
        ("SCHEDULE", "SUCCEEDED"),
    ]
    numbers: dict[Any, Any] = {run["run_id"]: run for run in await house.runs()}
    newest = max(numbers)
    job, upkeep = maintenance(house.database, house.clock)
    upkeep.broken = False
    await house.clock.advance(4 * 86_400)
    await job.once(now=True)
    routine = {i for i, run in numbers.items() if (run["trigger"], run["state"]) == ("SCHEDULE", "SUCCEEDED")} - {
        newest
    }
    assert {run["run_id"] for run in await house.runs() if run["kind"] != "MAINTENANCE"} == set(numbers) - routine
    (shown,) = (await runs_of(house).page(pb.ListRunsRequest(filter='kind = "MAINTENANCE"'))).runs
    assert shown.maintenance.runs_dropped == len(routine) > 0
    await house.clock.advance(30 * 86_400)
    await job.once(now=True)
    assert {run["run_id"] for run in await house.runs() if run["kind"] != "MAINTENANCE"} == {min(numbers), newest}
    attempts = "select count(*) from run_attempts where run_id <> all($1::bigint[])"
    assert await house.database.fetchval(attempts, [run["run_id"] for run in await house.runs()]) == 0
    assert await house.plan() == 1


async def test_the_repair_of_a_providers_gaps_is_a_job_until_none_is_left(house: House) -> None:
    house.source.scripts["A"] = [
        lambda request: [part(bars_of(request)[:60]), DONE],
        lambda request: [part(bars_of(request)), DONE],
    ]
    await house.subscribe("A", cron="0 0 1 1 *")
    await house.plan()
    await house.work()
    listed = await jobs_of(house, 'kind = "REPAIR"')
    (job,) = listed.jobs
    due = await house.database.fetchval("select min(next_attempt_at) from gaps")
    assert (job.job_id, job.series_count, job.next_fire_time, listed.total_size) == (
        "repair/vendor",
        1,
        timestamp(due),
        1,
    )
    await house.clock.advance(61)
    await house.plan()
    await house.work()
    assert not (await jobs_of(house, 'kind = "REPAIR"')).jobs
    (run,) = (await runs_of(house).page(pb.ListRunsRequest(filter='job_id = "repair/vendor"'))).runs
    assert (run.job_id, run.trigger) == ("repair/vendor", collection_pb2.RUN_TRIGGER_REPAIR)


async def test_the_total_of_a_list_of_jobs_is_of_those_that_match(house: House) -> None:
    await house.subscribe("A")
    await house.subscribe("A", interval="1h")
    assert (await jobs_of(house)).total_size == 2
    assert (await jobs_of(house, 'interval = "1h"')).total_size == 1
    assert (await jobs_of(house, 'state = "BLOCKED"')).total_size == 0


async def test_a_job_whose_subscriptions_are_paused_waits_and_catches_up(house: House) -> None:
    await house.subscribe("A")
    await house.plan()
    await house.work()
    state = "update registry.provider_subscription set state = $1"
    await house.database.execute(state, "PAUSED")
    await house.subscriptions.refresh(house.providers)
    (job,) = (await jobs_of(house)).jobs
    assert (job.job_id, job.state) == ("bars/vendor/1min/* * * * *", collection_pb2.JOB_STATE_PAUSED)
    await house.clock.advance(1_200)
    assert await house.plan() == 0
    await house.database.execute(state, "ACTIVE")
    await house.subscriptions.refresh(house.providers)
    assert await house.plan() == 1
    run = (await house.work())[-1]
    assert (run["trigger"], run["inserted"]) == ("CATCH_UP", 20)


async def test_a_series_remembers_its_last_success_and_counts_empty_slots_as_complete(house: House) -> None:
    house.source.scripts["A"] = [
        lambda request: [part(bars_of(request)[:90]), Answer(columns=BarColumns.empty(), empty=(rest(request),)), DONE],
        lambda _request: [failed(final=True)],
    ]
    await house.subscribe("A")
    await house.plan()
    (first,) = await house.work()
    await house.clock.advance(60)
    await house.plan()
    assert (await house.work())[-1]["state"] == "FAILED"
    pages = JobPages(house.database, house.clock, runs_of(house), no_feeds)
    (state,) = await pages.states_of([SeriesName("vendor", "A", "1min")], house.providers)
    assert state.health == collection_pb2.SUBSCRIPTION_HEALTH_FAILING
    ended: Any = first["finished_at"]
    assert state.last_success_time == timestamp(ended)
    assert state.complete_ratio == pytest.approx(1 - 1 / 121)


async def test_a_repeated_retry_is_the_first_one_and_goes_on_where_the_run_stopped(house: House) -> None:
    house.source.scripts["A"] = [
        lambda request: [part(bars_of(request)[:100]), failed(final=True)],
        lambda request: [part(bars_of(request)), DONE],
    ]
    await house.subscribe("A", cron="0 0 1 1 *")
    await house.plan()
    (run,) = await house.work()
    assert run["state"] == "FAILED"
    steering = Steering(house.database, Events(house.database, "datahub", house.clock), house.clock)
    made = await steering.retry(int(str(run["run_id"])), "again")
    await house.work()
    again = await runs_of(house).one(made)
    assert again.state == collection_pb2.RUN_STATE_SUCCEEDED
    assert (again.counts.fetched, await house.bars()) == (20, 120)
    assert await steering.retry(int(str(run["run_id"])), "again") == made
    with pytest.raises(FailedPrecondition):
        await steering.retry(made, "another")
    assert public_id(made) == again.run_id
