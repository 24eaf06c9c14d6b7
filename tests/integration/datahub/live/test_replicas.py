"""Two DataHub processes on one database: either shows the feeds of both and passes on what is asked of a feed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from quasar.database.pool import Database
from quasar.rpc.errors import from_rpc_error
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import collection_service_pb2 as collection
from quasar_proto.datahub.v1 import feed_pb2
from quasar_proto.datahub.v1 import provider_service_pb2 as pb
from quasar_proto.datahub.v1.collection_service_pb2_grpc import CollectionServiceStub
from quasar_proto.datahub.v1.provider_service_pb2_grpc import ProviderServiceStub
from tests.integration.datahub.live.client import TRADES, Client, Stream, symbols
from tests.integration.datahub.live.feeds import fast_market, without_a_hole
from tests.integration.datahub.live.replicas import NatsServer
from tests.integration.datahub.live.test_kills import DataHubProcess
from tests.integration.services.conftest import Bearers, as_

pytest.importorskip("nats", reason="the library nats-py is absent; install the extra `nats`")
LIVE = feed_pb2.FEED_STATE_LIVE


@pytest.fixture
async def pair(
    nats: NatsServer, tmp_path: Path, database_url: str, system_context_file: Path
) -> AsyncIterator[tuple[DataHubProcess, DataHubProcess]]:
    """Two DataHubs that are not started."""
    bus = {"QUASAR_BUS_URL": nats.url}
    one, two = (DataHubProcess(tmp_path / name, database_url, system_context_file, **bus) for name in ("one", "two"))
    yield one, two
    await one.end(signal.SIGKILL)
    await two.end(signal.SIGKILL)


async def feeds_of(hub: DataHubProcess, bearer: str, text: str = "") -> list[feed_pb2.Feed]:
    """Return what a DataHub lists."""
    found = await hub.stub(ProviderServiceStub).ListFeeds(pb.ListFeedsRequest(filter=text), **as_(bearer))
    return list(found.feeds)


async def symbols_of(hub: DataHubProcess, bearer: str) -> dict[str, int]:
    """Return the symbols that a DataHub lists, with their states."""
    found = await hub.stub(ProviderServiceStub).ListSymbolFeeds(pb.ListSymbolFeedsRequest(), **as_(bearer))
    return {one.key.symbol: one.state for one in found.symbols}


async def until(
    hub: DataHubProcess, bearer: str, holds: Callable[[list[feed_pb2.Feed]], object]
) -> list[feed_pb2.Feed]:
    """Ask a DataHub until something holds of its list."""
    async with asyncio.timeout(40):
        while not holds(found := await feeds_of(hub, bearer)):  # noqa: ASYNC110  # a list tells nobody
            await asyncio.sleep(0.1)
    return found


async def reconnect(hub: DataHubProcess, bearer: str, feed_id: str, *names: str) -> Any:
    """Ask a DataHub to make a feed anew."""
    request = pb.ReconnectFeedRequest(feed_id=feed_id, symbols=names)
    return await hub.stub(ProviderServiceStub).ReconnectFeed(request, **as_(bearer))


async def refused(call: Any) -> tuple[str, str]:
    """Return reason and text of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    error = from_rpc_error(raised.value)
    return error.reason, error.message


async def test_either_of_two_datahubs_lists_the_feed_of_the_other_and_makes_it_anew(
    pair: tuple[DataHubProcess, DataHubProcess], bearers: Bearers, database: Database
) -> None:
    one, two = pair
    await fast_market(database, "BTC/USD", "ETH/USD")
    await one.start()
    await until(one, bearers.viewer, lambda feeds: [feed.state for feed in feeds] == [LIVE])
    await two.start()

    (seen,) = await until(two, bearers.viewer, lambda feeds: [feed.state for feed in feeds] == [LIVE])
    (own,) = await feeds_of(one, bearers.viewer)
    assert (seen.feed_id, seen.symbol_count, seen.instance_id) == ("fast/0", 2, own.instance_id)
    assert await symbols_of(two, bearers.viewer) == {"BTC/USD": LIVE, "ETH/USD": LIVE}
    assert await feeds_of(two, bearers.viewer, "state = DOWN") == []
    keys = [values_pb2.SeriesKey(provider="fast", symbol=name, interval="1min") for name in ("BTC/USD", "ETH/USD")]
    asked = collection.BatchGetSubscriptionStatesRequest(keys=keys)
    states = await two.stub(CollectionServiceStub).BatchGetSubscriptionStates(asked, **as_(bearers.viewer))
    assert [each.feed_state for each in states.states] == [LIVE, LIVE]
    assert all(each.HasField("last_receive_time") for each in states.states)

    client = Client()
    stream = Stream(two, bearers.viewer, client, symbols("fast", "BTC/USD", contents=(TRADES,)))
    await stream.until(lambda: client.trades.get("BTC/USD"))
    answer = await reconnect(two, bearers.operator, "fast/0")
    assert answer.feed.instance_id == own.instance_id
    await stream.until(lambda: client.gap_states() == ["OPEN", "REPAIRED"])
    await until(two, bearers.viewer, lambda feeds: feeds[0].reconnects == 1 and feeds[0].state == LIVE)
    assert await database.fetchval("select count(*) from feed_requests") == 0
    assert without_a_hole(client.trades["BTC/USD"])
    stream.call.cancel()

    assert await refused(reconnect(two, bearers.operator, "fast/0", "NO/USD")) == (
        "NOT_FOUND",
        "fast/0 does not carry NO/USD.",
    )
    assert (await refused(reconnect(two, bearers.operator, "slow/0")))[0] == "NOT_FOUND"


async def test_the_feed_of_a_killed_datahub_is_listed_again_when_the_other_has_taken_it_over(
    pair: tuple[DataHubProcess, DataHubProcess], bearers: Bearers, database: Database
) -> None:
    one, two = pair
    await fast_market(database, "BTC/USD")
    await one.start()
    (own,) = await until(one, bearers.viewer, lambda feeds: [feed.state for feed in feeds] == [LIVE])
    await two.start()
    watch = two.stub(ProviderServiceStub).WatchFeeds(
        pb.WatchFeedsRequest(include_symbols=True), **(as_(bearers.viewer) | {"timeout": 60})
    )
    holders: list[str] = []
    carried: set[str] = set()
    async for news in watch:
        holders += [feed.instance_id for feed in news.feeds if feed.instance_id not in holders]
        carried |= {symbol.key.symbol for symbol in news.symbols}
        if holders == [own.instance_id] and carried:
            await one.end(signal.SIGKILL)
        if len(holders) == 2 and any(feed.state == LIVE for feed in news.feeds):
            break
    watch.cancel()
    assert carried == {"BTC/USD"}
    assert holders[0] == own.instance_id
    (now,) = await feeds_of(two, bearers.viewer)
    assert now.instance_id == holders[1]
