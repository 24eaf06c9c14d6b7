"""Events and operations over the wire: watched without loss, also over a restart of the service."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import grpc
from google.rpc import error_details_pb2

from quasar.clock import SystemClock
from quasar.config import DATAHUB, REGISTRY, Settings
from quasar.database.pool import Database
from quasar.errors import VendorFailed
from quasar.ops.events import Events
from quasar.ops.operation_context import OperationContext
from quasar.ops.operations import OperationResult
from quasar.rpc.ops.floor import Floor, lay
from quasar.rpc.server import RpcServer
from quasar_proto.ops.v1 import (
    event_service_pb2,
    event_service_pb2_grpc,
    operation_pb2,
    operation_service_pb2,
    operation_service_pb2_grpc,
)
from tests.integration.services.conftest import Bearers, Running, Start, as_
from tests.integration.services.test_services import failure

PATIENCE_S = 60
Handler = Callable[[OperationContext], Awaitable[OperationResult | None]]


def building(handlers: dict[str, Handler], floors: list[Floor]) -> Any:
    """Return a composition root of a service that does some kinds of operations."""

    async def build(settings: Settings, stack: AsyncExitStack) -> RpcServer:
        floor = await lay(settings, stack)
        floors.append(floor)
        for kind, handler in handlers.items():
            floor.runner.register(kind, handler)
        return floor.serve(())

    return build


def events_of(service: Running) -> Any:
    return service.stub(event_service_pb2_grpc.EventServiceStub)


def operations_of(service: Running) -> Any:
    return service.stub(operation_service_pb2_grpc.OperationServiceStub)


async def record(database: Database, *kinds: str) -> None:
    events = Events(database, "registry", SystemClock())
    for kind in kinds:
        async with database.transaction() as connection:
            await events.record(connection, kind, f"{kind}.", data={"number": 1})


async def drained(service: Running, stream: Any) -> error_details_pb2.ErrorInfo:
    """Stop a service while a stream is read, and return the details with which the stream ends."""
    ending = asyncio.ensure_future(failure(_to_its_end(stream)))
    await service.server.drain()
    code, info = await ending
    assert code is grpc.StatusCode.UNAVAILABLE
    return info


async def _to_its_end(stream: Any) -> None:
    while await stream.read() is not grpc.aio.EOF:
        continue


async def test_events_are_watched_over_a_restart_without_loss(
    start: Start, bearers: Bearers, database: Database
) -> None:
    async with AsyncExitStack() as first:
        service = await first.enter_async_context(start(REGISTRY))
        stream = events_of(service).WatchEvents(
            event_service_pb2.WatchEventsRequest(filter='kind = "E*"'), **as_(bearers.viewer)
        )
        await stream.read()
        await record(database, "E1", "E2")
        seen: list[str] = []
        while len(seen) < 2:
            seen += [event.kind for event in (await stream.read()).events]
        info = await drained(service, stream)
    assert info.reason == "DRAINING"
    await record(database, "E3")
    async with start(REGISTRY) as service:
        request = event_service_pb2.WatchEventsRequest(filter='kind = "E*"', cursor=info.metadata["cursor"])
        stream = events_of(service).WatchEvents(request, **as_(bearers.viewer))
        while len(seen) < 3:
            seen += [event.kind for event in (await stream.read()).events]
        stream.cancel()
    assert seen == ["E1", "E2", "E3"]


async def test_events_are_listed_in_pages(start: Start, bearers: Bearers, database: Database) -> None:
    await record(database, "E1", "E2", "E3")
    async with start(REGISTRY) as service:
        stub = events_of(service)
        request = event_service_pb2.ListEventsRequest(filter='kind = "E*"', page_size=2)
        page = await stub.ListEvents(request, **as_(bearers.viewer))
        request.page_token = page.next_page_token
        rest = await stub.ListEvents(request, **as_(bearers.viewer))
        bad = event_service_pb2.ListEventsRequest(filter="colour = red")
        code, info = await failure(stub.ListEvents(bad, **as_(bearers.viewer)))
    assert [event.kind for event in (*page.events, *rest.events)] == ["E3", "E2", "E1"]
    assert rest.next_page_token == ""
    assert page.events[0].data["number"] == 1
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FILTER")


async def test_a_heartbeat_comes_while_nothing_happens(start: Start, bearers: Bearers) -> None:
    async with start(DATAHUB) as service:
        request = event_service_pb2.WatchEventsRequest()
        request.heartbeat_interval.FromSeconds(1)
        stream = events_of(service).WatchEvents(request, **as_(bearers.viewer))
        first, second = await stream.read(), await stream.read()
        stream.cancel()
    assert (list(first.events), list(second.events)) == ([], [])
    assert first.cursor == second.cursor != ""


async def test_an_operation_is_watched_to_its_end_with_its_result(start: Start, bearers: Bearers) -> None:
    release = asyncio.Event()

    async def work(context: OperationContext) -> OperationResult:
        context.progress("counting", done=1, total=2, unit="numbers", wait_s=0.5, counters={"bytes": 3})
        await release.wait()
        context.progress(done=2)
        return OperationResult({"rows": 2}, "type.googleapis.com/test.Counted", b"\x08\x01")

    floors: list[Floor] = []
    async with start(REGISTRY, building({"count": work}, floors)) as service:
        submitted = await floors[0].operations.submit("count", {}, subject="one and two")
        request = operation_service_pb2.WatchOperationRequest(operation_id=str(submitted.operation_id))
        stream = operations_of(service).WatchOperation(request, **as_(bearers.viewer))
        states: list[operation_pb2.Operation] = []
        async with asyncio.timeout(PATIENCE_S):
            async for message in stream:
                states.append(message.operation)
                if message.operation.progress.phase == "counting":
                    release.set()
    last = states[-1]
    assert last.state == operation_pb2.OPERATION_STATE_SUCCEEDED
    assert (last.subject, last.service, last.attempts) == ("one and two", "registry", 1)
    assert (last.progress.done, last.progress.total, last.progress.unit) == (2, 2, "numbers")
    assert last.progress.rate_limit_wait.ToMilliseconds() == 500
    assert last.progress.counters["bytes"] == 3
    assert last.result_summary["rows"] == 2
    assert (last.result.type_url, last.result.value) == ("type.googleapis.com/test.Counted", b"\x08\x01")
    assert not last.HasField("error")


async def test_a_failed_operation_carries_the_status_that_a_call_would(start: Start, bearers: Bearers) -> None:
    async def work(context: OperationContext) -> None:
        raise VendorFailed("The vendor said 503.", metadata={"status": "503"})

    floors: list[Floor] = []
    async with start(REGISTRY, building({"sync": work}, floors)) as service:
        submitted = await floors[0].operations.submit("sync", {})
        request = operation_service_pb2.WatchOperationRequest(operation_id=str(submitted.operation_id))
        async for message in operations_of(service).WatchOperation(request, **as_(bearers.viewer)):
            last = message.operation
    info = error_details_pb2.ErrorInfo()
    assert last.error.details[0].Unpack(info)
    assert (last.error.code, last.error.message) == (grpc.StatusCode.UNAVAILABLE.value[0], "The vendor said 503.")
    assert (info.reason, info.metadata["status"]) == ("VENDOR_FAILED", "503")


async def test_an_operation_is_cancelled_by_an_operator(start: Start, bearers: Bearers) -> None:
    begun = asyncio.Event()

    async def work(context: OperationContext) -> None:
        begun.set()
        await asyncio.Event().wait()

    floors: list[Floor] = []
    async with start(REGISTRY, building({"count": work}, floors)) as service:
        submitted = await floors[0].operations.submit("count", {})
        operation_id = str(submitted.operation_id)
        await asyncio.wait_for(begun.wait(), PATIENCE_S)
        stub = operations_of(service)
        request = operation_service_pb2.CancelOperationRequest(operation_id=operation_id, reason="enough")
        refused, _ = await failure(stub.CancelOperation(request, **as_(bearers.viewer)))
        asked = (await stub.CancelOperation(request, **as_(bearers.operator))).operation
        watch = operation_service_pb2.WatchOperationRequest(operation_id=operation_id)
        async for message in stub.WatchOperation(watch, **as_(bearers.viewer)):
            last = message.operation
        [event] = (
            await events_of(service).ListEvents(
                event_service_pb2.ListEventsRequest(filter='kind = "OperationCancelRequested"'), **as_(bearers.viewer)
            )
        ).events
    assert refused is grpc.StatusCode.PERMISSION_DENIED
    assert asked.cancel_requested
    assert last.state == operation_pb2.OPERATION_STATE_CANCELLED
    assert (event.actor.principal, event.data["reason"]) == ("operator", "enough")
    assert event.actor.request_id


async def test_an_operation_goes_on_in_the_next_run_of_its_service(start: Start, bearers: Bearers) -> None:
    begun = asyncio.Event()

    async def half(context: OperationContext) -> None:
        await context.save({"done": 1})
        begun.set()
        await asyncio.Event().wait()

    async def rest(context: OperationContext) -> OperationResult:
        return OperationResult({"from": context.checkpoint["done"]})

    floors: list[Floor] = []
    async with AsyncExitStack() as first:
        service = await first.enter_async_context(start(REGISTRY, building({"count": half}, floors)))
        operation_id = str((await floors[0].operations.submit("count", {})).operation_id)
        await asyncio.wait_for(begun.wait(), PATIENCE_S)
        request = operation_service_pb2.WatchOperationRequest(operation_id=operation_id)
        stream = operations_of(service).WatchOperation(request, **as_(bearers.viewer))
        await stream.read()
        assert (await drained(service, stream)).reason == "DRAINING"
    async with start(REGISTRY, building({"count": rest}, floors)) as service:
        async for message in operations_of(service).WatchOperation(request, **as_(bearers.viewer)):
            last = message.operation
    assert last.state == operation_pb2.OPERATION_STATE_SUCCEEDED
    assert last.result_summary["from"] == 1
    assert last.attempts == 2


async def test_operations_are_listed_and_found(start: Start, bearers: Bearers) -> None:
    floors: list[Floor] = []
    async with start(REGISTRY, building({}, floors)) as service:
        made = [await floors[0].operations.submit("count", {}, subject=f"s{n}") for n in range(3)]
        stub = operations_of(service)
        request = operation_service_pb2.ListOperationsRequest(page_size=2)
        page = await stub.ListOperations(request, **as_(bearers.viewer))
        request.page_token = page.next_page_token
        rest = await stub.ListOperations(request, **as_(bearers.viewer))
        one = operation_service_pb2.GetOperationRequest(operation_id=str(made[0].operation_id))
        found = (await stub.GetOperation(one, **as_(bearers.viewer))).operation
        missing = operation_service_pb2.GetOperationRequest(operation_id=str(uuid.uuid4()))
        code, info = await failure(stub.GetOperation(missing, **as_(bearers.viewer)))
        nonsense = operation_service_pb2.GetOperationRequest(operation_id="nonsense")
        bad, _ = await failure(stub.GetOperation(nonsense, **as_(bearers.viewer)))
    assert [each.subject for each in (*page.operations, *rest.operations)] == ["s2", "s1", "s0"]
    assert found.subject == "s0"
    assert (code, info.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    assert bad is grpc.StatusCode.INVALID_ARGUMENT
