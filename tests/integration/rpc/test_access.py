"""Who may call what."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from quasar.rpc.context import current_call
from quasar_proto.common.v1 import access_pb2
from quasar_proto.ops.v1 import system_service_pb2 as pb
from tests.integration.rpc.harness import Running, as_, failure_of, health_of


async def test_a_call_without_a_token_is_refused_and_told_how_to_get_one(up: Running) -> None:
    seen = await failure_of(up.stub.GetSystemInfo(pb.GetSystemInfoRequest()))

    assert seen.code is grpc.StatusCode.UNAUTHENTICATED
    assert seen.info.reason == "UNAUTHENTICATED"
    assert "quasar token create" in seen.message


@pytest.mark.parametrize("header", ["Bearer wrong", "Basic dmlld2VyLXRva2Vu", "viewer-token", "Bearer "])
async def test_a_wrong_token_is_refused(up: Running, header: str) -> None:
    call = up.stub.GetSystemInfo(pb.GetSystemInfoRequest(), metadata=(("authorization", header),))

    assert (await failure_of(call)).code is grpc.StatusCode.UNAUTHENTICATED


async def test_the_scheme_may_be_in_any_letter_case(up: Running) -> None:
    await up.stub.GetSystemInfo(pb.GetSystemInfoRequest(), metadata=(("authorization", "bearer viewer-token"),))


async def test_a_method_without_implementation_asks_for_a_token_before_it_says_so(up: Running) -> None:
    nobody = await failure_of(up.stub.GetCaller(pb.GetCallerRequest()))
    somebody = await failure_of(up.stub.GetCaller(pb.GetCallerRequest(), **as_("viewer")))

    assert nobody.code is grpc.StatusCode.UNAUTHENTICATED
    assert somebody.code is grpc.StatusCode.UNIMPLEMENTED
    assert somebody.info.reason == "UNIMPLEMENTED"


async def test_an_unknown_method_asks_for_a_token_before_it_says_so(up: Running) -> None:
    unknown: Any = up.channel.unary_unary("/quasar.ops.v1.SystemService/Explode")

    assert (await failure_of(unknown(b"", timeout=60))).code is grpc.StatusCode.UNAUTHENTICATED
    assert (await failure_of(unknown(b"", **as_("viewer")))).code is grpc.StatusCode.UNIMPLEMENTED


async def test_a_role_that_is_too_small_is_denied_and_told_which_one_is_needed(up: Running) -> None:
    request = pb.CreateTokenRequest(name="bot", role=access_pb2.ROLE_VIEWER)

    seen = await failure_of(up.stub.CreateToken(request, **as_("operator")))

    assert seen.code is grpc.StatusCode.PERMISSION_DENIED
    assert seen.info.reason == "ROLE_TOO_SMALL"
    assert dict(seen.info.metadata) == {"required_role": "admin", "role": "operator"}


async def test_a_greater_role_may_do_what_a_smaller_one_may(up: Running) -> None:
    await up.stub.GetSystemInfo(pb.GetSystemInfoRequest(), **as_("admin"))


async def test_the_role_is_checked_before_the_request_is_read(up: Running) -> None:
    seen = await failure_of(up.stub.CreateToken(pb.CreateTokenRequest(), **as_("viewer")))

    assert seen.code is grpc.StatusCode.PERMISSION_DENIED


async def test_health_needs_no_token(up: Running) -> None:
    answer = await health_of(up).Check(health_pb2.HealthCheckRequest(service="quasar.ops.v1.SystemService"))

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_the_services_to_whoever_has_a_token(up: Running, version: str) -> None:
    ask = up.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="quasar.ops.v1.SystemService"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=f"grpc.reflection.{version}.ServerReflection"),
    ]

    answers = [answer async for answer in ask(iter(requests), **as_("viewer"))]

    assert {s.name for s in answers[0].list_services_response.service} == {
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "quasar.ops.v1.SystemService",
    }
    assert all(answer.file_descriptor_response.file_descriptor_proto for answer in answers[1:])
    assert await ask(timeout=60).code() is grpc.StatusCode.UNAUTHENTICATED


async def test_the_method_knows_who_calls(up: Running) -> None:
    seen = []

    async def look(_request: object, _rpc: object) -> pb.GetSystemInfoResponse:
        seen.append(current_call())
        return pb.GetSystemInfoResponse()

    up.service.unary = look

    await up.stub.GetSystemInfo(pb.GetSystemInfoRequest(), **as_("operator"))

    assert seen[0].caller is not None
    assert (seen[0].caller.principal, seen[0].method) == ("operator", "quasar.ops.v1.SystemService/GetSystemInfo")


async def test_calls_at_the_same_time_are_each_their_own_callers(up: Running) -> None:
    async def look(_request: object, _rpc: object) -> pb.GetSystemInfoResponse:
        before = current_call().principal
        await asyncio.sleep(0)
        assert current_call().principal == before
        answer = pb.GetSystemInfoResponse()
        answer.system_info.host = before
        return answer

    up.service.unary = look

    async def one(who: str) -> tuple[str, str]:
        answer = await up.stub.GetSystemInfo(pb.GetSystemInfoRequest(), **as_(who))
        return who, answer.system_info.host

    seen = await asyncio.gather(*(one(who) for who in ["viewer", "operator", "admin"] * 50))

    assert all(who == principal for who, principal in seen)


@pytest.mark.parametrize(("who", "principal"), [("admin", "ada"), ("operator", "operator")])
async def test_only_an_administrator_is_believed_to_call_for_somebody_else(
    up: Running, who: str, principal: str
) -> None:
    seen = []

    async def look(_request: object, _rpc: object) -> pb.GetSystemInfoResponse:
        seen.append(current_call().principal)
        return pb.GetSystemInfoResponse()

    up.service.unary = look
    metadata = (*as_(who)["metadata"], ("x-quasar-on-behalf-of", "ada"))

    await up.stub.GetSystemInfo(pb.GetSystemInfoRequest(), metadata=metadata)

    assert seen == [principal]


async def test_a_bad_request_names_every_field_the_rule_and_the_value(up: Running) -> None:
    request = pb.CreateTokenRequest(name="a b", role=7)  # type: ignore[arg-type]  # what a newer client could send
    seen = await failure_of(up.stub.CreateToken(request, **as_("admin")))

    assert seen.code is grpc.StatusCode.INVALID_ARGUMENT
    assert seen.info.reason == "INVALID_ARGUMENT"
    found = {v.field: (v.description, v.reason) for v in seen.find(error_details_pb2.BadRequest).field_violations}
    assert found == {
        "name": ("must match `^[A-Za-z0-9._-]+$`, was 'a b'", "STRING_PATTERN"),
        "role": ("must be one of the defined enum values, was 7", "ENUM_DEFINED_ONLY"),
    }


async def test_the_value_of_a_secret_field_is_not_repeated(up: Running) -> None:
    seen = await failure_of(up.stub.RevokeToken(pb.RevokeTokenRequest(token="hunter2" * 30), **as_("admin")))

    assert seen.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "token must be at most 64 characters" in seen.message
    assert "hunter2" not in seen.everything()


async def test_a_malformed_message_is_the_callers_mistake(up: Running) -> None:
    raw: Any = up.channel.unary_unary("/quasar.ops.v1.SystemService/CreateToken")

    seen = await failure_of(raw(b"\xff\xff\xff", **as_("admin")))

    assert seen.code is grpc.StatusCode.INVALID_ARGUMENT
    assert seen.info.reason == "INVALID_ARGUMENT"
