"""What the benchmarks of the registry share: its ground on a database, sources, medians, rows."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from quasar.clock import SystemClock
from quasar.database.pool import Database
from quasar.ops.events import Events
from quasar.ops.operations import Operations
from quasar.secrets import SystemContext
from registry.ground import Ground
from registry.requests import Requests
from registry.running import Running


def ground(database: Database) -> Ground:
    """Return what the registry's work stands on."""
    clock = SystemClock()
    events = Events(database, "registry", clock)
    running = Running(database, Operations(database, "registry", events, clock))
    return Ground(database, clock, events, Requests(clock, SystemContext.generate()), running)


async def source(database: Database, name: str) -> int:
    """Add an active provider that lists symbols; return its number."""
    code_id: int = await database.fetchval(
        "insert into registry.code_registry (kind, name) values ('provider', $1) returning code_id", name
    )
    await database.execute(
        "insert into registry.code_versions (code_id, version, sha256, file_name, manifest)"
        " values ($1, 1, sha256($2::text::bytea), 'bench.py', $3)",
        code_id,
        name,
        {"kind": "CODE_KIND_PROVIDER", "name": name, "capabilities": ["PROVIDER_CAPABILITY_SYMBOLS"]},
    )
    await database.execute("update registry.code_registry set active_version = 1 where code_id = $1", code_id)
    return code_id


async def at_length(database: Database, statement: str, *arguments: Any) -> None:
    """Run a statement that may take longer than the platform allows its own."""
    async with database.transaction() as connection:
        await connection.execute("set local statement_timeout = '10min'")
        await connection.execute(statement, *arguments)


async def vacuum(database: Database, table: str) -> None:
    """Vacuum and analyse a table, as the server does by itself after a while."""
    async with database.acquire() as connection:
        await connection.execute("set statement_timeout = '10min'")
        await connection.execute(f"vacuum analyze registry.{table}")
        await connection.execute("reset statement_timeout")


async def median(call: Callable[[], Awaitable[Any]], times: int = 9) -> float:
    """Return the median of some calls in milliseconds, after two that warm up."""
    spent = []
    for _ in range(times + 2):
        begun = time.perf_counter()
        await call()
        spent.append((time.perf_counter() - begun) * 1000)
    return sorted(spent[2:])[times // 2]


def row(
    name: str, value: float, unit: str, bar: float | None, *, at_most: bool = False, limit: float | None = None
) -> dict[str, Any]:
    """Return one figure beside its bar, and beside a limit where it has one."""
    holds = None if bar is None else (value <= bar if at_most else value >= bar)
    sign = "≤" if at_most else "≥"
    return {
        "issue": "registry",
        "name": name,
        "value": round(value, 2),
        "unit": unit,
        "against": "bare COPY of the rows" if limit else "",
        "against_value": round(limit, 2) if limit else None,
        "ratio": round(value / limit, 3) if limit else None,
        "bar": f"{sign} {bar:,g} {unit}" if bar is not None else "",
        "holds": holds,
    }
