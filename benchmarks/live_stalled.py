"""What a reader that takes nothing does to 99 others: their p99 delay, the server's memory, and what it is told.

A hundred readers have 50,000 ticks a second, all at once and in one run. One of them conflates, and takes nothing in
every other phase; its connection swallows next to nothing. The phases come in the order A B B A A B B A …, so that
what changes slowly on the machine changes both kinds alike. The delay of each tick is counted at all 99 readers, from
when it is handed to the ingest until the client has the envelope; each phase has a p99, and the medians of the two
kinds are compared. How much the p99 of quiet phases alone differs, every other one against the rest, is told beside it.

Command: `python -m benchmarks.live_stalled` (about a minute).
"""

from __future__ import annotations

import asyncio
import json
import time
from array import array
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from benchmarks.live import HUNDRED, RATE, WARM_S, row
from benchmarks.streams import Connections, Server, chunks_of, cursor_of, on_own_core, selection, server_process
from datahub.stream.log import Cursor
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from quasar_proto.datahub.v1 import stream_pb2

PHASE_S = 2.5
SETTLE_S = 0.75
"""What of each phase is left out: until a connection is full, or what waited is taken."""
PHASES = "ABBAABBAABBAABBA"
"""B: the hundredth reader takes nothing."""
FLUSH_MS = 20
"""As often as healthy readers are written to."""
_SMALL_WINDOW = (("grpc.http2.bdp_probe", 0),)
"""The connection takes some 64 KiB for a reader that does not read."""


@dataclass
class Arrivals:
    """When one reader got what."""

    times_ns: array[int] = field(default_factory=lambda: array("q"))
    cursors: list[bytes] = field(default_factory=list)
    ended: str = ""

    async def read(self, call: Any, events: list[Sequence[tuple[int, int]]] | None = None) -> None:
        """Read a stream until it is cut; note what is in each envelope if wished."""
        try:
            while (raw := await call.read()) is not grpc.aio.EOF:
                self.times_ns.append(time.time_ns())
                self.cursors.append(cursor_of(raw))
                if events is not None:
                    chunks = chunks_of(raw)
                    events.append([(int(one.columns.event_time_ns[0]), len(one.columns)) for one in chunks])
        except grpc.aio.AioRpcError as error:
            self.ended = f"{error.code().name}: {error.details()}"

    def positions(self) -> np.ndarray[Any, Any]:
        """Return the positions in the log of what came."""
        return np.array([Cursor.parse(one.decode()).position for one in self.cursors], np.int64)


@dataclass
class Stalling:
    """A reader that conflates and takes something only while it may; counts the rows of one series from the first."""

    may: asyncio.Event = field(default_factory=asyncio.Event)
    got: int = 0
    dropped: int = 0
    last: int = 0
    """Number of the last row that came."""

    async def read(self, call: Any) -> None:
        """Read until it is cut."""
        while await self.may.wait() and (raw := await call.read()) is not grpc.aio.EOF:
            for chunk in chunks_of(raw):
                if chunk.series_id == 1:
                    self.got += len(chunk.columns)
                    self.last = chunk.first_sequence + len(chunk.columns) - 1
            told = pb.StreamMarketDataResponse.FromString(raw).dropped
            self.dropped += sum(each.dropped for each in told if each.series_id == 1)

    @property
    def uncounted(self) -> int:
        """Rows that it neither got nor was told of."""
        return self.last - self.got - self.dropped


@dataclass
class Run:
    """What came of one run."""

    readers: list[Arrivals]
    events: list[Sequence[tuple[int, int]]]
    """Of each envelope of the first reader: when ticks were handed to the ingest, and how many."""
    stalling: Stalling
    phases: list[tuple[str, int, int]] = field(default_factory=list)
    """Kind, begin and end of each phase, nanoseconds UTC."""
    memory_mib: list[tuple[str, float]] = field(default_factory=list)

    def p99s(self) -> dict[str, list[float]]:
        """Return the p99 delay of the phases of each kind, milliseconds."""
        begun = self.readers[0].positions()
        positions = np.repeat(begun, [len(each) for each in self.events])
        flat = [pair for each in self.events for pair in each]
        given_ns = np.array([at for at, _ in flat], np.int64)
        delays = np.array([_delays(reader, positions, given_ns) for reader in self.readers])
        found: dict[str, list[float]] = {"A": [], "B": []}
        for kind, begin, end in self.phases:
            chosen = delays[:, (given_ns >= begin) & (given_ns < end)]
            found[kind].append(float(np.nanpercentile(chosen, 99)))
        return found


