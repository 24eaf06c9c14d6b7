"""Server processes for measurements of live streams: the live half of the DataHub, and a plain program beside it.

The live half is what runs in production: decoding of what a plug-in sends, ingest, prices, bars, log, journal, hub,
envelopes, authentication, and storage if wished; only the feed is replaced, by a source of encoded columns.

Command: `python -m benchmarks.live_server hub --rate 50000 --readers 100`; it prints its port.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import uvloop

from benchmarks.market_database import market_database
from benchmarks.unary import pin
from datahub.bus.journal import Journal
from datahub.bus.journal_writer import JournalWriter
from datahub.ingest.room import Room
from datahub.live.feeds import Feeds
from datahub.live.gaps import FeedGaps
from datahub.live.ingest import LiveIngest
from datahub.live.past import Past
from datahub.live.prices import PriceBoard
from datahub.live.storage import LiveStore
from datahub.live.symbols import LiveName, LiveSeries, LiveSymbols
from datahub.rpc.live_selectors import LiveSelectors
from datahub.rpc.live_service import LiveService
from datahub.rpc.series_messages import SeriesFinder
from datahub.rpc.ticks import TickCalls
from datahub.series.series import Series, SeriesName
from datahub.store import series_table
from datahub.stream.hub import Hub
from datahub.stream.log import LiveLog
from datahub.stream.pauses import shorten
from quasar import logs
from quasar.clock import SystemClock
from quasar.convert.columns import TickChunk, decode_ticks, encode_ticks
from quasar.database.pool import Database
from quasar.metrics import Metrics
from quasar.model.intervals import Interval
from quasar.model.ticks import TickColumns
from quasar.rpc.caller import ADMIN, Caller
from quasar.rpc.health import Health
from quasar.rpc.server import RpcServer, ServerSettings
from quasar_proto.datahub.v1 import market_data_pb2, market_data_service_pb2_grpc
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb

SYMBOLS = 50
STEP_S = 0.005
"""As often as a plug-in's process sends what it gathered."""
LOG_MIB = 8
"""Small enough to be full before anything is measured."""


class AnyToken:
    """Lets everybody in, as a cache of tokens does after the first call."""

    async def authenticate(self, bearer: str) -> Caller:
        """Return the caller."""
        return Caller(bearer, ADMIN)


class Service(market_data_service_pb2_grpc.MarketDataServiceServicer):
    """The methods of `MarketDataService` that are measured."""

    def __init__(self, live: LiveService, ticks: TickCalls) -> None:
        """Answer with `live` and `ticks`."""
        self._live = live
        self._ticks = ticks

    async def StreamMarketData(self, request: pb.StreamMarketDataRequest, context: Any) -> AsyncGenerator[Any, None]:
        """Stream live data."""
        async with aclosing(self._live.stream_market_data(request)) as messages:
            async for message in messages:
                yield message

    async def ReadTicks(self, request: pb.ReadTicksRequest, context: Any) -> AsyncGenerator[Any, None]:
        """Stream stored ticks."""
        async with aclosing(self._ticks.read(request)) as messages:
            async for message in messages:
                yield message


async def _nothing(symbol: str, start_ns: int, end_ns: int, after_trade_id: int | None) -> TickColumns:  # noqa: ARG001
    return TickColumns.empty()


class Source:
    """Hands ticks to the ingest, encoded as a plug-in's process does: at a rate, or as fast as the slowest reader."""

    def __init__(self, ingest: LiveIngest, hub: Hub, series: Sequence[LiveSeries], options: argparse.Namespace) -> None:
        """Feed `ingest`, as the options say."""
        self._ingest = ingest
        self._hub = hub
        self._ids = [one.ticks.series_id for one in series]
        self._prefixes = [encode_ticks(TickChunk(each, TickColumns.empty())) for each in self._ids]
        self._rate = options.rate
        self._total = options.total
        self._trade_id = 0

    def put(self, rows: int) -> None:
        """Hand over so many ticks, as many of each symbol; each chunk is decoded, as those of a plug-in are."""
        each = rows // len(self._ids)
        times = np.full(each, time.time_ns(), np.int64)
        ids = np.arange(self._trade_id, self._trade_id + each)
        self._trade_id += each
        prices, sizes = np.full(each, 100.25), np.full(each, 2.0)
        # All symbols trade alike, so that making the load costs the measured process next to nothing.
        columns = TickColumns(times, prices, sizes, receive_time_ns=times, trade_id=ids)
        body = encode_ticks(TickChunk(0, columns))
        for prefix, series_id in zip(self._prefixes, self._ids, strict=True):
            encoded = prefix + body
            self._ingest.take(series_id, decode_ticks(encoded).columns, _nothing, encoded)

    async def run(self) -> None:
        """Feed until the total is reached; for ever when there is none."""
        begun, given = time.monotonic(), 0
        while not self._total or given < self._total:
            await asyncio.sleep(STEP_S if self._rate else 0)
            if self._rate:
                due = int((time.monotonic() - begun) * self._rate) - given
                due -= due % len(self._ids)
                if self._total:
                    due = min(due, self._total - given)
                if due:
                    self.put(due)
                    given += due
            elif self._hub.waiting_bytes < 1 << 22:
                self.put(SYMBOLS * 256)
                self._hub.flush()


