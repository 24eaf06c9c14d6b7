"""A real server on a socket whose methods do what a test says, and bare clients for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2_grpc

from quasar import errors
from quasar.clock import SystemClock
from quasar.metrics import Metrics
from quasar.rpc.caller import ADMIN, OPERATOR, VIEWER, Caller
from quasar.rpc.health import Health
from quasar.rpc.server import RpcServer, ServerSettings
from quasar.tracing import Tracer
from quasar_proto.ops.v1 import system_service_pb2 as pb
from quasar_proto.ops.v1 import system_service_pb2_grpc as stubs

TOKENS = {"viewer-token": VIEWER, "operator-token": OPERATOR, "admin-token": ADMIN}


class Tokens:
    """An authenticator that knows three tokens."""

    async def authenticate(self, bearer: str) -> Caller:
        """Return the caller of one of `TOKENS`."""
        if bearer not in TOKENS:
            raise errors.Unauthenticated
        return Caller(bearer.removesuffix("-token"), TOKENS[bearer])


Unary = Callable[[Any, Any], Awaitable[Any]]
Stream = Callable[[Any, Any], AsyncIterator[Any]]


class Service(stubs.SystemServiceServicer):
    """Methods that do what a test says; the others stay unimplemented."""

    def __init__(self) -> None:
        self.unary: Unary = self._info
        self.stream: Stream = self._nothing

    async def _info(self, _request: Any, _rpc: Any) -> Any:
        return pb.GetSystemInfoResponse()

    async def _nothing(self, _request: Any, _rpc: Any) -> AsyncIterator[Any]:
        return
        yield

    async def GetSystemInfo(self, request: Any, context: Any) -> Any:
        return await self.unary(request, context)

    async def CreateToken(self, request: Any, context: Any) -> Any:
        return await self.unary(request, context)

    async def WatchMetrics(self, request: Any, context: Any) -> Any:
        async for message in self.stream(request, context):
            yield message


@dataclass
class Running:
    """A server that serves `service`, and the address to reach it."""

    server: RpcServer
    service: Service
    health: Health
    metrics: Metrics
    address: str
    channel: grpc.aio.Channel = field(init=False)

    def __post_init__(self) -> None:
        self.channel = grpc.aio.insecure_channel(self.address)

    @property
    def stub(self) -> Any:
        """A bare stub: what another language's client would do."""
        return stubs.SystemServiceStub(self.channel)


@asynccontextmanager
async def running(tracer: Tracer | None = None, **settings: Any) -> AsyncIterator[Running]:
    """Serve a `Service` while the context lasts."""
    clock = SystemClock()
    health, metrics, service = Health(clock), Metrics("registry", clock), Service()  # type: ignore[abstract]  # see its docstring
    server = RpcServer(
        ServerSettings(**{"drain_grace_s": 1.0, **settings}),
        service="registry",
        authenticator=Tokens(),
        health=health,
        clock=clock,
        metrics=metrics,
        tracer=tracer,
    )
    server.add(service)
    port = await server.start()
    host = server.settings.host
    up = Running(server, service, health, metrics, host if host.startswith("unix:") else f"{host}:{port}")
    try:
        yield up
    finally:
        await up.channel.close()
        await server.drain()


def health_of(up: Running) -> Any:
    """Return a stub for health checks; it sends no token."""
    return health_pb2_grpc.HealthStub(up.channel)


def as_(who: str) -> dict[str, Any]:
    """Return the call options of a caller, with a deadline that keeps a failing test short."""
    return {"metadata": (("authorization", f"Bearer {who}-token"),), "timeout": 60}


@dataclass(frozen=True)
class Failure:
    """What a client sees of a failed call."""

    code: grpc.StatusCode
    message: str
    details: tuple[AnyMessage, ...]
    trailing: dict[str, Any]

    @property
    def info(self) -> error_details_pb2.ErrorInfo:
        """The reason and its metadata."""
        return self.find(error_details_pb2.ErrorInfo)

    def find(self, kind: Any) -> Any:
        """Return the detail of a kind."""
        found = kind()
        assert any(detail.Unpack(found) for detail in self.details), f"no {kind.__name__} in {self.details}"
        return found

    def everything(self) -> str:
        """All that reached the client, as one text."""
        return " ".join((self.message, repr(self.details), repr(self.trailing)))


async def failure_of(call: Any) -> Failure:
    """Await a call that must fail and return what the client sees."""
    try:
        if hasattr(call, "__aiter__"):
            while await call.read() is not grpc.aio.EOF:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        trailing = dict(error.trailing_metadata())
        status = status_pb2.Status.FromString(trailing.get("grpc-status-details-bin", b""))
        return Failure(error.code(), error.details() or "", tuple(status.details), trailing)
    raise AssertionError("the call must fail, did not")
