"""A real NATS server, and DataHubs that share it."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from quasar.config import DATAHUB
from tests.acceptance.harness import free_ports
from tests.integration.services.conftest import running, settings_for


class NatsServer:
    """A `nats-server` with JetStream, which a test kills and starts again."""

    def __init__(self, program: str, folder: Path) -> None:
        (port,) = free_ports(1)
        self.url = f"nats://127.0.0.1:{port}"
        self._arguments = [program, "-js", "-sd", str(folder), "-a", "127.0.0.1", "-p", str(port)]
        self._port = port
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it listens."""
        null = asyncio.subprocess.DEVNULL
        self._process = await asyncio.create_subprocess_exec(*self._arguments, stdout=null, stderr=null)
        async with asyncio.timeout(90):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self._port)
                except OSError:
                    await asyncio.sleep(0.05)
                    continue
                writer.close()
                return

    async def kill(self) -> None:
        """End it without a farewell."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
            self._process = None


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A running NATS server."""
    program = shutil.which("nats-server", path="/usr/sbin:/usr/local/bin:/usr/bin") or shutil.which("nats-server")
    if program is None:
        pytest.skip("nats-server is absent; install the Debian package nats-server")
    server = NatsServer(program, tmp_path / "nats")
    await server.start()
    yield server
    await server.kill()


class Replicas:
    """DataHubs on one database and one bus."""

    def __init__(self, nats: NatsServer, folder: Path, database_url: str, context: Path) -> None:
        self._nats = nats
        self._folder = folder
        self._database_url = database_url
        self._context = context
        self._stacks: list[AsyncExitStack] = []

    async def one(self, **more: Any) -> tuple[Any, AsyncExitStack]:
        """Start another one, with more settings if wished; return it and what ends it."""
        stack = AsyncExitStack()
        home = self._folder / f"replica-{len(self._stacks)}"
        settings = settings_for(DATAHUB, home, self._database_url, self._context, bus_url=self._nats.url, **more)
        hub = await stack.enter_async_context(running(settings))
        self._stacks.append(stack)
        return hub, stack

    async def end(self) -> None:
        """End all that run."""
        for stack in self._stacks:
            await stack.aclose()


@pytest.fixture
async def replicas(
    nats: NatsServer, tmp_path: Path, database_url: str, system_context_file: Path
) -> AsyncIterator[Replicas]:
    """Return what starts DataHubs."""
    made = Replicas(nats, tmp_path, database_url, system_context_file)
    yield made
    await made.end()
