"""A pause holds no feed: readers are told, and what was missed is fetched when it ends."""

from __future__ import annotations

from typing import Any

import pytest

from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar_proto.datahub.v1 import collection_service_pb2 as collection
from quasar_proto.datahub.v1 import gap_pb2
from quasar_proto.datahub.v1 import provider_service_pb2 as providers
from quasar_proto.datahub.v1.collection_service_pb2_grpc import CollectionServiceStub
from quasar_proto.datahub.v1.provider_service_pb2_grpc import ProviderServiceStub
from tests.integration.datahub.live.client import STATES, TRADES, Client, Stream, symbols
from tests.integration.datahub.live.feeds import fast_market, without_a_hole
from tests.integration.services.conftest import Bearers, as_

PAUSED = STATES.SUBSCRIPTION_STATUS_STATE_PAUSED
ACTIVE = STATES.SUBSCRIPTION_STATUS_STATE_ACTIVE


async def pause(hub: Any, bearer: str, database: Database, whole: bool) -> None:
    """Pause the provider, or its only subscription."""
    if whole:
        request = collection.PauseProviderRequest(provider="fast", reason="maintenance")
        await hub.stub(CollectionServiceStub).PauseProvider(request, **as_(bearer))
    else:
        await subscriptions(database, "PAUSED")


async def resume(hub: Any, bearer: str, database: Database, whole: bool) -> None:
    """End the pause."""
    if whole:
        request = collection.ResumeProviderRequest(provider="fast")
        await hub.stub(CollectionServiceStub).ResumeProvider(request, **as_(bearer))
    else:
        await subscriptions(database, "ACTIVE")


async def subscriptions(database: Database, state: str) -> None:
    await database.execute("update registry.provider_subscription set state = $1", state)
    await database.execute("notify registry_changed, 'subscriptions'")


@pytest.mark.parametrize("whole", [True, False], ids=["provider", "subscription"])
async def test_a_pause_holds_no_feed_and_what_was_missed_comes_when_it_ends(
    start: Any, bearers: Bearers, database: Database, whole: bool
) -> None:
    await fast_market(database, "BTC/USD")
    async with start(DATAHUB) as hub:
        client = Client()
        stream = Stream(hub, bearers.viewer, client, symbols("fast", "BTC/USD", contents=(TRADES,)))
        await stream.until(lambda: len(client.trades.get("BTC/USD", ())) > 20)
        await pause(hub, bearers.operator, database, whole)
        await stream.until(lambda: client.state_of("fast:BTC/USD") == PAUSED and client.gaps)
        told = next(one for one in reversed(client.statuses) if one.requested == "fast:BTC/USD")
        assert told.message == (
            "The provider is paused: maintenance; resume it." if whole else "Its subscription is paused; resume it."
        )
        (gap,) = client.gaps
        assert (gap.state, gap.cause) == (gap_pb2.GAP_STATE_OPEN, gap_pb2.GAP_CAUSE_PROVIDER_PAUSED)
        assert gap.HasField("detect_time")
        feeds = await hub.stub(ProviderServiceStub).ListFeeds(providers.ListFeedsRequest(), **as_(bearers.viewer))
        assert not feeds.feeds
        had = len(client.trades["BTC/USD"])

        await resume(hub, bearers.operator, database, whole)
        await stream.until(lambda: client.state_of("fast:BTC/USD") == ACTIVE and client.gap_states()[-1] == "REPAIRED")
        ended = client.gaps[-1]
        assert (ended.gap_id, ended.attempts, ended.repaired_from) == (gap.gap_id, 1, "fast")
        await stream.until(lambda: len(client.trades["BTC/USD"]) > had + 50)
        assert without_a_hole(client.trades["BTC/USD"])
        stream.call.cancel()
