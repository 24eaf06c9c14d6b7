"""The built-in providers against local servers that speak the vendors' protocols."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections.abc import AsyncIterator

import aiohttp
import numpy as np
import pytest

from quasar import errors
from quasar.model.ticks import TickColumns
from quasar.provider import (
    Bar,
    BarRequest,
    BarState,
    ConnectionNotice,
    ConnectionState,
    Context,
    EmptyRange,
    Feed,
    GapCause,
    GapNotice,
    LiveItem,
    LiveSymbol,
    SymbolNotice,
    SymbolState,
    Tick,
    TickFlag,
    TickKind,
    TickRequest,
    UnknownSymbol,
)
from quasar.providers.eodhd import Eodhd
from quasar.providers.kraken import Kraken
from quasar.providers.market import MINUTE_NS, Market
from quasar.testing.local_server import FAULTS
from quasar.testing.vendors import EodhdServer, KrakenServer, RecordedExchange, SimulatedExchange
from tests.integration.providers.collecting import pumping
from tests.unit.recorded import recorded


class Collected:
    """A sink that keeps what it gets and lets a test wait for it."""

    def __init__(self) -> None:
        self.items: list[LiveItem] = []
        self._grown = asyncio.Event()

    def put(self, item: LiveItem) -> None:
        self.items.append(item)
        self._grown.set()

    async def ready(self) -> None:
        return None

    async def until(self, count: int, kind: type) -> list[LiveItem]:
        async with asyncio.timeout(60):
            while sum(isinstance(_payload(item), kind) for item in self.items) < count:
                self._grown.clear()
                await self._grown.wait()
        return [item for item in self.items if isinstance(_payload(item), kind)]


def _payload(item: LiveItem) -> object:
    return item[-1] if isinstance(item, tuple) else item


@pytest.fixture
async def server() -> AsyncIterator[KrakenServer]:
    async with KrakenServer(SimulatedExchange(), pace_s=0.02) as running:
        yield running


@pytest.fixture
async def kraken(server: KrakenServer) -> AsyncIterator[Kraken]:
    provider = Kraken(Context(), {"rest_url": server.rest_url, "websocket_url": server.websocket_url})
    await provider.start()
    yield provider
    await provider.stop()
    await provider.context.close()


async def test_kraken_history_is_the_markets_own_and_its_last_bar_is_forming(kraken: Kraken) -> None:
    now = kraken.clock.time_ns()
    request = BarRequest("BTC/USD", "1min", now - 30 * MINUTE_NS, now)
    bars = [item async for item in kraken.bars(request) if isinstance(item, Bar)]
    closed = [bar for bar in bars if bar.state is BarState.CLOSED]
    truth = Market().minute_bars("BTC/USD", closed[0].open_time_ns, closed[-1].open_time_ns + 1)
    assert [bar.close for bar in closed] == truth.close.tolist()
    assert len(bars) - len(closed) <= 1


async def test_kraken_waits_when_it_is_asked_to_and_comes_back(kraken: Kraken, server: KrakenServer) -> None:
    server.faults.busy_answers = 1
    server.faults.failing_answers = 1
    now = kraken.clock.time_ns()
    items = [item async for item in kraken.bars(BarRequest("ETH/USD", "1min", now - 5 * MINUTE_NS, now))]
    assert items
    assert server.calls["AssetPairs"] == 3


async def test_kraken_names_a_pair_that_it_does_not_list(kraken: Kraken) -> None:
    with pytest.raises(UnknownSymbol, match="XBT/USD"):
        async for _ in kraken.bars(BarRequest("XBT/USD", "1min", 0, 1)):
            pass


async def test_live_trades_arrive_once_and_in_order_and_a_cut_connection_is_made_again(
    kraken: Kraken, server: KrakenServer
) -> None:
    feed, sink = Feed([LiveSymbol("BTC/USD"), LiveSymbol("XBT/USD")]), Collected()
    async with asyncio.TaskGroup() as group:
        pumping = group.create_task(kraken.pump(feed, sink))
        await sink.until(3, Tick)
        await server.drop_connections()
        before = sum(isinstance(item, tuple) for item in sink.items)
        await sink.until(before + 5, Tick)
        pumping.cancel()
    trades = [item[1] for item in sink.items if isinstance(item, tuple) and isinstance(item[1], Tick)]
    ids = [trade.trade_id for trade in trades]
    assert ids == sorted({number for number in ids if number is not None})
    first = trades[0]
    (truth,) = Market().trades("BTC/USD", first.event_time_ns, first.event_time_ns + 1).ticks()
    assert (first.price, first.size, first.trade_id) == (truth.price, truth.size, truth.trade_id)
    assert server.connections == 2
    refused = [item for item in sink.items if isinstance(item, SymbolNotice) and item.state is SymbolState.REFUSED]
    assert refused
    assert refused[0].symbol == "XBT/USD"
    states = [item.state for item in sink.items if isinstance(item, ConnectionNotice)]
    assert ConnectionState.DISCONNECTED in states
    assert states.count(ConnectionState.CONNECTED) >= 2


async def test_the_hole_of_a_feed_is_filled_from_the_trades_of_the_rest_side(kraken: Kraken) -> None:
    now = kraken.clock.time_ns() - MINUTE_NS
    start = now - 2 * MINUTE_NS
    ticks = [item async for item in kraken.ticks(TickRequest("BTC/USD", start, now)) if isinstance(item, Tick)]
    truth = Market().trades("BTC/USD", start, now)
    assert truth.trade_id is not None
    assert [tick.trade_id for tick in ticks] == truth.trade_id.tolist()


async def test_eodhd_brings_recorded_history_and_tells_a_refusal_from_a_missing_symbol() -> None:
    path = recorded("eodhd/eod_BHP.AU.http.json.gz")
    rows = json.loads(json.loads(gzip.decompress(path.read_bytes()))["response"]["body"])
    async with EodhdServer({"eod/BHP.AU": rows}) as server:
        context = Context(secrets={"api_token": "demo"})
        provider = Eodhd(context, {"base_url": server.base_url})
        whole = BarRequest("BHP.AU", "1d", 0, provider.clock.time_ns())
        bars = [item async for item in provider.bars(whole) if isinstance(item, Bar)]
        assert len(bars) == 8194
        with pytest.raises(UnknownSymbol, match=r"NO\.AU"):
            [item async for item in provider.bars(BarRequest("NO.AU", "1d", 0, whole.end_ns))]
        await context.close()
        wrong = Context(secrets={"api_token": "wrong-token-value"})
        refused = Eodhd(wrong, {"base_url": server.base_url})
        with pytest.raises(errors.VendorFailed) as told:
            [item async for item in refused.bars(whole)]
        assert "wrong-token-value" not in str(told.value)
        await wrong.close()


def test_columns_and_rows_of_the_market_agree() -> None:
    start = 29_000_000 * MINUTE_NS
    trades = Market().trades("BTC/USD", start, start + MINUTE_NS)
    again = TickColumns.from_ticks(trades.ticks())
    np.testing.assert_array_equal(again.event_time_ns, trades.event_time_ns)
    assert EmptyRange(0, 1).no_trade is False


# The simulated exchange, with faults on demand.


async def test_a_wrong_checksum_is_told_and_a_new_snapshot_brings_the_book_back(
    kraken: Kraken, server: KrakenServer
) -> None:
    async with pumping(kraken, LiveSymbol("BTC/USD", trades=False, book_top=True)) as (sink, feed):
        await sink.until(lambda found: len(found.ticks(TickKind.BOOK_TOP)) >= 2)
        server.faults.wrong_checksums = 1
        await sink.until(lambda found: any(n.state is SymbolState.CHECKSUM_FAILED for n in found.notices(SymbolNotice)))
        assert [gap.cause for gap in sink.notices(GapNotice)] == [GapCause.SEQUENCE_BROKEN]
        before = len(sink.ticks(TickKind.BOOK_TOP))
        feed.resync(["BTC/USD"])
        await sink.until(lambda found: len(found.ticks(TickKind.BOOK_TOP)) >= before + 2)
        assert sink.ticks(TickKind.BOOK_TOP)[before].flags & TickFlag.SNAPSHOT
        assert server.connections == 1


async def test_trades_that_are_held_back_arrive_at_once_and_all(kraken: Kraken, server: KrakenServer) -> None:
    server.faults.burst_s = 2.5
    async with pumping(kraken, LiveSymbol("BTC/USD")) as (sink, _):
        await sink.until(lambda found: len(found.ticks()) >= 4)
    ticks = sink.ticks()
    truth = Market().trades("BTC/USD", ticks[0].event_time_ns, ticks[-1].event_time_ns + 1)
    assert truth.trade_id is not None
    assert [tick.trade_id for tick in ticks] == truth.trade_id.tolist()


async def test_duplicate_and_late_trades_are_what_the_faults_say(kraken: Kraken, server: KrakenServer) -> None:
    server.faults.duplicate_trades = True
    async with pumping(kraken, LiveSymbol("BTC/USD")) as (sink, _):
        await sink.until(lambda found: len(found.ticks()) >= 4)
        ids = [tick.trade_id for tick in sink.ticks()]
        assert ids[0] == ids[1]
        server.faults.duplicate_trades, server.faults.late_trades = False, True
        server.faults.burst_s = 2.1
        before = len(ids)
        await sink.until(lambda found: len(found.ticks()) >= before + 5)
        times = [tick.event_time_ns for tick in sink.ticks()[before:]]
        assert times != sorted(times)


async def test_faults_are_switched_over_http_while_it_runs(server: KrakenServer) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{server.rest_url}{FAULTS}", json={"silent": True, "refuse_symbols": ["A/B"]}) as done:
            assert (await done.json())["silent"] is True
        assert server.faults.silent
        assert server.faults.refuse_symbols == frozenset({"A/B"})
        async with session.post(f"{server.rest_url}{FAULTS}", json={"slient": True}) as done:
            assert done.status == 400
            assert "faults are" in await done.text()


async def test_a_connection_that_is_dropped_on_demand_is_made_again(kraken: Kraken, server: KrakenServer) -> None:
    async with pumping(kraken, LiveSymbol("BTC/USD")) as (sink, _), aiohttp.ClientSession() as session:
        await sink.until(lambda found: len(found.ticks()) >= 1)
        async with session.post(f"{server.rest_url}{FAULTS}", json={"dropped_connections": 1}) as done:
            assert done.status == 200
        await sink.until(lambda _: server.connections == 2)
        assert server.faults.dropped_connections == 0
        before = len(sink.ticks())
        await sink.until(lambda found: len(found.ticks()) > before)


async def test_the_simulated_exchange_runs_by_itself() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-u", "-m", "quasar.testing", "--port", "0", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        first = (await asyncio.wait_for(process.stdout.readline(), 60)).decode().split()
        async with aiohttp.ClientSession() as session, session.get(first[1]) as answer:
            assert "BTCUSD" in (await answer.json())["result"]
    finally:
        process.kill()
        await process.wait()


async def test_bars_of_the_feed_are_those_of_its_trades(kraken: Kraken, server: KrakenServer) -> None:
    wanted = LiveSymbol("BTC/USD", trades=False, intervals=("1min", "5min"))
    async with pumping(kraken, wanted) as (sink, _):
        await sink.until(lambda found: len(found.bars()) >= 20)
    closed = sink.bars()[0]
    truth = Market().minute_bars("BTC/USD", closed.open_time_ns, closed.open_time_ns + 1)
    assert (closed.open, closed.high, closed.low, closed.close) == (
        truth.open[0], truth.high[0], truth.low[0], truth.close[0]
    )  # fmt: skip
    assert {bar.state for bar in sink.bars()} == {BarState.FORMING}


@pytest.mark.parametrize(
    ("channel", "path", "symbol"),
    [
        ("book", "kraken/ws_v2/btcusd_book25_trade_session_part1.jsonl", "BTC/USD"),
        ("ohlc", "kraken/ws_v2/ohlc1m_btcusdt_session.jsonl", "BTC/USDT"),
    ],
)
async def test_recorded_sessions_are_played_as_they_were(channel: str, path: str, symbol: str) -> None:
    lines = [json.loads(line) for line in recorded(path).read_text().splitlines()]
    texts = [line["payload"] if "payload" in line else json.dumps(line) for line in lines]
    frames = [text for text in texts if json.loads(text).get("channel") == channel]
    pairs = {symbol: {"wsname": symbol, "altname": symbol, "base": "BTC", "quote": "USD"}}
    async with KrakenServer(RecordedExchange(pairs, frames={(channel, symbol): frames})) as server:
        places = {"rest_url": server.rest_url, "websocket_url": server.websocket_url, "book_depth": 25}
        provider = Kraken(Context(), places)
        await provider.start()
        wanted = LiveSymbol(symbol, trades=False, book_top=channel == "book", intervals=("1min",))
        async with pumping(provider, wanted) as (sink, _):
            if channel == "book":
                await sink.until(lambda found: len(found.ticks(TickKind.BOOK_TOP)) >= 3)
                assert not sink.notices(GapNotice)
            else:
                await sink.until(lambda found: len(found.bars()) >= 10)
                minutes = {bar.open_time.strftime("%H:%M") for bar in sink.bars()}
                assert not {"17:36", "17:37", "17:42"} & minutes
