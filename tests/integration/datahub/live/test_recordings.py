"""Recorded market data through the whole of the DataHub: nothing is lost, nothing is invented."""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from datahub.collection.collector import BarCollector
from datahub.collection.planner import Planner
from datahub.collection.subscriptions import Subscriptions
from datahub.collection.worker import RunWorker
from datahub.ingest.room import Room
from datahub.ingest.writer import BarWriter
from datahub.providers.source import ProviderSource
from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar.model.coverage import SlotState
from quasar.model.ticks import Tick, TickKind
from quasar.ops.events import Events
from quasar.plugins.code import CodeVersion
from quasar.plugins.manifest import Kind
from quasar.plugins.pool import PluginPool
from quasar.plugins.process import ProcessSettings
from quasar.providers.kraken import Kraken
from quasar.testing.clock import FakeClock
from tests.integration.datahub.live.client import Client, Stream, symbols
from tests.integration.datahub.live.feeds import built_in, live
from tests.integration.datahub.live.recordings import (
    RecordedKraken,
    kraken_session,
    player,
    xrp_eth_bars,
    xrp_eth_trades,
)
from tests.integration.datahub.registry_rows import add_provider, entry, subscribe
from tests.integration.services.conftest import Bearers
from tests.unit.recorded import recorded

_MANIFEST = {
    "name": "recorder",
    "kind": "CODE_KIND_PROVIDER",
    "class_name": "Recorder",
    "intervals": ["1min"],
    "capabilities": ["PROVIDER_CAPABILITY_LIVE_TICKS", "PROVIDER_CAPABILITY_HISTORICAL_TICKS"],
}
_BOOK = "kraken/ws_v2/btcusd_book25_trade_session_part1.jsonl"


async def bars_of(database: Database, interval: str) -> dict[int, tuple[float, ...]]:
    """Return the stored live bars of the one live symbol at an interval, by open time."""
    rows = await database.fetch(
        """select (extract(epoch from open_time) * 1e9)::bigint as at, open, high, low, close, volume
           from live_data join series using (series_id) where interval = $1 order by 1""",
        interval,
    )
    return {row["at"]: tuple(row)[1:] for row in rows}


async def until_equal(database: Database, interval: str, truth: dict[int, tuple[float, ...]]) -> None:
    """Wait until the stored bars are these, and say what differs when they do not become so."""
    found: dict[int, tuple[float, ...]] = {}
    try:
        async with asyncio.timeout(90):
            while (found := await bars_of(database, interval)) != truth:  # noqa: ASYNC110  # the table tells nobody
                await asyncio.sleep(0.1)
    except TimeoutError:
        wrong = [at for at in sorted(truth.keys() | found.keys()) if truth.get(at) != found.get(at)]
        raise AssertionError(f"{len(wrong)} of {len(truth)} {interval} bars differ, the first at {wrong[0]}") from None


async def test_recorded_trades_that_come_live_become_every_recorded_bar(
    start: Any, bearers: Bearers, database: Database
) -> None:
    code_id = await add_provider(database, "recorder", player(), _MANIFEST)
    await live(database, code_id, "XRP/ETH")
    async with start(DATAHUB):
        minutes, fives = xrp_eth_bars("1m"), xrp_eth_bars("5m")
        assert (len(minutes), len(fives)) == (2_469, 706)
        await until_equal(database, "1min", minutes)
        await until_equal(database, "5min", fives)
    trades = xrp_eth_trades()
    ids = [row["trade_id"] for row in await database.fetch("select trade_id from ticks order by sequence")]
    assert ids == list(range(1, len(trades) + 1))
    assert len(ids) == 12_477


def tops_of(messages: list[str]) -> list[tuple[float | None, ...]]:
    """Return the tops of book that a session holds, as the provider reads them."""
    provider = Kraken()
    provider.apply_preferences({"book_depth": 25})
    asyncio.run(provider.start())
    items = [item for text in messages for item in provider.parse(json.loads(text, parse_float=Decimal))]
    ticks = [item[1] for item in items if isinstance(item, tuple) and isinstance(item[1], Tick)]
    return [
        (tick.bid_price, tick.bid_size, tick.ask_price, tick.ask_size)
        for tick in ticks
        if tick.kind is TickKind.BOOK_TOP
    ]


async def stored_tops(database: Database, count: int) -> list[tuple[float | None, ...]]:
    """Wait for so many tops of book in the table, and return them in order."""
    async with asyncio.timeout(90):
        while True:
            rows = await database.fetch(
                "select bid_price, bid_size, ask_price, ask_size from ticks where kind = $1 order by sequence",
                int(TickKind.BOOK_TOP),
            )
            if len(rows) >= count:
                return [tuple(row) for row in rows]
            await asyncio.sleep(0.05)


