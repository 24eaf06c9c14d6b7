"""Long series, read in windows on two connections and streamed: complete, consistent, bounded, easily broken off."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import numpy as np
import pytest

from datahub.ingest.delivery import Delivery
from datahub.ingest.room import Room
from datahub.ingest.writer import BarWriter
from datahub.reads.bars import BarReader
from datahub.reads.query import BarQuery
from datahub.series.series import Series, SeriesName
from datahub.store import series_table
from quasar.client.channel import Channel, ClientSettings
from quasar.client.market_data import MarketData
from quasar.clock import SystemClock
from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar.errors import NotFound
from quasar.model.bars import BarColumns, BarState
from quasar.model.instants import NS_PER_MINUTE, from_ns, to_ns
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import market_data_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from quasar_proto.datahub.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from tests.integration.services.conftest import Bearers, as_

BEGIN_NS = to_ns(dt.datetime(2026, 1, 5, tzinfo=dt.UTC))


def bars(count: int, first: int = 0) -> BarColumns:
    """Minutes whose close is their number."""
    numbers = np.arange(first, first + count, dtype=np.int64)
    price = numbers.astype(np.float64)
    return BarColumns(BEGIN_NS + numbers * NS_PER_MINUTE, price, price + 1, price - 1, price, price + 2)


async def kept(database: Database, symbol: str, columns: BarColumns) -> Series:
    """Store bars as a run does."""
    name = SeriesName("vendor", symbol, "1min")
    async with database.transaction() as connection:
        series = (await series_table.ensure(connection, [name], {"vendor": "24/7"}))[name]
    writer = BarWriter(database, Room(database), SystemClock())
    for start in range(0, len(columns), 50_000):
        await writer.store(Delivery(series=series, columns=columns[start : start + 50_000]))
    return series


async def now(database: Database) -> dt.datetime:
    """A moment after everything that is stored became known."""
    await asyncio.sleep(0.002)
    return SystemClock().now()


async def idle(database: Database) -> None:
    """Wait until no connection is lent."""
    async with asyncio.timeout(20):
        while database.free < database.most:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@asynccontextmanager
async def client(port: int, token: str) -> AsyncGenerator[MarketData]:
    async with Channel(ClientSettings(target=f"127.0.0.1:{port}", token=token)) as channel:
        yield MarketData(channel, channel)


async def test_a_python_client_gets_every_bar_of_a_long_series_once(
    start: Any, bearers: Bearers, database: Database
) -> None:
    count = 120_000
    await kept(database, "LONG", bars(count))
    async with start(DATAHUB) as hub, client(hub.server.port, bearers.viewer) as market:
        found = await market.bars("vendor:LONG@1min")
        assert found.equals(BarColumns(**columns_of(bars(count)), close_time_ns=found.close_time_ns))
        assert found.close_time_ns is not None
        assert np.array_equal(found.close_time_ns, found.open_time_ns + NS_PER_MINUTE)
        start_ns, end_ns = BEGIN_NS + NS_PER_MINUTE, BEGIN_NS + 4 * NS_PER_MINUTE
        part = await market.bars("vendor:LONG@1min", from_ns(start_ns), from_ns(end_ns))
        assert part.close.tolist() == [1, 2, 3]
        with pytest.raises(NotFound):
            await market.bars("vendor:NOBODY@1min")
        async with aclosing(market.bar_parts("vendor:LONG@1min")) as parts:
            first, second = await anext(parts), await anext(parts)
        joined = BarColumns.concatenate([first, second])
        assert len(joined) < count
        assert np.array_equal(joined.close, np.arange(len(joined)))


def columns_of(found: BarColumns) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ("open_time_ns", "open", "high", "low", "close", "volume")}


async def test_no_message_holds_more_rows_than_asked_for_and_any_cursor_goes_on(
    start: Any, bearers: Bearers, database: Database
) -> None:
    sizes = {"A": 1_200, "B": 10, "C": 5, "D": 2_000}
    for symbol, count in sizes.items():
        await kept(database, symbol, bars(count))
    keys = [values_pb2.SeriesKey(provider="vendor", symbol=symbol, interval="1min") for symbol in sizes]
    request = pb.ReadBarsRequest(series=[market_data_pb2.SeriesReference(key=key) for key in keys], batch_rows=333)
    async with start(DATAHUB) as hub:
        stub = hub.stub(MarketDataServiceStub)
        messages = [message async for message in stub.ReadBars(request, **as_(bearers.viewer))]
        assert max(rows(message) for message in messages) <= 333
        assert sum(rows(message) for message in messages) == sum(sizes.values())
        ended = [(end.index, end.rows) for message in messages for end in message.ended]
        assert ended == list(enumerate(sizes.values()))
        for place, message in enumerate(messages[:-1]):
            request.cursor = message.cursor
            after = [each async for each in stub.ReadBars(request, **as_(bearers.viewer))]
            assert sum(map(rows, after)) == sum(map(rows, messages[place + 1 :]))
            assert [(end.index, end.rows) for each in after for end in each.ended] == [
                (end.index, end.rows) for each in messages[place + 1 :] for end in each.ended
            ]


def rows(message: pb.ReadBarsResponse) -> int:
    return sum(len(chunk.open_time_ns) for chunk in message.bars)


async def test_a_bar_that_is_revised_in_the_middle_of_a_read_is_given_as_it_was(database: Database) -> None:
    series = await kept(database, "A", bars(3_000))
    reader, query = BarReader(database), BarQuery(known_at=await now(database))
    async with aclosing(reader.pages(series, query, rows=100)) as pages:
        parts = [await anext(pages)]
        changed = bars(2, 2_000)
        price = changed.close + 0.5
        again = BarColumns(changed.open_time_ns, changed.open, changed.high, changed.low, price, changed.volume)
        counts = await BarWriter(database, Room(database), SystemClock()).store(Delivery(series=series, columns=again))
        assert counts.updated == 2
        parts += [page async for page in pages]
    found = BarColumns.concatenate(parts)
    assert np.array_equal(found.close, np.arange(3_000))
    later = BarColumns.concatenate(
        [page async for page in reader.pages(series, BarQuery(known_at=await now(database)), rows=100)]
    )
    assert np.flatnonzero(later.close != np.arange(3_000)).tolist() == [2_000, 2_001]
    assert later.state is not None
    assert np.flatnonzero(later.state == BarState.REVISED).tolist() == [2_000, 2_001]


async def test_a_bar_counts_as_revised_also_when_its_former_version_is_not_kept_any_more(database: Database) -> None:
    series = await kept(database, "A", bars(200))
    await database.execute("update historical_data set revision = 1 where close = 7")
    await database.execute("select ops.set_retention('datahub.bar_revisions', interval '1 year')")
    query = BarQuery(known_at=await now(database))
    found = BarColumns.concatenate([page async for page in BarReader(database).pages(series, query, rows=50)])
    assert found.state is not None
    assert np.flatnonzero(found.state == BarState.REVISED).tolist() == [7]


async def test_a_reader_that_pauses_or_leaves_holds_no_connection(database: Database) -> None:
    series = await kept(database, "A", bars(60_000))
    reader, query = BarReader(database), BarQuery(known_at=await now(database))
    pages = reader.pages(series, query, rows=10_000)
    await anext(pages)
    await anext(pages)
    await idle(database)
    following = asyncio.ensure_future(anext(pages))
    await asyncio.sleep(0)
    following.cancel()
    await asyncio.wait([following])
    await pages.aclose()
    await idle(database)
    whole = [page async for page in reader.pages(series, query, rows=10_000)]
    assert sum(map(len, whole)) == 60_000
