"""kill -9 of the DataHub and of PostgreSQL in mid-stream: clients go on where they were, and nothing is missing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from quasar.clock import SystemClock
from quasar.config import DATAHUB
from quasar.database.embedded import EmbeddedPostgres
from quasar.database.pool import Database
from quasar.database.schema import prepare_schema
from quasar.ops.events import Events
from quasar.ops.roles import Role
from quasar.ops.tokens import Tokens
from quasar.providers.market import MINUTE_NS
from quasar.rpc.errors import from_rpc_error
from quasar.secrets import SystemContext
from tests.acceptance.harness import free_ports
from tests.integration.datahub.live.client import CLOSED, TRADES, Client, Stream, symbols
from tests.integration.datahub.live.feeds import (
    fast_market,
    market_bars,
    stored_bars,
    until_stored,
    without_a_hole,
)
from tests.integration.services.conftest import ROOT, Bearers, Running, running, settings_for

BOTH = (TRADES, CLOSED)


class DataHubProcess:
    """The DataHub in a process of its own, which a test kills and starts again."""

    def __init__(self, home: Path, database_url: str, context: Path, **more: str) -> None:
        (self.port,) = free_ports(1)
        self.channel: grpc.aio.Channel | None = None
        self._process: asyncio.subprocess.Process | None = None
        outside = {name: value for name, value in os.environ.items() if not name.startswith("QUASAR_")}
        self._environment = outside | {
            "QUASAR_HOME": str(home),
            "QUASAR_DATABASE_URL": database_url,
            "QUASAR_SYSTEM_CONTEXT": str(context),
            "QUASAR_DATAHUB_PORT": str(self.port),
            **more,
        }

    async def start(self) -> None:
        """Start it; calls wait until it listens."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "datahub", env=self._environment, stdin=asyncio.subprocess.DEVNULL
        )
        options = [
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 200),
            ("grpc.use_local_subchannel_pool", 1),  # a connection to the killed process must not be taken again
        ]
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=options)
        async with asyncio.timeout(90):
            await self.channel.channel_ready()
            while not await self._answers():  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def _answers(self) -> bool:
        """Tell whether a call gets through; a first connection may be cut while the process starts."""
        stub: Any = self.stub(health_pb2_grpc.HealthStub)
        try:
            await stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            return error.code() is not grpc.StatusCode.UNAVAILABLE
        return True

    def stub(self, kind: Any) -> Any:
        """A bare generated stub."""
        return kind(self.channel)

    async def end(self, how: signal.Signals) -> None:
        """End the process with a signal and wait for its end."""
        if self.channel is not None:
            await self.channel.close()
            self.channel = None
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(how)
            await self._process.wait()
            self._process = None


@pytest.fixture
async def hub(tmp_path: Path, database_url: str, system_context_file: Path) -> AsyncIterator[DataHubProcess]:
    """A DataHub that is not started."""
    process = DataHubProcess(tmp_path, database_url, system_context_file)
    yield process
    await process.end(signal.SIGKILL)


