"""The commands of the containers as plain processes: their environment, their order, a PostgreSQL with passwords."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from quasar.client.channel import Channel, ClientSettings
from quasar.database.embedded import EmbeddedPostgres
from quasar_proto.ops.v1 import system_service_pb2, system_service_pb2_grpc
from tests.acceptance.harness import free_ports

ROOT = Path(__file__).resolve().parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))[
    "services"
]
LONG_RUNNING = ("registry", "datahub", "strategy-engine", "gateway")
PART = {"registry": "REGISTRY", "datahub": "DATAHUB", "strategy-engine": "STRATEGY", "gateway": "GATEWAY"}


def _unset(value: str) -> str:
    """Return a value of the file as compose makes it where no variable is set: `${NAME:-default}` is its default."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


class Containers:
    """What compose would start, with the names of containers replaced by ports of this machine."""

    def __init__(self, folder: Path, database: str, ports: Mapping[str, int]) -> None:
        self.folder = folder
        self.ports = ports
        self._database = database

    def environment(self, name: str) -> dict[str, str]:
        settings = {key: self._here(_unset(str(value))) for key, value in SERVICES[name]["environment"].items()}
        home = self.folder / name
        home.mkdir(exist_ok=True)
        outside = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
        # Containers have a network each: nothing listens at the loopback address of the one that migrates.
        own = self.ports if name in self.ports else dict(zip(self.ports, free_ports(len(self.ports)), strict=True))
        ports = {f"QUASAR_{PART[each]}_PORT": str(port) for each, port in own.items()}
        return {**outside, "QUASAR_HOME": str(home), "QUASAR_LOG_FORMAT": "json", **settings, **ports}

    def _here(self, value: str) -> str:
        for name, port in self.ports.items():
            if value.startswith(f"{name}:"):
                return f"127.0.0.1:{port}"
        value = value.replace("/run/secrets/", f"{self.folder}/")
        return value.replace("timescaledb:5432", self._database)

    async def run(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of a container to its end."""
        return await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-P", "-m", "quasar.cli", *command],
            env=self.environment(name),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    @asynccontextmanager
    async def started(self, name: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a container's command until the test is over; it must stop cleanly."""
        with (self.folder / f"{name}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "quasar.cli", *SERVICES[name]["command"]),
                env=self.environment(name),
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(60):
                await process.wait()

    async def healthy(self, name: str, process: asyncio.subprocess.Process) -> None:
        """Wait until the health check of a container holds."""
        async with asyncio.timeout(90):
            while (await self.check(name)).returncode != 0:
                assert process.returncode is None, (self.folder / f"{name}.log").read_text(encoding="utf-8")

    async def check(self, name: str) -> subprocess.CompletedProcess[str]:
        if name == "gateway":  # it asks over HTTP, which the image's Python does by itself
            code = SERVICES[name]["healthcheck"]["test"][-1].replace("8000", str(self.ports["gateway"]))
            return await asyncio.to_thread(
                subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
            )
        return await self.run(name, *SERVICES[name]["healthcheck"]["test"][2:])


def socket_of(url: str) -> Path:
    folder = Path(parse_qs(urlsplit(url).query)["host"][0])
    (socket,) = (path for path in folder.iterdir() if path.is_socket())
    return socket


@asynccontextmanager
async def over_tcp(url: str) -> AsyncIterator[int]:
    """Let a server that listens on a Unix socket be reached at a port of the loopback address."""
    socket = socket_of(url)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(socket)
        await asyncio.gather(pump(reader, back), pump(there, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


@pytest.fixture
async def containers(tmp_path: Path) -> AsyncIterator[Containers]:
    """A server that asks for passwords, and the secrets in files."""
    async with EmbeddedPostgres(tmp_path / "postgres") as server, over_tcp(server.url) as port:
        database = f"127.0.0.1:{port}"
        made = Containers(tmp_path, database, dict(zip(LONG_RUNNING, free_ports(len(LONG_RUNNING)), strict=True)))
        (tmp_path / "system_context").write_bytes(os.urandom(32).hex().encode())
        (tmp_path / "system_context").chmod(0o600)
        owner = urlsplit(server.url).netloc.rpartition("@")[0]
        (tmp_path / "database_url").write_text(f"postgresql://{owner}@{database}/quasar", encoding="utf-8")
        yield made


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_the_containers_come_up_in_their_order_and_take_a_token(containers: Containers) -> None:
    done = await containers.run("migrate", *SERVICES["migrate"]["command"])
    assert done.returncode == 0, done.stderr
    async with AsyncExitStack() as stack:
        for name in LONG_RUNNING:
            process = await stack.enter_async_context(containers.started(name))
            await containers.healthy(name, process)
        made = await containers.run("migrate", "token", "create", "ann", "--role", "viewer")
        assert made.returncode == 0, made.stderr
        target = f"127.0.0.1:{containers.ports['registry']}"
        settings = ClientSettings(target=target, token=made.stdout.strip())
        channel = await stack.enter_async_context(Channel(settings))
        stub: Any = channel.stub(system_service_pb2_grpc.SystemServiceStub)
        caller = await stub.GetCaller(system_service_pb2.GetCallerRequest())
        assert caller.principal == "ann"


async def test_a_service_without_the_migrated_roles_says_that_it_is_not_ready(containers: Containers) -> None:
    async with containers.started("registry"):
        answer = await containers.check("registry")
        assert answer.returncode == 1
        assert "registry at 127.0.0.1:" in answer.stdout
