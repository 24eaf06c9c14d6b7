"""Ticks that are stored while they are streamed: how many a second, and how soon they can be read.

The DataHub's live half writes to a durable PostgreSQL of its own (a commit waits for the disk) while ten clients
stream everything. A tick counts as readable when `ReadTicks` returns it; its age then is counted from its receipt.

Command: `python -m benchmarks.live_store` (about half a minute).
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, cast

import grpc

from benchmarks.live import row
from benchmarks.live_server import SYMBOLS
from benchmarks.streams import TOKEN, Connections, Readers, Server, on_own_core, selection, server_process
from quasar.convert.columns import decode_ticks
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from quasar_proto.datahub.v1.market_data_service_pb2_grpc import MarketDataServiceStub

RATE = 110_000
"""What is offered; the last ticks wait for a flush, so a little less is stored per second."""
BAR = 100_000
SECONDS = 10
TICKS = RATE * SECONDS
CLIENTS = 10
EACH_S = 0.1
"""How often is looked for what can be read."""
_METADATA = (("authorization", f"Bearer {TOKEN}"),)


@dataclass
class Stored:
    """What could be read."""

    ages_ms: list[float] = field(default_factory=list)
    """At each look: since when the oldest tick that could not be read yet was there, at most."""
    first_s: float = 0.0
    """When the first tick was received, wall-clock seconds."""
    last_s: float = 0.0
    """When the last one could be read."""
    rows: int = 0


async def _watch(stub: Any, stored: Stored) -> None:
    """Look for the newest tick of one symbol until it is the last one."""
    newest = 0
    while newest < TICKS // SYMBOLS - 1:
        await asyncio.sleep(EACH_S)
        found = await _newest(stub, 0)
        now = time.time()
        if found is None:
            continue
        newest, received_s = found
        if newest < TICKS // SYMBOLS - 1:
            stored.ages_ms.append((now - received_s) * 1e3)
    stored.last_s = time.time()


async def _newest(stub: Any, symbol: int) -> tuple[int, float] | None:
    """Return the id and the time of receipt of the newest tick that can be read."""
    request = pb.ReadTicksRequest(last_count=1)
    request.series.add().key.CopyFrom(_key(symbol))
    async for answer in stub.ReadTicks(request, metadata=_METADATA):
        for chunk in answer.ticks:
            columns = decode_ticks(chunk.SerializeToString()).columns
            if columns.trade_id is not None and columns.receive_time_ns is not None:
                return int(columns.trade_id[-1]), columns.receive_time_ns[-1] / 1e9
    return None


def _key(symbol: int) -> Any:
    return values_pb2.SeriesKey(provider="bench", symbol=f"S{symbol}")


async def _count(stub: Any, stored: Stored) -> None:
    """Read everything that is stored."""
    request, first_ns = pb.ReadTicksRequest(), time.time_ns()
    for symbol in range(SYMBOLS):
        request.series.add().key.CopyFrom(_key(symbol))
    async for answer in stub.ReadTicks(request, metadata=_METADATA):
        for chunk in answer.ticks:
            stored.rows += len(chunk.event_time_ns)
            first_ns = min(first_ns, chunk.receive_time_ns[0])
    stored.first_s = first_ns / 1e9


async def _run() -> tuple[Stored, Readers]:
    options = ("--store", f"--rate={RATE}", f"--readers={CLIENTS}", f"--total={TICKS}")
    stored = Stored()
    with server_process("hub", *options) as server:
        async with AsyncExitStack() as stack, asyncio.timeout(60):
            stub = await _stub(server, stack)
            readers = Readers(Connections(server.port, stack), CLIENTS, selection())
            calls = await readers.open()
            reading = [asyncio.create_task(readers.read(number, call)) for number, call in enumerate(calls)]
            await _watch(stub, stored)
            await _count(stub, stored)
            for call in calls:
                call.cancel()
            await asyncio.gather(*reading, return_exceptions=True)
    return stored, readers


async def _stub(server: Server, stack: AsyncExitStack) -> Any:
    options = [("grpc.max_receive_message_length", 64 << 20)]
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=options)
    return cast("Any", MarketDataServiceStub)(await stack.enter_async_context(channel))


def rows() -> list[dict[str, Any]]:
    """Measure and return one row for each figure."""
    stored, readers = on_own_core(_run())
    tally = readers.tallies[0]
    ended = [each.ended for each in readers.tallies if each.ended and "Locally cancelled" not in each.ended]
    rate = stored.rows / float(stored.last_s - stored.first_s)
    whole = stored.rows == TICKS == tally.rows and not ended

    age = float(max(stored.ages_ms))
    return [
        row(
            f"ticks stored durably beside {CLIENTS} streams of them all, offered {RATE}/s",
            rate,
            "ticks/s",
            f">= {BAR}",
            bool(whole and rate >= BAR),
        ),
        row("longest time from the receipt of a tick until it can be read", age, "ms", "<= 1000", age <= 1000),
    ]


if __name__ == "__main__":
    for each in rows():
        print(json.dumps(each))
