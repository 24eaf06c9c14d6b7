"""Live connections as operators see them: the real DataHub, a real plug-in process, a real socket."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Any

import grpc
import pytest

from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar.providers.kraken import Kraken
from quasar.testing.vendors import KrakenServer, SimulatedExchange
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import collection_pb2, feed_pb2
from quasar_proto.datahub.v1 import collection_service_pb2 as collection
from quasar_proto.datahub.v1 import provider_service_pb2 as pb
from quasar_proto.datahub.v1.collection_service_pb2_grpc import CollectionServiceStub
from quasar_proto.datahub.v1.provider_service_pb2_grpc import ProviderServiceStub
from tests.integration.datahub.live.feeds import built_in, fast_market, stored_bars, until_stored, without_a_hole
from tests.integration.services.conftest import Bearers, as_

LIVE, DOWN = feed_pb2.FEED_STATE_LIVE, feed_pb2.FEED_STATE_DOWN


async def live_feed(stub: Any, bearer: str, connections: int = 1) -> feed_pb2.Feed:
    """Wait until the feed of the fast market is live on its n-th connection."""
    async with asyncio.timeout(90):
        while True:
            found = await stub.ListFeeds(pb.ListFeedsRequest(filter='provider = "fast"'), **as_(bearer))
            feed: feed_pb2.Feed
            for feed in found.feeds:
                if feed.state == LIVE and feed.reconnects + 1 >= connections:
                    return feed
            await asyncio.sleep(0.05)


async def test_a_live_connection_is_listed_with_its_rate_lag_and_symbols(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD", "NOBODY")
    async with start(DATAHUB) as hub:
        stub = hub.stub(ProviderServiceStub)
        feed = await live_feed(stub, bearers.viewer)
        assert (feed.feed_id, feed.provider, feed.symbol_count) == ("fast/0", "fast", 2)
        assert (feed.reconnects, feed.reconnect_budget, feed.detail) == (0, 30, "")
        assert feed.rows_per_second > 0
        assert feed.HasField("lag_p50")
        assert feed.HasField("lag_p99")
        assert feed.HasField("connect_time")
        assert sum(each.count for each in feed.symbol_states) == 2
        nobody = await stub.ListFeeds(pb.ListFeedsRequest(filter='state = "DOWN"'), **as_(bearers.viewer))
        assert not nobody.feeds
        provider = await stub.GetProvider(pb.GetProviderRequest(name="fast"), **as_(bearers.viewer))
        assert [each.feed_id for each in provider.provider.feeds] == ["fast/0"]


async def test_symbols_are_live_by_their_rows_and_not_by_being_subscribed(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD", "ETH/USD", "NOBODY")
    async with start(DATAHUB) as hub:
        stub = hub.stub(ProviderServiceStub)
        await live_feed(stub, bearers.viewer)
        await until_stored(database, "ETH/USD", 1)
        request = pb.ListSymbolFeedsRequest(order_by="rows desc", page_size=2)
        first = await stub.ListSymbolFeeds(request, **as_(bearers.viewer))
        assert {each.key.symbol for each in first.symbols} == {"BTC/USD", "ETH/USD"}
        assert {each.state for each in first.symbols} == {LIVE}
        assert first.symbols[0].rows >= first.symbols[1].rows > 0
        request.page_token = first.next_page_token
        second = await stub.ListSymbolFeeds(request, **as_(bearers.viewer))
        assert [(each.key.symbol, each.rows, second.next_page_token) for each in second.symbols] == [("NOBODY", 0, "")]
        assert second.symbols[0].state != LIVE
        some, nobody = await series_states(hub, bearers.viewer, ("BTC/USD", "1min"), ("NOBODY", "1min"))
        assert [each.feed_state == LIVE for each in (some, nobody)] == [True, False]
        assert [each.HasField("last_receive_time") for each in (some, nobody)] == [True, False]


async def series_states(hub: Any, bearer: str, *names: tuple[str, str], provider: str = "fast") -> Sequence[Any]:
    """Return what collection says of series, by symbol and interval."""
    keys = [values_pb2.SeriesKey(provider=provider, symbol=symbol, interval=interval) for symbol, interval in names]
    request = collection.BatchGetSubscriptionStatesRequest(keys=keys)
    answer = await hub.stub(CollectionServiceStub).BatchGetSubscriptionStates(request, **as_(bearer))
    return tuple(answer.states)


async def test_what_is_stored_of_a_live_symbol_shows_its_last_tick_and_its_last_bar(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD")
    async with start(DATAHUB) as hub:
        await live_feed(hub.stub(ProviderServiceStub), bearers.viewer)
        await until_stored(database, "BTC/USD", 200)
        async with asyncio.timeout(60):
            while not await stored_bars(database, "BTC/USD"):  # noqa: ASYNC110  # the table tells nobody
                await asyncio.sleep(0.05)
        ticks, bars = await series_states(hub, bearers.viewer, ("BTC/USD", ""), ("BTC/USD", "1min"))
        prices = await database.fetch("select event_time, price from ticks order by sequence")
        stored = {row["event_time"]: row["price"] for row in prices}
        assert ticks.last_value == stored[ticks.last_row_time.ToDatetime(tzinfo=dt.UTC)]
        closes = {at: bar[3] for at, bar in (await stored_bars(database, "BTC/USD")).items()}
        assert bars.last_value == closes[bars.last_row_time.ToNanoseconds()]


async def test_a_series_whose_feed_is_down_is_failing_with_the_vendors_words(
    start: Any, bearers: Bearers, database: Database
) -> None:
    async with KrakenServer(SimulatedExchange(), pace_s=0.05) as vendor:
        vendor.faults.refuse_symbols = frozenset({"SOL/USD"})
        preferences = {"rest_url": vendor.rest_url, "websocket_url": vendor.websocket_url}
        await built_in(database, Kraken, preferences, "BTC/USD", "SOL/USD")
        async with start(DATAHUB) as hub, asyncio.timeout(90):
            asked = (("BTC/USD", "1min"), ("SOL/USD", "1min"))
            states = await series_states(hub, bearers.viewer, *asked, provider="kraken")
            while [each.feed_state for each in states] != [LIVE, DOWN]:
                await asyncio.sleep(0.05)
                states = await series_states(hub, bearers.viewer, *asked, provider="kraken")
            well, refused = states
            assert well.health == collection_pb2.SUBSCRIPTION_HEALTH_CURRENT
            assert refused.health == collection_pb2.SUBSCRIPTION_HEALTH_FAILING
            assert refused.detail.startswith("The vendor refuses it: ")


async def test_a_connection_that_is_made_anew_loses_no_trade(start: Any, bearers: Bearers, database: Database) -> None:
    await fast_market(database, "BTC/USD")
    async with start(DATAHUB) as hub:
        stub = hub.stub(ProviderServiceStub)
        await live_feed(stub, bearers.viewer)
        before = await until_stored(database, "BTC/USD", 20)
        asked = await stub.ReconnectFeed(pb.ReconnectFeedRequest(feed_id="fast/0"), **as_(bearers.operator))
        assert asked.feed.feed_id == "fast/0"
        again = await live_feed(stub, bearers.viewer, connections=2)
        assert (again.reconnects, again.reconnect_budget) == (1, 30), "an operator's reconnect is not taken from it"
        assert without_a_hole(await until_stored(database, "BTC/USD", len(before) + 200))


async def test_a_watch_tells_all_connections_and_then_what_changes(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD")
    async with start(DATAHUB) as hub:
        stub = hub.stub(ProviderServiceStub)
        await live_feed(stub, bearers.viewer)
        request = pb.WatchFeedsRequest(include_symbols=True)
        request.interval.FromMilliseconds(100)
        call = stub.WatchFeeds(request, **as_(bearers.viewer))
        first = await call.read()
        assert [each.feed_id for each in first.feeds] == ["fast/0"]
        assert [each.key.symbol for each in first.symbols] == ["BTC/USD"]
        await database.execute("update registry.provider_subscription set live = false")
        await database.execute("select pg_notify('registry_changed', '')")
        async with asyncio.timeout(60):
            while "fast/0" not in (message := await call.read()).removed_feed_ids:
                assert not message.symbols or message.feeds
        call.cancel()


async def test_a_feed_or_symbol_that_does_not_exist_is_not_found(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD")
    async with start(DATAHUB) as hub:
        stub = hub.stub(ProviderServiceStub)
        await live_feed(stub, bearers.viewer)
        for request in (
            pb.ReconnectFeedRequest(feed_id="fast/7"),
            pb.ReconnectFeedRequest(feed_id="fast/0", symbols=["ABSENT"]),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.ReconnectFeed(request, **as_(bearers.operator))
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.aio.AioRpcError) as wrong:
            await stub.ListFeeds(pb.ListFeedsRequest(filter='colour = "red"'), **as_(bearers.viewer))
        assert wrong.value.code() is grpc.StatusCode.INVALID_ARGUMENT
