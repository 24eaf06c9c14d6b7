"""Bars that trades fill, and bars that vendors push, through the real DataHub."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import Any

import numpy as np

from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar.model.bars import BarOrigin, BarState
from quasar.model.coverage import SlotState
from quasar.model.event_bars import event_bars_from_trades
from quasar.model.intervals import Interval
from quasar.model.ticks import TickColumns
from quasar.providers.kraken import Kraken
from quasar.testing.vendors import LocalServer
from tests.integration.datahub.live.client import CLOSED, FORMING, Client, Stream, symbols
from tests.integration.datahub.live.feeds import built_in, fast_market, live
from tests.integration.datahub.live.recordings import RecordedKraken, kraken_session
from tests.integration.datahub.live.test_kills import DataHubProcess, hub
from tests.integration.datahub.registry_rows import add_provider, subscribe
from tests.integration.services.conftest import Bearers

__all__ = ["hub"]
CODES = ("40tick", "5volume", "200000value")
_BOTH = """
from dataclasses import replace

from quasar.provider import Provider
from quasar.providers.market import MINUTE_NS, Market

START_NS = {start_ns}


class Both(Provider):
    '''The simulated market, a minute every half second: trades, and bars of which the third has a wrong close.'''

    name = "both"
    intervals = ("1min",)
    calendar = "24/7"

    async def start(self):
        self._market = Market()

    async def ticks(self, request):
        yield self._market.trades(request.symbol, request.start_ns, request.end_ns)

    async def live(self, feed):
        for minute in range(1000):
            start = START_NS + minute * MINUTE_NS
            for symbol in list(feed.symbols):
                yield symbol, self._market.trades(symbol, start, start + MINUTE_NS)
                bars = self._market.minute_bars(symbol, start, start + MINUTE_NS)
                if minute == 2:
                    bars = replace(bars, close=bars.high)
                yield symbol, "1min", bars
            await self.clock.sleep(0.5)
