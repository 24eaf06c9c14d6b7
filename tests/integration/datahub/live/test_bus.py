"""Two DataHubs with a real NATS server between them: each feed runs at one of them, and both have its readers."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from quasar import errors
from quasar.clock import SystemClock
from quasar.config import DATAHUB
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
from tests.integration.services.conftest import Bearers, as_, running, settings_for

pytest.importorskip("nats", reason="the library nats-py is absent; install the extra `nats`")
WANTED = symbols("fast", "BTC/USD", contents=(TRADES, CLOSED), intervals=["1min"])


class NatsServer:
    """A `nats-server` with JetStream, which a test kills and starts again."""

    def __init__(self, program: str, folder: Path) -> None:
        (port,) = free_ports(1)
        self.url = f"nats://127.0.0.1:{port}"
        self._arguments = [program, "-js", "-sd", str(folder), "-a", "127.0.0.1", "-p", str(port)]
        self._port = port
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it listens."""
        null = asyncio.subprocess.DEVNULL
        self._process = await asyncio.create_subprocess_exec(*self._arguments, stdout=null, stderr=null)
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self._port)
                except OSError:
                    await asyncio.sleep(0.05)
                    continue
                writer.close()
                return

    async def kill(self) -> None:
        """End it without a farewell."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
            self._process = None


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A running NATS server."""
    program = shutil.which("nats-server", path="/usr/sbin:/usr/local/bin:/usr/bin") or shutil.which("nats-server")
    if program is None:
        pytest.skip("nats-server is absent; install the Debian package nats-server")
    server = NatsServer(program, tmp_path / "nats")
    await server.start()
    yield server
    await server.kill()


class Replicas:
    """DataHubs on one database and one bus."""

    def __init__(self, nats: NatsServer, folder: Path, database_url: str, context: Path) -> None:
        self._nats = nats
        self._folder = folder
        self._database_url = database_url
        self._context = context
        self._stacks: list[AsyncExitStack] = []

    async def one(self) -> tuple[Any, AsyncExitStack]:
        """Start another one; return it and what ends it."""
        stack = AsyncExitStack()
        home = self._folder / f"replica-{len(self._stacks)}"
        settings = settings_for(DATAHUB, home, self._database_url, self._context, bus_url=self._nats.url)
        hub = await stack.enter_async_context(running(settings))
        self._stacks.append(stack)
        return hub, stack

    async def end(self) -> None:
        """End all that run."""
        for stack in self._stacks:
            await stack.aclose()


@pytest.fixture
async def replicas(
    nats: NatsServer, tmp_path: Path, database_url: str, system_context_file: Path
) -> AsyncIterator[Replicas]:
    """Return what starts DataHubs."""
    made = Replicas(nats, tmp_path, database_url, system_context_file)
    yield made
    await made.end()


async def feeds_of(hub: Any, bearer: str) -> list[str]:
    """Return the feeds that a DataHub runs."""
    found = await hub.stub(ProviderServiceStub).ListFeeds(providers.ListFeedsRequest(), **as_(bearer))
    return [feed.feed_id for feed in found.feeds]


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
    assert (await feeds_of(first, bearers.viewer), await feeds_of(second, bearers.viewer)) == (["fast/0"], [])
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
    assert await feeds_of(second, bearers.viewer) == []
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
