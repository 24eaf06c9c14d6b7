"""Live streams at given rates: how far they reach, how late a tick is, and what a stalled reader does to the others.

The server and the clients are those of `benchmarks.streams`. A tick's delay is counted from when it is handed to the
ingest until the client has it as a numpy column. The bars are for two cores of which nobody else uses anything.

Command: `python -m benchmarks.live` (about two minutes).
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import grpc
import numpy as np

from benchmarks.streams import (
    Measured,
    Readers,
    measure,
    on_own_core,
    selection,
    server_process,
)
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from quasar_proto.datahub.v1 import stream_pb2

SECONDS = 6.0
WARM_S = 4.0
"""Until the log is full and memory has settled."""
RATE = 50_000
HUNDRED = 100


def _row(name: str, value: float, unit: str, bar: str, holds: bool, **peer: Any) -> dict[str, Any]:
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
    with server_process("hub", str(rate), str(count)) as server:
        return await measure(server, count, selection(flush_ms=flush_ms), seconds, warm_s=WARM_S)


async def _bare(count: int) -> float:
    with server_process("bare") as server:
        return (await measure(server, count, b"", 4.0, bare=True)).deliveries


async def _stalled(stall: bool) -> tuple[Measured, dict[str, int]]:
    """Measure 99 readers beside one more that conflates and, if wished, takes nothing for the whole time."""
    with server_process("hub", str(RATE), str(HUNDRED)) as server:
        async with AsyncExitStack() as stack:
            readers = Readers(server.port, 1, selection(stream_pb2.DELIVERY_POLICY_CONFLATE), stack)
            (call,) = await readers.open()
            healthy = asyncio.create_task(measure(server, HUNDRED - 1, selection(), SECONDS, warm_s=WARM_S))
            reading = None if stall else asyncio.create_task(readers.read(0, call))
            measured = await healthy
            if reading is not None:
                call.cancel()
                await asyncio.gather(reading, return_exceptions=True)
                return measured, {}
            return measured, await _dropped(call)


async def _dropped(call: Any) -> dict[str, int]:
    """Read a stalled stream up to its first report of drops: rows that came, were counted as dropped, were numbered."""
    got = dropped = last = 0
    first = None
    async with asyncio.timeout(10):
        while (raw := await call.read()) is not grpc.aio.EOF:
            envelope = pb.StreamMarketDataResponse.FromString(raw)
            one = [chunk for chunk in envelope.ticks if chunk.series_id == 1]
            for chunk in one:
                first = chunk.first_sequence if first is None else first
                got += len(chunk.event_time_ns)
                last = chunk.first_sequence + len(chunk.event_time_ns)
            dropped += sum(each.dropped for each in envelope.dropped if each.series_id == 1)
            if dropped and one:
                break
    call.cancel()
    return {"got": got, "dropped": dropped, "numbered": last - (first or 0)}


def _p99(measured: Measured) -> float:
    return float(np.percentile(measured.delays_ms, 99))


def _one_reader() -> list[dict[str, Any]]:
    fast = on_own_core(_at(0, 1))
    steady = on_own_core(_at(RATE, 1, flush_ms=1))
    bare = on_own_core(_bare(1))
    peer = "bare grpc.aio, one message per tick"
    ratio = round(fast.rows / bare, 1)
    return [
        _row("one feed to one subscriber", fast.rows, "ticks/s", ">= 500000", fast.rows >= 500_000),
        _row(
            "the same beside a plain stream",
            fast.rows,
            "ticks/s",
            ">= 20",
            ratio >= 20,
            against=peer,
            against_value=round(bare),
            ratio=ratio,
        ),
        _row(f"p99 delay of a tick at {RATE} ticks/s", _p99(steady), "ms", "<= 20", _p99(steady) <= 20),
    ]


def _hundred_readers() -> list[dict[str, Any]]:
    steady = on_own_core(_at(RATE, HUNDRED))
    double = on_own_core(_at(2 * RATE, HUNDRED))
    bare = on_own_core(_bare(HUNDRED))
    ratio = round(steady.deliveries / bare, 1)
    grown = steady.memory_mib[1] - steady.memory_mib[0]
    kept_up = not double.ended and double.rows >= 0.99 * 2 * RATE
    peer = "bare grpc.aio, one message per tick"
    return [
        _row(
            f"{RATE} ticks/s to {HUNDRED} subscribers",
            steady.deliveries,
            "deliveries/s",
            ">= 100",
            ratio >= 100,
            against=peer,
            against_value=round(bare),
            ratio=ratio,
        ),
        _row("their p99 delay", _p99(steady), "ms", "<= 60", _p99(steady) <= 60 and not steady.ended),
        _row("growth of the server's memory meanwhile", grown, "MiB", "<= 64", grown <= 64),
        _row(f"{2 * RATE} ticks/s to {HUNDRED} subscribers", double.rows, "ticks/s", f">= {1.98 * RATE:g}", kept_up),
    ]


def _one_stalled() -> list[dict[str, Any]]:
    alone, _ = on_own_core(_stalled(False))
    beside, counts = on_own_core(_stalled(True))
    change = _p99(beside) / _p99(alone) - 1
    grown = beside.memory_mib[1] - beside.memory_mib[0] - (alone.memory_mib[1] - alone.memory_mib[0])
    exact = counts["got"] + counts["dropped"] == counts["numbered"]
    return [
        _row("change of the p99 delay of 99 readers beside a stalled one", 100 * change, "%", "< 5", change < 0.05),
        _row("memory that the stalled reader takes", grown, "MiB", "< 64", grown < 64),
        _row("rows of one series that it missed, as counted", counts["dropped"], "rows", "exact", exact),
    ]


def rows() -> list[dict[str, Any]]:
    """Measure everything and return one row for each figure."""
    return [*_one_reader(), *_hundred_readers(), *_one_stalled()]


if __name__ == "__main__":
    for row in rows():
        print(json.dumps(row))
