"""Live streams at given rates: how far they reach, how late a tick is, and what readers that wait cost.

The server and the clients are those of `benchmarks.live_server` and `benchmarks.streams`. A tick's delay is counted
from when it is handed to the ingest until the client has it as a numpy column. The bars are for two cores of which
nobody else uses anything: the server has one of them, the clients the other.

Command: `python -m benchmarks.live` (about a minute and a half).
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import numpy as np

from benchmarks.live_server import SYMBOLS
from benchmarks.streams import (
    Connections,
    Measured,
    Readers,
    measure,
    on_own_core,
    selection,
    server_process,
)

SECONDS = 6.0
WARM_S = 4.0
"""Until the log is full and memory has settled."""
RATE = 50_000
HUNDRED = 100
IDLE = 1_000
IDLE_RATE = 100
"""Ticks per second of all symbols while nearly all subscribers wait."""


def row(name: str, value: float, unit: str, bar: str, holds: bool | None, **peer: Any) -> dict[str, Any]:
    """Return one figure."""
    return {
        "issue": "live",
        "name": name,
        "value": round(value, 2),
        "unit": unit,
        "against": peer.get("against", ""),
        "against_value": peer.get("against_value"),
        "ratio": peer.get("ratio"),
        "bar": bar,
        "holds": holds,
    }


async def _at(rate: int, count: int, *, flush_ms: int = 0, seconds: float = SECONDS) -> Measured:
    """Measure so many readers at a rate."""
    with server_process("hub", f"--rate={rate}", f"--readers={count}") as server:
        return await measure(server, count, selection(flush_ms=flush_ms), seconds, warm_s=WARM_S)


async def _bare(count: int) -> float:
    with server_process("bare") as server:
        return (await measure(server, count, b"", 4.0, bare=True)).deliveries


async def _idle() -> float:
    """Return what the server's memory grows by with so many subscribers of one symbol each, each on its connection."""
    with server_process("hub", f"--rate={IDLE_RATE}", "--readers=1") as server:
        async with AsyncExitStack() as stack:
            connections = Connections(server.port, stack, shared_by=1)
            first = Readers(connections, 1, selection(symbols=[0]))
            reading = [asyncio.create_task(first.read(0, (await first.open())[0]))]
            await asyncio.sleep(WARM_S)
            before = server.memory_mib()
            for number in range(1, IDLE):
                more = Readers(connections, 1, selection(symbols=[number % SYMBOLS]))
                reading.append(asyncio.create_task(more.read(0, (await more.open())[0])))
                if number % 50 == 0:
                    await asyncio.sleep(0.05)
            await asyncio.sleep(WARM_S)
            grown = server.memory_mib() - before
            if any(task.done() for task in reading):
                raise RuntimeError("a stream of an idle subscriber ended")
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)
    return grown


def _p99(measured: Measured) -> float:
    return float(np.percentile(measured.delays_ms, 99))


def _one_reader() -> list[dict[str, Any]]:
    fast = on_own_core(_at(0, 1))
    steady = on_own_core(_at(RATE, 1, flush_ms=1))
    bare = on_own_core(_bare(1))
    peer = "bare grpc.aio, one message per tick"
    ratio = round(fast.rows / bare, 1)
    return [
        row("one feed to one subscriber", fast.rows, "ticks/s", ">= 500000", fast.rows >= 500_000),
        row(
            "the same beside a plain stream",
            fast.rows,
            "ticks/s",
            ">= 20",
            ratio >= 20,
            against=peer,
            against_value=round(bare),
            ratio=ratio,
        ),
        row(f"p99 delay of a tick at {RATE} ticks/s", _p99(steady), "ms", "<= 20", _p99(steady) <= 20),
    ]


def _hundred_readers() -> list[dict[str, Any]]:
    steady = on_own_core(_at(RATE, HUNDRED))
    double = on_own_core(_at(2 * RATE, HUNDRED))
    bare = on_own_core(_bare(HUNDRED))
    ratio = round(steady.deliveries / bare, 1)
    grown = steady.memory_mib[1] - steady.memory_mib[0]
    kept_up = not double.ended and double.rows >= 0.99 * 2 * RATE and double.deliveries >= 0.99 * 2 * RATE * HUNDRED
    peer = "bare grpc.aio, one message per tick"
    return [
        row(
            f"{RATE} ticks/s to {HUNDRED} subscribers",
            steady.deliveries,
            "deliveries/s",
            ">= 100",
            ratio >= 100,
            against=peer,
            against_value=round(bare),
            ratio=ratio,
        ),
        row("their p99 delay", _p99(steady), "ms", "<= 60", _p99(steady) <= 60 and not steady.ended),
        row("growth of the server's memory meanwhile", grown, "MiB", "<= 64", grown <= 64),
        row("share of its core that the server used", 100 * steady.load[0], "%", "", None),
        row("share of its core that the load used", 100 * steady.load[1], "%", "", None),
        row(f"{2 * RATE} ticks/s to {HUNDRED} subscribers", double.rows, "ticks/s", f">= {1.98 * RATE:g}", kept_up),
    ]


def _many_idle() -> list[dict[str, Any]]:
    grown = on_own_core(_idle())
    return [row(f"memory of {IDLE} subscribers that mostly wait", grown, "MiB", "<= 250", grown <= 250)]


def rows() -> list[dict[str, Any]]:
    """Measure everything and return one row for each figure."""
    return [*_one_reader(), *_hundred_readers(), *_many_idle()]


if __name__ == "__main__":
    for each in rows():
        print(json.dumps(each))
