"""Live and stored ticks as a Python program reads them, over a line to the DataHub that breaks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from quasar.client.channel import Channel, ClientSettings
from quasar.client.market_data import LiveData, MarketData
from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar.errors import InvalidArgument, NotFound
from tests.integration.datahub.live.bad_line import BadLine
from tests.integration.datahub.live.feeds import fast_market, until_stored, without_a_hole
from tests.integration.services.conftest import Bearers


@asynccontextmanager
async def reading(port: int, token: str) -> AsyncGenerator[MarketData]:
    settings = ClientSettings(target=f"127.0.0.1:{port}", token=token)
    async with Channel(settings) as channel, Channel(settings) as live:
        yield MarketData(channel, live)


class Reader:
    """A program that follows one symbol and keeps the ids of its trades."""

    def __init__(self, envelopes: AsyncGenerator[LiveData], symbol: str) -> None:
        self._envelopes = envelopes
        self._symbol = symbol
        self.ids: list[int] = []
        self.states: dict[str, tuple[str, str]] = {}
        self.gaps: list[str] = []

    async def more(self, trades: int) -> None:
        wanted = len(self.ids) + trades
        await self.until(lambda: len(self.ids) > wanted)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                envelope = await anext(self._envelopes)
                ticks = envelope.ticks.get(self._symbol)
                if ticks is not None:
                    assert ticks.trade_id is not None
                    self.ids += ticks.trade_id.tolist()
                self.states |= {status.item: (status.state, status.message) for status in envelope.statuses}
                self.gaps += [gap.state for gap in envelope.gaps if gap.symbol == self._symbol]


async def test_a_program_that_follows_loses_nothing_when_its_line_is_cut(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD")
    async with (
        start(DATAHUB) as hub,
        BadLine(hub.server.port) as line,
        reading(line.port, bearers.viewer) as data,
        aclosing(data.follow("fast", ["BTC/USD"])) as envelopes,
    ):
        reader = Reader(envelopes, "BTC/USD")
        for _ in range(3):
            await reader.more(50)
            line.cut()
        await reader.more(50)
        assert without_a_hole(reader.ids)


async def test_a_program_that_follows_goes_on_when_the_datahub_is_back(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD")
    async with start(DATAHUB) as hub:
        port = hub.server.port
        before = reading(port, bearers.viewer)
        data = await before.__aenter__()
        envelopes = data.follow("fast", ["BTC/USD"])
        reader = Reader(envelopes, "BTC/USD")
        await reader.more(50)
    # The first DataHub has drained and ended; its reader is waiting for the next one.
    async with start(DATAHUB, port=port):
        await reader.more(100)
        assert without_a_hole(reader.ids)
        await envelopes.aclose()
        await before.__aexit__(None, None, None)


async def test_what_cannot_be_streamed_is_named_and_the_rest_flows(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD")
    async with (
        start(DATAHUB) as hub,
        reading(hub.server.port, bearers.viewer) as data,
        aclosing(data.stream("fast", ["BTC/USD", "ABSENT"], contents=["trades"])) as envelopes,
    ):
        reader = Reader(envelopes, "BTC/USD")
        await reader.until(lambda: reader.ids and reader.states.get("fast:BTC/USD") == ("ACTIVE", ""))
        state, message = reader.states["fast:ABSENT"]
        assert state == "REJECTED"
        assert "create one with live = true" in message


async def test_stored_ticks_are_read_as_columns_in_a_range(start: Any, bearers: Bearers, database: Database) -> None:
    await fast_market(database, "BTC/USD")
    async with start(DATAHUB) as hub, reading(hub.server.port, bearers.viewer) as data:
        await until_stored(database, "BTC/USD", 100)
        ticks = await data.ticks("fast", "BTC/USD")
        assert len(ticks) >= 100
        assert (ticks.event_time_ns[1:] >= ticks.event_time_ns[:-1]).all()
        assert ticks.event_time_ns[0] <= time.time_ns() + 3600 * 10**9
        with pytest.raises(NotFound):
            await data.ticks("fast", "ABSENT")


async def test_a_content_that_does_not_exist_is_refused_with_those_that_do(bearers: Bearers) -> None:
    async with reading(9, bearers.viewer) as data:
        with pytest.raises(InvalidArgument, match=r"contents must be of trades, quotes, book_top, .* was 'candles'"):
            await anext(data.stream("fast", ["BTC/USD"], contents=["candles"]))
