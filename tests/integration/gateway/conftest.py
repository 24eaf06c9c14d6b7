from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from grpc_gateway import app
from grpc_gateway.config import GatewaySettings
from quasar.config import LogSettings, TlsFiles
from quasar_proto.ops.v1 import event_pb2, event_service_pb2
from quasar_proto.ops.v1 import system_service_pb2 as system

Context = grpc.aio.ServicerContext[Any, Any]


class Played:
    """A service whose answers show what reached it, and when its reader left."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.deadlines: list[float | None] = []
        self.left = asyncio.Event()

    async def caller(self, request: system.GetCallerRequest, context: Context) -> system.GetCallerResponse:
        self.seen = [(str(k), str(v)) for k, v in context.invocation_metadata() or ()]
        self.deadlines.append(context.time_remaining())
        await context.send_initial_metadata((("x-request-id", "r-1"),))
        return system.GetCallerResponse(principal="ann")

    async def revoke(self, request: system.RevokeTokenRequest, context: Context) -> system.RevokeTokenResponse:
        detail = any_pb2.Any()
        detail.Pack(error_details_pb2.ErrorInfo(reason="NOT_FOUND", domain="quasar"))
        status = status_pb2.Status(code=5, message=f"no token “{request.token}”", details=[detail])
        await context.abort_with_status(rpc_status.to_status(status))
        raise AssertionError

    async def watch(
        self, request: event_service_pb2.WatchEventsRequest, context: Context
    ) -> AsyncIterator[event_service_pb2.WatchEventsResponse]:
        try:
            for number in range(int(request.filter or "3")):
                yield event_service_pb2.WatchEventsResponse(
                    cursor=str(number), events=[event_pb2.Event(event_id=number)]
                )
            if request.cursor == "stay":
                await asyncio.sleep(3600)
        finally:
            self.left.set()

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        unary = grpc.unary_unary_rpc_method_handler
        calls: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "GetCaller": unary(
                self.caller, system.GetCallerRequest.FromString, system.GetCallerResponse.SerializeToString
            ),
            "RevokeToken": unary(
                self.revoke, system.RevokeTokenRequest.FromString, system.RevokeTokenResponse.SerializeToString
            ),
        }
        watch = grpc.unary_stream_rpc_method_handler(
            self.watch,
            event_service_pb2.WatchEventsRequest.FromString,
            event_service_pb2.WatchEventsResponse.SerializeToString,
        )
        return [
            grpc.method_handlers_generic_handler("quasar.ops.v1.SystemService", calls),
            grpc.method_handlers_generic_handler("quasar.ops.v1.EventService", {"WatchEvents": watch}),
        ]


@dataclass
class Stage:
    """A gateway between an HTTP client and real gRPC servers on sockets."""

    url: str
    http: aiohttp.ClientSession
    service: Played


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    played = Played()
    async with AsyncExitStack() as stack:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(tuple(played.handlers()))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        stack.push_async_callback(server.stop, None)
        web_root = tmp_path / "dist"
        (web_root / "assets").mkdir(parents=True)
        (web_root / "index.html").write_text("<title>Quasar</title>")
        (web_root / "assets" / "app.js").write_text("1")
        (tmp_path / "secret").write_text("outside")
        settings = GatewaySettings(
            host="127.0.0.1",
            port=0,
            peers={"registry": f"127.0.0.1:{port}", "datahub": f"127.0.0.1:{port}", "strategy": "127.0.0.1:1"},
            web_root=web_root,
            origins=("http://localhost:5173",),
            tls=TlsFiles(),
            log=LogSettings(),
            max_request_bytes=64 * 1024,
            max_response_bytes=1024 * 1024,
            max_streams_per_client=4,
        )
        http_port = await app.start(settings, stack)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield Stage(f"http://127.0.0.1:{http_port}", http, played)
