"""The PostgreSQL server of one test run, in a process of its own: it serves every worker of the run and outlives none.

Run as `python -m quasar.testing.database_server FOLDER PID`: starts a server, writes its address to `FOLDER/url`, and
stops it when the process `PID` has ended or the file `FOLDER/stop` has appeared. Then the folder is removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

from quasar.database.embedded import EmbeddedPostgres

TIMESCALEDB_IMAGE = "timescale/timescaledb:2.28.3-pg17"
"""What testcontainers runs where a Docker engine answers."""

_ENGINE_TIMEOUT_S = 3
_LOOK_S = 0.1

# A test database need not survive a power cut.
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "300"}


async def serve(folder: Path, pid: int) -> None:
    """Run a server until the test run is over."""
    try:
        async with _server(folder) as url:
            _publish(folder / "url", url)
            await asyncio.to_thread(_until_over, folder, pid)
    except Exception as error:
        _publish(folder / "error", f"{type(error).__name__}: {error}")
        raise
    finally:
        if (folder / "url").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _until_over(folder: Path, pid: int) -> None:
    """Return when the run has ended or its process is gone."""
    while psutil.pid_exists(pid) and not (folder / "stop").exists():
        time.sleep(_LOOK_S)


@asynccontextmanager
async def _server(folder: Path) -> AsyncIterator[str]:
    """Yield the address of a server: TimescaleDB in a container where an engine answers, else the embedded one."""
    if docker_answers():
        container = await asyncio.to_thread(_start_container)
        try:
            yield container.get_connection_url(driver=None)
        finally:
            await asyncio.to_thread(container.stop)
        return
    async with EmbeddedPostgres(folder / "postgres", settings=_FAST) as server:
        yield server.url


def docker_answers() -> bool:
    """Tell whether a Docker engine answers within a few seconds."""
    try:
        import docker  # type: ignore[import-untyped]  # installed with testcontainers
    except ImportError:
        return False
    with contextlib.suppress(Exception):
        client = docker.from_env(timeout=_ENGINE_TIMEOUT_S)
        try:
            return bool(client.ping())
        finally:
            client.close()
    return False


def _start_container() -> Any:
    """Start TimescaleDB."""
    from testcontainers.postgres import PostgresContainer

    container = PostgresContainer(TIMESCALEDB_IMAGE, username="quasar", password="quasar", dbname="quasar")  # noqa: S106 - throwaway
    return container.start()


def _publish(path: Path, text: str) -> None:
    """Write a file that appears whole."""
    staged = path.with_suffix(".new")
    staged.write_text(text, encoding="utf-8")
    staged.replace(path)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
