"""Each service: lists what it serves, tells its health, lets in who may, and says what it does not do."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from quasar.config import DATAHUB, REGISTRY, STRATEGY, Part
from quasar.ops.identity import platform_version
from quasar.plugins.jail.landlock import abi
from quasar_proto.ops.v1 import system_pb2, system_service_pb2_grpc
from quasar_proto.ops.v1 import system_service_pb2 as pb
from quasar_proto.strategy.v1 import (
    backtest_service_pb2,
    backtest_service_pb2_grpc,
)
from tests.integration.services.conftest import SERVICES, Bearers, Running, Start, as_

PATIENCE_S = 60
OF_CONTRACT = {
    REGISTRY: {"AssetService", "CodeService", "IndexService", "MappingService", "SubscriptionService"},
    DATAHUB: {"CollectionService", "MarketDataService", "ProviderService"},
    STRATEGY: {"BacktestService", "PolicyService", "PortfolioService", "StrategyService", "TradingService"},
}


async def ready(service: Running) -> None:
    """Wait until the service says that it is ready."""
    watch = service.stub(health_pb2_grpc.HealthStub).Watch(health_pb2.HealthCheckRequest())
    async with asyncio.timeout(PATIENCE_S):
        async for message in watch:
            if message.status == health_pb2.HealthCheckResponse.SERVING:
                break
    watch.cancel()


async def failure(call: Any) -> tuple[grpc.StatusCode, error_details_pb2.ErrorInfo]:
    """Return the status code and the error details of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = status_pb2.Status.FromString(dict(caught.value.trailing_metadata() or ())["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return caught.value.code(), info


@pytest.mark.parametrize("part", SERVICES, ids=lambda part: part.name)
async def test_reflection_lists_every_service_of_the_contract(part: Part, start: Start, bearers: Bearers) -> None:
    async with start(part) as service:
        stub = service.stub(reflection_pb2_grpc.ServerReflectionStub)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        async for answer in stub.ServerReflectionInfo(iter([request]), **as_(bearers.viewer)):
            listed = {each.name for each in answer.list_services_response.service}
            break
    noun = part.name
    assert {f"quasar.{noun}.v1.{name}" for name in OF_CONTRACT[part]} <= listed
    assert {f"quasar.ops.v1.{name}" for name in ("SystemService", "OperationService", "EventService")} <= listed
    assert "grpc.health.v1.Health" in listed


@pytest.mark.parametrize("part", SERVICES, ids=lambda part: part.name)
async def test_a_service_tells_version_parts_and_storage(part: Part, start: Start, bearers: Bearers) -> None:
    async with start(part) as service:
        await ready(service)
        stub = service.stub(system_service_pb2_grpc.SystemServiceStub)
        info = (await stub.GetSystemInfo(pb.GetSystemInfoRequest(), **as_(bearers.viewer))).system_info
    assert (info.service, info.version, info.state) == (
        part.name,
        platform_version(),
        system_pb2.PART_STATE_SERVING,
    )
    assert ("database", system_pb2.PART_STATE_SERVING) in [(each.name, each.state) for each in info.parts]
    assert info.storage.postgresql_version.split(".")[0].isdecimal()
    assert info.storage.size_bytes > 0
    assert info.storage.migration
    assert not info.storage.embedded
    assert dict(info.features).items() >= {"tls": False, "otel": False, "landlock": abi() > 0}.items()
    assert info.features.get("nats") == (False if part is DATAHUB else None)
    assert info.runtime["python"].startswith("3.")
    assert info.uptime.ToNanoseconds() > 0
    assert len(info.instance_id) == 32


@pytest.mark.parametrize("part", SERVICES, ids=lambda part: part.name)
async def test_only_those_who_may_are_let_in(part: Part, start: Start, bearers: Bearers) -> None:
    async with start(part) as service:
        stub = service.stub(system_service_pb2_grpc.SystemServiceStub)
        info = pb.GetSystemInfoRequest()
        nobody = await failure(stub.GetSystemInfo(info, timeout=PATIENCE_S))
        wrong = await failure(stub.GetSystemInfo(info, **as_("qsr_nonsense")))
        token = pb.CreateTokenRequest(name="x", role=1)  # type: ignore[arg-type]
        small = await failure(stub.CreateToken(token, **as_(bearers.operator)))
        caller = await stub.GetCaller(pb.GetCallerRequest(), **as_(bearers.operator))
        await service.stub(health_pb2_grpc.HealthStub).Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S)
    assert (nobody[0], nobody[1].reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    assert (wrong[0], wrong[1].reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    assert (small[0], small[1].reason) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_TOO_SMALL")
    assert small[1].metadata["required_role"] == "admin"
    assert (caller.principal, caller.role) == ("operator", 2)


async def test_what_has_no_implementation_says_so_with_details(start: Start, bearers: Bearers) -> None:
    async with start(STRATEGY) as service:
        stub = service.stub(backtest_service_pb2_grpc.BacktestServiceStub)
        code, info = await failure(stub.ListSweeps(backtest_service_pb2.ListSweepsRequest(), **as_(bearers.viewer)))
        small, _ = await failure(stub.ListSweeps(backtest_service_pb2.ListSweepsRequest(), timeout=PATIENCE_S))
    assert (code, info.reason, info.domain) == (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED", "quasar")
    assert small is grpc.StatusCode.UNAUTHENTICATED


async def test_a_stream_without_implementation_says_so_too(start: Start, bearers: Bearers) -> None:
    async with start(STRATEGY) as service:
        stub = service.stub(backtest_service_pb2_grpc.BacktestServiceStub)
        call = stub.ReadObservations(
            backtest_service_pb2.ReadObservationsRequest(backtest_id=str(uuid.uuid4())), **as_(bearers.viewer)
        )
        code, _ = await failure(anext(aiter(call)))
    assert code is grpc.StatusCode.UNIMPLEMENTED


async def test_a_token_of_the_registry_works_everywhere_until_it_is_revoked(start: Start, bearers: Bearers) -> None:
    async with start(REGISTRY) as first, start(DATAHUB) as second:
        await ready(second)
        at_registry = first.stub(system_service_pb2_grpc.SystemServiceStub)
        at_datahub = second.stub(system_service_pb2_grpc.SystemServiceStub)
        request = pb.CreateTokenRequest(name="laptop", role=2)  # type: ignore[arg-type]
        request.lifetime.FromSeconds(3600)
        made = await at_registry.CreateToken(request, **as_(bearers.admin))
        caller = await at_datahub.GetCaller(pb.GetCallerRequest(), **as_(made.bearer))
        assert (caller.principal, caller.role) == ("laptop", 2)
        assert caller.expire_time == made.token.expire_time
        listed = await at_registry.ListTokens(pb.ListTokensRequest(page_size=1), **as_(bearers.admin))
        assert [token.name for token in listed.tokens] == ["laptop"]
        assert listed.next_page_token
        assert listed.tokens[0].created_by == "admin"
        await at_registry.RevokeToken(pb.RevokeTokenRequest(token="laptop"), **as_(bearers.admin))
        async with asyncio.timeout(PATIENCE_S):  # tests/integration/ops shows the five seconds of the contract
            code = grpc.StatusCode.OK
            while code is grpc.StatusCode.OK:
                code = await code_of(at_datahub, made.bearer)
        assert code is grpc.StatusCode.UNAUTHENTICATED


async def code_of(stub: Any, bearer: str) -> grpc.StatusCode:
    try:
        await stub.GetCaller(pb.GetCallerRequest(), **as_(bearer))
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_tokens_are_kept_by_the_registry_only(start: Start, bearers: Bearers) -> None:
    async with start(DATAHUB) as service:
        stub = service.stub(system_service_pb2_grpc.SystemServiceStub)
        calls = (
            stub.CreateToken(pb.CreateTokenRequest(name="x", role=1), **as_(bearers.admin)),  # type: ignore[arg-type]
            stub.ListTokens(pb.ListTokensRequest(), **as_(bearers.admin)),
            stub.RevokeToken(pb.RevokeTokenRequest(token="x"), **as_(bearers.admin)),
        )
        for call in calls:
            code, info = await failure(call)
            assert code is grpc.StatusCode.FAILED_PRECONDITION
            assert info.metadata["service"] == "registry"


async def test_the_processes_of_plugins_are_listed(start: Start, bearers: Bearers) -> None:
    async with start(DATAHUB) as service:
        stub = service.stub(system_service_pb2_grpc.SystemServiceStub)
        found = await stub.ListPluginProcesses(pb.ListPluginProcessesRequest(), **as_(bearers.viewer))
    assert list(found.processes) == []


async def test_metrics_are_streamed_at_the_interval(start: Start, bearers: Bearers) -> None:
    async with start(REGISTRY) as service:
        stub = service.stub(system_service_pb2_grpc.SystemServiceStub)
        request = pb.WatchMetricsRequest()
        request.interval.FromMilliseconds(250)
        stream = stub.WatchMetrics(request, **as_(bearers.viewer))
        first, second = await anext(aiter(stream)), await anext(aiter(stream))
        stream.cancel()
    assert second.metrics.time.ToNanoseconds() > first.metrics.time.ToNanoseconds()
    assert second.metrics.memory_bytes > 1_000_000
    assert second.metrics.calls_in_flight >= 1


async def test_the_log_is_streamed_from_its_last_lines_on(start: Start, bearers: Bearers) -> None:
    async with start(REGISTRY) as service:
        stub = service.stub(system_service_pb2_grpc.SystemServiceStub)
        request = pb.WatchLogsRequest(tail=50, contains="SERVING")
        stream = aiter(stub.WatchLogs(request, **as_(bearers.operator)))
        earlier = (await anext(stream)).records
        follow = aiter(stub.WatchLogs(pb.WatchLogsRequest(contains="getcaller"), **as_(bearers.operator)))
        assert list((await anext(follow)).records) == []
        await stub.GetCaller(pb.GetCallerRequest(), **as_(bearers.viewer))
        [line] = (await anext(follow)).records
    assert [(each.event, each.service, each.level) for each in earlier] == [("serving", "registry", "info")]
    assert line.event == "call ended"
    assert line.fields["principal"] == "viewer"
    assert line.request_id
    assert line.sequence > earlier[0].sequence
