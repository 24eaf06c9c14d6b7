"""Runs the platform and the steps of the main job on it, and prints a line with the time of each."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from quasar import errors
from quasar.client.platform import Platform
from quasar.config import PARTS
from quasar.providers.market import Market
from quasar.testing.vendors import EodhdServer, KrakenServer, SimulatedExchange
from scripts.main_job.recordings import DATA, EODHD_TOKEN, SEED, TRUTH, Failed, Recordings, World, must
from scripts.main_job.stages import STEPS, Job

UP_S = 120.0


@asynccontextmanager
async def running_platform(home: Path) -> AsyncIterator[dict[str, str]]:
    """Run `quasar up` on free ports in a home of its own, and yield its environment."""
    ports = await _free_ports(len(PARTS))
    outside = {name: value for name, value in os.environ.items() if not name.startswith("QUASAR_")}
    settings = {part.port_variable: str(port) for part, port in zip(PARTS, ports, strict=True)}
    environment = {**outside, "QUASAR_HOME": str(home), **settings}
    log = home.with_suffix(".log")
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "quasar.cli", "up", env=environment, stdout=output, stderr=output
        )
    try:
        async with asyncio.timeout(UP_S):
            while "is up (" not in _text(log):
                must(process.returncode is None, f"`quasar up` runs, said:\n{_text(log)[-2000:]}")
                await asyncio.sleep(0.1)
        yield environment
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _free_ports(count: int) -> list[int]:
    servers = [await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0) for _ in range(count)]
    ports = [int(server.sockets[0].getsockname()[1]) for server in servers]
    for server in servers:
        server.close()
        await server.wait_closed()
    return ports


async def run(scratch: Path, tell: Callable[[str], None]) -> bool:
    """Do the main job in an empty folder; return whether every step held."""
    home, folder = scratch / "home", scratch / "candles"
    recordings = Recordings.read(folder)
    async with (
        KrakenServer(SimulatedExchange(Market(SEED))) as kraken,
        EodhdServer(recordings.eodhd, token=EODHD_TOKEN) as eodhd,
        running_platform(home) as environment,
        Platform.read(environment) as quasar,
    ):
        await quasar.ready(within_s=60)
        page = f"http://127.0.0.1:{environment['QUASAR_GATEWAY_PORT']}"
        job = Job(quasar, World(recordings, folder, kraken, eodhd), page, _text(home / "admin.token"))
        held = await _steps(job, tell)
        if not held:
            tell("\n".join(_last_words(home)))
        return held


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip()


async def _steps(job: Job, tell: Callable[[str], None]) -> bool:
    clock = job.quasar.clock
    for name, step in STEPS:
        began = clock.monotonic()
        try:
            words = await step(job)
        except (Failed, errors.QuasarError, TimeoutError, aiohttp.ClientError) as error:
            tell(f"FAILED  {name:<18} {clock.monotonic() - began:6.1f} s  {str(error) or type(error).__name__}")
            return False
        tell(f"holds   {name:<18} {clock.monotonic() - began:6.1f} s  {words}")
    return True


def _last_words(home: Path) -> list[str]:
    lines = (home / "logs" / "quasar.log").read_text(encoding="utf-8", errors="replace").splitlines()
    return ["", "What the platform said last:", *(line[:300] for line in lines[-25:])]


def main() -> int:
    """Run the job; return the exit code."""
    if not TRUTH.exists() or not DATA.is_dir():
        print(f"The recordings must be in {DATA} and {TRUTH.parent}, are not; set QUASAR_TEST_DATA to their folder.")
        return 2
    with tempfile.TemporaryDirectory(prefix="quasar-main-job-") as scratch:
        # The platform's plug-ins may run as another account, which must be able to come this far.
        Path(scratch).chmod(0o755)
        held = asyncio.run(run(Path(scratch), lambda line: print(line, flush=True)))
    print("The main job holds." if held else "The main job fails.")
    return 0 if held else 1
