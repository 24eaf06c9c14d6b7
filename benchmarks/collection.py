"""What collection costs: ten thousand subscriptions with nothing to do, and the memory of a long backfill.

Both are measured on the DataHub as it runs in production, a process of its own beside a durable PostgreSQL of its own.
The backfill goes through a provider in its jailed process. 50 million bars take minutes, so that by default 4 million
are fetched and the growth for each further million is what is held against the limit. All of them are fetched by
`python -m benchmarks.collection --backfill 50000000`, which tells every quarter of a minute how far it is, keeps its
row in `results/latest.json`, and needs about 12 GB in the folder of temporary files (TMPDIR) while it runs.

Command: `python -m benchmarks.collection` (about two and a half minutes), with `--idle` or `--backfill` one part alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.__main__ import write
from benchmarks.market_database import SEARCH_PATH
from quasar.database.embedded import EmbeddedPostgres
from quasar.database.pool import Database
from quasar.database.schema import prepare_schema
from quasar.secrets import SystemContext

SUBSCRIPTIONS = 10_000
IDLE_S = 30.0
WARM_S = 20.0
BARS = 4_000_000
TOLD_S = 15.0
MINUTES_OF_A_YEAR = 366 * 24 * 60
_LIMIT_CORE = 5.0
_LIMIT_MIB_A_MILLION = 1.0
_MIB = 1024 * 1024
_SECRET = b"the system context of the benchmarks is no secret"
_FLOOD = b'''
import numpy as np

from quasar.provider import BarColumns, Provider

MINUTE = 60_000_000_000
ROWS = 20_000


class Flood(Provider):
    """Every minute has a bar, as fast as they are taken."""

    name = "flood"
    intervals = ("1min",)
    calendar = "24/7"
    concurrency = 4

    async def bars(self, request):
        for start in range(request.start_ns, request.end_ns, ROWS * MINUTE):
            times = np.arange(start, min(start + ROWS * MINUTE, request.end_ns), MINUTE, dtype=np.int64)
            price = 100.0 + (times // MINUTE % 1000) / 100
            yield BarColumns(times, price, price + 1, price - 1, price, np.full(len(times), 7.0))
'''
_MANIFEST = {
    "name": "flood",
    "kind": "CODE_KIND_PROVIDER",
    "class_name": "Flood",
    "capabilities": ["PROVIDER_CAPABILITY_HISTORICAL"],
    "intervals": ["1min", "1d"],
    "default_calendar": "24/7",
    "concurrency": 4,
}


@asynccontextmanager
async def _place() -> AsyncIterator[tuple[Database, str, Path]]:
    """Yield a database of one's own, its address, and a home with the system context."""
    with tempfile.TemporaryDirectory(prefix="quasar-bench-") as folder:
        home = Path(folder)
        context = home / "system_context"
        context.touch(mode=0o600)
        context.write_bytes(_SECRET + b"\n")
        async with EmbeddedPostgres(home / "postgres") as server:
            await prepare_schema(server.url, SystemContext(_SECRET))
            opened = await Database.open(server.url, application_name="quasar-bench", settings=SEARCH_PATH)
            async with opened as database:
                yield database, server.url, home


