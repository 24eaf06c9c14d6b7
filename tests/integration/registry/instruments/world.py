"""A running registry for tests: a real database as the service's own role, a real server, a small DataHub behind it."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from quasar.background import background
from quasar.client.channel import Channel, ClientSettings
from quasar.clock import Clock, SystemClock
from quasar.database.listener import Listener
from quasar.database.pool import Database
from quasar.database.roles import service_url
from quasar.metrics import Metrics
from quasar.ops.events import CHANNEL as EVENTS
from quasar.ops.events import Events
from quasar.ops.operations import CHANNEL as OPERATIONS
from quasar.ops.operations import Operations
from quasar.ops.runner import OperationRunner
from quasar.rpc.health import Health
from quasar.rpc.ops.event_service import EventService
from quasar.rpc.ops.operation_service import OperationService
from quasar.rpc.server import RpcServer, ServerSettings
from quasar.secrets import SystemContext
from quasar_proto.common.v1 import code_pb2
from quasar_proto.ops.v1 import operation_service_pb2 as ops_pb
from quasar_proto.ops.v1 import operation_service_pb2_grpc as ops_stubs
from quasar_proto.registry.v1 import (
    asset_pb2,
    asset_service_pb2,
    asset_service_pb2_grpc,
    index_service_pb2_grpc,
    mapping_service_pb2_grpc,
)
from registry.ground import Ground
from registry.requests import Requests
from registry.rpc.asset_service import AssetService
from registry.rpc.index_service import IndexService
from registry.rpc.index_users import RemoteIndexUsers
from registry.rpc.mapping_service import MappingService
from registry.rpc.operations import register_operations
from registry.rpc.upstream import RemoteUpstream
from registry.running import Running
from registry.workshop import Workshop
from tests.integration.registry.instruments.datahub_server import StrategyService, Vendor, peers
from tests.integration.rpc.harness import Tokens

OPERATOR = {"metadata": (("authorization", "Bearer operator-token"),), "timeout": 60}
PROVIDER, BROKER = 1, 2
_MANIFEST = {"kind": "CODE_KIND_PROVIDER", "class_name": "P"}


@dataclass
class World:
    """A registry, its clients, and what surrounds it."""

    database: Database
    owner: Database
    vendors: dict[str, Vendor]
    strategies: StrategyService
    workshop: Workshop
    server: RpcServer
    channel: grpc.aio.Channel

    @property
    def assets(self) -> Any:
        """A stub of the asset service."""
        return _Calls(asset_service_pb2_grpc.AssetServiceStub(self.channel))

    @property
    def mappings(self) -> Any:
        """A stub of the mapping service."""
        return _Calls(mapping_service_pb2_grpc.MappingServiceStub(self.channel))

    @property
    def indices(self) -> Any:
        """A stub of the index service."""
        return _Calls(index_service_pb2_grpc.IndexServiceStub(self.channel))

    async def add_code(
        self,
        name: str,
        *,
        kind: str = "provider",
        capabilities: Sequence[str] = ("SYMBOLS",),
        indices: Sequence[str] = (),
        preferences: dict[str, Any] | None = None,
        active: bool = True,
    ) -> int:
        """Put a provider or broker into the code registry and return its number."""
        manifest = {
            **_MANIFEST,
            "kind": f"CODE_KIND_{kind.upper()}",
            "name": name,
            "capabilities": [f"PROVIDER_CAPABILITY_{each}" for each in capabilities],
            "indices": list(indices),
        }
        code_id: int = await self.owner.fetchval(
            "insert into registry.code_registry (kind, name, preferences) values ($1, $2, $3) returning code_id",
            kind,
            name,
            preferences or {},
        )
        await self.owner.execute(
            "insert into registry.code_versions (code_id, version, sha256, file_name, manifest)"
            " values ($1, 1, sha256($2::text::bytea), 'p.py', $3)",
            code_id,
            name,
            manifest,
        )
        await self.owner.execute(
            "update registry.code_registry set active_version = case when $2 then 1 end, latest_version = 1"
            " where code_id = $1",
            code_id,
            active,
        )
        self.vendors.setdefault(name, Vendor())
        return code_id

    async def done(self, response: Any) -> Any:
        """Wait for the operation that an answer names and return it."""
        operation_id = getattr(response, "operation", response).operation_id
        stub = ops_stubs.OperationServiceStub(self.channel)
        last = None
        async for message in stub.WatchOperation(ops_pb.WatchOperationRequest(operation_id=operation_id), **OPERATOR):
            last = message.operation
        return last

    async def result(self, response: Any, kind: Any) -> Any:
        """Wait for the operation of an answer, which must succeed, and return its result."""
        operation = await self.done(response)
        assert operation.error.message == "", operation.error
        found = kind()
        assert operation.result.Unpack(found)
        return found

    async def sync(self, name: str, source: code_pb2.CodeRef | None = None, **options: Any) -> Any:
        """Sync the assets of a provider, or of `source`, and return the report of it."""
        request = asset_service_pb2.SyncAssetsRequest(source=source or provider(name), **options)
        result = await self.result(await self.assets.SyncAssets(request), asset_pb2.SyncAssetsResult)
        return result.reports[0]

    async def events(self, kind: str) -> list[Any]:
        """Return the events of a kind, in order."""
        return await self.owner.fetch("select * from ops.events where kind = $1 order by id", kind)


class _Calls:
    """A stub whose calls are made by an operator, with a deadline."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._stub, name)
        return lambda request: method(request, **OPERATOR)


