"""Bars read per second over gRPC as numpy columns, beside a local COPY of the same rows and a JSON endpoint.

Two processes beside PostgreSQL. One serves both answers: the DataHub's own servicer on the platform's server (token,
role, validation, log), and an aiohttp endpoint that fetches asyncpg rows and writes them with the standard library. The
other one is the client of both, in turns: `quasar.client` makes the bars one set of numpy columns, while the JSON is
only parsed to lists and dictionaries, not made columns. The local figure is a binary COPY TO of the same rows by the
client's process, decoded by numpy. Both servers and their client run on uvloop, as services do; `--asyncio` takes
asyncio's own loop on all sides, on which the JSON endpoint is slower by a tenth and `ReadBars` by a quarter.

Command: `python -m benchmarks.reads` (about a minute), `python -m benchmarks.reads --quick`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
import uvloop
from aiohttp import web

from benchmarks.market_database import bars, market_server, opened, row, series
from benchmarks.unary import OneToken
from datahub.ingest.delivery import Delivery
from datahub.ingest.room import Room
from datahub.ingest.writer import BarWriter
from datahub.rpc.market_data_service import MarketDataService
from datahub.series.series import Series
from datahub.store import bar_table
from quasar import logs
from quasar.client.channel import Channel, ClientSettings
from quasar.client.market_data import MarketData
from quasar.clock import SystemClock
from quasar.database.copy import Column, RowFormat
from quasar.database.pool import Database
from quasar.metrics import Metrics
from quasar.rpc.health import Health
from quasar.rpc.server import RpcServer, ServerSettings

BARS = 500_000
ROUNDS = 5
TOKEN = "qsr_0123456789abcdef0123456789abcdef"
"""The one that `OneToken` knows."""
_PRICES = ("open", "high", "low", "close", "volume")
_QUERY = (
    f"select open_time, close_time, {', '.join(_PRICES)} from historical_data where series_id = $1 order by open_time"
)
_FORM = RowFormat(
    [
        Column("open_time", "timestamptz"),
        Column("close_time", "timestamptz"),
        *(Column(name, "float8") for name in _PRICES),
    ]
)


async def serve(url: str, series_id: int) -> None:
    """Serve both answers and print their ports."""
    clock = SystemClock()
    logs.configure(logs.LogOptions(service="bench", format="json"), clock=clock)
    async with await opened(url) as database:
        server = RpcServer(
            ServerSettings(),
            service="bench",
            authenticator=OneToken(),
            health=Health(clock),
            clock=clock,
            metrics=Metrics("bench", clock),
        )
        server.add(MarketDataService(database, clock))
        async with _json_endpoint(database, series_id) as port:
            print(await server.start(), port, flush=True)
            await asyncio.Event().wait()


@asynccontextmanager
async def _json_endpoint(database: Database, series_id: int) -> AsyncIterator[int]:
    """Serve the same bars the way a small web service would."""

    async def answer(_request: web.Request) -> web.Response:
        found = await database.fetch(_QUERY, series_id)
        listed = [{"time": r["open_time"].timestamp(), **{name: r[name] for name in _PRICES}} for r in found]
        return web.json_response(listed)

    app = web.Application()
    app.router.add_get("/bars", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@contextmanager
def _server(*arguments: str) -> Iterator[tuple[int, int]]:
    """Run the server in a process of its own; yields the ports of both answers."""
    with tempfile.TemporaryFile() as log:
        command = [sys.executable, "-m", "benchmarks.reads", "--serve", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        try:
            assert process.stdout is not None
            ports = process.stdout.readline().split()
            if len(ports) != 2:
                log.seek(0)
                raise RuntimeError(log.read().decode())
            yield int(ports[0]), int(ports[1])
        finally:
            process.kill()
            process.communicate()


async def _local(database: Database, series_id: int) -> int:
    async with database.acquire() as connection:
        raw = await bar_table.copy_out(connection, _QUERY, series_id)
    return len(_FORM.decode(raw).columns["close"])


async def _over_grpc(bars_and_ticks: MarketData) -> int:
    found = await bars_and_ticks.bars("bench:READ@1min")
    return len(found.close)


async def _over_json(client: aiohttp.ClientSession, url: str) -> int:
    async with client.get(url) as response:
        return len(await response.json())


async def _filled(database: Database, count: int) -> Series:
    writer = BarWriter(database, Room(database), SystemClock())
    one, columns = await series(database, "READ"), bars(count)
    for start in range(0, count, 50_000):
        await writer.store(Delivery(series=one, columns=columns[start : start + 50_000]))
    await database.execute("vacuum analyze historical_data")
    return one


async def _rate(work: Callable[[], Awaitable[int]], count: int) -> float:
    """Return the rows per second of one run."""
    begun = time.perf_counter()
    found = await work()
    if found != count:
        raise RuntimeError(f"{count} bars must come, came {found}")
    return count / (time.perf_counter() - begun)


async def _measure(count: int, rounds: int, loop: list[str]) -> list[dict[str, Any]]:
    async with market_server() as url, await opened(url) as database:
        one = await _filled(database, count)
        with _server(url, str(one.series_id), *loop) as (rpc_port, json_port):
            settings = ClientSettings(target=f"127.0.0.1:{rpc_port}", token=TOKEN)
            async with Channel(settings) as channel, aiohttp.ClientSession() as client:
                client_of_ours = MarketData(channel, channel)
                address = f"http://127.0.0.1:{json_port}/bars"
                works: list[Callable[[], Awaitable[int]]] = [
                    lambda: _over_grpc(client_of_ours),
                    lambda: _local(database, one.series_id),
                    lambda: _over_json(client, address),
                ]
                return _rows(await _in_turns(works, count, rounds))


async def _in_turns(works: list[Callable[[], Awaitable[int]]], count: int, rounds: int) -> list[list[float]]:
    """Return the rates of each work, over rounds in which they take turns, after one round that does not count.

    A slow moment of the machine hits all of a round, so the ratio of a round is steadier than its rates.
    """
    # Ours is fast, so a single run of it is at the mercy of a single moment.
    times = (3, 3, 1)
    found = [
        [
            statistics.median([await _rate(work, count) for _ in range(often)])
            for work, often in zip(works, times, strict=True)
        ]
        for _ in range(rounds + 1)
    ]
    return found[1:]


def _rows(rounds: list[list[float]]) -> list[dict[str, Any]]:
    streamed, local, plain = (statistics.median(column) for column in zip(*rounds, strict=True))
    found = []
    for against, theirs, place, bar in (("local COPY TO to numpy", local, 1, 0.50), ("JSON over HTTP", plain, 2, 10.0)):
        one = row("collection", "ReadBars to numpy columns", streamed, "rows/s", against, theirs, bar)
        ratio = statistics.median(each[0] / each[place] for each in rounds)
        found.append({**one, "ratio": round(ratio, 2), "holds": ratio >= bar})
    return found


def _run(work: Coroutine[Any, Any, Any], own_loop: bool) -> Any:
    return asyncio.run(work) if own_loop else uvloop.run(work)


def rows(count: int = BARS, rounds: int = ROUNDS, own_loop: bool = False) -> list[dict[str, Any]]:
    """Measure everything and return one row for each figure."""
    found: list[dict[str, Any]] = _run(_measure(count, rounds, ["--asyncio"] if own_loop else []), own_loop)
    return found


def main() -> int:
    """Print the rows, or serve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="a fifth of the bars, two rounds")
    parser.add_argument("--asyncio", action="store_true", help="asyncio's own loop in place of uvloop")
    parser.add_argument("--serve", nargs=2, metavar=("URL", "SERIES_ID"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        _run(serve(options.serve[0], int(options.serve[1])), options.asyncio)
        return 0
    for each in rows(BARS // 5, 2, options.asyncio) if options.quick else rows(own_loop=options.asyncio):
        print(json.dumps(each))
    return 0


if __name__ == "__main__":
    sys.exit(main())