async def test_a_client_of_a_killed_datahub_resumes_right_after_its_cursor(
    hub: DataHubProcess, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD")
    client = Client()
    wanted = symbols("fast", "BTC/USD", contents=BOTH, intervals=["1min"])
    await hub.start()
    stream = Stream(hub, bearers.viewer, client, wanted)
    await stream.until(lambda: len(client.closed("BTC/USD")) >= 2)
    await hub.end(signal.SIGKILL)
    for life in (1, 2):
        await hub.start()
        stream = Stream(hub, bearers.viewer, client, wanted, cursor=client.cursor)
        had = client.trades["BTC/USD"][-1]
        await stream.until(lambda: client.gap_states().count("REPAIRED") == life)  # noqa: B023  # awaited here
        await stream.until(lambda: client.trades["BTC/USD"][-1] > had + 300)  # noqa: B023  # awaited here
        await hub.end(signal.SIGKILL)
    trades = client.trades["BTC/USD"]
    assert without_a_hole(trades)
    assert client.gap_states() == ["OPEN", "REPAIRED"] * 2
    told = [at for at, _, _ in client.bars["BTC/USD"]]
    assert len(told) == len(set(told)), "no bar came twice"
    closed = client.closed("BTC/USD")
    assert closed == {at: market_bars("BTC/USD", list(closed))[at] for at in closed}
    assert sorted(closed) == list(range(min(closed), max(closed) + 1, MINUTE_NS)), "every minute came"
    await hub.start()
    stored = await until_stored(database, "BTC/USD", len(trades))
    assert without_a_hole(stored)
    bars = await stored_bars(database, "BTC/USD")
    assert bars == market_bars("BTC/USD", list(bars))
    assert sorted(bars) == list(range(min(bars), max(bars) + 1, MINUTE_NS))


async def test_what_the_log_does_not_reach_any_more_is_out_of_range_with_the_earliest_cursor(
    hub: DataHubProcess, bearers: Bearers, database: Database, tmp_path: Path
) -> None:
    await fast_market(database, "BTC/USD")
    client = Client()
    wanted = symbols("fast", "BTC/USD", contents=(TRADES,))
    await hub.start()
    stream = Stream(hub, bearers.viewer, client, wanted)
    await stream.until(lambda: client.trades.get("BTC/USD"))
    await hub.end(signal.SIGKILL)
    (tmp_path / "live" / "epoch.json").unlink()  # as after a crash of the machine
    await hub.start()
    with pytest.raises(grpc.aio.AioRpcError) as told:
        await Stream(hub, bearers.viewer, client, wanted, cursor=client.cursor).read()
    assert told.value.code() is grpc.StatusCode.OUT_OF_RANGE
    earliest = from_rpc_error(told.value).metadata["earliest_cursor"]
    again = Client()
    stream = Stream(hub, bearers.viewer, again, wanted, cursor=earliest)
    await stream.until(lambda: again.trades.get("BTC/USD"))
    assert again.trades["BTC/USD"][0] > client.trades["BTC/USD"][-1]
    # What lies between is in the store.
    between = again.trades["BTC/USD"][0] - client.trades["BTC/USD"][0]
    assert without_a_hole(await until_stored(database, "BTC/USD", between + 1))


@asynccontextmanager
async def own_database(folder: Path, context: SystemContext) -> AsyncIterator[tuple[EmbeddedPostgres, Database]]:
    """A PostgreSQL of the test's own, to be killed."""
    async with EmbeddedPostgres(folder / "postgres") as server:
        await prepare_schema(server.url, context)
        settings = {"search_path": "strategy, datahub, registry, ops, public"}
        async with await Database.open(server.url, application_name="quasar-tests", settings=settings) as opened:
            yield server, opened


async def test_a_killed_postgresql_costs_neither_a_tick_of_the_stream_nor_of_the_store(
    tmp_path: Path, system_context: SystemContext, system_context_file: Path
) -> None:
    async with AsyncExitStack() as stack:
        server, database = await stack.enter_async_context(own_database(tmp_path, system_context))
        clock = SystemClock()
        tokens = Tokens(database, Events(database, "registry", clock), clock)
        _, bearer = await tokens.create("viewer", Role.VIEWER, actor=ROOT)
        await fast_market(database, "BTC/USD")
        settings = settings_for(DATAHUB, tmp_path / "home", server.url, system_context_file)
        hub: Running = await stack.enter_async_context(running(settings))
        client = Client()
        stream = Stream(hub, bearer, client, symbols("fast", "BTC/USD", contents=BOTH, intervals=["1min"]))
        await stream.until(lambda: len(client.trades.get("BTC/USD", ())) > 100)
        assert server.process_id is not None
        os.kill(server.process_id, signal.SIGKILL)
        had = len(client.trades["BTC/USD"])
        await stream.until(lambda: len(client.trades["BTC/USD"]) > had + 300)
        await server.start()
        had = len(client.trades["BTC/USD"])
        await stream.until(lambda: len(client.trades["BTC/USD"]) > had + 100)
        trades = client.trades["BTC/USD"]
        assert without_a_hole(trades)
        assert without_a_hole(await until_stored(database, "BTC/USD", len(trades)))
        stream.call.cancel()