async def test_the_recorded_kraken_session_runs_through_the_providers_process_with_every_checksum_right(
    start: Any, bearers: Bearers, database: Database
) -> None:
    messages = kraken_session(_BOOK)
    books = [message for text in messages if (message := json.loads(text)).get("channel") == "book"]
    assert sum("checksum" in row for message in books for row in message["data"]) == len(books) == 44
    tops = await asyncio.to_thread(tops_of, messages)
    async with RecordedKraken(messages) as vendor:
        await built_in(database, Kraken, vendor.preferences, "BTC/USD")
        async with start(DATAHUB) as hub:
            client = Client()
            stream = Stream(hub, bearers.viewer, client, symbols("kraken", "BTC/USD"))
            assert await stored_tops(database, len(tops)) == tops
            assert client.gap_states() == []
            assert await database.fetchval("select count(*) from gaps") == 0
            stream.call.cancel()


async def test_a_recorded_session_with_one_wrong_digit_is_a_gap_at_once(
    start: Any, bearers: Bearers, database: Database
) -> None:
    messages = kraken_session(_BOOK)
    place = max(number for number, text in enumerate(messages) if '"checksum"' in text and '"update"' in text) - 5
    digit = messages[place].index('"checksum":') + len('"checksum":')
    wrong = "1" if messages[place][digit] != "1" else "2"
    messages[place] = messages[place][:digit] + wrong + messages[place][digit + 1 :]
    pairs = {"XBTUSD": {"wsname": "XBT/USD", "altname": "XBTUSD"}}
    trades = {"XBTUSD": [], "last": "0"}
    bodies = {"AssetPairs": {"error": [], "result": pairs}, "Trades": {"error": [], "result": trades}}
    async with RecordedKraken(messages, bodies, pace_s=0.01) as vendor:
        await built_in(database, Kraken, vendor.preferences, "BTC/USD")
        async with start(DATAHUB) as hub:
            client = Client()
            stream = Stream(hub, bearers.viewer, client, symbols("kraken", "BTC/USD"))
            await stream.until(lambda: client.gaps)
            assert "checksum" in client.gaps[0].evidence.lower()
            await stream.until(lambda: "REPAIRED" in client.gap_states() or "UNREPAIRABLE" in client.gap_states())
            stream.call.cancel()


async def test_minutes_without_trades_of_the_recorded_history_are_slots_without_trades_and_no_bars(
    database: Database, tmp_path: Path
) -> None:
    answer = json.loads(gzip.decompress(recorded("kraken/rest/http_ohlc.json.gz").read_bytes()))
    rows = answer["result"]["XBTUSDT"]
    traded = {row[0] for row in rows[:-1] if row[7]}
    first, last = rows[0][0], rows[-1][0]
    pairs = {"error": [], "result": {"XBTUSDT": {"wsname": "XBT/USDT", "altname": "XBTUSDT"}}}
    clock = FakeClock(dt.datetime.fromtimestamp(last + 30, dt.UTC))
    async with RecordedKraken(bodies={"AssetPairs": pairs, "OHLC": answer}) as vendor:
        code = CodeVersion(
            kind=Kind.PROVIDER, name="kraken", builtin="quasar.providers.kraken:Kraken", preferences=vendor.preferences
        )
        async with PluginPool(tmp_path / "code", settings=ProcessSettings(service="tests")) as pool:
            source = ProviderSource(await pool.provider(code))
            await collected(database, clock, source, dt.datetime.fromtimestamp(first, dt.UTC))
    stored = await database.fetch("select extract(epoch from open_time)::bigint as at from bars")
    assert {row["at"] for row in stored} == traded
    assert len(stored) == 505
    slots = await database.fetch("select state, sum(slots)::integer as slots from coverage group by state")
    assert {SlotState(row["state"]): row["slots"] for row in slots} == {
        SlotState.OBSERVED: 505,
        SlotState.NO_TRADE: 215,
    }


async def collected(database: Database, clock: FakeClock, source: ProviderSource, begin: dt.datetime) -> None:
    """Collect the history of one symbol from a source, as the DataHub does."""
    room = Room(database)
    writer, provider = BarWriter(database, room, clock), entry("kraken")
    await subscribe(database, await add_provider(database, "kraken"), "BTC/USDT", start=begin)
    await Subscriptions(database, clock).refresh({"kraken": provider})
    assert (await Planner(database, clock).plan({"kraken": provider})).runs == 1

    async def sources(_provider: str) -> ProviderSource:
        return source

    collector = BarCollector(database, writer, sources, clock)
    worker = RunWorker(
        database,
        Events(database, "datahub", clock),
        clock,
        handlers={"BARS": collector.collect},
        give_up=collector.give_up,
        slots=lambda: {"kraken": 1},
        worker="one",
        jitter=lambda: 0.0,
    )
    async with asyncio.TaskGroup() as group:
        running = group.create_task(worker.run())
        async with asyncio.timeout(90):
            open_runs = "select count(*) from collection_runs where state <> 'SUCCEEDED'"
            while await database.fetchval(open_runs):  # noqa: ASYNC110  # the table tells nobody
                await asyncio.sleep(0.05)
        running.cancel()
