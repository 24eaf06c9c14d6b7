"""Two DataHubs with a real NATS server between them: each feed runs at one of them, and both have its readers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from quasar import errors
from quasar.clock import SystemClock
from quasar.database.pool import Database
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from quasar_proto.datahub.v1 import provider_service_pb2 as providers
from quasar_proto.datahub.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from quasar_proto.datahub.v1.provider_service_pb2_grpc import ProviderServiceStub
from tests.acceptance.harness import free_ports
from tests.integration.datahub.live.client import CLOSED, STATES, TRADES, Client, Stream, symbols
from tests.integration.datahub.live.feeds import (
    fast_market,
    market_bars,
    stored_bars,
    until_stored,
    without_a_hole,
)
from tests.integration.datahub.live.replicas import NatsServer, Replicas
from tests.integration.services.conftest import Bearers, as_

pytest.importorskip("nats", reason="the library nats-py is absent; install the extra `nats`")
WANTED = symbols("fast", "BTC/USD", contents=(TRADES, CLOSED), intervals=["1min"])


async def feeds_of(hub: Any, bearer: str) -> list[str]:
    """Return the feeds that a DataHub lists, its own and those of others."""
    found = await hub.stub(ProviderServiceStub).ListFeeds(providers.ListFeedsRequest(), **as_(bearer))
    return [feed.feed_id for feed in found.feeds]


async def until_listed(hub: Any, bearer: str) -> list[str]:
    """Wait until a DataHub has heard of a feed."""
    async with asyncio.timeout(90):
        while not (found := await feeds_of(hub, bearer)):  # noqa: ASYNC110  # a list tells nobody
            await asyncio.sleep(0.1)
    return found


async def test_readers_of_both_replicas_have_the_feed_that_one_of_them_runs(
    replicas: Replicas, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD")
    first, _ = await replicas.one()
    here, there = Client(), Client()
    stream = Stream(first, bearers.viewer, here, WANTED)
    await stream.until(lambda: here.trades.get("BTC/USD"))
    second, _ = await replicas.one()
    other = Stream(second, bearers.viewer, there, WANTED, cursor=here.cursor)
    await other.until(lambda: there.closed("BTC/USD"))
    active = STATES.SUBSCRIPTION_STATUS_STATE_ACTIVE
    await other.until(lambda: there.state_of("fast:BTC/USD") == active)
    assert (await feeds_of(first, bearers.viewer), await until_listed(second, bearers.viewer)) == (
        ["fast/0"],
        ["fast/0"],
    )
    last = there.trades["BTC/USD"][-1]
    await stream.until(lambda: here.trades["BTC/USD"][-1] >= last)
    # What came after the cursor of the first is what the second has: the same trades under the same numbers.
    both = set(here.trades["BTC/USD"]) & set(there.trades["BTC/USD"])
    assert without_a_hole(here.trades["BTC/USD"])
    assert without_a_hole(there.trades["BTC/USD"])
    assert len(both) > 10
    closed = there.closed("BTC/USD")
    assert closed == {at: market_bars("BTC/USD", list(closed))[at] for at in closed}
    price = await second.stub(MarketDataServiceStub).GetLatestPrices(_prices(), **as_(bearers.viewer))
    assert price.prices[0].last > 0
    stream.call.cancel()
    other.call.cancel()


async def test_the_other_replica_takes_a_feed_over_and_a_client_goes_on_there_by_its_cursor(
    replicas: Replicas, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD")
    first, ends_first = await replicas.one()
    client = Client()
    stream = Stream(first, bearers.viewer, client, WANTED)
    await stream.until(lambda: len(client.trades.get("BTC/USD", ())) > 50)
    second, _ = await replicas.one()
    assert await until_listed(second, bearers.viewer) == ["fast/0"]
    await ends_first.aclose()
    stream = Stream(second, bearers.viewer, client, WANTED, cursor=client.cursor)
    await stream.until(lambda: "REPAIRED" in client.gap_states())
    had = len(client.trades["BTC/USD"])
    await stream.until(lambda: len(client.trades["BTC/USD"]) > had + 100 and len(client.closed("BTC/USD")) > 3)
    assert await feeds_of(second, bearers.viewer) == ["fast/0"]
    trades = client.trades["BTC/USD"]
    assert without_a_hole(trades)
    assert without_a_hole(await until_stored(database, "BTC/USD", len(trades)))
    bars = await stored_bars(database, "BTC/USD")
    assert bars == market_bars("BTC/USD", list(bars))
    stream.call.cancel()


async def test_a_killed_nats_server_costs_nothing_once_it_is_back(
    replicas: Replicas, nats: NatsServer, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD")
    hub, _ = await replicas.one()
    client = Client()
    stream = Stream(hub, bearers.viewer, client, WANTED)
    await stream.until(lambda: len(client.trades.get("BTC/USD", ())) > 50)
    await nats.kill()
    stored = len(await until_stored(database, "BTC/USD", 1))
    await until_stored(database, "BTC/USD", stored + 100)  # it is taken in and stored meanwhile
    await nats.start()
    had = len(client.trades["BTC/USD"])
    await stream.until(lambda: len(client.trades["BTC/USD"]) > had + 300)
    assert without_a_hole(client.trades["BTC/USD"])
    stream.call.cancel()


async def test_a_bus_that_is_not_there_is_told_in_a_sentence() -> None:
    from datahub.bus.jetstream import open_bus

    (port,) = free_ports(1)
    with pytest.raises(errors.FailedPrecondition, match="QUASAR_BUS_URL"):
        await open_bus(f"nats://127.0.0.1:{port}", SystemClock(), patience_s=1.0)


def _prices() -> pb.GetLatestPricesRequest:
    request = pb.GetLatestPricesRequest()
    request.symbols.provider_symbols.provider = "fast"
    request.symbols.provider_symbols.symbols.append("BTC/USD")
    return request