def provider(name: str) -> code_pb2.CodeRef:
    """Name a provider."""
    return code_pb2.CodeRef(kind=PROVIDER, name=name)  # enum values travel as plain integers


def broker(name: str) -> code_pb2.CodeRef:
    """Name a broker."""
    return code_pb2.CodeRef(kind=BROKER, name=name)  # enum values travel as plain integers


def key(name: str, symbol: str) -> asset_pb2.AssetKey:
    """Name an asset of a provider."""
    return asset_pb2.AssetKey(source=provider(name), symbol=symbol)


@asynccontextmanager
async def living(url: str, context: SystemContext, clock: Clock | None = None) -> AsyncIterator[World]:
    """Run a registry on a migrated database while the context lasts."""
    clock = clock or SystemClock()
    vendors: dict[str, Vendor] = {}
    strategies = StrategyService()
    async with (
        await Database.open(url, application_name="quasar-tests") as owner,
        await Database.open(service_url(url, "registry", context), application_name="quasar-registry") as database,
        peers(vendors, strategies) as address,
        Channel(ClientSettings(target=address, service="datahub", token="admin-token")) as channel,
        background() as tasks,
    ):
        events = Events(database, "registry", SystemClock())
        operations = Operations(database, "registry", events, SystemClock())
        ground = Ground(database, clock, events, Requests(clock, context), Running(database, operations))
        workshop = Workshop.equip(ground, RemoteUpstream(channel, channel), RemoteIndexUsers(channel))
        runner = OperationRunner(operations, SystemClock())
        register_operations(runner, workshop)
        server = _server(workshop, operations, events)
        port = await server.start()
        channels = {OPERATIONS: operations.notified, EVENTS: events.hint.give}
        listener = Listener(url, channels, application_name="quasar-tests", clock=SystemClock())
        tasks.start(listener.run(), "listener")
        tasks.start(runner.run(), "operations")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as client:
            yield World(database, owner, vendors, strategies, workshop, server, client)
        await server.drain()


def _server(workshop: Workshop, operations: Operations, events: Events) -> RpcServer:
    clock = SystemClock()
    server = RpcServer(
        ServerSettings(drain_grace_s=0.2),
        service="registry",
        authenticator=Tokens(),
        health=Health(clock),
        clock=clock,
        metrics=Metrics("registry", clock),
    )
    for servicer in (
        AssetService(workshop),
        MappingService(workshop),
        IndexService(workshop),
        OperationService(operations, server.draining),
        EventService(events, server.draining),
    ):
        server.add(servicer)
    return server


def utc(*parts: int) -> dt.datetime:
    """Return a time in UTC."""
    return dt.datetime(*parts, tzinfo=dt.UTC)  # type: ignore[misc]
