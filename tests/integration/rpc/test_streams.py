"""Streams: what goes through them and what remains when somebody leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from quasar_proto.ops.v1 import system_service_pb2 as pb
from tests.integration.rpc.harness import Running, as_


async def test_a_stream_may_send_messages_and_bytes_that_are_serialised_already(up: Running) -> None:
    def message(calls: int) -> pb.WatchMetricsResponse:
        answer = pb.WatchMetricsResponse()
        answer.metrics.calls_in_flight = calls
        return answer

    async def stream(_request: object, _rpc: object) -> AsyncIterator[object]:
        yield message(1)
        yield message(2).SerializeToString()

    up.service.stream = stream

    got = [m.metrics.calls_in_flight async for m in up.stub.WatchMetrics(pb.WatchMetricsRequest(), **as_("viewer"))]

    assert got == [1, 2]


@pytest.mark.parametrize("waits", [True, False], ids=["while it waits", "while it sends"])
async def test_a_client_that_leaves_ends_the_method_and_leaves_no_task_behind(up: Running, *, waits: bool) -> None:
    ended = asyncio.Event()
    left: list[type[BaseException]] = []

    async def stream(_request: object, _rpc: object) -> AsyncIterator[pb.WatchMetricsResponse]:
        try:
            while True:
                yield pb.WatchMetricsResponse()
                if waits:
                    await asyncio.Event().wait()
        except BaseException as error:
            left.append(type(error))
            raise
        finally:
            ended.set()

    up.service.stream = stream
    before = _tasks()
    call = up.stub.WatchMetrics(pb.WatchMetricsRequest(), **as_("viewer"))
    await call.read()

    call.cancel()

    async with asyncio.timeout(60):
        await ended.wait()
        await _settled(up)
    assert _tasks() == before
    assert set(left) <= {asyncio.CancelledError, GeneratorExit}
    assert up.metrics.sample().calls_in_flight == 0


def _tasks() -> list[str]:
    """Return the names of the coroutines that run as tasks; those of the library that wait for events count too."""
    return sorted(getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks())


async def _settled(up: Running) -> None:
    """Let the tasks that served a call end; nothing tells of that, so it is looked again and again."""
    for _ in range(5_000):
        await asyncio.sleep(0.001)
        if not up.metrics.sample().calls_in_flight and _tasks().count("AioServer._request_call") == 1:
            return


async def test_a_missed_deadline_of_the_client_ends_the_method(up: Running) -> None:
    ended = asyncio.Event()

    async def method(_request: object, _rpc: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    up.service.unary = method
    call = up.stub.GetSystemInfo(pb.GetSystemInfoRequest(), metadata=as_("viewer")["metadata"], timeout=1.5)

    assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(60):
        await ended.wait()


async def test_messages_of_streams_are_counted(up: Running) -> None:
    async def stream(_request: object, _rpc: object) -> AsyncIterator[pb.WatchMetricsResponse]:
        for _ in range(3):
            yield pb.WatchMetricsResponse()

    up.service.stream = stream
    async for _ in up.stub.WatchMetrics(pb.WatchMetricsRequest(), **as_("viewer")):
        pass

    labels = {"service": "registry", "method": "quasar.ops.v1.SystemService/WatchMetrics"}
    registry = up.metrics.registry
    assert registry.get_sample_value("quasar_rpc_stream_messages_total", labels) == 3
    assert registry.get_sample_value("quasar_rpc_calls_total", {**labels, "code": "OK"}) == 1
