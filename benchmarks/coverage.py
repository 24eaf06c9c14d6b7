"""Coverage and newest bars of many series over gRPC, and how small the ledger is beside the bars that it describes.

The calls are answered by the DataHub's own code on a real socket. Half of the series trade on XNYS and half always;
each has a year of minutes in the ledger with a gap a month. The size of the ledger is that of the table and its indexes
after bars with a hole in every 500 were stored.

Command: `python -m benchmarks.coverage` (about half a minute).
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
import numpy as np

from benchmarks.market_database import START_NS, bars, market_database, row, series
from datahub.ingest.delivery import Delivery
from datahub.ingest.room import Room
from datahub.ingest.writer import BarWriter
from datahub.reads.bars import BarReader
from datahub.reads.resampling import BarSource
from datahub.rpc.coverage_pages import CoveragePages
from datahub.rpc.describe_series import SeriesPages
from datahub.rpc.latest_bars import LatestBars
from datahub.rpc.series_messages import SeriesFinder
from quasar.clock import SystemClock
from quasar.database.pool import Database
from quasar.model.instants import NS_PER_DAY, NS_PER_MINUTE, TimeRange, from_ns
from quasar_proto.datahub.v1 import collection_service_pb2, market_data_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb

SERIES: Final = 1_000
LATEST: Final = 10_000
BARS: Final = 200_000
HOLE: Final = 500
REPEATS: Final = 7
_YEAR: Final = TimeRange(START_NS // NS_PER_DAY * NS_PER_DAY, START_NS // NS_PER_DAY * NS_PER_DAY + 365 * NS_PER_DAY)
_MONTHS: Final = 12
_SIZE = """select pg_total_relation_size('datahub.coverage') as ledger,
                  (select sum(pg_total_relation_size(inhrelid)) from pg_inherits
                   where inhparent = 'datahub.historical_data'::regclass) as bars"""
_FILL_LEDGER = """
insert into coverage (series_id, start_time, end_time, state, slots)
select s.series_id, $1 + m * i.month + g * i.month * 0.99, $1 + (m + 1) * i.month - (1 - g) * i.month * 0.01,
       case g when 0 then 1 else 5 end, case g when 0 then 40000 else 400 end
from series s, (select ($2::timestamptz - $1) / $3::integer as month) i, generate_series(0, $3::integer - 1) m,
     generate_series(0, 1) g
where s.symbol like 'C%'"""


async def _fill(database: Database) -> None:
    """Make series with a year in the ledger, and series with a newest bar."""
    await database.execute(
        "insert into series (provider, symbol, interval, calendar) "
        "select 'bench', 'C' || n, '1min', case n % 2 when 0 then 'XNYS' else '24/7' end from generate_series(1, $1) n",
        SERIES,
    )
    await database.execute(_FILL_LEDGER, _YEAR.start, _YEAR.end, _MONTHS)
    await database.execute(
        "insert into series_progress (series_id, classified_from, classified_until) "
        "select series_id, $1, $2 from series where symbol like 'C%'",
        _YEAR.start,
        _YEAR.end,
    )
    await database.execute(
        "insert into series (provider, symbol, interval) "
        "select 'bench', 'L' || n, '1min' from generate_series(1, $1) n",
        LATEST,
    )
    await database.execute(
        "insert into bar_last select series_id, now(), now(), 1, 1, 1, 1, 1, 1, now() from series "
        "where symbol like 'L%'"
    )
    await database.execute("vacuum analyze")


@asynccontextmanager
async def _served(database: Database) -> AsyncIterator[grpc.aio.Channel]:
    """Serve the two methods on a socket."""
    finder, clock = SeriesFinder(database), SystemClock()
    source = BarSource(database, BarReader(database))
    symbols = SeriesPages(database, source, finder, clock).symbols
    coverage, latest = CoveragePages(database, finder, clock), LatestBars(database, source, finder, symbols, clock)

    async def get_coverage(request: Any, _context: Any) -> Any:
        return await coverage.coverage(request)

    async def get_latest(request: Any, _context: Any) -> Any:
        return await latest.answer(request)

    def handler(call: Any, request: Any, response: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(call, request.FromString, response.SerializeToString)

    coverage_types = collection_service_pb2.GetCoverageRequest, collection_service_pb2.GetCoverageResponse
    methods = {
        "GetCoverage": handler(get_coverage, *coverage_types),
        "GetLatestBars": handler(get_latest, pb.GetLatestBarsRequest, pb.GetLatestBarsResponse),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(None)


async def _median_s(call: Callable[[], Awaitable[Any]]) -> float:
    """Return the median seconds of some calls, after one that does not count."""
    await call()
    spent = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        await call()
        spent.append(time.perf_counter() - begun)
    return statistics.median(spent)


async def _references(database: Database, prefix: str) -> list[market_data_pb2.SeriesReference]:
    rows = await database.fetch("select series_id from series where symbol like $1 order by 1", f"{prefix}%")
    return [market_data_pb2.SeriesReference(series_id=row["series_id"]) for row in rows]


async def _ledger_bytes(database: Database) -> tuple[int, int]:
    """Store bars with holes; return the bytes of the ledger and of the bars."""
    writer, one = BarWriter(database, Room(database), SystemClock()), await series(database, "HOLES")
    given = bars(BARS)
    given = given[np.arange(BARS) % HOLE != HOLE - 1]
    await database.execute("truncate coverage")
    for start in range(0, len(given), 20_000):
        part = given[start : start + 20_000]
        span = TimeRange(int(part.open_time_ns[0]), int(part.open_time_ns[-1]) + NS_PER_MINUTE)
        await writer.store(Delivery(series=one, columns=part, requested=span, answered=span))
    found = await database.fetchrow(_SIZE)
    return int(found["ledger"]), int(found["bars"])


async def _measure() -> list[dict[str, Any]]:
    async with market_database() as database:
        await _fill(database)
        async with _served(database) as channel:
            asked = collection_service_pb2.GetCoverageRequest(series=await _references(database, "C"))
            asked.range.start.FromDatetime(_YEAR.start)
            asked.range.end.FromDatetime(from_ns(_YEAR.end_ns - NS_PER_DAY))  # cuts the last row of each
            get_coverage = channel.unary_unary(
                "/bench/GetCoverage",
                collection_service_pb2.GetCoverageRequest.SerializeToString,
                collection_service_pb2.GetCoverageResponse.FromString,
            )
            newest = pb.GetLatestBarsRequest(series=await _references(database, "L"))
            get_latest = channel.unary_unary(
                "/bench/GetLatestBars",
                pb.GetLatestBarsRequest.SerializeToString,
                pb.GetLatestBarsResponse.FromString,
            )
            assert len((await get_coverage(asked)).series) == SERIES
            assert len((await get_latest(newest)).bars.open_time_ns) == LATEST
            covered = await _median_s(lambda: get_coverage(asked))
            latest = await _median_s(lambda: get_latest(newest))
        ledger, stored = await _ledger_bytes(database)
    return [
        row("collection", "coverage of 1,000 series, 1 year of minutes", 1 / covered, "1/s", "300 ms each", 3.333, 1.0),
        row("collection", "GetLatestBars of 10,000 series", 1 / latest, "1/s", "100 ms each", 10.0, 1.0),
        row("collection", "bars, a hole in every 500", stored, "bytes", "their ledger", ledger, 50.0),
    ]


def rows() -> list[dict[str, Any]]:
    """Measure everything and return one row for each figure."""
    return asyncio.run(_measure())


if __name__ == "__main__":
    for each in rows():
        print(json.dumps(each))
    sys.exit(0)
