"""Bars read per second over gRPC as numpy columns, beside a local COPY of the same rows and a JSON endpoint.

All in one process and one run: `ReadBars` is served by the DataHub's own servicer on a real socket and read by a
grpc.aio client that decodes the columns; the local figure is a binary COPY TO of the same rows decoded by numpy; the
JSON figure is an aiohttp endpoint that fetches asyncpg rows and writes them with the standard library, read by aiohttp.

Command: `python -m benchmarks.reads` (about a minute), `python -m benchmarks.reads --quick`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import grpc
from aiohttp import web

from benchmarks.market_database import bars, market_database, row, series
from datahub.ingest.delivery import Delivery
from datahub.ingest.room import Room
from datahub.ingest.writer import BarWriter
from datahub.reads.bars import BarReader
from datahub.reads.resampling import BarSource
from datahub.rpc.read_bars import ReadBars
from datahub.rpc.readable_series import ReadableFinder
from datahub.rpc.series_messages import SeriesFinder
from datahub.series.series import Series
from datahub.store import bar_table
from quasar.clock import SystemClock
from quasar.convert import wire
from quasar.convert.columns import decode_bars
from quasar.database.copy import Column, RowFormat
from quasar.database.pool import Database
from quasar.model.bars import BarColumns
from quasar_proto.datahub.v1 import market_data_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb

BARS = 500_000
REPEATS = 5
_PATH = "/quasar.datahub.v1.MarketDataService/ReadBars"
_PRICES = ("open", "high", "low", "close", "volume")
_QUERY = (
    f"select open_time, close_time, {', '.join(_PRICES)} from historical_data where series_id = $1 order by open_time"
)


async def _median(work: Callable[[], Awaitable[int]], repeats: int) -> float:
    """Return the median rows per second of some runs, after one that does not count."""
    await work()
    rates = []
    for _ in range(repeats):
        begun = time.perf_counter()
        count = await work()
        rates.append(count / (time.perf_counter() - begun))
    return statistics.median(rates)


async def _local(database: Database, one: Series) -> int:
    form = RowFormat(
        [
            Column("open_time", "timestamptz"),
            Column("close_time", "timestamptz"),
            *(Column(name, "float8") for name in _PRICES),
        ]
    )
    async with database.acquire() as connection:
        raw = await bar_table.copy_out(connection, _QUERY, one.series_id)
    return len(form.decode(raw).columns["close"])


@asynccontextmanager
async def _served(database: Database) -> AsyncIterator[grpc.aio.Channel]:
    """Serve `ReadBars` on a socket."""
    source, clock = BarSource(database, BarReader(database)), SystemClock()
    finder = ReadableFinder(database, SeriesFinder(database))

    async def read(request: pb.ReadBarsRequest, _context: Any) -> AsyncIterator[bytes]:
        async for message in ReadBars(source, finder, clock, request).messages():
            yield message

    handler: Any = grpc.unary_stream_rpc_method_handler(read, pb.ReadBarsRequest.FromString, None)
    service = grpc.method_handlers_generic_handler("quasar.datahub.v1.MarketDataService", {"ReadBars": handler})
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(None)


async def _over_grpc(channel: grpc.aio.Channel, one: Series) -> int:
    request = pb.ReadBarsRequest(series=[market_data_pb2.SeriesReference(series_id=one.series_id)], batch_rows=50_000)
    call: Any = channel.unary_stream(_PATH, pb.ReadBarsRequest.SerializeToString, None)
    parts: list[BarColumns] = []
    async for raw in call(request):
        view = memoryview(raw)
        for number, _, _, start, end in wire.read_fields(view):
            if number == 2:
                parts.append(decode_bars(view[start:end]).columns)
    return len(BarColumns.concatenate(parts))


@asynccontextmanager
async def _json_endpoint(database: Database, one: Series) -> AsyncIterator[str]:
    """Serve the same bars the way a small web service would."""

    async def answer(_request: web.Request) -> web.Response:
        found = await database.fetch(_QUERY, one.series_id)
        listed = [{"time": r["open_time"].timestamp(), **{name: r[name] for name in _PRICES}} for r in found]
        return web.json_response(listed)

    app = web.Application()
    app.router.add_get("/bars", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/bars"
    finally:
        await runner.cleanup()


async def _over_json(client: aiohttp.ClientSession, url: str) -> int:
    async with client.get(url) as response:
        return len(await response.json())


async def _measure(count: int, repeats: int) -> list[dict[str, Any]]:
    async with market_database() as database:
        writer = BarWriter(database, Room(database), SystemClock())
        one = await series(database, "READ")
        columns = bars(count)
        for start in range(0, count, 50_000):
            await writer.store(Delivery(series=one, columns=columns[start : start + 50_000]))
        await database.execute("vacuum analyze historical_data")
        local = await _median(lambda: _local(database, one), repeats)
        async with _served(database) as channel:
            streamed = await _median(lambda: _over_grpc(channel, one), repeats)
        async with _json_endpoint(database, one) as url, aiohttp.ClientSession() as client:
            plain = await _median(lambda: _over_json(client, url), 3)
    return [
        row("collection", "ReadBars to numpy columns", streamed, "rows/s", "local COPY TO to numpy", local, 0.50),
        row("collection", "ReadBars to numpy columns", streamed, "rows/s", "JSON over HTTP", plain, 10.0),
    ]


def rows(count: int = BARS, repeats: int = REPEATS) -> list[dict[str, Any]]:
    """Measure everything and return one row for each figure."""
    return asyncio.run(_measure(count, repeats))


def main() -> int:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="a fifth of the bars, two runs")
    quick = parser.parse_args().quick
    for each in rows(BARS // 5, 2) if quick else rows():
        print(json.dumps(each))
    return 0


if __name__ == "__main__":
    sys.exit(main())
