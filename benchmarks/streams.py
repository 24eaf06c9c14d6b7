"""Ticks per second through the DataHub's fan-out, beside a bare grpc.aio stream that sends one message per tick.

The server is a process of its own with the live half of the DataHub as it runs in production: ingest, prices, bars,
log, hub, envelopes, authentication; only the feed is replaced, by a source that hands over columns. The clients are
another process. Each is kept on a core of its own where there are two.

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
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import grpc
import numpy as np
import uvloop

from benchmarks.unary import pin
from datahub.live.feeds import Feeds
from datahub.live.gaps import FeedGaps
from datahub.live.ingest import LiveIngest, StoredEnd
from datahub.live.prices import PriceBoard
from datahub.live.storage import LiveStore
from datahub.live.symbols import LiveName, LiveSeries, LiveSymbols
from datahub.rpc.live_selectors import LiveSelectors
from datahub.rpc.live_service import LiveService
from datahub.rpc.market_data_service import MarketDataService
from datahub.series.series import Series, SeriesName
from datahub.stream.envelope import TICKS
from datahub.stream.hub import Hub
from datahub.stream.log import Cursor, LiveLog
from quasar import logs
from quasar.clock import SystemClock
from quasar.convert import wire
from quasar.convert.columns import TickChunk, decode_ticks, encode_ticks
from quasar.convert.plugin_batches import taken_apart
from quasar.metrics import Metrics
from quasar.model.intervals import Interval
from quasar.model.ticks import TickColumns
from quasar.rpc.caller import ADMIN, Caller
from quasar.rpc.health import Health
from quasar.rpc.server import RpcServer, ServerSettings
from quasar_proto.datahub.v1 import market_data_pb2, stream_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb

SYMBOLS = 50
STEP_S = 0.005
LOG_BYTES = 8 << 20
"""Small enough to be full before anything is measured."""
TOKEN = "bench"
METHOD = "/quasar.datahub.v1.MarketDataService/StreamMarketData"
_OPTIONS = [("grpc.max_receive_message_length", 64 << 20), ("grpc.use_local_subchannel_pool", 1)]


class AnyToken:
    """Lets everybody in, as a cache of tokens does after the first call."""

    async def authenticate(self, bearer: str) -> Caller:
        """Return the caller."""
        return Caller(bearer, ADMIN)


def _symbol(number: int) -> LiveSeries:
    name = LiveName("bench", f"S{number}")
    ticks = Series(series_id=1 + 2 * number, name=SeriesName("bench", name.symbol, ""))
    minutes = Series(series_id=2 + 2 * number, name=SeriesName("bench", name.symbol, "1min"))
    ids = frozenset({ticks.series_id, minutes.series_id})
    return LiveSeries(name, ticks, {Interval.parse("1min"): minutes}, store_ticks=False, all_ids=ids)


async def _nothing(symbol: str, start_ns: int, end_ns: int, after_trade_id: int | None) -> TickColumns:  # noqa: ARG001
    return TickColumns.empty()


class Source:
    """Hands ticks to the ingest, encoded as a plug-in's process does: at a rate, or as fast as the slowest reader."""

    def __init__(self, ingest: LiveIngest, hub: Hub, series: Sequence[LiveSeries], rate: int) -> None:
        """Feed `ingest`; `rate` is in ticks per second, 0: as fast as it goes."""
        self._ingest = ingest
        self._hub = hub
        self._ids = [one.ticks.series_id for one in series]
        self._prefixes = [encode_ticks(TickChunk(each, TickColumns.empty())) for each in self._ids]
        self._rate = rate
        self._trade_id = 0

    def put(self, rows: int) -> None:
        """Hand over so many ticks, spread over the symbols; each chunk is decoded, as those of a plug-in are."""
        each = max(1, rows // len(self._ids))
        times = np.full(each, time.time_ns(), np.int64)
        ids = np.arange(self._trade_id, self._trade_id + each)
        self._trade_id += each
        columns = TickColumns(times, np.full(each, 100.25), np.full(each, 2.0), receive_time_ns=times, trade_id=ids)
        # All symbols trade alike, so that making the load costs the measured process next to nothing.
        body = encode_ticks(TickChunk(0, columns))
        for prefix, series_id in zip(self._prefixes, self._ids[: max(1, rows // each)], strict=False):
            encoded = prefix + body
            self._ingest.take(series_id, decode_ticks(encoded).columns, _nothing, encoded)

    async def run(self) -> None:
        """Feed for ever."""
        begun, given = time.monotonic(), 0
        while True:
            await asyncio.sleep(STEP_S if self._rate else 0)
            if self._rate:
                due = int((time.monotonic() - begun) * self._rate) - given
                due -= due % len(self._ids)
                if due:
                    self.put(due)
                    given += due
            elif self._hub.waiting_bytes < 1 << 22:
                self.put(SYMBOLS * 256)
                self._hub.flush()


async def serve_hub(rate: int, readers: int) -> None:
    """Serve the live half; ticks flow once so many readers are there."""
    clock = SystemClock()
    logs.configure(logs.LogOptions(service="bench", format="json", level="warning"), clock=clock)
    hub, board = Hub(LiveLog(clock.time_ns() // 1_000_000, max_bytes=LOG_BYTES), clock), PriceBoard()
    nowhere: Any = None  # ticks of these symbols are not stored, and nobody subscribes
    series = [_symbol(number) for number in range(SYMBOLS)]
    async with asyncio.TaskGroup() as tasks:

        def start(work: Any, name: str) -> None:
            tasks.create_task(work, name=name)

        store = LiveStore(nowhere, nowhere, clock)
        ingest = LiveIngest(hub, board, store, FeedGaps(nowhere, list[Any]().append), clock, start)
        symbols = LiveSymbols(nowhere)
        symbols.current = {one.name: one for one in series}
        for one in series:
            ingest.follow(one, StoredEnd())
        feeds = Feeds(symbols, nowhere, ingest, nowhere, clock, hub.wake_all)
        selectors = LiveSelectors(symbols, nowhere, feeds.caught_up)
        live = LiveService(hub, board, feeds, ingest, selectors, clock)
        server = RpcServer(
            ServerSettings(),
            service="bench",
            authenticator=AnyToken(),
            health=Health(clock),
            clock=clock,
            metrics=Metrics("bench", clock),
        )
        server.add(MarketDataService(nowhere, clock, live))
        print(await server.start(), flush=True)
        start(hub.run(), "fan-out")
        start(live.publish_forming(), "bars")
        while hub.readers < readers:  # noqa: ASYNC110  # the hub tells nobody
            await asyncio.sleep(0.01)
        start(Source(ingest, hub, series, rate).run(), "source")


async def serve_bare() -> None:
    """Serve what a plain program does: a message object for each tick, written one by one."""

    async def stream(_request: bytes, _rpc: Any) -> AsyncIterator[Any]:
        number = 0
        while True:
            number += 1
            chunk = market_data_pb2.TickChunk(
                series_id=1, event_time_ns=[time.time_ns()], price=[100.25], size=[2.0], trade_id=[number]
            )
            yield pb.StreamMarketDataResponse(sequence=number, ticks=[chunk])

    serialise: Any = pb.StreamMarketDataResponse.SerializeToString
    handler: Any = grpc.unary_stream_rpc_method_handler(stream, None, serialise)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("quasar.datahub.v1.MarketDataService", {"StreamMarketData": handler}),)
    )
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


@dataclass
class Server:
    """A running server."""

    port: int
    pid: int

    def memory_mib(self) -> float:
        """Return its resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@contextmanager
def server_process(*arguments: str) -> Iterator[Server]:
    """Run a server in a process of its own."""
    with tempfile.TemporaryFile() as log:
        command = [sys.executable, "-m", "benchmarks.streams", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                log.seek(0)
                raise RuntimeError(log.read().decode())
            pin(process.pid, 0)
            yield Server(int(line), process.pid)
        finally:
            process.kill()
            process.communicate()


@dataclass
class Tally:
    """What one reader got."""

    messages: int = 0
    rows: int = 0
    cursor: bytes = b""
    delays_ns: list[int] = field(default_factory=list)
    """From the moment that a tick was handed to the ingest to the moment that the reader has it decoded."""
    ended: str = ""


def selection(policy: int = stream_pb2.DELIVERY_POLICY_LOSSLESS, flush_ms: int = 0) -> bytes:
    """Return a request for the trades of all symbols, encoded."""
    request = pb.StreamMarketDataRequest(snapshot=False, delivery_policy=policy)  # type: ignore[arg-type]
    if flush_ms:
        request.flush_interval.FromMilliseconds(flush_ms)
    symbols = request.selectors.add().symbols.provider_symbols
    symbols.provider = "bench"
    symbols.symbols.extend(f"S{number}" for number in range(SYMBOLS))
    return request.SerializeToString()


class Readers:
    """Streams of one client process. The first decodes everything; the others take the bytes and note the cursor."""

    def __init__(self, port: int, count: int, request: bytes, stack: AsyncExitStack, *, bare: bool = False) -> None:
        """Open the streams; several share a connection, as the windows of one browser do."""
        self.tallies = [Tally() for _ in range(count)]
        self._bare = bare
        self._request = request
        self._stack = stack
        self._port = port

    async def open(self) -> list[Any]:
        """Return the calls."""
        channels = []
        for _ in range(-(-len(self.tallies) // 10)):
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{self._port}", options=_OPTIONS)
            channels.append(await self._stack.enter_async_context(channel))
        metadata = (("authorization", f"Bearer {TOKEN}"),)
        return [
            cast("Any", channels[number // 10].unary_stream(METHOD, None, None))(self._request, metadata=metadata)
            for number in range(len(self.tallies))
        ]

    async def read(self, number: int, call: Any) -> None:
        """Read one stream until it is cut."""
        tally = self.tallies[number]
        try:
            while (raw := await call.read()) is not grpc.aio.EOF:
                tally.messages += 1
                if self._bare:
                    tally.rows += 1
                elif number == 0:
                    self._decode(tally, raw)
                else:
                    tally.cursor = _cursor(raw)
        except grpc.aio.AioRpcError as error:
            tally.ended = f"{error.code().name}: {error.details()}"

    def _decode(self, tally: Tally, raw: bytes) -> None:
        tally.cursor = _cursor(raw)
        now = time.time_ns()
        for view in taken_apart(raw, (TICKS,))[0][TICKS]:
            columns = decode_ticks(view).columns
            tally.rows += len(columns)
            tally.delays_ns += [now - int(columns.event_time_ns[0])] * len(columns)


def _cursor(raw: bytes) -> bytes:
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


async def measure(
    server: Server, count: int, request: bytes, seconds: float, *, warm_s: float = 1.0, bare: bool = False
) -> Measured:
    """Read for a while."""
    async with AsyncExitStack() as stack:
        readers = Readers(server.port, count, request, stack, bare=bare)
        calls = await readers.open()
        tasks = [asyncio.create_task(readers.read(number, call)) for number, call in enumerate(calls)]
        await asyncio.sleep(warm_s)
        before = [(tally.messages, tally.rows, tally.cursor) for tally in readers.tallies]
        readers.tallies[0].delays_ns.clear()
        memory, begun = server.memory_mib(), time.perf_counter()
        await asyncio.sleep(seconds)
        took = time.perf_counter() - begun
        delays = np.array(readers.tallies[0].delays_ns or [0]) / 1e6
        after = [(tally.messages, tally.rows, tally.cursor) for tally in readers.tallies]
        memory = (memory, server.memory_mib())  # type: ignore[assignment]
        for call in calls:
            call.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    rows = after[0][1] - before[0][1]
    return Measured(
        rows / took,
        _deliveries(before, after, bare) / took,
        delays,
        [tally.ended for tally in readers.tallies if tally.ended and "Locally cancelled" not in tally.ended],
        memory,  # type: ignore[arg-type]
    )


def _deliveries(before: Sequence[Any], after: Sequence[Any], bare: bool) -> float:
    """Return the rows of all readers: of a lossless one as many as the log moved on between its cursors."""
    if bare:
        return float(sum(now[1] - then[1] for then, now in zip(before, after, strict=True)))
    moves = [_position(now[2]) - _position(then[2]) for then, now in zip(before, after, strict=True)]
    return sum(moves) * (after[0][1] - before[0][1]) / moves[0] if moves[0] else 0.0


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
    with server_process("hub", "0", str(count)) as server:
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


def main(arguments: Sequence[str]) -> None:
    """Serve, or measure and print the rows."""
    if arguments[:1] == ["hub"]:
        uvloop.run(serve_hub(int(arguments[1]), int(arguments[2])))
    elif arguments[:1] == ["bare"]:
        uvloop.run(serve_bare())
    else:
        for each in rows():
            print(json.dumps(each))


if __name__ == "__main__":
    main(sys.argv[1:])
