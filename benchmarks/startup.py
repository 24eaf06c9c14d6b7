"""`quasar up` warm to all healthy, against the slowest single part started alone; and the idle memory of the platform.

The home exists, its database has its schema, and the files are in the page cache: what is measured is a restart.
"Alone" means that nothing else starts: a service or the gateway beside a database and services that are up,
PostgreSQL by itself. A start ends when the part answers that it is ready, as `quasar status` asks.

Command: `python -m benchmarks.startup`
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from quasar.clock import SystemClock
from quasar.config import PARTS, Part, Settings
from quasar.database.embedded import EmbeddedPostgres
from quasar.supervisor.probes import Answer, Probe
from quasar.supervisor.status import memory_bytes

ROUNDS = 5
BAR = 3.0
PATIENCE_S = 60.0
IDLE_S = 5.0
MIB = 1024 * 1024


def environment(home: Path) -> dict[str, str]:
    """Return the settings of a platform on ports that are free now."""
    held = [socket.socket() for _ in PARTS]
    for each in held:
        each.bind(("127.0.0.1", 0))
    ports = {part.port_variable: str(each.getsockname()[1]) for part, each in zip(PARTS, held, strict=True)}
    for each in held:
        each.close()
    outside = {name: value for name, value in os.environ.items() if not name.startswith("QUASAR_")}
    return {**outside, "QUASAR_HOME": str(home), "GRPC_ENABLE_FORK_SUPPORT": "0", **ports}


@contextmanager
def process(variables: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run Python until the context ends."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(
        [sys.executable, "-P", *arguments], env=variables, stdin=quiet, stdout=quiet, stderr=quiet
    ) as run:
        try:
            yield run
        finally:
            run.send_signal(signal.SIGTERM)


async def until_ready(variables: dict[str, str], *parts: Part) -> None:
    """Wait until parts say that they are ready."""
    for part in parts:
        probe = Probe(Settings.read(part, variables))
        answer = Answer.SILENT
        async with asyncio.timeout(PATIENCE_S):
            while answer is not Answer.READY:
                await asyncio.sleep(0.01)
                answer = await probe.ask()
        await probe.close()


async def seconds(start: Callable[[], Awaitable[None]]) -> float:
    """Return how long a start took."""
    began = time.perf_counter()
    await start()
    return time.perf_counter() - began


async def whole(variables: dict[str, str]) -> tuple[float, float]:
    """Start and stop the platform; return the seconds until all was ready, and its idle memory in bytes."""
    began = time.perf_counter()
    with process(variables, "-m", "quasar.cli", "up"):
        await until_ready(variables, *PARTS)
        took = time.perf_counter() - began
        await asyncio.sleep(IDLE_S)
        memory = await asyncio.to_thread(used_memory, Path(variables["QUASAR_HOME"]))
    return took, memory


def used_memory(home: Path) -> float:
    """Return the memory of all processes of a running platform, shared pages counted once."""
    state = json.loads((home / "up.json").read_text(encoding="utf-8"))
    found = [memory_bytes(psutil.Process(each["pid"])) for each in state["processes"]]
    supervisor = memory_bytes(psutil.Process(state["supervisor"]["pid"]), descendants=False)
    return float(sum(each or 0 for each in (*found, supervisor)))


async def alone(variables: dict[str, str]) -> dict[str, float]:
    """Return the seconds that each part takes by itself, while all that it needs is up."""
    home = Settings.read(PARTS[0], variables).home
    took: dict[str, float] = {}
    server = EmbeddedPostgres(home.database, clock=SystemClock())

    async def start_database() -> None:
        await server.start()

    took["database"] = await seconds(start_database)
    try:
        running: list[Any] = []
        for part in PARTS:
            began = time.perf_counter()
            context = process(variables, "-m", part.module)
            running.append(context)
            context.__enter__()
            await until_ready(variables, part)
            took[part.name] = time.perf_counter() - began
        for context in reversed(running):
            context.__exit__(None, None, None)
    finally:
        await server.stop()
    return took


async def measure() -> tuple[float, dict[str, float], float]:
    """Return the median start of the whole, those of the parts, and the median idle memory."""
    with tempfile.TemporaryDirectory() as folder:
        variables = environment(Path(folder) / "home")
        await whole(variables)  # makes the home; not counted
        starts, parts, memory = [], [], []
        for _ in range(ROUNDS):  # in turn, so that a slow moment of the machine meets both
            took, used = await whole(variables)
            starts.append(took)
            memory.append(used)
            parts.append(await alone(variables))
    medians = {name: statistics.median(each[name] for each in parts) for name in parts[0]}
    return statistics.median(starts), medians, statistics.median(memory)


def rows() -> list[dict[str, Any]]:
    """Return the rows of the benchmark table."""
    up, parts, memory = asyncio.run(measure())
    slowest = max(parts, key=lambda name: parts[name])
    each = sum(parts.values())
    return [
        {
            "issue": "foundation",
            "name": "quasar up, warm, until all is ready",
            "value": round(up, 3),
            "unit": "s",
            "against": f"the slowest part alone ({slowest})",
            "against_value": round(parts[slowest], 3),
            "ratio": round(up / parts[slowest], 2),
            "bar": f"<= {BAR:g}",
            "holds": up <= BAR * parts[slowest],
        },
        {
            "issue": "foundation",
            "name": "quasar up, warm, until all is ready",
            "value": round(up, 3),
            "unit": "s",
            "against": "all parts one after the other",
            "against_value": round(each, 3),
            "ratio": round(up / each, 2),
            "bar": None,
            "holds": None,
        },
        {
            "issue": "foundation",
            "name": "idle memory of the whole platform",
            "value": round(memory / MIB),
            "unit": "MiB",
            "against": None,
            "against_value": None,
            "ratio": None,
            "bar": None,
            "holds": None,
        },
    ]


if __name__ == "__main__":
    for row in rows():
        print(json.dumps(row))
