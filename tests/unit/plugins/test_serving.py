"""How calls to a plug-in end: a service that left is no failure, whatever the library says; everything else is told."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from quasar.plugins import serving
from quasar.plugins.serving import handler
from quasar_proto.plugin.v1 import provider_pb2

SERVICE = provider_pb2.DESCRIPTOR.services_by_name["ProviderPlugin"]
BROKEN = grpc.aio.InternalError("Failed grpc_call_start_batch: 8")


class Rpc:
    """A call whose messages do not reach the service any more."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def write(self, message: object) -> None:
        raise BROKEN

    async def abort(self, code: grpc.StatusCode, words: str, details: object) -> None:
        self.told.append(words)
        raise grpc.aio.AbortError(words)


class Writing:
    """A servicer that writes from a task beside, as a live stream does."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    async def StreamLive(self, request: object, rpc: Any) -> None:
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(rpc.write(b""))
            if self._error is not None:
                raise self._error
            await asyncio.wait([writing, group.create_task(asyncio.sleep(60))], return_when=asyncio.FIRST_COMPLETED)


class Details:
    """What the library asks for a method."""

    method = "/quasar.plugin.v1.ProviderPlugin/StreamLive"
    invocation_metadata = ()


def call(servicer: object, rpc: Rpc) -> asyncio.Task[Any]:
    """Begin a call as the library does."""
    details: Any = Details()
    found: Any = handler(SERVICE, servicer, str).service(details)
    return asyncio.ensure_future(found.unary_stream(provider_pb2.StreamLiveRequest(), rpc))


async def test_a_write_that_fails_because_the_service_ended_the_call_is_its_end_and_no_failure() -> None:
    rpc = Rpc()
    task = call(Writing(), rpc)
    await asyncio.sleep(0.01)  # the write has failed, and the library tells of the cancellation a moment later
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert rpc.told == []


async def test_a_write_that_fails_while_the_call_is_being_cancelled_is_no_failure_either() -> None:
    rpc = Rpc()
    task = call(Writing(), rpc)
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert rpc.told == []


@pytest.mark.parametrize(("error", "words"), [(None, "InternalError"), (ValueError("of the author"), "of the author")])
async def test_a_failure_of_a_call_that_goes_on_is_told(
    error: Exception | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "LEFT_S", 0.01)
    rpc = Rpc()
    task = call(Writing(error), rpc)
    await asyncio.wait([task])
    assert isinstance(task.exception(), grpc.aio.AbortError)
    (told,) = rpc.told
    assert words in told
