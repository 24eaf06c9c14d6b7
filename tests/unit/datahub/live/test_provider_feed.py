"""One provider's feed over what its plug-in sends: defects, refusals, symbols that come and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from datahub.live import provider_feed
from datahub.live.past import Past
from datahub.live.provider_feed import FIRST_WAIT_S, UNREAD_NS, ProviderFeed
from datahub.live.symbols import LiveSeries
from quasar.convert.columns import TickChunk, encode_ticks
from quasar.model.ticks import TickColumns
from quasar.plugins.batches import LiveBatch, LiveTicks, TickBatch
from quasar.providers.market import Market
from quasar.sdk.notices import ConnectionNotice, ConnectionState, Notice, RejectedRow, SymbolNotice, SymbolState
from quasar.sdk.requests import TickRequest
from quasar.testing.clock import settle
from tests.unit.datahub.live.test_ingest import TICKS, TRADES, Feed, all_ids, series_of

UNKNOWN_KIND = 200


class Vendor:
    """A plug-in that sends what a test says."""

    def __init__(self) -> None:
        self.streams = 0
        self._batches: asyncio.Queue[LiveBatch] = asyncio.Queue()
        self.directory = self

    def find(self, name: str) -> None:
        """It declares nothing."""

    async def handle(self, name: str) -> Any:
        return self

    async def stream_live(self, symbols: Sequence[Any], **more: Any) -> AsyncGenerator[LiveBatch, None]:
        self.streams += 1
        yield LiveBatch(notices=[ConnectionNotice(ConnectionState.CONNECTED, self.streams)])
        while True:
            yield await self._batches.get()

    async def update_live(self, *_: Any, **__: Any) -> None:
        """It takes every change."""

    async def fetch_ticks(self, requests: Sequence[TickRequest]) -> AsyncGenerator[TickBatch, None]:
        for number, wanted in enumerate(requests):
            yield TickBatch(number, Market().trades(wanted.symbol, wanted.start_ns, wanted.end_ns), done=True)

    def tell(self, *notices: Notice) -> None:
        self._batches.put_nowait(LiveBatch(notices=notices))

    def trade(self, series_id: int, row: int, kind: int | None = None) -> None:
        one = TRADES[np.arange(row, row + 1)]
        encoded = encode_ticks(TickChunk(series_id, one))
        if kind is not None:
            one = TickColumns(one.event_time_ns, one.price, kind=np.array([kind], np.uint8))
        self._batches.put_nowait(LiveBatch([LiveTicks("BTC/USD", series_id, one, encoded)]))

    def unreadable(self) -> None:
        self._batches.put_nowait(LiveBatch(notices=[RejectedRow("a trade must have a price", {})]))


class Noted:
    """A log that keeps what is an error."""

    def __init__(self) -> None:
        self.errors: list[Mapping[str, Any]] = []

    def error(self, event: str, /, **fields: Any) -> None:
        self.errors.append({"event": event, **fields})

    def info(self, event: str, /, **fields: Any) -> None:
        """Nothing."""

    warning = info


@asynccontextmanager
async def feeds(count: int) -> AsyncIterator[tuple[Feed, list[ProviderFeed], list[Vendor]]]:
    """Run feeds beside each other, each of one symbol, the way `Feeds` does."""
    async with asyncio.TaskGroup() as group:
        world = Feed(group)
        vendors = [Vendor() for _ in range(count)]
        made, running = [], []
        for number, vendor in enumerate(vendors):
            series = series_of(10 * number + TICKS)
            world.ingest.follow(series, Past())
            runtime: Any = vendor
            feed = ProviderFeed(f"vendor{number}", runtime, world.ingest, world.clock, lambda: None)
            await feed.want([series])
            made.append(feed)
            running.append(group.create_task(feed.run()))
        await settle()
        yield world, made, vendors
        for task in running:
            task.cancel()


async def test_a_defect_ends_no_feed_but_its_own_connection_and_that_is_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = Noted()
    monkeypatch.setattr(provider_feed, "_log", log)
    async with feeds(2) as (world, (broken, other), (vendor, neighbour)):
        vendor.trade(TICKS, 0, UNKNOWN_KIND)
        neighbour.trade(10 + TICKS, 0)
        await settle()
        assert "ValueError" in broken.facts.down
        (told,) = log.errors
        assert (told["provider"], type(told["exc_info"])) == ("vendor0", ValueError)
        assert (other.facts.down, other.facts.rows) == ("", 1)

        await world.clock.advance(FIRST_WAIT_S)
        vendor.trade(TICKS, 1)
        neighbour.trade(10 + TICKS, 1)
        await settle()
        assert (vendor.streams, neighbour.streams) == (2, 1)
        assert (broken.facts.down, broken.facts.connected, other.facts.rows) == ("", True, 2)


def named(feed: ProviderFeed) -> tuple[set[str], set[str]]:
    return set(feed.facts.symbols), set(feed.facts.refused)


def one(symbol: str, series_id: int) -> LiveSeries:
    return series_of(series_id, symbol)


async def test_nothing_is_kept_of_a_symbol_that_is_not_wanted_any_more() -> None:
    async with feeds(1) as (_, (feed,), (vendor,)):
        many = [one("BTC/USD", TICKS), one("ETH/USD", 21), one("NOBODY", 31)]
        await feed.want(many, [one("LTC/USD", 41)], "there is no room")
        vendor.tell(*(SymbolNotice(symbol, SymbolState.SUBSCRIBED) for symbol in ("BTC/USD", "ETH/USD")))
        vendor.tell(SymbolNotice("NOBODY", SymbolState.REFUSED, "who is that"))
        await settle()
        assert named(feed) == ({"BTC/USD", "ETH/USD", "NOBODY", "LTC/USD"}, {"NOBODY", "LTC/USD"})

        await feed.want(many[:1])
        assert named(feed) == ({"BTC/USD"}, set())
        vendor.tell(*(SymbolNotice(symbol, SymbolState.UNSUBSCRIBED) for symbol in ("ETH/USD", "NOBODY")))
        vendor.tell(SymbolNotice("NOBODY", SymbolState.REFUSED, "who is that"))
        await settle()
        assert named(feed) == ({"BTC/USD"}, set()), "a vendor that speaks of it later is not listened to"


async def test_a_symbol_that_has_to_make_room_is_refused_and_begins_anew_when_there_is_room() -> None:
    async with feeds(1) as (_, (feed,), (vendor,)):
        bitcoin, ether = one("BTC/USD", TICKS), one("ETH/USD", 21)
        await feed.want([bitcoin, ether])
        vendor.trade(TICKS, 0)
        await settle()
        await feed.want([ether], [bitcoin], "there is no room")
        assert feed.facts.refused == {"BTC/USD": "there is no room"}
        assert (feed.facts.symbols["BTC/USD"].rows, feed.facts.symbols["BTC/USD"].since_ns > 0) == (0, True)
        await feed.want([bitcoin, ether])
        vendor.trade(TICKS, 1)
        await settle()
        assert (feed.facts.refused, feed.facts.symbols["BTC/USD"].rows) == ({}, 1)


async def test_every_trade_that_could_not_be_read_is_fetched_although_the_vendor_is_asked_only_now_and_then() -> None:
    async with feeds(1) as (world, _, (vendor,)):
        for row in range(0, 12, 2):  # each second one cannot be read
            vendor.trade(TICKS, row)
            vendor.unreadable()
            await settle()
        assert sorted(world.ids()) == all_ids(0, 3) + all_ids(4, 5) + all_ids(6, 7) + all_ids(8, 9) + all_ids(10, 11)
        assert world.told.states == ["OPEN", "REPAIRED"]
        await world.clock.advance(UNREAD_NS / 1e9)
        vendor.trade(TICKS, 12)
        await settle()
    assert sorted(world.ids()) == all_ids(0, 13)
    assert world.ids()[-6:-1] == [id_ for row in (3, 5, 7, 9, 11) for id_ in all_ids(row, row + 1)]
    assert world.told.states == ["OPEN", "REPAIRED"] * 2
