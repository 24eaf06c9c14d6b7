"""What clients see when vendors, plug-ins and databases go away in mid-stream."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar.providers.kraken import Kraken
from quasar.testing.vendors import KrakenServer, SimulatedExchange
from quasar_proto.datahub.v1 import provider_service_pb2 as providers
from quasar_proto.datahub.v1.provider_service_pb2_grpc import ProviderServiceStub
from tests.integration.datahub.live.client import CLOSED, STATES, TRADES, Client, Stream, symbols
from tests.integration.datahub.live.feeds import (
    built_in,
    fast_market,
    market_bars,
    stored_bars,
    until_stored,
    without_a_hole,
)
from tests.integration.services.conftest import Bearers, as_


async def test_a_killed_plug_in_is_a_gap_at_once_and_nothing_is_missing_after_it(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD", "ETH/USD")
    async with start(DATAHUB) as hub:
        client = Client()
        wanted = symbols("fast", "BTC/USD", "ETH/USD", contents=(TRADES, CLOSED), intervals=["1min"])
        stream = Stream(hub, bearers.viewer, client, wanted)
        await stream.until(lambda: len(client.closed("BTC/USD")) >= 2)
        shown = await hub.stub(ProviderServiceStub).GetProvider(
            providers.GetProviderRequest(name="fast"), **as_(bearers.viewer)
        )
        os.kill(shown.provider.process.pid, signal.SIGKILL)
        await stream.until(lambda: client.gap_states().count("OPEN") == 2)
        trades = len(client.trades["BTC/USD"])
        await stream.until(lambda: client.gap_states().count("REPAIRED") == 2)
        await stream.until(lambda: len(client.trades["BTC/USD"]) > trades + 100)
        for symbol in ("BTC/USD", "ETH/USD"):
            assert without_a_hole(client.trades[symbol])
            closed = client.closed(symbol)
            assert closed == {at: market_bars(symbol, list(closed))[at] for at in closed}
        states = await database.fetch("select distinct state, cause from gaps")
        assert [(row["state"], row["cause"]) for row in states] == [("REPAIRED", "FEED_INTERRUPTED")]
        stream.call.cancel()
    for symbol in ("BTC/USD", "ETH/USD"):
        assert without_a_hole(await until_stored(database, symbol, 1))
        bars = await stored_bars(database, symbol)
        assert bars == market_bars(symbol, list(bars))


@pytest.mark.parametrize("duplicates", [False, True])
async def test_cut_connections_of_a_vendor_lose_nothing(
    start: Any, bearers: Bearers, database: Database, duplicates: bool
) -> None:
    async with KrakenServer(SimulatedExchange(), pace_s=0.05) as vendor:
        vendor.faults.duplicate_trades = duplicates
        vendor.faults.refuse_symbols = frozenset({"SOL/USD"})
        preferences = {"rest_url": vendor.rest_url, "websocket_url": vendor.websocket_url}
        await built_in(database, Kraken, preferences, "BTC/USD", "SOL/USD")
        async with start(DATAHUB) as hub:
            client = Client()
            stream = Stream(hub, bearers.viewer, client, symbols("kraken", "BTC/USD", "SOL/USD", contents=(TRADES,)))
            await stream.until(lambda: client.trades.get("BTC/USD"))
            rejected = STATES.SUBSCRIPTION_STATUS_STATE_REJECTED
            await stream.until(lambda: client.state_of("kraken:SOL/USD") == rejected)
            for cut in (1, 2):
                await vendor.drop_connections()
                await stream.until(lambda cut=cut: client.gap_states().count("OPEN") == cut)  # type: ignore[misc]
                await stream.until(lambda cut=cut: client.gap_states().count("REPAIRED") == cut)  # type: ignore[misc]
                had = len(client.trades["BTC/USD"])
                await stream.until(lambda had=had: len(client.trades["BTC/USD"]) > had + 2)  # type: ignore[misc]
            assert without_a_hole(client.trades["BTC/USD"])
            stream.call.cancel()
            assert without_a_hole(await until_stored(database, "BTC/USD", len(client.trades["BTC/USD"])))


async def test_a_stream_goes_on_while_the_database_is_away_and_what_it_brought_is_stored_later(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD")
    async with start(DATAHUB) as hub:
        client = Client()
        stream = Stream(hub, bearers.viewer, client, symbols("fast", "BTC/USD", contents=(TRADES,)))
        await stream.until(lambda: len(client.trades.get("BTC/USD", ())) > 50)
        # Every connection of the service is cut, again and again, while nobody else may write ticks.
        async with database.transaction() as connection, asyncio.timeout(90):
            await connection.execute("lock table ticks in access exclusive mode")
            for _ in range(5):
                await connection.execute(
                    """select pg_terminate_backend(pid) from pg_stat_activity
                       where datname = current_database() and application_name like 'quasar-datahub%'"""
                )
                had = len(client.trades["BTC/USD"])
                await stream.until(lambda had=had: len(client.trades["BTC/USD"]) > had + 20)  # type: ignore[misc]
        ids = await until_stored(database, "BTC/USD", len(client.trades["BTC/USD"]))
        assert without_a_hole(ids)
        assert without_a_hole(client.trades["BTC/USD"])
        stream.call.cancel()
