"""Indices of a provider in its jail: collected by the DataHub, synced by the registry, both as they are built."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest_asyncio
from aiohttp import web
from google.protobuf import field_mask_pb2

from quasar.config import DATAHUB, REGISTRY
from quasar.database.pool import Database
from quasar.testing.local_server import LocalServer
from quasar_proto.datahub.v1 import collection_pb2
from quasar_proto.datahub.v1 import collection_service_pb2 as pb
from quasar_proto.datahub.v1.collection_service_pb2_grpc import CollectionServiceStub
from quasar_proto.registry.v1 import index_pb2
from quasar_proto.registry.v1 import index_service_pb2 as indices
from quasar_proto.registry.v1.index_service_pb2_grpc import IndexServiceStub
from tests.acceptance.harness import free_ports
from tests.integration.datahub.registry_rows import add_provider
from tests.integration.services.conftest import Bearers, Start, as_

JOB = "index_sync/members/top"
SOURCE = b'''
from quasar.provider import Constituent, Provider


class Members(Provider):
    """An index whose members a page tells."""

    name = "members"
    hosts = ("127.0.0.1:%d",)
    indices = ("top",)
    calendar = "24/7"

    async def constituents(self, index, as_of):
        told = await self.http.json("http://127.0.0.1:%d/members")
        return [Constituent(symbol=symbol, weight=weight) for symbol, weight in told.items()]
'''


class Page(LocalServer):
    """Tells the members of an index, when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.members: dict[str, float] = {"BTC": 0.6, "ETH": 0.4}
        self.open = asyncio.Event()
        self.open.set()

    def routes(self) -> Sequence[web.RouteDef]:
        return [web.get("/members", self._members)]

    async def _members(self, _request: web.Request) -> web.StreamResponse:
        await self.open.wait()
        return web.json_response(self.members)


class Platform:
    """A registry and a DataHub that know each other, and the calls of an operator."""

    def __init__(self, start: Start, bearers: Bearers, database: Database, page: Page) -> None:
        self.database = database
        self.page = page
        self._start = start
        self._bearers = bearers
        self._ports = dict(zip((REGISTRY, DATAHUB), free_ports(2), strict=True))

    def run(self, part: Any) -> Any:
        """Run one of them while the context lasts."""
        peers = {each.name: f"127.0.0.1:{port}" for each, port in self._ports.items()}
        return self._start(part, port=self._ports[part], peers={**peers, "strategy": "127.0.0.1:9"})

    async def call(self, service: Any, method: str, request: Any) -> Any:
        kind = IndexServiceStub if service.part is REGISTRY else CollectionServiceStub
        return await getattr(service.stub(kind), method)(request, **as_(self._bearers.operator))

    async def runs(self, hub: Any, filter_text: str = f'job_id = "{JOB}"') -> list[Any]:
        request = pb.ListRunsRequest(filter=filter_text, order_by="create_time")
        return list((await self.call(hub, "ListRuns", request)).runs)

    async def until(self, hub: Any, *states: str) -> Any:
        """Wait until the newest run is in one of some states, and return it."""
        wanted = {collection_pb2.RunState.Value(f"RUN_STATE_{state}") for state in states}
        found: list[Any] = []
        async with asyncio.timeout(60):
            while not found or found[-1].state not in wanted:
                await asyncio.sleep(0.05)
                found = await self.runs(hub)
        return found[-1]

    async def trigger(self, hub: Any, **target: Any) -> Any:
        return await self.call(hub, "TriggerCollection", pb.TriggerCollectionRequest(**target))

    async def asked(self, times: int) -> None:
        """Wait until the vendor was asked so often."""
        count = 0
        async with asyncio.timeout(60):
            while count < times:
                await asyncio.sleep(0.02)
                count = self.page.calls["/members"]

    async def members(self) -> dict[str, float]:
        rows = await self.database.fetch(
            """select a.symbol, m.weight from registry.index_memberships m join registry.assets a using (asset_id)
               where m.valid_to = 'infinity'"""
        )
        return {row["symbol"]: row["weight"] for row in rows}

    async def operations(self) -> list[str]:
        """Return the states of the registry's syncs of the index, the oldest first."""
        rows = await self.database.fetch(
            "select state from ops.operations where kind = 'index.sync' and subject_name = 'top' order by created_at"
        )
        return [row["state"] for row in rows]


@pytest_asyncio.fixture(loop_scope="session")
async def platform(start: Start, bearers: Bearers, database: Database) -> AsyncIterator[Platform]:
    async with Page() as page:
        manifest = {
            "name": "members",
            "kind": "CODE_KIND_PROVIDER",
            "class_name": "Members",
            "capabilities": ["PROVIDER_CAPABILITY_INDEX"],
            "hosts": [{"host": "127.0.0.1", "port": page.port}],
            "indices": ["top"],
            "default_calendar": "24/7",
        }
        await add_provider(database, "members", SOURCE % (page.port, page.port), manifest)
        yield Platform(start, bearers, database, page)


