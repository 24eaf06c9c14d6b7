"""What every built-in provider keeps to, whoever its vendor is: the same tests on each, against its local server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from quasar import errors
from quasar.model.instants import TimeRange
from quasar.plugins.manifest import Kind, Manifest, read_manifest
from quasar.provider import (
    Bar,
    BarColumns,
    BarRequest,
    BarState,
    ConnectionNotice,
    ConnectionState,
    Context,
    EmptyRange,
    GapNotice,
    Instrument,
    LiveSymbol,
    Provider,
    SymbolNotice,
    SymbolState,
    TickKind,
    UnknownSymbol,
)
from quasar.providers import BUILTIN
from tests.integration.providers.collecting import Counting, pumping
from tests.integration.providers.stages import ALL, CONNECTED, HISTORY, INDEX, LIVE, VENDORS, Open, Stage

HEAVY = ("ccxt", "databento", "databento_dbn", "pandas", "pyarrow", "aiohttp", "websockets")


@dataclass
class Play:
    stage: Stage
    provider: Provider
    permits: Counting

    async def bars(self, span: TimeRange | None = None, symbol: str = "") -> list[Bar]:
        wanted = span or self.stage.span
        request = BarRequest(symbol or self.stage.symbol, self.stage.interval, wanted.start_ns, wanted.end_ns)
        found: list[Bar] = []
        async for item in self.provider.bars(request):
            if isinstance(item, BarColumns):
                found += item.bars()
            elif isinstance(item, Bar):
                found.append(item)
            else:
                assert isinstance(item, EmptyRange), item
        return found

    async def ask(self) -> Any:
        """Ask for what the provider is there for."""
        if self.stage.symbol:
            return await self.bars()
        return await self.provider.constituents("", None)


@asynccontextmanager
async def playing(opened: Open, folder: Path) -> AsyncIterator[Play]:
    async with opened(folder) as stage:
        permits = Counting()
        context = Context(permits=permits, secrets=stage.secrets)
        provider = stage.made(context)
        await provider.start()
        try:
            yield Play(stage, provider, permits)
        finally:
            await provider.stop()
            await context.close()


def manifest(name: str) -> Manifest:
    module, _, kind = BUILTIN[name].partition(":")
    return read_manifest(Kind.PROVIDER, getattr(__import__(module, fromlist=[kind]), kind))


def each(stages: dict[str, Open]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("opened", [pytest.param(opened, id=name) for name, opened in stages.items()])


# What it says of itself.


def test_every_built_in_provider_is_on_a_stage() -> None:
    assert {name.partition("-")[0] for name in ALL} == set(BUILTIN)


@pytest.mark.parametrize("name", BUILTIN)
def test_it_declares_what_it_is(name: str) -> None:
    declared = manifest(name)
    assert declared.name == name
    assert declared.description
    assert declared.capabilities
    assert ("HISTORICAL" in declared.capabilities or "LIVE" in declared.capabilities) == bool(declared.intervals)
    assert ("INDEX" in declared.capabilities) == (name in INDEX)
    calls_somebody = name in VENDORS
    assert bool(declared.hosts) == calls_somebody
    assert bool(declared.rate_limits) == calls_somebody
    assert declared.concurrency >= 1
    assert all(preference.description for preference in declared.preferences)
    assert all(secret.description for secret in declared.secrets)


@pytest.mark.parametrize("name", sorted(VENDORS.keys() & BUILTIN.keys()))
def test_its_vendor_is_reached_over_tls_unless_an_operator_says_otherwise(name: str) -> None:
    addresses = [str(one.default) for one in manifest(name).preferences if one.path.endswith("url") and one.default]
    assert all(address.startswith(("https://", "wss://")) for address in addresses)
    assert {host.port for host in manifest(name).hosts} <= {443, 8443, 9443}


def test_declaring_it_loads_no_library_of_a_vendor() -> None:
    modules = [place.partition(":")[0] for place in BUILTIN.values()]
    code = f"import sys, {', '.join(modules)}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


# History.


@each(HISTORY)
async def test_it_lists_symbols_that_it_has_bars_of(opened: Open, tmp_path: Path) -> None:
    async with playing(opened, tmp_path) as play:
        listed: list[Instrument] = []
        async for item in play.provider.symbols(play.stage.exchange):
            if isinstance(item, Instrument):
                listed.append(item)
            elif isinstance(item, list | tuple):
                listed += item
        if play.stage.provider == "databento":  # its samples define another contract than they have bars of
            assert [one.symbol for one in listed] == ["ESU6"]
        elif play.stage.interval != "5min":  # no list of American symbols was recorded
            assert play.stage.symbol in [one.symbol for one in listed]
        assert all(one.provider == play.stage.provider for one in listed)


@each(HISTORY)
async def test_its_bars_ascend_lie_in_the_range_and_open_on_the_interval(opened: Open, tmp_path: Path) -> None:
    async with playing(opened, tmp_path) as play:
        bars, span, length = await play.bars(), play.stage.span, play.stage.length
        assert len(bars) >= play.stage.bars
        times = [bar.open_time_ns for bar in bars]
        assert times == sorted(set(times))
        assert all(span.start_ns <= time_ns < span.end_ns for time_ns in times)
        assert all(length.floor_ns(time_ns) == time_ns for time_ns in times)
        assert all(bar.open_time.utcoffset() is not None for bar in bars)
        assert all(bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high for bar in bars)


@each(HISTORY)
async def test_its_range_ends_before_its_end(opened: Open, tmp_path: Path) -> None:
    async with playing(opened, tmp_path) as play:
        first, second = (await play.bars())[:2]
        between = await play.bars(TimeRange(first.open_time_ns, second.open_time_ns))
        assert between == [first]


@each(HISTORY)
async def test_a_bar_in_progress_is_not_told_as_closed(opened: Open, tmp_path: Path) -> None:
    async with playing(opened, tmp_path) as play:
        now = time.time_ns()
        bars = await play.bars(TimeRange(play.stage.span.start_ns, now + play.stage.length.next_boundary_ns(now) - now))
        after = time.time_ns()
        for bar in bars:
            end = play.stage.length.next_boundary_ns(bar.open_time_ns)
            if end > after:
                assert bar.state is BarState.FORMING
            if end <= now:
                assert bar.state is BarState.CLOSED


@each(HISTORY)
async def test_an_empty_range_is_an_empty_answer(opened: Open, tmp_path: Path) -> None:
    async with playing(opened, tmp_path) as play:
        start = play.stage.span.start_ns
        assert await play.bars(TimeRange(start, start)) == []
        if play.stage.provider != "simulated":  # whose market has been open for ever
            assert await play.bars(TimeRange(0, 86_400_000_000_000)) == []


@each(HISTORY)
async def test_a_symbol_that_is_not_there_is_named(opened: Open, tmp_path: Path) -> None:
    async with playing(opened, tmp_path) as play:
        with pytest.raises(UnknownSymbol, match=play.stage.unknown):
            await play.bars(symbol=play.stage.unknown)


# Vendors that fail.


@each(VENDORS)
async def test_a_busy_vendor_is_left_alone_for_as_long_as_it_asks(opened: Open, tmp_path: Path) -> None:
    async with playing(opened, tmp_path) as play:
        assert play.stage.server is not None
        play.stage.server.faults.busy_answers = 1
        play.stage.server.faults.retry_after_s = 0.4
        began = time.monotonic()
        assert await play.ask()
        assert time.monotonic() - began >= 0.4
        busy = [outcome for outcome in play.permits.outcomes if outcome.http_status == 429]
        assert [outcome.retry_after_s for outcome in busy] == [0.4]
        assert play.permits.held == 0


@each(VENDORS)
async def test_a_failing_vendor_is_asked_again(opened: Open, tmp_path: Path) -> None:
    async with playing(opened, tmp_path) as play:
        assert play.stage.server is not None
        play.stage.server.faults.failing_answers = 2
        assert await play.ask()
        assert [outcome.http_status for outcome in play.permits.outcomes][:2] == [502, 502]


@each(VENDORS)
async def test_an_answer_that_is_no_data_is_told_as_that(opened: Open, tmp_path: Path) -> None:
    async with playing(opened, tmp_path) as play:
        assert play.stage.server is not None
        play.stage.server.faults.garbled_answers = 99
        with pytest.raises(errors.VendorFailed) as told:
            await play.ask()
        assert "JSON" in told.value.message or "html" in told.value.message
        play.stage.server.faults.garbled_answers = 0
        assert await play.ask()


@each(VENDORS)
async def test_a_question_that_is_cancelled_ends_at_once_and_gives_its_permit_back(
    opened: Open, tmp_path: Path
) -> None:
    async with playing(opened, tmp_path) as play:
        assert play.stage.server is not None
        play.stage.server.faults.delay_s = 60.0
        asking = asyncio.create_task(play.ask())
        await asyncio.wait_for(play.permits.granted.wait(), 30)
        began = time.monotonic()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert time.monotonic() - began < 30.0
        assert play.permits.held == 0


@each({name: opened for name, opened in VENDORS.items() if name in ("eodhd", "databento")})
async def test_a_refused_secret_is_told_and_never_shown(opened: Open, tmp_path: Path) -> None:
    async with opened(tmp_path) as stage:
        name = next(iter(stage.secrets))
        stage.secrets[name] = "wrong-" + "9" * 26
        context = Context(secrets=stage.secrets)
        play = Play(stage, stage.made(context), Counting())
        await play.provider.start()
        with pytest.raises(errors.VendorFailed) as told:
            await play.ask()
        assert type(told.value).__name__ == "Unauthorised"
        assert stage.secrets[name] not in str(told.value)
        await context.close()


# Live.


def wanted(stage: Stage, **more: Any) -> LiveSymbol:
    return LiveSymbol(stage.symbol, intervals=(stage.interval,), **more)


def subscribed(stage: Stage, times: int = 1) -> Any:
    def enough(sink: Any) -> bool:
        states = [one.state for one in sink.notices(SymbolNotice) if one.symbol == stage.symbol]
        return states.count(SymbolState.SUBSCRIBED) >= times

    return enough


@each(CONNECTED)
async def test_live_a_subscription_is_told_and_trades_come_once_and_in_order(opened: Open, tmp_path: Path) -> None:
    async with playing(opened, tmp_path) as play, pumping(play.provider, wanted(play.stage)) as (sink, _):
        await sink.until(subscribed(play.stage))
        await sink.until(lambda found: len(found.ticks()) >= 3 and found.bars())
        ids = [tick.trade_id for tick in sink.ticks()]
        assert ids == sorted({number for number in ids if number is not None})
        assert any(one.state is ConnectionState.CONNECTED for one in sink.notices(ConnectionNotice))


@each(CONNECTED)
async def test_live_the_best_bid_and_ask_follow_the_book(opened: Open, tmp_path: Path) -> None:
    symbol = "BTC/USD"
    async with (
        playing(opened, tmp_path) as play,
        pumping(play.provider, LiveSymbol(symbol, trades=False, book_top=True)) as (sink, _),
    ):
        await sink.until(lambda found: len(found.ticks(TickKind.BOOK_TOP)) >= 3)
        tops = sink.ticks(TickKind.BOOK_TOP)
        assert all(top.bid_price and top.ask_price and top.bid_price < top.ask_price for top in tops)
        levels = play.stage.kraken.exchange.book(symbol, 10, tops[-1].event_time_ns)
        assert levels is not None
        assert abs((tops[-1].bid_price or 0) - float(levels[0][0][0])) < 100  # of a price of 60 000


@each(CONNECTED)
async def test_live_a_cut_connection_is_told_made_again_and_subscribed_again(opened: Open, tmp_path: Path) -> None:
    async with playing(opened, tmp_path) as play, pumping(play.provider, wanted(play.stage)) as (sink, _):
        await sink.until(lambda found: len(found.ticks()) >= 2)
        await play.stage.kraken.drop_connections()
        await sink.until(lambda found: found.notices(GapNotice))
        before = len(sink.ticks())
        await sink.until(subscribed(play.stage, 2))
        await sink.until(lambda found: len(found.ticks()) >= before + 2)
        assert play.stage.kraken.connections == 2
        assert any(one.state is ConnectionState.DISCONNECTED for one in sink.notices(ConnectionNotice))
        ids = [tick.trade_id for tick in sink.ticks()]
        assert len(ids) == len(set(ids))


@each(CONNECTED)
async def test_live_a_dead_feed_is_left_and_a_quiet_one_is_kept(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quasar.provider import Patience
    from quasar.providers.kraken import Kraken

    monkeypatch.setattr(Kraken, "patience", Patience(heartbeat_s=1.5))
    async with playing(opened, tmp_path) as play:
        play.stage.kraken.faults.burst_s = 5.0  # no trade for a while, and heartbeats and pongs only
        async with pumping(play.provider, LiveSymbol(play.stage.symbol)) as (sink, _):
            await sink.until(lambda found: found.ticks())
            assert play.stage.kraken.connections == 1
            play.stage.kraken.faults.silent = True
            await sink.until(lambda found: found.notices(GapNotice))
            play.stage.kraken.faults.silent = False
            play.stage.kraken.faults.burst_s = 0.0
            before = len(sink.ticks())
            await sink.until(lambda found: len(found.ticks()) > before)
            assert play.stage.kraken.connections >= 2


@each(CONNECTED)
async def test_live_symbols_come_and_go_on_the_same_connection(opened: Open, tmp_path: Path) -> None:
    async with playing(opened, tmp_path) as play, pumping(play.provider, wanted(play.stage)) as (sink, feed):
        await sink.until(subscribed(play.stage))
        feed.update(add=[LiveSymbol("ETH/USD")], remove=[play.stage.symbol])
        await sink.until(lambda found: any(isinstance(i, tuple) and i[0] == "ETH/USD" for i in found.items))
        states = [(one.symbol, one.state) for one in sink.notices(SymbolNotice)]
        assert (play.stage.symbol, SymbolState.UNSUBSCRIBED) in states
        assert play.stage.kraken.connections == 1


@each(LIVE)
async def test_live_a_symbol_that_is_not_there_is_refused_and_the_others_go_on(opened: Open, tmp_path: Path) -> None:
    async with playing(opened, tmp_path) as play:
        strange = LiveSymbol(play.stage.unknown, intervals=(play.stage.interval,))
        async with pumping(play.provider, strange, wanted(play.stage)) as (sink, _):
            await sink.until(subscribed(play.stage))
            await sink.until(lambda found: any(one.state is SymbolState.REFUSED for one in found.notices(SymbolNotice)))
            refused = {one.symbol for one in sink.notices(SymbolNotice) if one.state is SymbolState.REFUSED}
            assert refused == {play.stage.unknown}


@each(LIVE)
async def test_live_a_feed_that_is_cancelled_ends_at_once(opened: Open, tmp_path: Path) -> None:
    async with playing(opened, tmp_path) as play:
        async with pumping(play.provider, wanted(play.stage)) as (sink, _):
            await sink.until(subscribed(play.stage))
            began = time.monotonic()
        assert time.monotonic() - began < 30.0
        assert play.permits.held == 0
