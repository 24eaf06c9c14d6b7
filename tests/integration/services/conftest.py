"""The three services as they are built for production, on a real database and real sockets, in this process."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

import datahub.app
import registry.app
import strategy_engine.app
from quasar.clock import SystemClock
from quasar.config import DATAHUB, REGISTRY, STRATEGY, Home, Limits, Part, Settings
from quasar.database.pool import Database
from quasar.ops.actors import Actor
from quasar.ops.events import Events
from quasar.ops.roles import Role
from quasar.ops.tokens import Tokens
from quasar.rpc.server import RpcServer

Build = Callable[[Settings, AsyncExitStack], Awaitable[RpcServer]]
BUILDS: Mapping[Part, Build] = {
    REGISTRY: registry.app.build,
    DATAHUB: datahub.app.build,
    STRATEGY: strategy_engine.app.build,
}
SERVICES = tuple(BUILDS)
ROOT = Actor("root", Role.ADMIN)


@dataclass(frozen=True)
class Running:
    """A service that listens."""

    part: Part
    server: RpcServer
    channel: grpc.aio.Channel

    def stub(self, kind: Any) -> Any:
        """A bare generated stub."""
        return kind(self.channel)


def settings_for(part: Part, home: Path, database_url: str, context: Path, **more: Any) -> Settings:
    """Return settings of a service that listens on any free port."""
    settings = Settings(
        part=part,
        home=Home(home),
        database_url=database_url,
        system_context=context,
        host="127.0.0.1",
        port=0,
        metrics_port=None,
        peers={each.name: "127.0.0.1:9" for each in BUILDS},  # nobody is there
        limits=Limits(drain_s=3.0),
    )
    return dataclasses.replace(settings, **more)


@asynccontextmanager
async def running(settings: Settings, build: Build | None = None) -> AsyncIterator[Running]:
    """Run a service until the context ends, and drain it then."""
    async with AsyncExitStack() as stack:
        server = await (build or BUILDS[settings.part])(settings, stack)
        port = await server.start()
        stack.push_async_callback(server.drain)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
        yield Running(settings.part, server, channel)


Start = Callable[..., Any]


@pytest.fixture
def start(tmp_path: Path, database_url: str, system_context_file: Path) -> Start:
    """Return what runs a service on the test's database: `async with start(REGISTRY) as service`."""

    def one(part: Part, build: Build | None = None, **more: Any) -> Any:
        return running(settings_for(part, tmp_path, database_url, system_context_file, **more), build)

    return one


@dataclass(frozen=True)
class Bearers:
    """A token of each role."""

    viewer: str
    operator: str
    admin: str


def as_(bearer: str) -> dict[str, Any]:
    """Return the call options of a caller."""
    return {"metadata": (("authorization", f"Bearer {bearer}"),), "timeout": 60}


@pytest_asyncio.fixture(loop_scope="session")
async def bearers(database: Database) -> Bearers:
    clock = SystemClock()
    tokens = Tokens(database, Events(database, "registry", clock), clock)
    made = {role.word: (await tokens.create(role.word, role, actor=ROOT))[1] for role in Role}
    return Bearers(**made)
