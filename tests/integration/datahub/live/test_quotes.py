"""Quotes and tops of books: asked for because they are subscribed to, stored, streamed and read by kind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from quasar.config import DATAHUB
from quasar.convert.columns import decode_ticks
from quasar.database.pool import Database
from quasar.model.ticks import TickColumns, TickFlag, TickKind
from quasar.providers.kraken import Kraken
from quasar.testing.vendors import KrakenServer, SimulatedExchange
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import market_data_pb2, stream_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from quasar_proto.datahub.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from tests.integration.datahub.live.client import STATES, TRADES, Client, Stream, symbols
from tests.integration.datahub.live.feeds import built_in, live_kinds, without_a_hole
from tests.integration.datahub.live.recordings import RecordedKraken, kraken_session
from tests.integration.datahub.live.test_recordings import tops_of
from tests.integration.services.conftest import Bearers, as_

QUOTES = stream_pb2.STREAM_CONTENT_QUOTES
BOOK_TOP = stream_pb2.STREAM_CONTENT_BOOK_TOP
TOPS = market_data_pb2.TICK_KIND_BOOK_TOP
ACTIVE = STATES.SUBSCRIPTION_STATUS_STATE_ACTIVE
REJECTED = STATES.SUBSCRIPTION_STATUS_STATE_REJECTED
_TRADE_IDS = "select trade_id from ticks where kind = 1 order by sequence"
_BOOK = "kraken/ws_v2/btcusd_book25_trade_session_part1.jsonl"


class Kinds(Client):
    """A client that keeps ticks by their kind, and statuses by content."""

    def __init__(self) -> None:
        super().__init__()
        self.ticks: dict[TickKind, list[TickColumns]] = {}

    def _ticks(self, chunk: market_data_pb2.TickChunk) -> None:
        columns = decode_ticks(chunk.SerializeToString()).columns
        kind = TickKind.TRADE if columns.kind is None else TickKind(int(columns.kind[0]))
        if kind is TickKind.TRADE:
            super()._ticks(chunk)
        self.ticks.setdefault(kind, []).append(columns)

    def tops(self, kind: TickKind = TickKind.BOOK_TOP) -> list[tuple[float | None, ...]]:
        """Return bids and asks as they came."""
        return [
            (one.bid_price, one.bid_size, one.ask_price, one.ask_size)
            for part in self.ticks.get(kind, ())
            for one in part.ticks()
        ]

    def content_state(self, content: int) -> int | None:
        """Return the last status of a content."""
        return next((one.state for one in reversed(self.statuses) if one.content == content), None)


@pytest.fixture
async def vendor(database: Database) -> AsyncIterator[KrakenServer]:
    """A simulated Kraken, whose BTC/USD is subscribed to."""
    async with KrakenServer(SimulatedExchange(), pace_s=0.05) as server:
        preferences = {"rest_url": server.rest_url, "websocket_url": server.websocket_url}
        await built_in(database, Kraken, preferences, "BTC/USD")
        yield server


async def read_ticks(hub: Any, bearer: str, kind: market_data_pb2.TickKind.ValueType) -> TickColumns:
    """Return the stored ticks of a kind of Kraken's BTC/USD."""
    key = values_pb2.SeriesKey(provider="kraken", symbol="BTC/USD")
    request = pb.ReadTicksRequest(series=[market_data_pb2.SeriesReference(key=key)], kinds=[kind])
    call = hub.stub(MarketDataServiceStub).ReadTicks(request, **as_(bearer))
    parts = [decode_ticks(chunk.SerializeToString()).columns async for answer in call for chunk in answer.ticks]
    return TickColumns.concatenate(parts) if parts else TickColumns.empty()


async def test_a_subscription_of_book_tops_asks_the_vendor_for_books_and_every_recorded_top_is_streamed_and_stored(
    start: Any, bearers: Bearers, database: Database
) -> None:
    messages = kraken_session(_BOOK)
    tops = await asyncio.to_thread(tops_of, messages)
    assert len(tops) == 10
    async with RecordedKraken(messages, pace_s=0.01) as vendor:
        await built_in(database, Kraken, vendor.preferences, "BTC/USD")
        await live_kinds(database, "BTC/USD", "BOOK_TOP")
        async with start(DATAHUB) as hub:
            client = Kinds()
            wanted = symbols("kraken", "BTC/USD", contents=(BOOK_TOP, QUOTES))
            stream = Stream(hub, bearers.viewer, client, wanted)
            await stream.until(lambda: client.tops()[-1:] == tops[-1:])
            # The stream began with the latest top, and each later one followed: none is missing and none is repeated.
            runs = [tops[first : first + len(client.tops())] for first in range(len(tops))]
            assert client.tops() in runs
            params = [message["params"] for message in vendor.requests]
            assert [(one["channel"], one["symbol"], one["depth"]) for one in params] == [("book", ["BTC/USD"], 25)]
            assert client.content_state(BOOK_TOP) == ACTIVE

            async with asyncio.timeout(90):
                while len(stored := await read_ticks(hub, bearers.viewer, TOPS)) < len(tops):  # noqa: ASYNC110  # polled
                    await asyncio.sleep(0.05)
            late = Kinds()
            again = Stream(hub, bearers.viewer, late, wanted)
            await again.until(lambda: late.phases)
            # The snapshot is the latest top, with those that were published together with it.
            assert late.tops() in [tops[first:] for first in range(len(tops))]
            (refused,) = [one for one in late.statuses if one.content == QUOTES]
            assert refused.state == REJECTED
            assert "tick_kinds" in refused.message
            again.call.cancel()
            stream.call.cancel()

            found = [(one.bid_price, one.bid_size, one.ask_price, one.ask_size) for one in stored.ticks()]
            assert found == tops
            assert stored.flags is not None
            assert stored.flags[0] & TickFlag.SNAPSHOT
            assert stored.receive_time_ns is not None
            assert stored.publish_time_ns is not None
            assert len(await read_ticks(hub, bearers.viewer, market_data_pb2.TICK_KIND_TRADE)) == 0