"""
_MANIFEST = {"name": "both", "kind": "CODE_KIND_PROVIDER", "class_name": "Both", "intervals": ["1min"]}
Figures = list[tuple[object, ...]]


async def stored_trades(database: Database) -> TickColumns:
    """Return the stored trades in the order of their numbers."""
    rows = await database.fetch(
        """select (extract(epoch from event_time) * 1000000)::bigint * 1000 + event_ns as at, price, size
           from ticks where kind = 1 order by sequence"""
    )
    columns = zip(*rows, strict=True)
    at, price, size = (np.array(column) for column in columns)
    return TickColumns(at.astype(np.int64), price.astype(np.float64), size.astype(np.float64))


async def stored_event_bars(database: Database, code: str) -> Figures:
    """Return the stored bars of an interval."""
    rows = await database.fetch(
        """select (extract(epoch from open_time) * 1000000)::bigint * 1000 as at, open, high, low, close, volume,
                  trade_count
           from live_data join series using (series_id) where interval = $1 order by open_time""",
        code,
    )
    return [tuple(row) for row in rows]


def built_at_once(trades: TickColumns, code: str) -> Figures:
    """Return the whole bars of all trades."""
    return [
        (bar.open_time_ns, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trade_count)
        for bar in event_bars_from_trades(trades, Interval.parse(code)).bars()
        if bar.state is BarState.CLOSED
    ]


async def test_bars_that_trades_fill_are_the_same_over_kills_of_the_datahub(
    hub: DataHubProcess, bearers: Bearers, database: Database
) -> None:
    await fast_market(database, "BTC/USD")
    code_id = await database.fetchval("select code_id from registry.code_registry")
    for code in CODES:
        await subscribe(database, code_id, "BTC/USD", interval=code)
    await database.execute("update registry.provider_subscription set live = true, historical = false")
    client = Client()
    wanted = symbols("fast", "BTC/USD", contents=(CLOSED, FORMING), intervals=["40tick"])
    for life in range(2):
        await hub.start()
        place = {"cursor": client.cursor} if life else {"snapshot": True}
        stream = Stream(hub, bearers.viewer, client, wanted, **place)
        had = len(client.closed("BTC/USD"))
        await stream.until(lambda: len(client.closed("BTC/USD")) >= had + 3)  # noqa: B023  # awaited here
        await hub.end(signal.SIGKILL)
    assert BarState.FORMING in {state for _, state, _ in client.bars["BTC/USD"]}
    await hub.start()
    (last, *_) = sorted(client.closed("BTC/USD"), reverse=True)
    async with asyncio.timeout(90):
        # How many trades make five units of volume is up to the market of the day.
        while not (  # noqa: ASYNC110  # the table tells nobody
            any(row[0] == last for row in await stored_event_bars(database, "40tick"))
            and all([len(await stored_event_bars(database, code)) >= 3 for code in CODES])
        ):
            await asyncio.sleep(0.1)
    await hub.end(signal.SIGKILL)
    trades = await stored_trades(database)
    for code in CODES:
        found = await stored_event_bars(database, code)
        assert found == built_at_once(trades, code)[: len(found)]
    told = [(at, *figures) for at, state, figures in client.bars["BTC/USD"] if state != BarState.FORMING]
    stored = {row[0]: row[1:] for row in await stored_event_bars(database, "40tick")}
    assert [at for at, *_ in told] == sorted({at for at, *_ in told}), "each once and in order"
    assert {at: tuple(figures) for at, *figures in told} == {at: stored[at] for at, *_ in told}


async def test_bars_of_the_vendor_stand_beside_ours_and_a_difference_is_an_event(
    start: Any, bearers: Bearers, database: Database
) -> None:
    start_ns = 29_000_000 * 60_000_000_000
    code_id = await add_provider(database, "both", _BOTH.format(start_ns=start_ns).encode(), _MANIFEST)
    await live(database, code_id, "BTC/USD")
    async with start(DATAHUB) as hub:
        client = Client()
        stream = Stream(hub, bearers.viewer, client, symbols("both", "BTC/USD", contents=(CLOSED,)))
        await stream.until(lambda: len(client.closed("BTC/USD")) > 5)
        stream.call.cancel()
        async with asyncio.timeout(90):
            events = "select * from ops.events where kind = 'LiveBarsDisagreed'"
            while not await database.fetch(events):  # noqa: ASYNC110  # the table tells nobody
                await asyncio.sleep(0.1)
    (event,) = await database.fetch(events)
    assert (event["subject_name"], event["severity"]) == ("both:BTC/USD@1min", "WARNING")
    assert "close" in event["message"]
    data = json.loads(event["data"]) if isinstance(event["data"], str) else event["data"]
    assert data["provider"]["close"] != data["built"]["close"]
    assert data["provider"]["high"] == data["built"]["high"]
    rows = await database.fetch(
        """select open_time, array_agg(origin order by origin) as origins, array_agg(close order by origin) as closes
           from live_data join series using (series_id) where interval = '1min' group by 1 order by 1"""
    )
    both = [row for row in rows if row["origins"] == [BarOrigin.LIVE_PROVIDER, BarOrigin.LIVE_TICKS]]
    assert len(both) > 4
    assert sum(row["closes"][0] != row["closes"][1] for row in both) == 1


async def test_the_recorded_bars_of_a_vendor_are_stored_without_the_minutes_that_it_left_out(
    start: Any, bearers: Bearers, database: Database
) -> None:
    messages = kraken_session("kraken/ws_v2/ohlc1m_btcusdt_session.jsonl")
    pushed = [json.loads(text) for text in messages if '"channel":"ohlc"' in text and '"data"' in text]
    closes = {row["interval_begin"][11:16]: row["close"] for message in pushed for row in message["data"]}
    minutes = sorted(closes)
    assert len(minutes) == 9
    assert not {"17:36", "17:37", "17:42"} & set(minutes)
    async with RecordedKraken(messages) as vendor:
        assert isinstance(vendor, LocalServer)
        await built_in(database, Kraken, vendor.preferences, "BTC/USDT")
        async with start(DATAHUB) as hub:
            client = Client()
            stream = Stream(
                hub, bearers.viewer, client, symbols("kraken", "BTC/USDT", contents=(CLOSED,)), last_count=50
            )
            await stream.until(lambda: len(client.closed("BTC/USDT")) == len(minutes))
            stream.call.cancel()
            async with asyncio.timeout(90):
                while not await database.fetchval("select count(*) from coverage"):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
    rows = await database.fetch("select open_time, origin, close from bars order by open_time")
    assert [f"{row['open_time']:%H:%M}" for row in rows] == minutes
    assert {row["origin"] for row in rows} == {BarOrigin.LIVE_PROVIDER}
    assert [row["close"] for row in rows] == [closes[minute] for minute in minutes]
    slots = await database.fetch("select state, slots from coverage order by start_time")
    expected = [("OBSERVED", 4), ("NO_TRADE", 2), ("OBSERVED", 4), ("NO_TRADE", 1), ("OBSERVED", 1)]
    assert [(SlotState(row["state"]).name, row["slots"]) for row in slots] == expected
