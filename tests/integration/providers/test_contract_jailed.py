"""The same providers in the processes and the jail that the platform runs them in: a part of their contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from quasar import errors
from quasar.model.bars import BarColumns
from quasar.plugins.containment import Containment
from quasar.plugins.pool import PluginPool
from quasar.plugins.provider import BarRequest, LiveSymbol, ProviderHandle
from quasar.provider import SymbolNotice, SymbolState, UnknownSymbol
from tests.integration.providers.stages import CONNECTED, HISTORY, LIVE, VENDORS, Open, Stage, cci30

PATIENCE_S = 60.0


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[PluginPool]:
    notices: list[Containment] = []
    async with PluginPool(tmp_path / "code", on_containment=notices.append) as running:
        yield running
    assert notices == []


def each(stages: dict[str, Open]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("opened", [pytest.param(opened, id=name) for name, opened in stages.items()])


async def asked(provider: ProviderHandle, stage: Stage, *symbols: str) -> dict[str, Any]:
    """Return the bars of each symbol, or why there are none."""
    span = stage.span
    requests = [BarRequest(symbol, stage.interval, span.start_ns, span.end_ns) for symbol in symbols]
    parts: dict[str, list[BarColumns]] = {symbol: [] for symbol in symbols}
    ends: dict[str, errors.QuasarError | None] = {}
    async for batch in provider.fetch_bars(requests):
        assert not batch.rejected
        if batch.columns is not None:
            parts[symbols[batch.request]].append(batch.columns)
        if batch.done:
            ends[symbols[batch.request]] = batch.error
    return {symbol: ends[symbol] or BarColumns.concatenate(parts[symbol]) for symbol in symbols}


@each(HISTORY)
async def test_jailed_its_bars_arrive_and_a_symbol_that_is_not_there_harms_no_other(
    opened: Open, pool: PluginPool, tmp_path: Path
) -> None:
    folder = tmp_path / "vendor"
    folder.mkdir()
    async with opened(folder) as stage:
        provider = await pool.provider(stage.code())
        found = await asked(provider, stage, stage.unknown, stage.symbol)
        assert isinstance(found[stage.unknown], UnknownSymbol)
        bars = found[stage.symbol]
        assert isinstance(bars, BarColumns), bars
        assert len(bars) >= stage.bars
        assert bars.is_sorted


@each({name: opened for name, opened in VENDORS.items() if name in HISTORY})
async def test_jailed_a_busy_vendor_is_waited_for(opened: Open, pool: PluginPool, tmp_path: Path) -> None:
    async with opened(tmp_path) as stage:
        assert stage.server is not None
        stage.server.faults.busy_answers = 1
        stage.server.faults.retry_after_s = 0.3
        provider = await pool.provider(stage.code())
        bars = (await asked(provider, stage, stage.symbol))[stage.symbol]
        assert isinstance(bars, BarColumns), bars
        assert sum(stage.server.calls.values()) > 1


@each(LIVE)
async def test_jailed_live_data_flow_and_a_strange_symbol_is_refused(
    opened: Open, pool: PluginPool, tmp_path: Path
) -> None:
    folder = tmp_path / "vendor"
    folder.mkdir()
    async with opened(folder) as stage:
        provider = await pool.provider(stage.code())
        symbols = [LiveSymbol(symbol, intervals=(stage.interval,)) for symbol in (stage.symbol, stage.unknown)]
        states: dict[str, set[SymbolState]] = {}
        ticks = 0
        async with asyncio.timeout(PATIENCE_S), aclosing(provider.stream_live(symbols)) as stream:
            async for batch in stream:
                for notice in batch.notices:
                    if isinstance(notice, SymbolNotice):
                        states.setdefault(notice.symbol, set()).add(notice.state)
                ticks += sum(len(one) for one in batch.ticks.values())
                enough = ticks >= 2 or stage.provider == "files"
                if enough and states.keys() == {stage.symbol, stage.unknown}:
                    break
        assert SymbolState.SUBSCRIBED in states[stage.symbol]
        assert SymbolState.REFUSED in states[stage.unknown]


@each(CONNECTED)
async def test_jailed_a_cut_connection_is_made_again(opened: Open, pool: PluginPool, tmp_path: Path) -> None:
    async with opened(tmp_path) as stage:
        provider = await pool.provider(stage.code())
        async with asyncio.timeout(PATIENCE_S), aclosing(provider.stream_live([LiveSymbol(stage.symbol)])) as stream:
            async for batch in stream:
                if batch.ticks and stage.kraken.connections == 1:
                    await stage.kraken.drop_connections()
                if batch.ticks and stage.kraken.connections == 2:
                    break


async def test_jailed_the_members_of_an_index_arrive(pool: PluginPool, tmp_path: Path) -> None:
    async with cci30(tmp_path) as stage:
        provider = await pool.provider(stage.code())
        members = await provider.constituents()
        assert members[0].symbol == "BTC"
        assert sum(member.weight or 0.0 for member in members) == pytest.approx(1.0)


async def test_jailed_a_library_of_a_vendor_costs_memory_only_where_it_is_used(
    pool: PluginPool, tmp_path: Path
) -> None:
    from tests.integration.providers.stages import ccxt, databento

    async with ccxt(tmp_path) as one, databento(tmp_path) as other:
        await pool.provider(one.code())
        await pool.provider(other.code())
        async with asyncio.timeout(PATIENCE_S):
            while not all(view.memory_bytes for view in pool.processes()):  # noqa: ASYNC110 - the pool tells nobody
                await asyncio.sleep(0.1)
        idle = {view.name: view.memory_bytes / 2**20 for view in pool.processes()}
        assert max(idle.values()) <= 45, idle
