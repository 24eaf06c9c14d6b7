"""The platform as an operator runs it: the command line in processes of its own, in a home of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

PATIENCE_S = 180
PARTS = ("registry", "datahub", "strategy", "gateway")


@dataclass
class Installation:
    """A home and the settings that go with it."""

    home: Path
    settings: dict[str, str] = field(default_factory=dict)

    @classmethod
    def at(cls, home: Path) -> Installation:
        """An installation on ports that are free now."""
        ports = free_ports(len(PARTS))
        settings = {f"QUASAR_{part.upper()}_PORT": str(port) for part, port in zip(PARTS, ports, strict=True)}
        return cls(home, settings)

    def port(self, part: str) -> int:
        return int(self.settings[f"QUASAR_{part.upper()}_PORT"])

    @property
    def environment(self) -> dict[str, str]:
        outside = {name: value for name, value in os.environ.items() if not name.startswith("QUASAR_")}
        return {**outside, "QUASAR_HOME": str(self.home), **self.settings}

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        environment: Mapping[str, str] = {**self.environment, **options.pop("environment", {})}
        return subprocess.run(
            [sys.executable, "-P", "-m", "quasar.cli", *arguments],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
            **options,
        )

    async def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(self.run, *arguments)

    async def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((await self.command("status", "--json")).stdout)
        return found

    def processes(self) -> dict[str, int]:
        """The ids of what the running supervisor has started, by name."""
        state = json.loads((self.home / "up.json").read_text(encoding="utf-8"))
        return {each["name"]: each["pid"] for each in (state["supervisor"], *state["processes"])}

    def end(self) -> None:
        """Kill what still runs; for a test that has failed half-way."""
        pids = list(self.processes().values()) if (self.home / "up.json").exists() else []
        lock = self.home / "db" / "data" / "postmaster.pid"
        if lock.exists():
            pids.append(int(lock.read_text(encoding="utf-8").splitlines()[0]))
        for pid in with_descendants(pids):
            kill(pid)


class Up:
    """A running `quasar up`."""

    def __init__(self, installation: Installation, process: asyncio.subprocess.Process) -> None:
        self.installation = installation
        self.process = process
        self.lines: deque[str] = deque(maxlen=400)
        self._news = asyncio.Condition()
        self._over = False

    async def read(self) -> None:
        """Keep the output, so that the pipe never fills."""
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            async with self._news:
                self.lines.append(raw.decode(errors="replace").rstrip())
                self._news.notify_all()
        async with self._news:
            self._over = True
            self._news.notify_all()

    async def says(self, words: str) -> None:
        """Wait for a line of the output that has these words."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S), self._news:
                await self._news.wait_for(lambda: self._over or self._said(words))
        if not self._said(words):
            raise AssertionError(f"must say {words!r}, said:\n" + "\n".join(self.lines))

    def _said(self, words: str) -> bool:
        return any(words in line for line in self.lines)

    async def ready(self) -> dict[str, Any]:
        """Wait until everything that runs is ready, and return the status."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                status = await self.installation.status()
                names = {each["name"] for each in status["processes"]}
                if status["ready"] and names >= {"database", *PARTS}:
                    return status
                assert self.process.returncode is None, "\n".join(self.lines)

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()


@asynccontextmanager
async def up(installation: Installation, *arguments: str) -> AsyncIterator[Up]:
    """Run `quasar up` until it says that it is up, and stop what is left at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "quasar.cli",
        "up",
        *arguments,
        env=installation.environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    running = Up(installation, process)
    reading = asyncio.create_task(running.read())
    try:
        await running.says("is up (")
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await running.ended()
        await reading


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, each at most once.

    They lie below those that the system hands out by itself, and each worker of a run has its own: what is free now is
    still free when a process listens there some seconds later.
    """
    found: list[int] = []
    while len(found) < count:
        port = _ports.pop()
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
    return found


def _shuffled_ports() -> list[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    ports = list(range(20_000 + worker, 32_000, _WORKERS))
    random.shuffle(ports)
    return ports


_WORKERS = 8
_ports = _shuffled_ports()


async def gone(pids: list[int]) -> None:
    """Wait until none of the processes runs."""
    processes = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, PATIENCE_S)
    assert alive == []


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def with_descendants(pids: list[int]) -> list[int]:
    """The processes and everything that they have started."""
    found = set(pids)
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= {each.pid for each in psutil.Process(pid).children(recursive=True)}
    return sorted(found)
