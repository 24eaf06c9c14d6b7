"""The client side: what it sends, what it makes of failures, when it tries again."""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from quasar import errors
from quasar.client.channel import Channel, ClientSettings
from quasar.client.ops import OpsClient
from quasar.client.retry import RetryPolicy
from quasar.rpc.context import CallContext, current_call, enter_call
from quasar_client.ops import v1 as ops
from quasar_proto.common.v1 import access_pb2
from quasar_proto.ops.v1 import system_service_pb2 as pb
from quasar_proto.ops.v1 import system_service_pb2_grpc as stubs
from tests.integration.rpc.harness import Running, as_, failure_of, running

A_CHANGE = pb.CreateTokenRequest(name="bot", role=access_pb2.ROLE_VIEWER)
QUICK = RetryPolicy(attempts=3, first_pause_s=0.001, longest_pause_s=0.001)


def channel_to(up: Running, **settings: Any) -> Channel:
    """Return a channel of a viewer to a running server."""
    usual = {"target": up.address, "service": "registry", "token": "viewer-token", "retry": QUICK}
    return Channel(ClientSettings(**{**usual, **settings}))


async def get_info(channel: Channel, **options: Any) -> pb.GetSystemInfoResponse:
    """Make the call that most tests make."""
    return await channel.stub(stubs.SystemServiceStub).GetSystemInfo(pb.GetSystemInfoRequest(), **options)


