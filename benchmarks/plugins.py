"""Plug-ins in their jail: live ticks as objects and as columns, history, cold start, memory of processes that wait.

Each figure is measured over the whole path: the author's generator in the jailed process, columns on a Unix socket,
decoded columns in the service. What the jail costs at a usual rate is `plugins_cost`'s.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from benchmarks import plugins_cost
from quasar.plugins.code import CodeVersion
from quasar.plugins.manifest import Kind
from quasar.plugins.pool import PluginPool
from quasar.plugins.provider import BarRequest, LiveSymbol, ProviderHandle

SECONDS = 3.0
ROUNDS = 3
IDLE = 50
STARTING = 4
BARS = 2_000_000

SOURCE = b'''
import time

import numpy as np

from quasar.provider import BarColumns, Preference, Provider, Tick, TickColumns


class Bench(Provider):
    """Makes rows as fast as it can."""

    name = "bench"
    intervals = ("1min",)
    columns = Preference(False)

    async def live(self, feed):
        symbol = next(iter(feed.symbols))
        if self.columns:
            prices, sizes = np.full(512, 100.5), np.full(512, 2.0)
            while True:
                now = time.time_ns()
                yield symbol, TickColumns(np.arange(now, now + 512), price=prices, size=sizes)
        else:
            number = 0
            while True:
                number += 1
                yield symbol, Tick(time.time_ns(), price=100.5, size=2.0, trade_id=number)

    async def bars(self, request):
        count = (request.end_ns - request.start_ns) // 60_000_000_000
        for first in range(0, count, 10_000):
            rows = min(10_000, count - first)
            times = request.start_ns + (first + np.arange(rows)) * 60_000_000_000
            price = np.full(rows, 100.5)
            yield BarColumns(times, price, price, price, price, price)
'''


def _row(name: str, value: float, unit: str, bar: float, *, at_least: bool = True, digits: int = 0) -> dict[str, Any]:
    return {
        "issue": "plugins",
        "name": name,
        "value": round(value, digits),
        "unit": unit,
        "against": "target",
        "against_value": bar,
        "ratio": round(value / bar, 3),
        "bar": f"{'>=' if at_least else '<='} {bar:,}",
        "holds": value >= bar if at_least else value <= bar,
    }


def _code(name: str = "bench", **preferences: Any) -> CodeVersion:
    return CodeVersion(
        kind=Kind.PROVIDER, name=name, source=SOURCE, file_name="bench.py", preferences=preferences, ports=()
    )


async def _live(handle: ProviderHandle) -> float:
    """Return rows a second that reach the service."""
    rows, began = 0, 0.0
    async for batch in handle.stream_live([LiveSymbol("X")]):
        now = time.perf_counter()
        if not began:
            began = now
            continue
        rows += sum(len(chunk.columns) for chunk in batch.tick_chunks)
        if now - began >= SECONDS:
            break
    return rows / (time.perf_counter() - began)


async def _bars(handle: ProviderHandle) -> float:
    began, rows = time.perf_counter(), 0
    async for batch in handle.fetch_bars([BarRequest("X", "1min", 0, BARS * 60_000_000_000)]):
        rows += len(batch.columns) if batch.columns is not None else 0
    return rows / (time.perf_counter() - began)


async def _best(measure: Callable[[ProviderHandle], Awaitable[float]], **preferences: Any) -> float:
    with tempfile.TemporaryDirectory() as folder:
        async with PluginPool(Path(folder)) as pool:
            handle = await pool.provider(_code(**preferences))
            return max([await measure(handle) for _ in range(ROUNDS)])


async def _cold_start() -> float:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(5):
            async with PluginPool(Path(folder)) as pool:
                began = time.perf_counter()
                await pool.provider(_code())
                found.append(time.perf_counter() - began)
    return statistics.median(found) * 1e3


async def _idle_memory() -> float:
    """Return MiB of unshared memory (USS) of the median process that waits."""
    import psutil

    with tempfile.TemporaryDirectory() as folder:
        async with PluginPool(Path(folder)) as pool:
            room = asyncio.Semaphore(STARTING)

            async def start(number: int) -> ProviderHandle:
                async with room:
                    return await pool.provider(_code(f"bench{number}"))

            handles = await asyncio.gather(*(start(number) for number in range(IDLE)))
            await asyncio.sleep(2.0)
            pids = [handle.keeper.process.pid for handle in handles if handle.keeper.process is not None]
            return statistics.median(psutil.Process(pid).memory_full_info().uss for pid in pids) / 2**20


async def measure() -> list[dict[str, Any]]:
    """Measure everything."""
    return [
        _row("live, tick objects", await _best(_live), "ticks/s", 150_000),
        _row("live, columns", await _best(_live, columns=True), "ticks/s", 1_000_000),
        _row("history, columns", await _best(_bars), "bars/s", 1_500_000),
        *await plugins_cost.measure(),
        _row("cold start", await _cold_start(), "ms", 800, at_least=False),
        _row(f"memory of one of {IDLE} that wait", await _idle_memory(), "MiB", 45, at_least=False, digits=1),
    ]


def rows() -> list[dict[str, Any]]:
    """Return the figures with their bars."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # the one that services run on
        return runner.run(measure())


if __name__ == "__main__":
    for row in rows():
        print(json.dumps(row))
