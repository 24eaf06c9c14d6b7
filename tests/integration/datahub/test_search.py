"""Finding symbols with data, over the real DataHub."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np

from datahub.ingest.delivery import Delivery
from datahub.ingest.room import Room
from datahub.ingest.writer import BarWriter
from datahub.series.series import SeriesName
from datahub.store import series_table
from quasar.clock import SystemClock
from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar.model.bars import BarColumns
from quasar.model.instants import TimeRange, to_ns
from quasar.model.intervals import Interval
from quasar_proto.datahub.v1 import market_data_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from quasar_proto.datahub.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from tests.integration.services.conftest import Bearers, as_

BEGIN = dt.datetime(2024, 7, 1, tzinfo=dt.UTC)


async def put(database: Database, provider: str, symbol: str, interval: str, count: int = 3) -> None:
    """Store some bars of a series."""
    name, length = SeriesName(provider, symbol, interval), Interval.parse(interval)
    slots = length.slots(to_ns(BEGIN), to_ns(BEGIN) + count * length.length_ns)
    price = np.full(len(slots), 5.0)
    async with database.transaction() as connection:
        series = (await series_table.ensure(connection, [name], {provider: "24/7"}))[name]
    writer = BarWriter(database, Room(database), SystemClock())
    span = TimeRange(int(slots[0]), int(slots[-1]) + length.length_ns)
    await writer.store(Delivery(series=series, columns=BarColumns(slots, *[price] * 5), answered=span))


async def search(hub: Any, bearers: Bearers, query: str = "", **more: Any) -> pb.SearchSeriesResponse:
    request = pb.SearchSeriesRequest(query=query, **more)
    found: pb.SearchSeriesResponse = await hub.stub(MarketDataServiceStub).SearchSeries(request, **as_(bearers.viewer))
    return found


async def test_a_match_tells_what_is_stored_and_what_is_computed_from_it(
    start: Any, bearers: Bearers, database: Database
) -> None:
    for interval in ("1d", "15min"):
        await put(database, "vendor", "NOVA", interval)
    await put(database, "vendor", "NOVEL", "1w")
    async with start(DATAHUB) as hub:
        nova, novel = (await search(hub, bearers, "nov")).matches
    assert [each.interval for each in nova.intervals] == ["15min", "1d"]
    assert [each.last_bar_time.ToDatetime(dt.UTC) for each in nova.intervals] == [
        BEGIN + dt.timedelta(minutes=30),
        BEGIN + dt.timedelta(days=2),
    ]
    assert list(nova.computed_intervals) == ["30min", "1h", "4h", "1w", "1M"]
    assert (novel.symbol.key.symbol, list(novel.computed_intervals)) == ("NOVEL", [])


async def test_live_bars_that_are_newer_do_not_hide_that_there_is_history(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await put(database, "vendor", "BOTH", "1h")
    await database.execute("update bar_last set origin = 3")
    async with start(DATAHUB) as hub:
        (found,) = (await search(hub, bearers, "both", filter="has_historical = true")).matches
        assert found.intervals[0].has_historical
        stub = hub.stub(MarketDataServiceStub)
        reference = market_data_pb2.SeriesReference(series_id=found.intervals[0].series_id)
        request = pb.DescribeSeriesRequest(series=reference)
        shown = (await stub.DescribeSeries(request, **as_(bearers.viewer))).description
    assert shown.price.last == 5.0
    assert shown.size_bytes > 0


async def test_the_best_match_comes_first_and_pages_follow_each_other(
    start: Any, bearers: Bearers, database: Database
) -> None:
    for symbol in ("BTC/USD", "WBTC", "BTC", "A_C", "ABC"):
        await put(database, "vendor", symbol, "1h")
    async with start(DATAHUB) as hub:
        first = await search(hub, bearers, "btc", page_size=2)
        rest = await search(hub, bearers, "btc", page_size=2, page_token=first.next_page_token)
        assert [each.symbol.key.symbol for each in (*first.matches, *rest.matches)] == ["BTC", "BTC/USD", "WBTC"]
        assert [each.score for each in first.matches] == [1.0, 0.8]
        assert not rest.next_page_token
        # What stands for anything in other places stands for itself here.
        assert [each.symbol.key.symbol for each in (await search(hub, bearers, "a_c")).matches] == ["A_C"]
        assert not (await search(hub, bearers, "%")).matches
        assert len((await search(hub, bearers, filter='interval = "1h"')).matches) == 5
        assert not (await search(hub, bearers, filter='interval = "1d"')).matches
