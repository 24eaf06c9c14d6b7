"""Every method of the registry answers a client that knows it by reflection only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from grpc_reflection.v1alpha import reflection_pb2

from tests.integration.registry.stage import Stage, provide

DEFECTS = {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}
_ASK = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
_TEXTS = {"file_name": "a.py", "name": "alpha", "provider": "alpha", "interval": "1d", "as_of_date": "2024-01-01"}


async def reflected(stage: Stage) -> list[tuple[MethodDescriptor, Any]]:
    """Return the methods of all services of the platform with the classes of their requests, as reflection has them."""
    ask = stage.channel.stream_stream(
        _ASK,
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    options = stage.as_("viewer")
    call = ask(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), **options)
    (listed,) = [answer async for answer in call]
    names = [s.name for s in listed.list_services_response.service if s.name.startswith("quasar.")]
    wanted = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in names]
    pool, files = descriptor_pool.DescriptorPool(), dict[str, descriptor_pb2.FileDescriptorProto]()
    async for answer in ask(iter(wanted), **options):
        for content in answer.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(content)
            files[file.name] = file
    added: set[str] = set()
    for name in files:
        _add(pool, files, name, added)
    methods = [method for name in names for method in pool.FindServiceByName(name).methods]
    return [(method, message_factory.GetMessageClass(method.input_type)) for method in methods]


def _add(
    pool: descriptor_pool.DescriptorPool,
    files: dict[str, descriptor_pb2.FileDescriptorProto],
    name: str,
    added: set[str],
) -> None:
    if name in added:
        return
    added.add(name)
    for needed in files[name].dependency:
        _add(pool, files, needed, added)
    pool.Add(files[name])


def fill(message: Any, depth: int = 0) -> Any:
    """Fill the fields of a message with small values, one of each oneof, so that many requests are legal."""
    taken: set[str] = set()
    for field in message.DESCRIPTOR.fields:
        oneof = field.containing_oneof
        if field.is_repeated or (oneof is not None and oneof.name in taken):
            continue
        if oneof is not None:
            taken.add(oneof.name)
        if field.message_type is None:
            _set(message, field)
        elif depth < 3 and not field.message_type.full_name.startswith("google."):
            fill(getattr(message, field.name), depth + 1)
            getattr(message, field.name).SetInParent()
    return message


def _set(message: Any, field: FieldDescriptor) -> None:
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        if field.type == FieldDescriptor.TYPE_BYTES:
            setattr(message, field.name, b"x")
        elif field.name not in ("page_token", "filter", "order_by", "etag", "cursor"):
            setattr(message, field.name, _TEXTS.get(field.name, "x"))
    elif field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        setattr(message, field.name, 1)


async def outcome(stage: Stage, method: MethodDescriptor, request: Any) -> grpc.StatusCode:
    """Call a method and return the status; a stream that goes on is well."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    answer = message_factory.GetMessageClass(method.output_type)
    kind = stage.channel.unary_stream if method.server_streaming else stage.channel.unary_unary
    call: Any = kind(path, request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString)(
        request, metadata=stage.as_("admin")["metadata"], timeout=60
    )
    try:
        if method.server_streaming:
            await _first(call)
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    finally:
        call.cancel()
    return grpc.StatusCode.OK


async def _first(call: AsyncIterator[Any]) -> None:
    try:
        async with asyncio.timeout(0.5):
            async for _ in call:
                return
    except TimeoutError:
        return


@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
async def test_every_method_that_reflection_lists_answers_in_the_words_of_the_contract(
    stage: Stage, filled: bool
) -> None:
    await provide(stage, symbols=("x",))
    methods = await reflected(stage)
    seen = {}
    for method, request in methods:
        asked = fill(request()) if filled else request()
        seen[f"{method.containing_service.name}.{method.name}"] = await outcome(stage, method, asked)
    assert {name: code for name, code in seen.items() if code in DEFECTS} == {}
    services = {name.partition(".")[0] for name in seen}
    assert {"CodeService", "AssetService", "MappingService", "IndexService", "SubscriptionService"} <= services
    assert {"OperationService", "EventService", "SystemService"} <= services
    assert len(seen) > 90
    if filled:
        reached = {name for name, code in seen.items() if code is not grpc.StatusCode.INVALID_ARGUMENT}
        assert len(reached) > len(seen) // 2, sorted(set(seen) - reached)