class Counting:
    """A method that fails some times before it answers."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.calls = 0

    async def __call__(self, _request: object, _rpc: object) -> Any:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return pb.GetSystemInfoResponse()


async def test_an_error_arrives_as_the_class_that_was_raised_with_all_its_details(up: Running) -> None:
    sent = errors.NotFound(
        "The series 'kraken/BTC' does not exist.",
        resource=errors.Resource("series", "kraken/BTC"),
        violations=[errors.FieldViolation("series[0]", "must exist, was 'kraken/BTC'", "SERIES_EXISTS")],
        metadata={"near": "kraken/XBT"},
        retry_after_s=1.5,
    )
    up.service.unary = Counting(sent)

    async with channel_to(up) as channel:
        with pytest.raises(errors.NotFound) as caught:
            await get_info(channel)

    got = caught.value
    assert (got.message, got.resource, got.violations) == (sent.message, sent.resource, sent.violations)
    assert (got.metadata, got.retry_after_s) == (sent.metadata, sent.retry_after_s)


async def test_an_error_with_much_to_tell_arrives_at_any_client_with_the_first_of_it(up: Running) -> None:
    violations = [errors.FieldViolation(f"files[{i}]", "must be shorter, was " + "x" * 300) for i in range(200)]
    up.service.unary = Counting(*[errors.CodeRejected(violations=violations)] * 2)

    async with channel_to(up) as channel:
        with pytest.raises(errors.CodeRejected) as caught:
            await get_info(channel)
    bare = await failure_of(up.stub.GetSystemInfo(pb.GetSystemInfoRequest(), **as_("viewer")))

    assert list(caught.value.violations) == violations[: len(caught.value.violations)]
    assert bare.info.reason == "CODE_REJECTED"


def every_error() -> list[type[errors.QuasarError]]:
    """Return the classes of errors that clients can see."""

    def below(root: type[errors.QuasarError]) -> list[type[errors.QuasarError]]:
        return [one for child in root.__subclasses__() for one in (child, *below(child))]

    sharing = (errors.StartupError, errors.PortInUse, errors.Unavailable, errors.ResourceExhausted)
    return [one for one in below(errors.QuasarError) if one.__module__ == "quasar.errors" and one not in sharing]


@pytest.mark.parametrize("kind", every_error())
async def test_every_class_of_error_survives_the_way(up: Running, kind: type[errors.QuasarError]) -> None:
    up.service.unary = Counting(*[kind()] * 3)

    async with channel_to(up) as channel:
        with pytest.raises(errors.QuasarError) as caught:
            await get_info(channel)

    assert type(caught.value) is kind


async def test_a_stub_and_the_dataclass_client_get_the_same(up: Running) -> None:
    async def method(_request: object, _rpc: object) -> pb.GetSystemInfoResponse:
        answer = pb.GetSystemInfoResponse()
        answer.system_info.service = "registry"
        answer.system_info.uptime.FromSeconds(90)
        return answer

    up.service.unary = method

    async with channel_to(up) as channel:
        official = await get_info(channel)
        typed = await OpsClient(channel).system.get_system_info(ops.GetSystemInfoRequest())

    assert typed.system_info is not None
    assert official.system_info.service == typed.system_info.service == "registry"
    assert bytes(typed) == official.SerializeToString()


async def test_a_stream_yields_its_messages_and_then_what_ended_it(up: Running) -> None:
    async def stream(_request: object, _rpc: object) -> AsyncIterator[pb.WatchMetricsResponse]:
        yield pb.WatchMetricsResponse()
        yield pb.WatchMetricsResponse()
        raise errors.SlowReader(metadata={"cursor": "7"})

    up.service.stream = stream

    async with channel_to(up) as channel:
        messages = OpsClient(channel).system.watch_metrics(ops.WatchMetricsRequest())
        assert [type(await anext(messages)) for _ in range(2)] == [ops.WatchMetricsResponse] * 2
        with pytest.raises(errors.SlowReader) as caught:
            await anext(messages)

    assert caught.value.metadata["cursor"] == "7"


async def test_leaving_a_stream_ends_it_at_the_server(up: Running) -> None:
    ended = asyncio.Event()

    async def stream(_request: object, _rpc: object) -> AsyncIterator[pb.WatchMetricsResponse]:
        try:
            while True:
                yield pb.WatchMetricsResponse()
                await asyncio.sleep(0.001)
        finally:
            ended.set()

    up.service.stream = stream

    async with channel_to(up) as channel:
        messages = channel.stub(stubs.SystemServiceStub).WatchMetrics(pb.WatchMetricsRequest())
        async for _ in messages:
            break
        await messages.aclose()  # type: ignore[attr-defined]  # the channel's streams are generators
        async with asyncio.timeout(60):
            await ended.wait()


async def test_a_read_is_made_again_after_an_outage(up: Running) -> None:
    up.service.unary = method = Counting(errors.DatabaseUnavailable(), errors.ServiceUnavailable())

    async with channel_to(up) as channel:
        await get_info(channel)

    assert method.calls == 3


async def test_a_read_is_given_up_after_the_attempts_of_the_policy(up: Running) -> None:
    up.service.unary = method = Counting(*[errors.DatabaseUnavailable()] * 9)

    async with channel_to(up) as channel:
        with pytest.raises(errors.DatabaseUnavailable):
            await get_info(channel)

    assert method.calls == 3


@pytest.mark.parametrize("error", [errors.NotFound(), errors.Internal(), errors.QuotaExceeded()])
async def test_what_will_not_get_better_is_not_tried_again(up: Running, error: errors.QuasarError) -> None:
    up.service.unary = method = Counting(error, error)

    async with channel_to(up) as channel:
        with pytest.raises(type(error)):
            await get_info(channel)

    assert method.calls == 1


async def test_a_change_is_not_made_again_when_it_may_have_happened(up: Running) -> None:
    up.service.unary = method = Counting(errors.DatabaseUnavailable(), errors.DatabaseUnavailable())

    async with channel_to(up, token="admin-token") as channel:
        with pytest.raises(errors.DatabaseUnavailable):
            await channel.stub(stubs.SystemServiceStub).CreateToken(
                pb.CreateTokenRequest(name="bot", role=access_pb2.ROLE_VIEWER)
            )

    assert method.calls == 1


@pytest.mark.parametrize("refusal", [errors.Draining, errors.TooManyCalls])
async def test_a_change_that_was_refused_before_it_began_is_made_again(
    up: Running, refusal: type[errors.QuasarError]
) -> None:
    up.service.unary = method = Counting(refusal())

    async with channel_to(up, token="admin-token") as channel:
        await channel.stub(stubs.SystemServiceStub).CreateToken(
            pb.CreateTokenRequest(name="bot", role=access_pb2.ROLE_VIEWER)
        )

    assert method.calls == 2


async def test_the_pause_that_the_server_asked_for_is_kept_and_no_retry_goes_past_the_deadline(up: Running) -> None:
    up.service.unary = method = Counting(*[errors.DatabaseUnavailable(retry_after_s=60)] * 2)

    async with channel_to(up) as channel:
        with pytest.raises(errors.DatabaseUnavailable):
            await get_info(channel, timeout=5)

    assert method.calls == 1


async def test_a_service_that_is_not_there_is_named_without_its_address() -> None:
    async with Channel(ClientSettings(target="127.0.0.1:1", service="datahub", retry=QUICK)) as channel:
        with pytest.raises(errors.ServiceUnavailable, match="datahub does not answer") as caught:
            await get_info(channel)

        assert caught.value.metadata == {"service": "datahub"}
        assert "127.0.0.1" not in caught.value.message
        with pytest.raises(errors.ServiceUnavailable):
            await channel.ready(0.05)


async def test_a_service_that_comes_back_is_found_again() -> None:
    with tempfile.TemporaryDirectory() as folder:  # short, for the path of a socket has a limit
        host = f"unix:{folder}/s"
        await found_again(host)


async def found_again(host: str) -> None:
    """Stop a service and start another at its address; on a socket nobody else can take the address in between."""
    async with running(host=host) as first:
        channel = channel_to(first)
        await get_info(channel)
    with pytest.raises(errors.Unavailable):
        await get_info(channel)

    async with channel, running(host=host):
        await channel.ready(10)
        await get_info(channel)


async def test_a_token_file_is_read_again_when_it_changes(up: Running, tmp_path: Path) -> None:
    file = tmp_path / "token"
    async with channel_to(up, token=None, token_file=file) as channel:
        with pytest.raises(errors.Unauthenticated, match="token file must be readable"):
            await get_info(channel)
        file.write_text("wrong\n")
        with pytest.raises(errors.Unauthenticated):
            await get_info(channel)
        new = tmp_path / "new"
        new.write_text("viewer-token\n")
        new.replace(file)

        await get_info(channel)


async def test_a_call_made_while_serving_another_carries_its_id_principal_trace_and_remaining_time(
    up: Running,
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    seen: list[CallContext] = []

    async def inner(_request: object, _rpc: object) -> pb.GetSystemInfoResponse:
        seen.append(current_call())
        return pb.GetSystemInfoResponse()

    async with running() as other, channel_to(other, token="admin-token") as onward:
        other.service.unary = inner

        async def outer(_request: object, _rpc: object) -> pb.GetSystemInfoResponse:
            seen.append(current_call())
            return await get_info(onward)

        up.service.unary = outer
        async with channel_to(up) as channel:
            await get_info(channel, timeout=20, metadata=(("x-request-id", "abc-1"), ("traceparent", trace)))

    first, second = seen
    assert (second.request_id, second.traceparent) == ("abc-1", trace)
    assert second.caller is not None
    assert (second.caller.principal, second.on_behalf_of, second.principal) == ("admin", "viewer", "viewer")
    assert first.deadline is not None
    assert second.deadline is not None
    assert abs(first.deadline - second.deadline) < 5  # a call of its own would have 30 seconds, ten more


async def test_the_servers_own_deadline_is_carried_on_too() -> None:
    seen: list[CallContext] = []

    async def inner(_request: object, _rpc: object) -> None:
        seen.append(current_call())
        await asyncio.Event().wait()

    async with running() as other, running(default_deadline_s=1.5) as up, channel_to(other) as onward:
        other.service.unary = inner

        async def outer(_request: object, _rpc: object) -> pb.GetSystemInfoResponse:
            return await get_info(onward)

        up.service.unary = outer
        metadata = (("authorization", "Bearer viewer-token"),)
        with pytest.raises(grpc.aio.AioRpcError, match="DEADLINE_EXCEEDED"):
            await up.stub.GetSystemInfo(pb.GetSystemInfoRequest(), metadata=metadata)

    assert len(seen) == 1


async def test_no_call_is_made_when_no_time_is_left(up: Running) -> None:
    up.service.unary = method = Counting()
    async with channel_to(up) as channel:

        async def late() -> None:
            enter_call(CallContext("abc-1", "quasar.ops.v1.SystemService/GetSystemInfo", deadline=0.0))
            await get_info(channel)

        with pytest.raises(errors.DeadlineExceeded):
            await asyncio.create_task(late())

    assert method.calls == 0


async def test_a_service_whose_own_token_is_refused_does_not_blame_its_caller(up: Running) -> None:
    async with running() as other, channel_to(other, token="wrong") as onward:

        async def outer(_request: object, _rpc: object) -> pb.GetSystemInfoResponse:
            return await get_info(onward)

        up.service.unary = outer
        async with channel_to(up) as channel:
            with pytest.raises(errors.Internal):
                await get_info(channel)


def test_settings_are_values() -> None:
    settings = ClientSettings(target="127.0.0.1:8080")

    assert dataclasses.replace(settings, tls=True).encrypted
    assert not settings.encrypted


async def test_the_proxy_of_the_environment_is_for_others(up: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_grpc_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nothing listens
    up.service.unary = Counting()

    async with channel_to(up) as channel:
        await get_info(channel)
        # A service on the far side of one is called through it where that is wanted.
        async with channel_to(up, through_proxy=True) as around:
            with pytest.raises(errors.ServiceUnavailable):
                await get_info(around)