def _delays(reader: Arrivals, positions: np.ndarray[Any, Any], given_ns: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return how long after it was given a reader had each chunk, in milliseconds; NaN: it never did."""
    came_ns = np.append(np.array(reader.times_ns, np.float64), np.nan)
    delays: np.ndarray[Any, Any] = (came_ns[np.searchsorted(reader.positions(), positions)] - given_ns) / 1e6
    return delays


async def _run() -> Run:
    with server_process("hub", f"--rate={RATE}", f"--readers={HUNDRED}") as server:
        async with AsyncExitStack() as stack:
            small = Connections(server.port, stack, options=_SMALL_WINDOW)
            run = Run([Arrivals() for _ in range(HUNDRED - 1)], [], Stalling())
            policy = stream_pb2.DELIVERY_POLICY_CONFLATE
            slow = await small.open(selection(policy, flush_ms=FLUSH_MS))
            healthy = Connections(server.port, stack)
            calls = [await healthy.open(selection(flush_ms=FLUSH_MS)) for _ in run.readers]
            async with asyncio.TaskGroup() as group:
                group.create_task(run.stalling.read(slow))
                for number, (reader, call) in enumerate(zip(run.readers, calls, strict=True)):
                    group.create_task(reader.read(call, None if number else run.events))
                await _phases(run, server)
                for call in (slow, *calls):
                    call.cancel()
    return run


async def _phases(run: Run, server: Server) -> None:
    run.stalling.may.set()
    await asyncio.sleep(WARM_S)
    for kind in PHASES:
        if kind == "A":
            run.stalling.may.set()
        else:
            run.stalling.may.clear()
        await asyncio.sleep(SETTLE_S)
        begin = time.time_ns()
        await asyncio.sleep(PHASE_S - SETTLE_S)
        run.phases.append((kind, begin, time.time_ns()))
        run.memory_mib.append((kind, server.memory_mib()))
    run.stalling.may.set()
    await asyncio.sleep(SETTLE_S)


def rows() -> list[dict[str, Any]]:
    """Measure and return one row for each figure."""
    run = on_own_core(_run())
    ended = [each.ended for each in run.readers if each.ended and "Locally cancelled" not in each.ended]
    if ended:
        raise RuntimeError(f"a healthy stream ended: {ended[0]}")
    p99s = run.p99s()
    quiet, beside = np.median(p99s["A"]), np.median(p99s["B"])
    change = float(beside / quiet - 1)
    noise = float(np.median(p99s["A"][::2]) / np.median(p99s["A"][1::2]) - 1)
    memory = {kind: [mib for one, mib in run.memory_mib if one == kind] for kind in "AB"}
    grown = max(memory["B"]) - memory["A"][0]
    stalling, least = run.stalling, PHASES.count("B") * (PHASE_S - SETTLE_S) * RATE / 100
    exact = stalling.uncounted == 0 and stalling.dropped > least
    phases = f"median of {len(p99s['B'])} phases"
    return [
        row(
            f"change of the p99 delay of {HUNDRED - 1} readers beside a stalled one, {phases}",
            100 * change,
            "%",
            "< 5",
            change < 0.05,
            against=f"p99 delay while it reads, ms: {quiet:.2f}; while it is stalled",
            against_value=round(float(beside), 2),
        ),
        row("the same between two halves of the phases in which it reads: noise", 100 * noise, "%", "", None),
        row("growth of the server's memory beside the stalled reader", grown, "MiB", "< 64", grown < 64),
        row("rows of one series that it missed, as counted", stalling.dropped, "rows", "exact", exact),
    ]


if __name__ == "__main__":
    for each in rows():
        print(json.dumps(each))
