"""What a client sees of a call that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import grpc
import pytest
from google.rpc import error_details_pb2

from quasar import errors
from quasar_proto.ops.v1 import system_service_pb2 as pb
from tests.integration.rpc.harness import Failure, Running, as_, failure_of, running

SECRET = "hunter2-postgres://quasar:hunter2@db/quasar"


def fails_with(error: BaseException) -> Callable[[Any, Any], Any]:
    """Return a unary method that raises."""

    async def method(_request: object, _rpc: object) -> None:
        raise error

    return method


async def ask(up: Running, method: Callable[[Any, Any], Any]) -> Failure:
    """Call a method that must fail."""
    up.service.unary = method
    return await failure_of(up.stub.GetSystemInfo(pb.GetSystemInfoRequest(), **as_("viewer")))


async def test_no_word_of_an_unexpected_exception_reaches_the_client(up: Running) -> None:
    seen = await ask(up, fails_with(RuntimeError(SECRET)))

    assert seen.code is grpc.StatusCode.INTERNAL
    assert seen.info.reason == "INTERNAL"
    assert seen.info.metadata["request_id"] == seen.trailing["x-request-id"]
    assert "hunter2" not in seen.everything()
    assert "RuntimeError" not in seen.everything()


async def test_no_word_of_an_unexpected_exception_of_a_stream_reaches_the_client(up: Running) -> None:
    async def stream(_request: object, _rpc: object) -> AsyncIterator[pb.WatchMetricsResponse]:
        yield pb.WatchMetricsResponse()
        raise RuntimeError(SECRET)

    up.service.stream = stream
    seen = await failure_of(up.stub.WatchMetrics(pb.WatchMetricsRequest(), **as_("viewer")))

    assert seen.code is grpc.StatusCode.INTERNAL
    assert "hunter2" not in seen.everything()


async def test_an_internal_error_raised_on_purpose_keeps_its_text_to_itself_too(up: Running) -> None:
    seen = await ask(up, fails_with(errors.Internal(SECRET)))

    assert seen.code is grpc.StatusCode.INTERNAL
    assert "hunter2" not in seen.everything()


async def test_the_cause_of_an_error_is_not_told(up: Running) -> None:
    error = errors.NotFound("The provider 'kraken' does not exist.", resource=errors.Resource("provider", "kraken"))
    error.__cause__ = RuntimeError(SECRET)

    seen = await ask(up, fails_with(error))

    assert (seen.code, seen.message) == (grpc.StatusCode.NOT_FOUND, "The provider 'kraken' does not exist.")
    resource = seen.find(error_details_pb2.ResourceInfo)
    assert (resource.resource_type, resource.resource_name) == ("provider", "kraken")
    assert "hunter2" not in seen.everything()


async def test_an_answer_of_the_wrong_kind_is_a_defect_that_keeps_its_text_to_itself(up: Running) -> None:
    async def wrong(_request: object, _rpc: object) -> str:
        return SECRET

    seen = await ask(up, wrong)

    assert seen.code is grpc.StatusCode.INTERNAL
    assert "hunter2" not in seen.everything()


async def test_a_cancellation_inside_the_method_does_not_leave_the_client_waiting(up: Running) -> None:
    async def method(_request: object, _rpc: object) -> None:
        inner = asyncio.get_running_loop().create_future()
        inner.cancel()
        await inner

    seen = await ask(up, method)

    assert seen.code is grpc.StatusCode.ABORTED
    assert seen.info.reason == "ABORTED"
    assert seen.find(error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() == 100


async def test_a_cancellation_inside_a_stream_does_not_leave_the_client_waiting(up: Running) -> None:
    async def stream(_request: object, _rpc: object) -> AsyncIterator[pb.WatchMetricsResponse]:
        yield pb.WatchMetricsResponse()
        raise asyncio.CancelledError

    up.service.stream = stream

    seen = await failure_of(up.stub.WatchMetrics(pb.WatchMetricsRequest(), **as_("viewer")))

    assert seen.code is grpc.StatusCode.ABORTED


async def test_a_timeout_inside_the_method_is_a_missed_deadline(up: Running) -> None:
    assert (await ask(up, fails_with(TimeoutError(SECRET)))).code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_call_without_a_deadline_gets_the_servers() -> None:
    async with running(default_deadline_s=0.05) as up:

        async def method(_request: object, _rpc: object) -> None:
            await asyncio.Event().wait()

        up.service.unary = method
        metadata = as_("viewer")["metadata"]

        seen = await failure_of(up.stub.GetSystemInfo(pb.GetSystemInfoRequest(), metadata=metadata))

    assert seen.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert seen.info.reason == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.ConnectionDoesNotExistError(SECRET),
        asyncpg.CannotConnectNowError(SECRET),
        asyncpg.AdminShutdownError(SECRET),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InterfaceError("pool is closing"),
    ],
)
async def test_a_lost_database_is_unavailable_and_says_when_to_come_back(up: Running, error: Exception) -> None:
    seen = await ask(up, fails_with(error))

    assert seen.code is grpc.StatusCode.UNAVAILABLE
    assert seen.info.reason == "DATABASE_UNAVAILABLE"
    assert seen.find(error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() == 1000
    assert "hunter2" not in seen.everything()


async def test_a_database_that_refuses_the_connection_is_unavailable(up: Running) -> None:
    async def method(_request: object, _rpc: object) -> None:
        await asyncpg.connect(host="127.0.0.1", port=1, user="quasar", database="quasar", timeout=60)

    assert (await ask(up, method)).info.reason == "DATABASE_UNAVAILABLE"


@pytest.mark.parametrize(
    "error", [asyncpg.UndefinedTableError(SECRET), asyncpg.InterfaceError(SECRET), OSError(SECRET)]
)
async def test_a_mistake_in_a_statement_or_a_file_is_a_defect(up: Running, error: Exception) -> None:
    seen = await ask(up, fails_with(error))

    assert seen.code is grpc.StatusCode.INTERNAL
    assert "hunter2" not in seen.everything()


async def test_the_error_of_a_task_group_is_told_like_any_other(up: Running) -> None:
    async def method(_request: object, _rpc: object) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fails_with(errors.NotFound("No such bar."))(None, None))

    seen = await ask(up, method)

    assert (seen.code, seen.message) == (grpc.StatusCode.NOT_FOUND, "No such bar.")


async def test_the_request_id_of_the_client_comes_back_and_others_are_made(up: Running) -> None:
    async def seen_with(*metadata: tuple[str, str]) -> str:
        call = up.stub.GetSystemInfo(
            pb.GetSystemInfoRequest(), metadata=(*as_("viewer")["metadata"], *metadata), timeout=60
        )
        await call
        return str(dict(await call.trailing_metadata())["x-request-id"])

    assert await seen_with(("x-request-id", "abc-123")) == "abc-123"
    made = {await seen_with(), await seen_with(), await seen_with(("x-request-id", "not an id"))}
    assert len(made) == 3
    assert all(len(one) == 16 for one in made)


async def test_a_stream_tells_its_request_id_before_its_first_message(up: Running) -> None:
    call = up.stub.WatchMetrics(
        pb.WatchMetricsRequest(), metadata=(*as_("viewer")["metadata"], ("x-request-id", "abc-123"))
    )

    assert dict(await call.initial_metadata())["x-request-id"] == "abc-123"
    call.cancel()


async def test_more_calls_than_the_server_takes_are_refused_at_once() -> None:
    async with running(max_concurrent_calls=2) as up:
        seen = await ask_while_full(up)
        await up.stub.GetSystemInfo(pb.GetSystemInfoRequest(), **as_("viewer"))

    assert seen.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert seen.info.reason == "TOO_MANY_CALLS"
    assert seen.find(error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() == 250
    assert seen.find(error_details_pb2.QuotaFailure).violations[0].subject == "calls"


async def ask_while_full(up: Running) -> Failure:
    """Fill the server and return what the call after that sees."""
    full, go = asyncio.Semaphore(0), asyncio.Event()

    async def method(_request: object, _rpc: object) -> pb.GetSystemInfoResponse:
        full.release()
        await go.wait()
        return pb.GetSystemInfoResponse()

    up.service.unary = method
    async with asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(_awaited(up.stub.GetSystemInfo(pb.GetSystemInfoRequest(), **as_("viewer"))))
        await full.acquire()
        await full.acquire()
        seen = await failure_of(up.stub.GetSystemInfo(pb.GetSystemInfoRequest(), **as_("viewer")))
        go.set()
    return seen


async def _awaited(call: Any) -> Any:
    return await call


async def test_streams_have_a_bound_of_their_own() -> None:
    async with running(max_concurrent_streams=1) as up:

        async def stream(_request: object, _rpc: object) -> AsyncIterator[pb.WatchMetricsResponse]:
            yield pb.WatchMetricsResponse()
            await asyncio.Event().wait()

        up.service.stream = stream
        first = up.stub.WatchMetrics(pb.WatchMetricsRequest(), **as_("viewer"))
        await first.read()

        seen = await failure_of(up.stub.WatchMetrics(pb.WatchMetricsRequest(), **as_("viewer")))
        await up.stub.GetSystemInfo(pb.GetSystemInfoRequest(), **as_("viewer"))
        first.cancel()

    assert seen.info.reason == "TOO_MANY_CALLS"
    assert seen.find(error_details_pb2.QuotaFailure).violations[0].subject == "streams"


async def test_a_request_that_is_too_large_is_refused() -> None:
    async with running(max_receive_bytes=1000) as up:
        request = pb.ListTokensRequest(page_token="x" * 2000)

        seen = await failure_of(up.stub.ListTokens(request, **as_("admin")))

    assert seen.code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_answer_that_is_too_large_says_by_how_much() -> None:
    async with running(max_send_bytes=1000) as up:

        async def method(_request: object, _rpc: object) -> pb.GetSystemInfoResponse:
            answer = pb.GetSystemInfoResponse()
            answer.system_info.host = "x" * 2000
            return answer

        seen = await ask(up, method)

    assert seen.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert seen.info.reason == "MESSAGE_TOO_LARGE"
    assert "at most 1000 bytes, was 2006" in seen.message
