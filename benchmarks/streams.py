"""Ticks per second through the DataHub's fan-out, beside a bare grpc.aio stream that sends one message per tick.

The servers are those of `benchmarks.live_server`, each a process of its own; the clients are another process. Each is
kept on a core of its own where there are two.

Command: `python -m benchmarks.streams` (about a minute).
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import grpc
import numpy as np
import uvloop

from benchmarks.live_server import SYMBOLS
from benchmarks.unary import pin
from datahub.stream.envelope import TICKS
from datahub.stream.log import Cursor
from quasar.convert import wire
from quasar.convert.columns import TickChunk, decode_ticks
from quasar.convert.plugin_batches import taken_apart
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from quasar_proto.datahub.v1 import stream_pb2

TOKEN = "bench"
METHOD = "/quasar.datahub.v1.MarketDataService/StreamMarketData"
_STOP_S = 30.0
"""Seconds for a server to end before it is killed."""
_OPTIONS = [("grpc.max_receive_message_length", 64 << 20), ("grpc.use_local_subchannel_pool", 1)]


@dataclass
class Server:
    """A running server."""

    port: int
    pid: int

    def memory_mib(self) -> float:
        """Return its resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)

    def processor_s(self) -> float:
        """Return the processor time that it has used, seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def server_process(kind: str, *options: str) -> Iterator[Server]:
    """Run a server of `benchmarks.live_server` in a process of its own; it keeps itself on the first core."""
    with tempfile.TemporaryFile() as log:
        command = [sys.executable, "-m", "benchmarks.live_server", kind, *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                log.seek(0)
                raise RuntimeError(log.read().decode())
            yield Server(int(line), process.pid)
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read().decode())  # the reason is often the server's
            raise
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server; one that stores has a database to stop, too."""
    process.terminate()
    try:
        process.communicate(timeout=_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


@dataclass
class Tally:
    """What one reader got."""

    rows: int = 0
    cursor: bytes = b""
    delays_ns: list[tuple[int, int]] = field(default_factory=list)
    """From the moment that ticks were handed to the ingest to the moment that the reader has them, and how many."""
    ended: str = ""


def selection(
    policy: int = stream_pb2.DELIVERY_POLICY_LOSSLESS,
    *,
    flush_ms: int = 0,
    cursor: str = "",
    symbols: Sequence[int] = range(SYMBOLS),
) -> bytes:
    """Return a request for the trades of some symbols, encoded; without a cursor for those from now on."""
    place: dict[str, Any] = {"cursor": cursor} if cursor else {"snapshot": False}
    request = pb.StreamMarketDataRequest(delivery_policy=policy, **place)  # type: ignore[arg-type]
    if flush_ms:
        request.flush_interval.FromMilliseconds(flush_ms)
    chosen = request.selectors.add().symbols.provider_symbols
    chosen.provider = "bench"
    chosen.symbols.extend(f"S{number}" for number in symbols)
    return request.SerializeToString()


class Connections:
    """Streams to one server; several share a connection, as the windows of one browser do."""

    def __init__(
        self, port: int, stack: AsyncExitStack, *, shared_by: int = 10, options: Sequence[tuple[str, int]] = ()
    ) -> None:
        """Connect to a port; the connections are closed with the stack."""
        self._options = [*_OPTIONS, *options]
        self._port = port
        self._stack = stack
        self._shared_by = shared_by
        self._channel: Any = None
        self._streams = 0

    async def open(self, request: bytes) -> Any:
        """Return a new call."""
        if self._streams % self._shared_by == 0:
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{self._port}", options=self._options)
            self._channel = await self._stack.enter_async_context(channel)
        self._streams += 1
        metadata = (("authorization", f"Bearer {TOKEN}"),)
        return cast("Any", self._channel.unary_stream(METHOD, None, None))(request, metadata=metadata)


class Readers:
    """Streams of one client process. The first decodes everything; the others take the bytes and note the cursor."""

    def __init__(self, connections: Connections, count: int, request: bytes, *, bare: bool = False) -> None:
        """Prepare so many readers of the same."""
        self.tallies = [Tally() for _ in range(count)]
        self._bare = bare
        self._request = request
        self._connections = connections

    async def open(self) -> list[Any]:
        """Return the calls."""
        return [await self._connections.open(self._request) for _ in self.tallies]

    async def read(self, number: int, call: Any) -> None:
        """Read one stream until it is cut."""
        tally = self.tallies[number]
        try:
            while (raw := await call.read()) is not grpc.aio.EOF:
                if self._bare:
                    tally.rows += 1
                elif number == 0:
                    self._decode(tally, raw)
                else:
                    tally.cursor = cursor_of(raw)
        except grpc.aio.AioRpcError as error:
            tally.ended = f"{error.code().name}: {error.details()}"

    def _decode(self, tally: Tally, raw: bytes) -> None:
        tally.cursor = cursor_of(raw)
        now = time.time_ns()
        for chunk in chunks_of(raw):
            rows = len(chunk.columns)
            tally.rows += rows
            tally.delays_ns.append((now - int(chunk.columns.event_time_ns[0]), rows))


def chunks_of(raw: bytes) -> Iterator[TickChunk]:
    """Return the decoded chunks of ticks of an envelope."""
    return map(decode_ticks, taken_apart(raw, (TICKS,))[0][TICKS])


def cursor_of(raw: bytes) -> bytes:
    """Return the cursor of an envelope without reading the rest: sequence and epoch stand before it."""
    _, at = wire.read_varint(raw, 1)
    _, at = wire.read_varint(raw, at + 1)
    return raw[at + 2 : at + 2 + raw[at + 1]]


@dataclass
class Measured:
    """What a number of readers got together, per second."""

    rows: float
    """Rows that the first reader got."""
    deliveries: float
    """Rows that all got."""
    delays_ms: np.ndarray[Any, Any]
    ended: list[str]
    memory_mib: tuple[float, float]
    """Of the server, at the begin and at the end."""
    load: tuple[float, float]
    """Shares of a core that the server and the client used."""


async def measure(
    server: Server, count: int, request: bytes, seconds: float, *, warm_s: float = 1.0, bare: bool = False
) -> Measured:
    """Read for a while."""
    async with AsyncExitStack() as stack:
        readers = Readers(Connections(server.port, stack), count, request, bare=bare)
        calls = await readers.open()
        tasks = [asyncio.create_task(readers.read(number, call)) for number, call in enumerate(calls)]
        await asyncio.sleep(warm_s)
        before = _now(readers)
        readers.tallies[0].delays_ns.clear()
        memory, used, begun = server.memory_mib(), _used(server), time.perf_counter()
        await asyncio.sleep(seconds)
        took = time.perf_counter() - begun
        delays = readers.tallies[0].delays_ns or [(0, 1)]
        after, grown = _now(readers), (memory, server.memory_mib())
        load = [(now - then) / took for then, now in zip(used, _used(server), strict=True)]
        for call in calls:
            call.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return Measured(
        (after[0][0] - before[0][0]) / took,
        _deliveries(before, after, bare) / took,
        np.repeat([ns / 1e6 for ns, _ in delays], [rows for _, rows in delays]),
        [tally.ended for tally in readers.tallies if tally.ended and "Locally cancelled" not in tally.ended],
        grown,
        (load[0], load[1]),
    )


def _now(readers: Readers) -> list[tuple[int, bytes]]:
    return [(tally.rows, tally.cursor) for tally in readers.tallies]


def _used(server: Server) -> tuple[float, float]:
    return server.processor_s(), time.process_time()


def _deliveries(before: Sequence[tuple[int, bytes]], after: Sequence[tuple[int, bytes]], bare: bool) -> float:
    """Return the rows of all readers: of a lossless one as many as the log moved on between its cursors."""
    if bare:
        return float(sum(now[0] - then[0] for then, now in zip(before, after, strict=True)))
    moves = [_position(now[1]) - _position(then[1]) for then, now in zip(before, after, strict=True)]
    return sum(moves) * (after[0][0] - before[0][0]) / moves[0] if moves[0] else 0.0


def _position(cursor: bytes) -> int:
    return Cursor.parse(cursor.decode()).position if cursor else 0


def row(issue: str, name: str, value: float, unit: str, against: str, other: float, bar: float) -> dict[str, Any]:
    """Return one figure beside what it is measured against."""
    ratio = value / other if other else None
    return {
        "issue": issue,
        "name": name,
        "value": round(value),
        "unit": unit,
        "against": against,
        "against_value": round(other),
        "ratio": None if ratio is None else round(ratio, 1),
        "bar": f">= {bar:g}",
        "holds": None if ratio is None else ratio >= bar,
    }


async def _rates(count: int, seconds: float) -> tuple[float, float]:
    """Return deliveries per second through the fan-out and of the bare stream."""
    with server_process("hub", f"--readers={count}") as server:
        ours = await measure(server, count, selection(), seconds)
    if ours.ended:
        raise RuntimeError(f"a stream ended: {ours.ended[0]}")
    with server_process("bare") as server:
        theirs = await measure(server, count, b"", seconds, bare=True)
    return ours.deliveries, theirs.deliveries


def on_own_core(work: Any) -> Any:
    """Run a coroutine on the second core."""
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    pin(0, 1)
    try:
        return uvloop.run(work)
    finally:
        if affinity is not None:
            os.sched_setaffinity(0, affinity)


def rows(seconds: float = 5.0) -> list[dict[str, Any]]:
    """Measure and return one row for each figure."""
    peer = "bare grpc.aio, one message per tick"
    one, bare_one = on_own_core(_rates(1, seconds))
    fifty, bare_fifty = on_own_core(_rates(50, seconds))
    return [
        row("skeleton", "ticks streamed to one client", one, "ticks/s", peer, bare_one, 20),
        row("skeleton", "ticks streamed to 50 clients", fifty, "deliveries/s", peer, bare_fifty, 100),
    ]


if __name__ == "__main__":
    for each in rows():
        print(json.dumps(each))