async def test_a_job_syncs_an_index_of_a_provider_and_its_runs_tell_what_changed(platform: Platform) -> None:
    async with platform.run(REGISTRY) as registry, platform.run(DATAHUB) as hub:
        first = await platform.until(hub, "SUCCEEDED")
        assert (first.kind, first.index, first.provider) == (collection_pb2.JOB_KIND_INDEX_SYNC, "top", "members")
        assert (first.index_sync.constituents, first.index_sync.added) == (2, 2)
        assert await platform.members() == {"BTC": 0.6, "ETH": 0.4}

        platform.page.members = {"BTC": 0.7, "SOL": 0.3}
        made = await platform.trigger(hub, provider="MEMBERS")
        assert [run.trigger for run in made.runs] == [collection_pb2.RUN_TRIGGER_MANUAL]
        second = (await platform.until(hub, "SUCCEEDED")).index_sync
        assert (second.added, second.removed, second.reweighted) == (1, 1, 1)
        assert [run.index_sync.added for run in await platform.runs(hub, f'batch_id = "{made.batch_id}"')] == [1]

        platform.page.members = {}
        await platform.trigger(hub, job_id=JOB)
        third = await platform.until(hub, "PARTIAL")
        assert (third.index_sync.empty_answer, "kept" in third.index_sync.message) == (True, True)
        assert await platform.members() == {"BTC": 0.7, "SOL": 0.3}
        again = await platform.call(hub, "RetryRun", pb.RetryRunRequest(run_id=third.run_id))
        assert again.run.trigger == collection_pb2.RUN_TRIGGER_RETRY
        shown = await platform.call(hub, "GetRun", pb.GetRunRequest(run_id=first.run_id))
        assert len(shown.attempts) == 1

        await _agree(platform, registry, hub)


async def _agree(platform: Platform, registry: Any, hub: Any) -> None:
    """Compare what the registry says of the next sync with what the job says, before and after another schedule."""
    await platform.until(hub, "PARTIAL")
    daily = index_pb2.SyncSchedule(frequency=index_pb2.SYNC_FREQUENCY_DAILY)
    change = indices.UpdateIndexRequest(
        name="top",
        index=index_pb2.Index(sync_schedule=daily),
        update_mask=field_mask_pb2.FieldMask(paths=["sync_schedule"]),
    )
    for cron in ("0 0 * * 1", "0 0 * * *"):
        held = (await platform.call(registry, "GetIndex", indices.GetIndexRequest(name="top"))).index
        async with asyncio.timeout(20):
            job = (await platform.call(hub, "GetJob", pb.GetJobRequest(job_id=JOB))).job
            while (job.cron, job.next_fire_time) != (cron, held.next_sync_time):
                await asyncio.sleep(0.05)
                job = (await platform.call(hub, "GetJob", pb.GetJobRequest(job_id=JOB))).job
        preview = await platform.call(hub, "GetSchedulePreview", pb.GetSchedulePreviewRequest(job_id=JOB, count=1))
        assert preview.fires[0].fire_time == job.next_fire_time
        await platform.call(registry, "UpdateIndex", change)
    listed = await platform.call(hub, "ListJobs", pb.ListJobsRequest(filter='kind = "INDEX_SYNC" AND index = "top"'))
    assert [each.job_id for each in listed.jobs] == [JOB]


async def test_a_registry_that_is_down_is_asked_again_when_it_is_back(platform: Platform) -> None:
    async with platform.run(REGISTRY) as registry:
        await platform.call(registry, "GetIndex", indices.GetIndexRequest(name="top"))
    async with platform.run(DATAHUB) as hub:
        waiting = await platform.until(hub, "BACKING_OFF")
        assert "registry does not answer" in waiting.error.message
        async with platform.run(REGISTRY):
            await platform.call(hub, "RetryRun", pb.RetryRunRequest(run_id=waiting.run_id))
            ended = await platform.until(hub, "SUCCEEDED")
    assert (ended.run_id, ended.index_sync.added) == (waiting.run_id, 2)
    assert await platform.operations() == ["SUCCEEDED"]


async def test_a_cancelled_run_cancels_its_sync_and_leaves_the_members(platform: Platform) -> None:
    platform.page.open.clear()
    async with platform.run(REGISTRY), platform.run(DATAHUB) as hub:
        await platform.asked(1)
        (run,) = await platform.runs(hub)
        await platform.call(hub, "CancelRun", pb.CancelRunRequest(run_id=run.run_id))
        await platform.until(hub, "CANCELLED")
        states: list[str] = []
        async with asyncio.timeout(20):
            while states != ["CANCELLED"]:
                await asyncio.sleep(0.05)
                states = await platform.operations()
        platform.page.open.set()
    assert await platform.members() == {}


async def test_a_sync_goes_on_after_a_restart_of_the_registry(platform: Platform) -> None:
    platform.page.open.clear()
    async with platform.run(DATAHUB) as hub:
        async with platform.run(REGISTRY) as registry:
            await platform.call(registry, "GetIndex", indices.GetIndexRequest(name="top"))
            await platform.asked(1)
        waiting = await platform.until(hub, "BACKING_OFF")
        platform.page.open.set()
        async with platform.run(REGISTRY):
            await platform.call(hub, "RetryRun", pb.RetryRunRequest(run_id=waiting.run_id))
            ended = await platform.until(hub, "SUCCEEDED")
    assert (ended.run_id, ended.attempt_count > 1, ended.index_sync.added) == (waiting.run_id, True, 2)
    assert await platform.operations() == ["SUCCEEDED"]
    assert await platform.database.fetchval("select count(*) from registry.index_memberships") == 2


async def test_a_sync_goes_on_after_a_restart_of_the_datahub(platform: Platform) -> None:
    platform.page.open.clear()
    async with platform.run(REGISTRY):
        async with platform.run(DATAHUB):
            await platform.asked(1)
        platform.page.open.set()
        async with platform.run(DATAHUB) as hub:
            ended = await platform.until(hub, "SUCCEEDED", "BACKING_OFF")
            if ended.state == collection_pb2.RUN_STATE_BACKING_OFF:  # the sync had lost the DataHub, which it asks
                await platform.call(hub, "RetryRun", pb.RetryRunRequest(run_id=ended.run_id))
                ended = await platform.until(hub, "SUCCEEDED")
            assert len(await platform.runs(hub)) == 1
    assert (ended.attempt_count > 1, ended.index_sync.added) == (True, 2)
    assert await platform.database.fetchval("select count(*) from registry.index_memberships") == 2
