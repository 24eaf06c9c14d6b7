"""The examples that authors begin from: short as promised, accepted by the check, and they bring data."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.providers.coinbase_trades import CoinbaseTrades
from examples.providers.csv_folder import CsvFolder
from quasar.plugins.code import CodeVersion
from quasar.plugins.manifest import Kind
from quasar.plugins.pool import PluginPool
from quasar.provider import BarRequest, Context, LiveSymbol, Preference, SymbolNotice, SymbolState, UnknownSymbol
from quasar.providers.ccxt import Ccxt
from tests.integration.providers.coinbase_recording import CoinbaseRecording, ThenClock
from tests.integration.providers.collecting import pumping
from tests.unit.recorded import recorded

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "providers"


@pytest.mark.parametrize(("name", "most"), [("csv_folder.py", 25), ("coinbase_trades.py", 40), ("okx.py", 12)])
def test_an_example_is_as_short_as_promised(name: str, most: int) -> None:
    assert len((FOLDER / name).read_text().splitlines()) <= most


async def test_the_folder_of_csv_files_brings_its_bars(tmp_path: Path) -> None:
    (tmp_path / "GOOG.csv").write_bytes(recorded("ohlcv/backtesting/GOOG.csv").read_bytes())
    provider = CsvFolder(preferences={"folder": str(tmp_path)})
    bars = [bar async for bar in provider.bars(BarRequest("GOOG", "1d", 0, 1 << 62))]
    assert len(bars) == 2148
    assert bars[0].close == 100.34
    with pytest.raises(UnknownSymbol, match="MSFT"):
        [bar async for bar in provider.bars(BarRequest("MSFT", "1d", 0, 1 << 62))]


async def test_the_feed_of_coinbase_brings_the_recorded_trades() -> None:
    async with CoinbaseRecording() as server:
        provider = CoinbaseTrades(Context(), {"address": server.websocket_url})
        async with pumping(provider, LiveSymbol("BTC-USD"), LiveSymbol("ETH-USD")) as (sink, _):
            truth = server.trades("BTC-USD") + server.trades("ETH-USD")
            await sink.until(lambda found: len(found.ticks()) >= len(truth))
        assert {tick.trade_id for tick in sink.ticks()} == {int(row["trade_id"]) for row in truth}
        states = {notice.symbol: notice.state for notice in sink.notices(SymbolNotice)}
        assert states == {"BTC-USD": SymbolState.SUBSCRIBED, "ETH-USD": SymbolState.SUBSCRIBED}


@pytest.mark.parametrize("name", ["csv_folder", "coinbase_trades", "okx"])
async def test_an_example_runs_as_an_uploaded_file(name: str, tmp_path: Path) -> None:
    source = (FOLDER / f"{name}.py").read_bytes()
    code = CodeVersion(kind=Kind.PROVIDER, name=name, source=source, file_name=f"{name}.py")
    async with PluginPool(tmp_path) as pool:
        provider = await pool.provider(code)
        assert provider.manifest.name == name
        assert provider.manifest.capabilities


class Coinbase(Ccxt):
    """The provider of ccxt on another exchange than the one it has by default."""

    name = "coinbase"
    exchange = Preference("coinbase", description="The exchange.", needs_restart=True)


async def test_ccxt_brings_the_recorded_trades_and_books_of_another_exchange() -> None:
    async with CoinbaseRecording() as server:
        context = Context(clock=ThenClock())
        places = {"rest_url": server.rest_url, "websocket_url": server.websocket_url, "pace": 1}
        provider = Coinbase(context, places)
        await provider.start()
        listed = [one.symbol async for one in provider.symbols() if hasattr(one, "symbol")]
        assert "BTC/USD" in listed
        async with pumping(provider, LiveSymbol("BTC/USD", book_top=True)) as (sink, _):
            rows = server.trades("BTC-USD", "snapshot") + server.trades("BTC-USD")
            truth = {int(row["trade_id"]): (float(row["price"]), float(row["size"])) for row in rows}
            await sink.until(lambda found: len(found.ticks()) >= len(truth))
            assert [tick.trade_id for tick in sink.ticks()] == sorted(truth)
            assert {tick.trade_id: (tick.price, tick.size) for tick in sink.ticks()} == truth
        await provider.stop()
        await context.close()
