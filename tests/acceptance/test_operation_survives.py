"""Work that is under way when its service is killed goes on in the next run of the service."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from quasar.clock import SystemClock
from quasar.database.pool import Database
from quasar.ops.events import Events
from quasar.ops.operations import Operation, Operations, OperationState
from tests.acceptance.harness import PATIENCE_S, Installation, free_ports

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def counting_service(environment: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.acceptance.counting_service",
        env=environment,
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), PATIENCE_S)


async def test_an_operation_survives_the_death_of_its_service(
    tmp_path: Path, database: Database, database_url: str, system_context_file: Path
) -> None:
    clock = SystemClock()
    operations = Operations(database, "registry", Events(database, "registry", clock), clock)
    [port] = free_ports(1)
    settings = {
        "QUASAR_DATABASE_URL": database_url,
        "QUASAR_SYSTEM_CONTEXT": str(system_context_file),
        "QUASAR_REGISTRY_PORT": str(port),
    }
    environment = Installation(tmp_path, settings).environment
    submitted = await operations.submit("count", {"to": 60})
    async with counting_service(environment) as process:
        await reaches(operations, submitted, lambda each: each.progress.done >= 10)
        process.kill()
        await process.wait()
    killed = await operations.get(submitted.operation_id)
    assert killed.state is OperationState.RUNNING
    async with counting_service(environment):
        found = await reaches(operations, submitted, lambda each: each.state.final)
    assert found.state is OperationState.SUCCEEDED
    assert found.result is not None
    assert found.result.summary["resumed_after"] >= 10
    assert (found.attempts, found.progress.done) == (2, 60)


async def reaches(operations: Operations, wanted: Operation, condition: object) -> Operation:
    assert callable(condition)
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = await operations.get(wanted.operation_id)
            if condition(found):
                return found
            await asyncio.sleep(0.02)