async def _symbols(database: Database | None) -> list[LiveSeries]:
    """Return the symbols; those of a database have their series there and their ticks are stored."""
    wanted = [SeriesName("bench", f"S{number}", interval) for number in range(SYMBOLS) for interval in ("", "1min")]
    if database is None:
        found = {name: Series(series_id=place, name=name) for place, name in enumerate(wanted, start=1)}
    else:
        async with database.transaction() as connection:
            found = await series_table.ensure(connection, wanted, {"bench": "24/7"})
    return [
        LiveSeries(
            LiveName("bench", ticks.symbol),
            found[ticks],
            {Interval.parse("1min"): found[minutes]},
            store_ticks=database is not None,
            all_ids=frozenset({found[ticks].series_id, found[minutes].series_id}),
        )
        for ticks, minutes in zip(wanted[::2], wanted[1::2], strict=True)
    ]


async def serve_hub(options: argparse.Namespace) -> None:
    """Serve the live half; ticks flow once so many readers are there."""
    clock = SystemClock()
    logs.configure(logs.LogOptions(service="bench", format="json", level="warning"), clock=clock)
    current = asyncio.current_task()
    assert current is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, current.cancel)
    async with AsyncExitStack() as stack:
        stored = await stack.enter_async_context(market_database()) if options.store else None
        # Without storage nothing asks for a database: ticks are not kept, and nobody subscribes.
        database: Any = stored
        pin(0, 0)  # before there are threads; PostgreSQL runs already and may be anywhere
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="quasar-bench-")))
        journal = Journal(folder, clock.time_ns(), max_bytes=options.log_mib << 20)
        hub = Hub(LiveLog(journal.epoch, max_bytes=options.log_mib << 20), clock, JournalWriter(journal))
        series, board = await _symbols(stored), PriceBoard()
        tasks = await stack.enter_async_context(asyncio.TaskGroup())

        def start(work: Any, name: str) -> None:
            tasks.create_task(work, name=name)

        store = LiveStore(database, Room(database), clock)
        ingest = LiveIngest(hub, board, store, FeedGaps(database, list[Any]().append), clock, start)
        symbols = LiveSymbols(database)
        symbols.current = {one.name: one for one in series}
        for one in series:
            ingest.follow(one, Past())
        feeds = Feeds(symbols, database, ingest, database, clock, hub.wake_all)
        selectors = LiveSelectors(symbols, database, feeds.caught_up)
        live = LiveService(hub, board, feeds, ingest, selectors, clock)
        server = _server(clock)
        server.add(Service(live, TickCalls(database, SeriesFinder(database))))  # type: ignore[abstract]  # two are asked for
        start(hub.run(), "fan-out")
        start(live.publish_forming(), "bars")
        if stored is not None:
            start(store.run(), "storage")
        print(await server.start(), flush=True)
        while hub.readers < options.readers:  # noqa: ASYNC110  # the hub tells nobody
            await asyncio.sleep(0.01)
        start(Source(ingest, hub, series, options).run(), "source")


def _server(clock: SystemClock) -> RpcServer:
    return RpcServer(
        ServerSettings(),
        service="bench",
        authenticator=AnyToken(),
        health=Health(clock),
        clock=clock,
        metrics=Metrics("bench", clock),
    )


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
    pin(0, 0)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("quasar.datahub.v1.MarketDataService", {"StreamMarketData": handler}),)
    )
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser(prog="benchmarks.live_server")
    parser.add_argument("kind", choices=("hub", "bare"))
    parser.add_argument("--rate", type=int, default=0, help="ticks per second; 0: as fast as the slowest reader")
    parser.add_argument("--readers", type=int, default=1, help="ticks flow once so many are there")
    parser.add_argument("--total", type=int, default=0, help="ticks after which the source ends; 0: never")
    parser.add_argument("--log-mib", type=int, default=LOG_MIB, help="size of the live log")
    parser.add_argument("--store", action="store_true", help="store ticks and bars in a database")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))  # not where the client happens to be kept
    if options.kind == "hub":
        shorten()  # as the DataHub does
    with suppress(asyncio.CancelledError):  # terminated
        uvloop.run(serve_hub(options) if options.kind == "hub" else serve_bare())


if __name__ == "__main__":
    main()