async def test_kinds_that_are_subscribed_later_join_a_running_stream_and_disturb_no_trade(
    start: Any, bearers: Bearers, database: Database, vendor: KrakenServer
) -> None:
    await live_kinds(database, "BTC/USD", "TRADE")
    async with start(DATAHUB) as hub:
        client = Kinds()
        wanted = symbols("kraken", "BTC/USD", contents=(TRADES, QUOTES, BOOK_TOP))
        stream = Stream(hub, bearers.viewer, client, wanted)
        await stream.until(lambda: client.trades.get("BTC/USD"))
        assert client.content_state(QUOTES) == client.content_state(BOOK_TOP) == REJECTED

        await live_kinds(database, "BTC/USD", "TRADE", "QUOTE", "BOOK_TOP")
        await stream.until(lambda: client.content_state(QUOTES) == client.content_state(BOOK_TOP) == ACTIVE)
        await stream.until(lambda: len(client.tops(TickKind.QUOTE)) > 2 and len(client.tops()) > 2)
        assert all(bid < ask for bid, _, ask, _ in client.tops() if bid is not None and ask is not None)

        prices = await hub.stub(MarketDataServiceStub).GetLatestPrices(
            pb.GetLatestPricesRequest(symbols=wanted.symbols), **as_(bearers.viewer)
        )
        (price,) = prices.prices
        assert 0 < price.bid < price.ask

        await live_kinds(database, "BTC/USD", "TRADE", "QUOTE")
        await stream.until(lambda: client.content_state(BOOK_TOP) == REJECTED)
        had = len(client.trades["BTC/USD"])
        await stream.until(lambda: len(client.trades["BTC/USD"]) > had + 3)
        assert without_a_hole(client.trades["BTC/USD"])
        assert client.gap_states() == []
        assert vendor.connections == 1
        stream.call.cancel()
        assert without_a_hole(await until_stored_trades(database, len(client.trades["BTC/USD"])))


async def until_stored_trades(database: Database, count: int) -> Any:
    """Wait for stored trades alone: quotes have no ids."""
    async with asyncio.timeout(90):
        while len(rows := await database.fetch(_TRADE_IDS)) < count:  # noqa: ASYNC110  # the table tells nobody
            await asyncio.sleep(0.05)
    return [row["trade_id"] for row in rows]


async def test_a_book_whose_checksum_fails_is_asked_for_anew_by_itself(
    start: Any, bearers: Bearers, database: Database, vendor: KrakenServer
) -> None:
    await live_kinds(database, "BTC/USD", "TRADE", "BOOK_TOP")
    async with start(DATAHUB) as hub:
        client = Kinds()
        stream = Stream(hub, bearers.viewer, client, symbols("kraken", "BTC/USD", contents=(TRADES, BOOK_TOP)))
        await stream.until(lambda: len(client.tops()) > 1 and client.trades.get("BTC/USD"))
        vendor.faults.wrong_checksums = 1
        await stream.until(lambda: client.gaps)
        assert "checksum" in client.gaps[0].evidence.lower()
        had = len(client.tops())
        await stream.until(lambda: len(client.tops()) > had + 2)
        ticks = [tick for part in client.ticks[TickKind.BOOK_TOP] for tick in part.ticks()]
        assert any(tick.flags & TickFlag.SNAPSHOT for tick in ticks[had:])
        await stream.until(lambda: set(client.gap_states()[-1:]) == {"REPAIRED"})
        assert without_a_hole(client.trades["BTC/USD"])
        stream.call.cancel()


async def test_a_hole_in_quotes_is_told_and_not_said_to_be_repaired(
    start: Any, bearers: Bearers, database: Database, vendor: KrakenServer
) -> None:
    await live_kinds(database, "BTC/USD", "QUOTE")
    async with start(DATAHUB) as hub:
        client = Kinds()
        stream = Stream(hub, bearers.viewer, client, symbols("kraken", "BTC/USD", contents=(QUOTES,)))
        await stream.until(lambda: len(client.tops(TickKind.QUOTE)) > 1)
        await vendor.drop_connections()
        await stream.until(lambda: client.gap_states() == ["OPEN", "UNREPAIRABLE"])
        had = len(client.tops(TickKind.QUOTE))
        await stream.until(lambda: len(client.tops(TickKind.QUOTE)) > had)
        assert vendor.calls["Trades"] == 0
        stream.call.cancel()
    evidence = await database.fetchval("select evidence from gaps")
    assert "no quotes" in json.dumps(evidence)
