"""A service whose database goes away says so, and recovers by itself when it comes back."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import psutil
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from quasar.clock import SystemClock
from quasar.config import REGISTRY
from quasar.database.embedded import EmbeddedPostgres
from quasar.database.schema import prepare_schema
from quasar.ops.bearers import ServiceBearers
from quasar.secrets import SystemContext
from quasar_proto.ops.v1 import event_service_pb2, event_service_pb2_grpc, system_pb2, system_service_pb2_grpc
from quasar_proto.ops.v1 import system_service_pb2 as pb
from tests.integration.services.conftest import as_, running, settings_for
from tests.integration.services.test_services import failure

PATIENCE_S = 60
Status = health_pb2.HealthCheckResponse


@pytest_asyncio.fixture(loop_scope="session")
async def own_server(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A database server of the test's own, to be stopped and killed."""
    async with EmbeddedPostgres(tmp_path / "db") as server:
        yield server


async def until(stream: grpc.aio.UnaryStreamCall[object, Status], status: int) -> None:
    """Read a health watch until it says `status`."""
    async with asyncio.timeout(PATIENCE_S):
        async for message in stream:
            if message.status == status:
                return


async def test_readiness_follows_the_database_down_and_up(
    own_server: EmbeddedPostgres, tmp_path: Path, system_context: SystemContext, system_context_file: Path
) -> None:
    await prepare_schema(own_server.url, system_context)
    # A peer's bearer needs no database, so it can ask while there is none.
    peer, _ = ServiceBearers(system_context, SystemClock()).make("datahub")
    settings = settings_for(REGISTRY, tmp_path, own_server.url, system_context_file)
    async with running(settings) as service:
        health = service.stub(health_pb2_grpc.HealthStub).Watch(health_pb2.HealthCheckRequest())
        await until(health, Status.SERVING)
        assert own_server.process_id is not None
        psutil.Process(own_server.process_id).send_signal(signal.SIGKILL)
        await until(health, Status.NOT_SERVING)
        system = service.stub(system_service_pb2_grpc.SystemServiceStub)
        info = (await system.GetSystemInfo(pb.GetSystemInfoRequest(), **as_(peer))).system_info
        events = service.stub(event_service_pb2_grpc.EventServiceStub)
        code, error = await failure(events.ListEvents(event_service_pb2.ListEventsRequest(), **as_(peer)))
        await own_server.start()
        await until(health, Status.SERVING)
        await events.ListEvents(event_service_pb2.ListEventsRequest(), **as_(peer))
        health.cancel()
    assert info.state == system_pb2.PART_STATE_NOT_SERVING
    [part] = info.parts
    assert (part.name, part.state) == ("database", system_pb2.PART_STATE_NOT_SERVING)
    assert "does not answer" in part.detail
    assert (code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")


async def test_a_service_waits_for_the_schema_of_its_build(
    empty_database_url: str, tmp_path: Path, system_context: SystemContext, system_context_file: Path
) -> None:
    peer, _ = ServiceBearers(system_context, SystemClock()).make("datahub")
    async with running(settings_for(REGISTRY, tmp_path, empty_database_url, system_context_file)) as service:
        health = service.stub(health_pb2_grpc.HealthStub).Watch(health_pb2.HealthCheckRequest())
        await until(health, Status.NOT_SERVING)
        system = service.stub(system_service_pb2_grpc.SystemServiceStub)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                info = (await system.GetSystemInfo(pb.GetSystemInfoRequest(), **as_(peer))).system_info
                if "quasar db migrate" in info.parts[0].detail:
                    break
                await asyncio.sleep(0.02)
        assert not info.HasField("storage")
        await prepare_schema(empty_database_url, system_context)
        await until(health, Status.SERVING)
        health.cancel()
