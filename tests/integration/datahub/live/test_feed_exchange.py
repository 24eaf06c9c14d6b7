"""What a replica tells another one of its connections, through the rows of their database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from datahub.live.replicas import TELL_S, Replicas
from datahub.rpc.feed_exchange import SYMBOLS_EVERY, FeedExchange, Shown
from quasar.database.pool import Database
from quasar.testing.clock import FakeClock
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import feed_pb2

LIVE, DOWN = feed_pb2.FEED_STATE_LIVE, feed_pb2.FEED_STATE_DOWN


class Replica:
    """One that carries what a test says, and tells of it when the clock moves."""

    def __init__(self, database: Database, name: str, clock: FakeClock) -> None:
        self.carried: Sequence[str] = ()
        self.state = LIVE
        self._clock = clock
        self._told = 0
        self.exchange = FeedExchange(Replicas(database, name), f"{name}:1", clock)
        self.task = asyncio.create_task(self.exchange.run(self._mine, self._nothing))

    async def _mine(self) -> Shown:
        self._told += 1
        symbols = [
            feed_pb2.SymbolFeed(
                key=values_pb2.SeriesKey(provider="fast", symbol=symbol), feed_id="fast/0", state=self.state
            )
            for symbol in self.carried
        ]
        return [feed_pb2.Feed(feed_id="fast/0", provider="fast", symbol_count=len(symbols))], symbols

    async def _nothing(self, asked: object) -> None:
        raise AssertionError(asked)

    async def tell(self, times: int = 1) -> None:
        """Let time pass until it has told so many times more."""
        for wanted in range(self._told + 1, self._told + 1 + times):
            async with asyncio.timeout(30):
                while self._told < wanted:
                    await self._clock.wait_for_sleepers(2)
                    await self._clock.advance(TELL_S)
                await self._clock.wait_for_sleepers(2)

    async def heard(self) -> list[tuple[str, dict[str, int]]]:
        """Return the connections that it hears of, with the states of their symbols."""
        found = await self.exchange.others(with_symbols=True)
        return [(one.feed.feed_id, {each.key.symbol: each.state for each in one.symbols}) for one in found]


@pytest.fixture
async def pair(database: Database) -> AsyncIterator[tuple[Replica, Replica]]:
    """Two replicas that know of each other."""
    clock = FakeClock()
    replicas = Replica(database, "one", clock), Replica(database, "two", clock)
    yield replicas
    for replica in replicas:
        replica.task.cancel()
    await asyncio.wait([replica.task for replica in replicas])


async def test_a_connection_that_carries_nothing_any_more_is_told_so(pair: tuple[Replica, Replica]) -> None:
    one, two = pair
    one.carried = ("BTC/USD", "ETH/USD")
    await one.tell(2)
    assert await two.heard() == [("fast/0", {"BTC/USD": LIVE, "ETH/USD": LIVE})]
    one.carried = ()
    await one.tell()
    assert await two.heard() == [("fast/0", {})], "an empty list is told, and is none that was left out"


async def test_symbols_that_were_told_stay_until_they_are_told_anew(pair: tuple[Replica, Replica]) -> None:
    one, two = pair
    one.carried = ("BTC/USD",)
    await one.tell(2)
    for _ in range(SYMBOLS_EVERY):
        await one.tell()
        assert await two.heard() == [("fast/0", {"BTC/USD": LIVE})]
    one.state = DOWN
    await one.tell()
    assert await two.heard() == [("fast/0", {"BTC/USD": DOWN})], "another state is told at once"
