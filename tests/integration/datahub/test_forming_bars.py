"""Reads with the bar that is forming: of a stored series it comes from the live half and stands in the last place."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from typing import Any

import pytest

from datahub.reads.forming import Forming
from datahub.rpc.market_data_service import MarketDataService
from quasar.clock import SystemClock
from quasar.convert.columns import decode_bars
from quasar.database.pool import Database
from quasar.model.bars import Bar, BarColumns, BarOrigin, BarState
from quasar.model.instants import to_ns
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import market_data_pb2 as market
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from tests.integration.datahub.test_search import BEGIN, put

KEY = values_pb2.SeriesKey(provider="vendor", symbol="NOVA", interval="1h")
SERIES = market.SeriesReference(key=KEY)
FORMING, CLOSED = market.BAR_STATE_FORMING, market.BAR_STATE_CLOSED


class LiveHalf:
    """A feed in whose fourth hour a bar is forming."""

    def forming_bars(self, series_ids: Collection[int]) -> Mapping[int, Forming]:
        start = to_ns(BEGIN + dt.timedelta(hours=3))
        bar = Bar(start, 6.0, 9.0, 6.0, 8.0, 3.0, close_time_ns=start + 3_600 * 10**9, state=BarState.FORMING)
        return {one: Forming(bar, BarOrigin.LIVE_TICKS) for one in series_ids}


@pytest.fixture
async def service(database: Database) -> MarketDataService:
    await put(database, "vendor", "NOVA", "1h")
    live: Any = LiveHalf()
    return MarketDataService(database, SystemClock(), live)


async def read(service: MarketDataService, **more: Any) -> BarColumns:
    parts = []
    async for data in service.ReadBars(pb.ReadBarsRequest(series=[SERIES], **more), None):
        message = pb.ReadBarsResponse.FromString(data)
        parts += [decode_bars(chunk.SerializeToString()).columns for chunk in message.bars]
    return BarColumns.concatenate(parts)


async def test_a_read_in_columns_ends_with_the_bar_that_is_forming(service: MarketDataService) -> None:
    assert len(await read(service)) == 3
    bars = await read(service, include_forming=True)
    assert [bar.state for bar in bars.bars()] == [BarState.CLOSED] * 3 + [BarState.FORMING]
    assert bars.bar(3).close == 8.0
    assert len(await read(service, include_forming=True, last_count=2)) == 2
    assert [bar.close for bar in (await read(service, include_forming=True, last_count=1)).bars()] == [8.0]


async def test_what_was_known_or_collected_otherwise_has_no_bar_that_is_forming(service: MarketDataService) -> None:
    request = pb.ReadBarsRequest()
    request.as_of.FromDatetime(dt.datetime.now(dt.UTC))
    assert len(await read(service, include_forming=True, source=market.BAR_SOURCE_HISTORICAL)) == 3
    assert len(await read(service, include_forming=True, source=market.BAR_SOURCE_LIVE_TICKS)) == 1
    assert BarState.FORMING not in {
        bar.state for bar in (await read(service, include_forming=True, as_of=request.as_of)).bars()
    }


@pytest.mark.parametrize("order", ["open_time", "open_time desc"])
async def test_pages_hold_the_bar_that_is_forming_once(service: MarketDataService, order: str) -> None:
    request = pb.ListBarsRequest(series=SERIES, include_forming=True, page_size=2, order_by=order)
    found: list[Any] = []
    while not found or request.page_token:
        page = await service.ListBars(request, None)
        found += page.bars
        request.page_token = page.next_page_token
    states = [bar.state for bar in sorted(found, key=lambda each: each.open_time.ToNanoseconds())]
    assert states == [CLOSED, CLOSED, CLOSED, FORMING]
    request.filter = 'state = "FORMING"'
    assert [bar.close for bar in (await service.ListBars(request, None)).bars] == [8.0]


async def test_the_latest_bar_is_the_one_that_is_forming_where_it_is_wanted(service: MarketDataService) -> None:
    request = pb.GetLatestBarsRequest(series=[SERIES])
    assert list((await service.GetLatestBars(request, None)).bars.close) == [5.0]
    request.include_forming = True
    bars = (await service.GetLatestBars(request, None)).bars
    assert (list(bars.close), list(bars.state)) == ([8.0], [FORMING])
