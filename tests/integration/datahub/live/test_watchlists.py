"""Watchlists and movers: what changes beside the price, what has only bars, and windows shorter than a minute."""

from __future__ import annotations

from typing import Any

from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar_proto.datahub.v1 import feed_pb2, market_data_pb2, price_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from quasar_proto.datahub.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from tests.integration.datahub.live.client import TRADES, Client, Stream, symbols
from tests.integration.datahub.live.feeds import fast_market, live
from tests.integration.datahub.live.test_pauses import subscriptions
from tests.integration.datahub.registry_rows import add_provider
from tests.integration.services.conftest import Bearers, as_

_ONCE = """
from quasar.model.ticks import TickColumns
from quasar.provider import Provider
import numpy as np


class Once(Provider):
    '''A market in which a handful of trades come at once, and then none.'''

    name = "once"
    intervals = ("1min",)
    calendar = "24/7"

    async def live(self, feed):
        await self.clock.sleep(0.2)
        now = self.clock.time_ns()
        times = np.array([now, now + 1, now + 2])
        prices, sizes = np.array([100.0, 104.0, 102.0]), np.array([1.0, 1.0, 2.0])
        yield "A", TickColumns(times, prices, sizes, trade_id=np.array([1, 2, 3]))
        while True:
            await self.clock.sleep(1.0)
"""


async def test_a_watchlist_tells_that_a_feed_has_stopped_and_that_a_bar_is_newer(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD")
    await database.execute(
        """insert into series (provider, symbol, interval) values ('fast', 'OLD/USD', '1d');
           insert into bar_last (series_id, open_time, close_time, open, high, low, close, volume, origin, known_at)
           select series_id, '2026-01-05', '2026-01-06', 1, 2, 1, 1.5, 9, 1, now()
           from series where symbol = 'OLD/USD'"""
    )
    async with start(DATAHUB) as hub:
        client = Client()
        stream = Stream(hub, bearers.viewer, client, symbols("fast", "BTC/USD", contents=(TRADES,)))
        await stream.until(lambda: client.trades)
        stream.call.cancel()
        wanted = symbols("fast", "BTC/USD", "OLD/USD").symbols
        watch = hub.stub(MarketDataServiceStub).WatchPrices(
            pb.WatchPricesRequest(symbols=[wanted]), **as_(bearers.viewer)
        )
        rows = {price.series.key.symbol: price for price in (await watch.read()).prices}
        assert (rows["BTC/USD"].feed_state, rows["OLD/USD"].last) == (feed_pb2.FEED_STATE_LIVE, 1.5)
        await database.execute("update bar_last set close = 1.75, close_time = '2026-01-07'")
        await subscriptions(database, "PAUSED")
        while rows["BTC/USD"].feed_state != feed_pb2.FEED_STATE_DOWN or rows["OLD/USD"].last != 1.75:
            rows |= {price.series.key.symbol: price for price in (await watch.read()).prices}
        watch.cancel()


async def test_what_was_traded_in_the_minute_that_is_not_over_counts_for_a_window(
    start: Any, bearers: Bearers, database: Database
) -> None:
    manifest = {
        "name": "once",
        "kind": "CODE_KIND_PROVIDER",
        "class_name": "Once",
        "intervals": ["1min"],
        "capabilities": ["PROVIDER_CAPABILITY_LIVE_TICKS"],
    }
    code_id = await add_provider(database, "once", _ONCE.encode(), manifest)
    await live(database, code_id, "A")
    async with start(DATAHUB) as hub:
        client = Client()
        stream = Stream(hub, bearers.viewer, client, symbols("once", "A", contents=(TRADES,)))
        await stream.until(lambda: client.trades)
        stub = hub.stub(MarketDataServiceStub)
        chosen = market_data_pb2.SymbolSelector(filter='provider = "once"')
        for window_s in (3600, 0):
            request = pb.ListTopMoversRequest(ranking=price_pb2.MOVER_RANKING_QUOTE_VOLUME, symbols=chosen)
            if window_s:
                request.window.FromSeconds(window_s)
            (mover,) = (await stub.ListTopMovers(request, **as_(bearers.viewer))).movers
            assert (mover.window_open, mover.window_quote_volume, mover.price.last) == (100.0, 408.0, 102.0)
            assert abs(mover.window_change_ratio - 0.02) < 1e-9
        stream.call.cancel()
