"""Bars stored per second, from columns to commit with the ledger, beside the server's own COPY of the same rows.

The server's COPY reads a binary file on the server into the same indexed, partitioned table, as another series that it
has not seen before. What is measured stores the same rows in deliveries of 50,000: not seen before, all unchanged, all
revised. `executemany` with ON CONFLICT is what a plain client would do. A checkpoint before both keeps the disk's work
for what went before out of their time. Where `QUASAR_TEST_TIMESCALE_URL` names a server with TimescaleDB, the same is
measured on its hypertables; without one that row is absent.

Command: `python -m benchmarks.ingest` (about a minute), `python -m benchmarks.ingest --quick`, with `--timescale` that
row alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.market_database import TIMESCALE_URL, bars, market_database, row, series, timescale_database
from datahub.ingest.delivery import Counts, Delivery
from datahub.ingest.room import Room
from datahub.ingest.writer import BarWriter
from datahub.series.series import Series
from quasar.clock import SystemClock
from quasar.database.pool import Database
from quasar.model.bars import BarColumns
from quasar.model.instants import TimeRange

BARS = 300_000
BATCH = 50_000
REPEATS = 5
_COLUMNS = "series_id, open_time, close_time, open, high, low, close, volume, known_at, source_series_id, origin"
_UPSERT = f"""insert into historical_data ({_COLUMNS}) values ($1, $2, $3, $4, $5, $6, $7, $8, now(), 0, 1)
on conflict (series_id, open_time) do update set close = excluded.close"""


async def _store(writer: BarWriter, one: Series, columns: BarColumns) -> tuple[float, Counts]:
    """Store everything in deliveries, and return rows per second and what became of them."""
    counts = Counts()
    begun = time.perf_counter()
    for start in range(0, len(columns), BATCH):
        part = columns[start : start + BATCH]
        span = TimeRange(int(part.open_time_ns[0]), int(part.open_time_ns[-1]) + 60_000_000_000)
        counts += await writer.store(Delivery(series=one, columns=part, requested=span, answered=span))
    return len(columns) / (time.perf_counter() - begun), counts


async def _server_copy(database: Database, stored: Series, other: Series, folder: Path) -> float:
    """Return rows per second of the server's own COPY of the rows of a series into the same table as another series."""
    path = folder / "bars.bin"
    columns = _COLUMNS.replace("series_id", str(other.series_id), 1)
    chosen = f"select {columns} from historical_data where series_id = {stored.series_id} order by open_time"
    await database.execute(f"copy ({chosen}) to '{path}' (format binary)")
    await database.execute("checkpoint")
    begun = time.perf_counter()
    status = await database.execute(f"copy historical_data ({_COLUMNS}) from '{path}' (format binary)")
    return int(status.split()[1]) / (time.perf_counter() - begun)


async def _executemany(database: Database, one: Series, columns: BarColumns) -> float:
    rows = [
        (one.series_id, bar.open_time, bar.open_time, bar.open, bar.high, bar.low, bar.close, bar.volume)
        for bar in columns.bars()
    ]
    begun = time.perf_counter()
    for start in range(0, len(rows), 10_000):
        await database.executemany(_UPSERT, rows[start : start + 10_000])
    return len(rows) / (time.perf_counter() - begun)


async def _measure(count: int, repeats: int) -> list[dict[str, Any]]:
    columns = bars(count)
    revised = replace(columns, close=columns.close, high=columns.high + 1.0)
    found: dict[str, list[float]] = {"copy": [], "new": [], "unchanged": [], "revised": []}
    with tempfile.TemporaryDirectory(prefix="quasar-bench-") as folder:
        os.chmod(folder, 0o777)  # noqa: PTH101 - the server, which may be another user, writes here
        async with market_database() as database:
            writer = BarWriter(database, Room(database), SystemClock())
            await _store(writer, await series(database, "WARM"), columns)
            for repeat in range(repeats):
                one = await series(database, f"S{repeat}")
                await database.execute("checkpoint")
                for name, given in (("new", columns), ("unchanged", columns), ("revised", revised)):
                    rate, counts = await _store(writer, one, given)
                    done = {"new": counts.inserted, "unchanged": counts.unchanged, "revised": counts.updated}[name]
                    assert done == count, (name, counts)
                    found[name].append(rate)
                found["copy"].append(
                    await _server_copy(database, one, await series(database, f"C{repeat}"), Path(folder))
                )
            small = columns[: max(count // 10, 1_000)]
            await database.execute("checkpoint")
            plain = await _executemany(database, await series(database, "PLAIN"), small)
    best = {name: float(np.median(rates)) for name, rates in found.items()}
    copy = best["copy"]
    return [
        row("collection", "ingest, rows not seen before", best["new"], "bars/s", "server COPY", copy, 0.70),
        row("collection", "ingest, unchanged rows", best["unchanged"], "bars/s", "server COPY", copy, 0.40),
        row("collection", "ingest, all rows revised", best["revised"], "bars/s", "server COPY", copy, 0.18),
        row("skeleton", "ingest, rows not seen before", best["new"], "bars/s", "executemany", plain, 5.0),
    ]


async def _measure_timescale(count: int, repeats: int) -> list[dict[str, Any]]:
    """Return how fast hypertables are filled, beside `executemany` into the same."""
    columns = bars(count)
    small = columns[: max(count // 10, 1_000)]
    stored, plain = [], []
    async with timescale_database() as database:
        room = Room(database)
        writer, version = BarWriter(database, room, SystemClock()), (await room.storage()).mode.extension_version
        await _store(writer, await series(database, "WARM"), columns)
        for repeat in range(repeats):
            await database.execute("checkpoint")
            rate, counts = await _store(writer, await series(database, f"S{repeat}"), columns)
            assert counts.inserted == count, counts
            stored.append(rate)
            plain.append(await _executemany(database, await series(database, f"P{repeat}"), small))
    against = f"executemany, TimescaleDB {version}"
    medians = float(np.median(stored)), float(np.median(plain))
    name = "ingest into hypertables, rows not seen before"
    return [row("collection", name, medians[0], "bars/s", against, medians[1], 10.0)]


def timescale_rows(count: int = BARS, repeats: int = REPEATS) -> list[dict[str, Any]]:
    """Return the row of hypertables; none, said so, where no server with TimescaleDB is named."""
    if os.environ.get(TIMESCALE_URL):
        return asyncio.run(_measure_timescale(count, repeats))
    print(f"  ingest into hypertables is not measured: {TIMESCALE_URL} names no server", file=sys.stderr, flush=True)
    return []


def rows(count: int = BARS, repeats: int = REPEATS) -> list[dict[str, Any]]:
    """Measure everything and return one row for each figure; medians over `repeats` series of `count` bars."""
    return asyncio.run(_measure(count, repeats)) + timescale_rows(count, repeats)


def main() -> int:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="a fifth of the bars, one run")
    parser.add_argument("--timescale", action="store_true", help="only the row of TimescaleDB")
    chosen = parser.parse_args()
    measure = timescale_rows if chosen.timescale else rows
    for each in measure(BARS // 5, 1) if chosen.quick else measure():
        print(json.dumps(each))
    return 0


if __name__ == "__main__":
    sys.exit(main())
