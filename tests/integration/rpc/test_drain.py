"""How a server stops: health first, nothing in flight is lost, streams say where to go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from quasar import errors
from quasar.rpc.health import PartState
from quasar_proto.ops.v1 import system_service_pb2 as pb
from tests.integration.rpc.harness import Failure, Running, as_, failure_of, health_of, running

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_health_says_so_before_calls_in_flight_have_ended_and_these_finish() -> None:
    async with running(drain_grace_s=30) as up:
        arrived, go = asyncio.Event(), asyncio.Event()

        async def method(_request: object, _rpc: object) -> pb.GetSystemInfoResponse:
            arrived.set()
            await go.wait()
            return pb.GetSystemInfoResponse()

        up.service.unary = method
        call = up.stub.GetSystemInfo(pb.GetSystemInfoRequest(), **as_("viewer"))
        await arrived.wait()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(up.server.drain())
            await up.server.draining.wait()

            probe = await health_of(up).Check(health_pb2.HealthCheckRequest(), timeout=60)
            late = await failure_of(up.stub.GetSystemInfo(pb.GetSystemInfoRequest(), **as_("viewer")))
            go.set()
            await call

    assert probe.status == NOT_SERVING
    assert up.health.state() is PartState.DRAINING
    assert (late.code, late.info.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")


async def test_a_stream_ends_itself_with_the_cursor_to_resume_from() -> None:
    async with running(drain_grace_s=30) as up:

        async def stream(_request: object, _rpc: object) -> AsyncIterator[pb.WatchMetricsResponse]:
            yield pb.WatchMetricsResponse()
            await up.server.draining.wait()
            raise errors.Draining(metadata={"cursor": "e1:42"})

        up.service.stream = stream
        seen = await drained(up)

    assert seen.code is grpc.StatusCode.UNAVAILABLE
    assert (seen.info.reason, seen.info.metadata["cursor"]) == ("DRAINING", "e1:42")


async def test_a_stream_that_does_not_end_itself_is_ended_with_the_same_reason() -> None:
    async with running(drain_grace_s=1.5) as up:
        cleaned = asyncio.Event()

        async def stream(_request: object, _rpc: object) -> AsyncIterator[pb.WatchMetricsResponse]:
            yield pb.WatchMetricsResponse()
            try:
                await asyncio.Event().wait()
            finally:
                cleaned.set()

        up.service.stream = stream
        seen = await drained(up)

    assert (seen.code, seen.info.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    assert cleaned.is_set()


async def drained(up: Running) -> Failure:
    """Open a stream, drain the server, and return what the reader sees."""
    call = up.stub.WatchMetrics(pb.WatchMetricsRequest(), **as_("viewer"))
    await call.read()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(up.server.drain())
        return await failure_of(call)


async def test_a_call_that_never_ends_is_cut_off_at_the_end_of_the_grace() -> None:
    async with running(drain_grace_s=0.1) as up:
        arrived = asyncio.Event()

        async def method(_request: object, _rpc: object) -> None:
            arrived.set()
            await asyncio.Event().wait()

        up.service.unary = method
        call = up.stub.GetSystemInfo(pb.GetSystemInfoRequest(), **as_("viewer"))
        await arrived.wait()

        await up.server.drain()

        assert (await failure_of(call)).code is grpc.StatusCode.UNAVAILABLE


async def test_a_watcher_of_health_sees_every_change_up_to_the_stop(up: Running) -> None:
    database = up.health.part("database")
    watch = health_of(up).Watch(health_pb2.HealthCheckRequest(), timeout=60)

    seen = [(await watch.read()).status]
    database.serving()
    seen.append((await watch.read()).status)
    database.not_serving("The database does not answer.")
    seen.append((await watch.read()).status)
    database.degraded("One replica is gone.")
    seen.append((await watch.read()).status)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(up.server.drain())
        seen.append((await watch.read()).status)
        assert await watch.code() is grpc.StatusCode.UNAVAILABLE

    assert seen == [NOT_SERVING, SERVING, NOT_SERVING, SERVING, NOT_SERVING]


def list_request() -> Any:
    """Return a message that the installed type stubs do not know yet."""
    messages: Any = health_pb2
    return messages.HealthListRequest()


async def test_health_lists_services_and_knows_which_ones_are_not_here(up: Running) -> None:
    stub = health_of(up)

    listed = await stub.List(list_request(), timeout=60)
    unknown = await failure_of(stub.Check(health_pb2.HealthCheckRequest(service="quasar.nowhere"), timeout=60))
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="quasar.nowhere"), timeout=60)

    assert listed.statuses["quasar.ops.v1.SystemService"].status == SERVING
    assert listed.statuses[""].status == SERVING
    assert unknown.code is grpc.StatusCode.NOT_FOUND
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()
