"""A line to the vendor that is cut, stalls or corrupts: clients are told at once, and nothing is missing afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from inspect import getsource
from typing import Any

import pytest
from google.protobuf import json_format

from quasar.config import DATAHUB
from quasar.convert.manifest import manifest_to_proto
from quasar.database.pool import Database
from quasar.plugins.manifest import Kind, read_manifest
from quasar.provider import Patience
from quasar.providers.kraken import Kraken
from quasar.testing.vendors import KrakenServer, SimulatedExchange
from tests.integration.datahub.live.bad_line import BadLine
from tests.integration.datahub.live.client import TRADES, Client, Stream, symbols
from tests.integration.datahub.live.feeds import live, until_stored, without_a_hole
from tests.integration.datahub.registry_rows import add_provider
from tests.integration.services.conftest import Bearers


class Quick(Kraken):
    """Kraken with a heartbeat that is missed soon; uploaded as the text of this class."""

    name = "quick"
    patience = Patience(heartbeat_s=1.0)
    rate_limit = (1000, 1.0)


_SOURCE = f"from quasar.provider import Patience\nfrom quasar.providers.kraken import Kraken\n\n{getsource(Quick)}"


@dataclass
class Played:
    """A DataHub whose vendor is behind a bad line, and a client of it."""

    line: BadLine
    vendor: KrakenServer
    client: Client
    stream: Stream

    async def goes_on(self, rows: int = 2) -> None:
        """Read until more trades have come."""
        had = len(self.client.trades.get("BTC/USD", ()))
        await self.stream.until(lambda: len(self.client.trades.get("BTC/USD", ())) > had + rows)

    async def gaps(self, state: str, count: int) -> None:
        """Read until so many gaps were told to be in a state."""
        await self.stream.until(lambda: self.client.gap_states().count(state) >= count)


Play = Callable[[], Any]


@pytest.fixture
def play(start: Any, bearers: Bearers, database: Database) -> Play:
    """Return what plays it all: `async with play() as played`."""

    @asynccontextmanager
    async def one() -> AsyncIterator[Played]:
        async with KrakenServer(SimulatedExchange(), pace_s=0.05) as vendor, BadLine(vendor.port) as line:
            manifest = manifest_to_proto(read_manifest(Kind.PROVIDER, Quick))
            declared = json_format.MessageToDict(manifest, preserving_proto_field_name=True)
            code_id = await add_provider(database, "quick", _SOURCE.encode(), declared)
            preferences = {"rest_url": vendor.rest_url, "websocket_url": f"ws://127.0.0.1:{line.port}/v2"}
            await database.execute(
                "update registry.code_registry set preferences = $2 where code_id = $1", code_id, preferences
            )
            await live(database, code_id, "BTC/USD")
            async with start(DATAHUB) as hub:
                client = Client()
                stream = Stream(hub, bearers.viewer, client, symbols("quick", "BTC/USD", contents=(TRADES,)))
                played = Played(line, vendor, client, stream)
                await played.goes_on()
                yield played
                trades = client.trades["BTC/USD"]
                assert without_a_hole(trades)
                assert without_a_hole(await until_stored(database, "BTC/USD", len(trades)))
                stream.call.cancel()

    return one


async def test_a_line_that_is_cut_is_a_gap_at_once_and_then_repaired(play: Play) -> None:
    async with play() as played:
        for cut in (1, 2):
            played.line.cut()
            await played.gaps("OPEN", cut)
            await played.gaps("REPAIRED", cut)
            await played.goes_on()
        assert played.client.gap_states() == ["OPEN", "REPAIRED"] * 2


async def test_a_line_that_stalls_is_a_gap_although_it_stays_open(play: Play) -> None:
    async with play() as played:
        played.line.stall()
        await played.gaps("OPEN", 1)
        assert "nothing was received" in played.client.gaps[0].evidence
        played.line.flow()
        await played.gaps("REPAIRED", 1)
        await played.goes_on()


@pytest.mark.parametrize(
    ("found", "replaced", "told"),
    [
        (b'"trade_id"', b'"tra\xff\xfe_id"', ""),  # no text any more: the connection ends
        (b'"price"', b'"pr##e"', "price"),  # a trade without a price
        (b'{"channel": "trade"', b'{"channel": :trade"', ""),  # no JSON any more
    ],
)
async def test_what_is_corrupted_on_the_line_is_fetched_again(
    play: Play, found: bytes, replaced: bytes, told: str
) -> None:
    async with play() as played:
        played.line.corrupt(found, replaced)
        await played.gaps("OPEN", 1)
        assert told in played.client.gaps[0].evidence
        await played.gaps("REPAIRED", 1)
        await played.goes_on()
        assert played.line.corrupted == 1
