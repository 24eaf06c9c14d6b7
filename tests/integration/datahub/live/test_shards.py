"""A vendor that limits the symbols of a connection gets several, and the symbols that fit on none say so."""

from __future__ import annotations

import asyncio
from typing import Any

from google.protobuf import duration_pb2

from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar_proto.common.v1 import errors_pb2
from quasar_proto.datahub.v1 import provider_service_pb2 as pb
from quasar_proto.datahub.v1.provider_service_pb2_grpc import ProviderServiceStub
from tests.integration.datahub.live.client import STATES, TRADES, Client, Stream, symbols
from tests.integration.datahub.live.feeds import fast_market, without_a_hole
from tests.integration.services.conftest import Bearers, as_

FIVE = ("ADA/USD", "BTC/USD", "DOT/USD", "ETH/USD", "LTC/USD")


async def carried(hub: Any, bearer: str) -> dict[str, set[str]]:
    """Return the symbols of each connection that have rows."""
    found = await hub.stub(ProviderServiceStub).ListSymbolFeeds(pb.ListSymbolFeedsRequest(), **as_(bearer))
    feeds: dict[str, set[str]] = {}
    for one in found.symbols:
        feeds.setdefault(one.feed_id, set()).update([one.key.symbol] if one.rows else [])
    return feeds


async def test_symbols_are_spread_over_connections_and_one_that_is_made_anew_disturbs_no_other(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, *FIVE, symbols_per_connection=2, max_live_streams=2)
    async with start(DATAHUB) as hub:
        client = Client()
        often = duration_pb2.Duration(seconds=1)
        wanted = symbols("fast", *FIVE, contents=(TRADES,))
        stream = Stream(hub, bearers.viewer, client, wanted, heartbeat_interval=often)
        await stream.until(lambda: len(client.trades) == 4 and client.heartbeats)
        assert await carried(hub, bearers.viewer) == {
            "fast/0": {"ADA/USD", "BTC/USD"},
            "fast/1": {"DOT/USD", "ETH/USD"},
        }
        rejected = STATES.SUBSCRIPTION_STATUS_STATE_REJECTED
        await stream.until(lambda: client.state_of("fast:LTC/USD") == rejected)
        told = [one for one in client.statuses if one.requested == "fast:LTC/USD"][-1]
        assert told.reason == errors_pb2.ERROR_REASON_QUOTA_EXCEEDED
        assert "carries 2 symbols on each of 2 connections" in told.message

        await stream.until(lambda: [len(feed.troubled) for feed in client.heartbeats[-1].feeds] == [1, 0])
        health = {feed.feed_id: feed for feed in client.heartbeats[-1].feeds}
        assert {feed_id: feed.symbol_count for feed_id, feed in health.items()} == {"fast/0": 3, "fast/1": 2}
        (trouble,) = health["fast/0"].troubled
        assert client.names[trouble.series_id].symbol == "LTC/USD"
        assert "carries 2 symbols" in trouble.detail

        again = pb.ReconnectFeedRequest(feed_id="fast/1")
        await hub.stub(ProviderServiceStub).ReconnectFeed(again, **as_(bearers.operator))
        await stream.until(lambda: client.gap_states().count("REPAIRED") == 2)
        assert {gap.key.symbol for gap in client.gaps} == {"DOT/USD", "ETH/USD"}

        await database.execute("delete from registry.subscription_symbols where symbol = 'BTC/USD'")
        await database.execute("notify registry_changed, 'subscriptions'")
        await stream.until(lambda: client.trades.get("LTC/USD"))
        async with asyncio.timeout(90):
            while "LTC/USD" not in (await carried(hub, bearers.viewer))["fast/0"]:  # noqa: ASYNC110  # a list
                await asyncio.sleep(0.1)
        for symbol in ("ADA/USD", "DOT/USD", "ETH/USD", "LTC/USD"):
            assert without_a_hole(client.trades[symbol])
        stream.call.cancel()