@contextlib.contextmanager
def _datahub(url: str, home: Path) -> Any:
    """Run the DataHub and yield its process."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("QUASAR_")}
    settings = {
        "QUASAR_HOME": str(home),
        "QUASAR_DATABASE_URL": url,
        "QUASAR_SYSTEM_CONTEXT": str(home / "system_context"),
        "QUASAR_DATAHUB_PORT": str(port),
        "QUASAR_LOG_LEVEL": "error",
    }
    process = subprocess.Popen([sys.executable, "-m", "datahub"], env={**outside, **settings}, stdin=subprocess.DEVNULL)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


async def _subscribe(database: Database, symbols: list[str], interval: str, start: dt.datetime) -> None:
    """Store the provider and one subscription of some symbols, as the registry does."""
    code_id = await database.fetchval(
        "insert into registry.code_registry (kind, name, latest_version) values ('provider', 'flood', 1) "
        "returning code_id"
    )
    await database.execute(
        """insert into registry.code_versions (code_id, version, sha256, file_name, source, manifest)
           values ($1, 1, $2, 'flood.py', $3, $4)""",
        code_id,
        hashlib.sha256(_FLOOD).digest(),
        _FLOOD,
        _MANIFEST,
    )
    await database.execute("update registry.code_registry set active_version = 1 where code_id = $1", code_id)
    subscription = await database.fetchval(
        """insert into registry.provider_subscription
               (code_id, selector, interval, backfill_start, cron, provider, selection_kind, selection_name,
                selection_names, selection_key)
           values ($1, $2, $3, $4, '0 0 1 1 *', 'flood', 'symbols', 'all', $5, sha256('all'))
           returning subscription_id""",
        code_id,
        {"symbols": symbols},
        interval,
        start,
        symbols,
    )
    await database.execute(
        """with listed as (
               insert into registry.assets (code_id, symbol) select $1, unnest($2::text[]) returning asset_id, symbol
           )
           insert into registry.subscription_symbols (subscription_id, symbol, asset_id)
           select $3, symbol, asset_id from listed""",
        code_id,
        symbols,
        subscription,
    )


def _cpu_s(processes: list[psutil.Process]) -> float:
    """Return the CPU seconds of processes and those that they started."""
    total = 0.0
    for one in processes:
        for each in (one, *one.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                total += times.user + times.system
    return total


async def _backends(database: Database) -> list[psutil.Process]:
    """Return the server processes that work for the DataHub."""
    rows = await database.fetch("select pid from pg_stat_activity where application_name like 'quasar-datahub%'")
    return [psutil.Process(row["pid"]) for row in rows if psutil.pid_exists(row["pid"])]


async def _idle() -> tuple[float, float]:
    """Return what percentage of a core the DataHub takes with everything up to date, and what its queries take."""
    async with _place() as (database, url, home):
        now = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        symbols = [f"S{number:05}" for number in range(SUBSCRIPTIONS)]
        await _subscribe(database, symbols, "1d", now - dt.timedelta(days=20))
        await _bring_up_to_date(database, symbols, now)
        with _datahub(url, home) as process:
            async with asyncio.timeout(120):
                while await database.fetchval("select count(*) from subscribed_series") < SUBSCRIPTIONS:  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
            await asyncio.sleep(WARM_S)
            backends = await _backends(database)
            begun, queries = _cpu_s([process]), _cpu_s(backends)
            await asyncio.sleep(IDLE_S)
            used = _cpu_s([process]) - begun
            asked = _cpu_s(backends) - queries
    return 100 * used / IDLE_S, 100 * asked / IDLE_S


async def _bring_up_to_date(database: Database, symbols: list[str], now: dt.datetime) -> None:
    """Store twenty days of every symbol, with the ledger that goes with them."""
    first = now - dt.timedelta(days=20)
    await database.execute("select ops.ensure_partitions('datahub.historical_data', $1, $2)", first, now)
    await database.execute(
        "insert into series (provider, symbol, interval, calendar) select 'flood', unnest($1::text[]), '1d', '24/7'",
        symbols,
    )
    await database.execute(
        """insert into historical_data (series_id, open_time, close_time, open, high, low, close, volume)
           select s.series_id, t, t + interval '1 day', 100, 101, 99, 100 + extract(day from t) / 100, 7
           from series s, generate_series($1::timestamptz, $2::timestamptz - interval '1 day', interval '1 day') t""",
        first,
        now,
    )
    await database.execute(
        """insert into coverage (series_id, start_time, end_time, state, slots)
           select series_id, $1, $2, 1, 20 from series""",
        first,
        now,
    )
    await database.execute(
        """insert into series_progress (series_id, classified_from, classified_until, watermark, rows)
           select series_id, $1, $2, $2, 20 from series""",
        first,
        now,
    )
    await database.execute("analyze")


@dataclass(frozen=True, slots=True)
class _Point:
    """Where a backfill stands at a moment."""

    spent_s: float
    bars: int
    memory_mib: float


async def _backfill(bars: int) -> list[_Point]:
    """Fetch years of minutes and return how that went on, from beginning to end."""
    years = max(2, round(bars / MINUTES_OF_A_YEAR))
    start = dt.datetime.now(dt.UTC).replace(second=0, microsecond=0) - dt.timedelta(minutes=MINUTES_OF_A_YEAR)
    total = years * MINUTES_OF_A_YEAR
    points: list[_Point] = []
    async with _place() as (database, url, home):
        await _subscribe(database, [f"S{number:03}" for number in range(years)], "1min", start)
        begun, told = time.perf_counter(), 0.0
        with _datahub(url, home) as process:
            while not points or points[-1].bars < total:
                await asyncio.sleep(0.5)
                stored = await database.fetchval("select coalesce(sum(rows), 0)::bigint from series_progress")
                points.append(_Point(time.perf_counter() - begun, stored, process.memory_info().rss / _MIB))
                if points[-1].spent_s - told >= TOLD_S:
                    told = points[-1].spent_s
                    _tell(points[-1], total)
                if points[-1].spent_s > 60 + total / 20_000:
                    raise TimeoutError(f"{stored} of {total} bars after {points[-1].spent_s:.0f} s")
    return points


def _tell(point: _Point, total: int) -> None:
    """Say on the terminal how far a backfill is."""
    left_s = (total - point.bars) * point.spent_s / max(point.bars, 1)
    print(
        f"  {point.bars / 1e6:.1f} of {total / 1e6:.1f} M bars, {point.bars / point.spent_s:,.0f}/s, "
        f"{point.memory_mib:.0f} MiB, {left_s:.0f} s left",
        file=sys.stderr,
        flush=True,
    )


def idle_rows() -> list[dict[str, Any]]:
    """Return what it costs to have nothing to do."""
    core, queries = asyncio.run(_idle())
    return [
        _limit(f"the DataHub, idle with {SUBSCRIPTIONS:,} subscriptions", core, "% of a core", _LIMIT_CORE),
        _limit(f"its queries, idle with {SUBSCRIPTIONS:,} subscriptions", queries, "% of a core", _LIMIT_CORE),
    ]


def backfill_rows(bars: int) -> list[dict[str, Any]]:
    """Return how memory grows in a backfill. Its first fifth warms up: code, connections, calendars, the pool."""
    points = asyncio.run(_backfill(bars))
    last = points[-1]
    warm = [point for point in points if point.bars >= last.bars / 5]
    slope = float(np.polyfit([point.bars / 1e6 for point in warm], [point.memory_mib for point in warm], 1)[0])
    name = (
        f"memory of the DataHub while backfilling {last.bars / 1e6:.1f} M bars ({warm[0].memory_mib:.0f} MiB after a "
        f"fifth, {last.memory_mib:.0f} at the end, {max(point.memory_mib for point in points):.0f} at most; "
        f"{last.bars / last.spent_s:,.0f} bars/s)"
    )
    return [_limit(name, max(slope, 0.0), "MiB/M bars", _LIMIT_MIB_A_MILLION)]


def rows() -> list[dict[str, Any]]:
    """Return the figures of this group."""
    return idle_rows() + backfill_rows(BARS)


def _limit(name: str, value: float, unit: str, limit: float) -> dict[str, Any]:
    return {
        "issue": "collection",
        "name": name,
        "value": round(value, 2),
        "unit": unit,
        "against": "limit",
        "against_value": limit,
        "ratio": round(value / limit, 2),
        "bar": 1.0,
        "holds": value <= limit,
    }


def main() -> int:
    """Print the rows; those of a long backfill are also kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--idle", action="store_true", help="only the cost of having nothing to do")
    parser.add_argument("--backfill", type=int, metavar="BARS", nargs="?", const=BARS, help="only a backfill")
    chosen = parser.parse_args()
    found = idle_rows() if chosen.idle else []
    if chosen.backfill:
        backfilled = [{**each, "issue": "collection, long run"} for each in backfill_rows(chosen.backfill)]
        write(backfilled)
        found += backfilled
    for each in found or rows():
        print(json.dumps(each))
    return 0


if __name__ == "__main__":
    sys.exit(main())
