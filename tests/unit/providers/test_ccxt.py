from __future__ import annotations

import importlib.util
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from quasar import errors
from quasar.model.intervals import Interval
from quasar.provider import (
    Bar,
    BarRequest,
    BarState,
    ConnectionNotice,
    EmptyRange,
    Feed,
    Instrument,
    LiveItem,
    LiveSymbol,
    RejectedRow,
    Side,
    Throttled,
    Tick,
    Unauthorised,
    UnknownSymbol,
    Unsupported,
)
from quasar.providers import ccxt_library
from quasar.providers.ccxt import Ccxt, redirected
from quasar.providers.ccxt_rows import parse_ohlcv, parse_trade

MINUTE = Interval.parse("1min")
MINUTE_MS = 60_000


def test_candles_are_sorted_and_told_once_and_the_one_in_progress_is_forming() -> None:
    rows: list[list[Any]] = [
        [2 * MINUTE_MS, 3, 4, 2, 3, 9],
        [MINUTE_MS, "1", "2", "0.5", "1.5", None],
        [MINUTE_MS, 1, 2, 0.5, 1.5, 7],
    ]
    bars = [item for item in parse_ohlcv(rows, MINUTE, 150_000_000_000) if isinstance(item, Bar)]
    assert [(bar.open_time_ns // 10**9, bar.state) for bar in bars] == [(60, BarState.CLOSED), (120, BarState.FORMING)]
    assert bars[0].volume is None
    assert bars[0].close_time_ns == bars[1].open_time_ns


def test_a_candle_that_was_filled_in_is_a_stretch_without_trades_and_no_bar() -> None:
    rows: list[list[Any]] = [[MINUTE_MS, 5, 5, 5, 5, 0]]
    assert list(parse_ohlcv(rows, MINUTE, 1 << 62)) == [EmptyRange(60_000_000_000, 120_000_000_000, no_trade=True)]
    assert list(parse_ohlcv(rows, MINUTE, 90_000_000_000)) == []


def test_a_candle_without_a_price_or_a_time_is_told_apart() -> None:
    items = list(parse_ohlcv([[MINUTE_MS, 1, 2, None, 1, 1], [None, 1, 1, 1, 1, 1], []], MINUTE, 1 << 62))
    assert [type(item) for item in items] == [RejectedRow, RejectedRow, RejectedRow]


@pytest.mark.parametrize(
    ("number", "wanted"), [("17", (17, "")), ("a-17", (None, "a-17")), (str(1 << 70), (None, str(1 << 70)))]
)
def test_the_id_of_a_trade_is_kept_whatever_it_looks_like(number: str, wanted: tuple[int | None, str]) -> None:
    tick = parse_trade({"id": number, "price": 1.5, "amount": 2, "timestamp": 1_700_000_000_123, "side": "sell"})
    assert isinstance(tick, Tick)
    assert (tick.trade_id, tick.trade_id_text) == wanted
    assert (tick.price, tick.size, tick.side, tick.event_time_ns) == (1.5, 2.0, Side.SELL, 1_700_000_000_123_000_000)


def test_a_trade_without_a_price_is_no_tick() -> None:
    assert isinstance(parse_trade({"id": "1", "price": None, "amount": 2, "timestamp": 1}), RejectedRow)


def test_servers_are_replaced_and_paths_kept() -> None:
    urls = {"api": {"rest": "https://{hostname}/v1", "ws": {"a": "wss://x.com:9443/ws"}}, "www": "https://x.com"}
    assert redirected(urls, "http://127.0.0.1:1/", "ws://127.0.0.1:2") == {
        "api": {"rest": "http://127.0.0.1:1/v1", "ws": {"a": "ws://127.0.0.1:2/ws"}},
        "www": "https://x.com",
    }
    assert redirected(urls, "", "") == urls


@pytest.mark.parametrize(
    ("market", "wanted"),
    [
        ({"type": "spot", "base": "BTC", "quote": "EUR"}, ("crypto", "BTC", "EUR")),
        ({"type": "spot", "base": "EUR", "quote": "USD"}, ("currency", "EUR", "USD")),
        ({"type": "swap", "base": "BTC", "quote": "USDT"}, ("future", "BTC", "USDT")),
    ],
)
def test_markets_have_the_class_and_currencies_they_are_of(market: dict[str, Any], wanted: tuple[str, ...]) -> None:
    found = Ccxt()._instrument({"symbol": "S", **market}, tick_sizes=True)
    assert isinstance(found, Instrument)
    assert (found.asset_class, found.base_currency, found.quote_currency) == wanted


def test_steps_are_read_as_sizes_or_as_decimals() -> None:
    market = {"symbol": "S", "type": "spot", "base": "A", "quote": "B", "precision": {"price": 2, "amount": 0.001}}
    decimals, sizes = Ccxt()._instrument(market, tick_sizes=False), Ccxt()._instrument(market, tick_sizes=True)
    assert isinstance(decimals, Instrument)
    assert isinstance(sizes, Instrument)
    assert str(decimals.price_step) == "0.01"
    assert str(sizes.size_step) == "0.001"


def test_an_exchange_that_does_not_exist_is_named_and_nothing_else_is_loaded() -> None:
    for name in ("krakken", "base", "../os"):
        with pytest.raises(errors.InvalidArgument, match="preference exchange"):
            ccxt_library.load(name)


def test_one_exchange_is_loaded_with_its_live_side_and_no_other() -> None:
    # A process of its own: another test may have loaded the whole library into this one.
    told = """
import sys
from quasar.providers import ccxt_library

print(ccxt_library.load("kraken").__module__, "ccxt.async_support.zaif" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["ccxt.pro.kraken", "False"]


def test_without_the_library_the_package_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "ccxt"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(errors.FailedPrecondition, match=r"quasar-platform\[ccxt\]"):
        ccxt_library.load("kraken")


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("BadSymbol", UnknownSymbol),
        ("AuthenticationError", Unauthorised),
        ("RateLimitExceeded", Throttled),
        ("DDoSProtection", Throttled),
        ("NotSupported", Unsupported),
        ("ExchangeNotAvailable", errors.VendorFailed),
        ("ExchangeError", errors.VendorFailed),
    ],
)
def test_errors_of_the_library_are_those_the_platform_acts_on(kind: str, wanted: type[Exception]) -> None:
    ccxt_library.load("kraken")
    raised = getattr(sys.modules["ccxt"], kind)("kraken says no")
    told = ccxt_library.told(raised, 3.0)
    assert type(told) is wanted
    assert "kraken says no" in str(told)


async def test_a_live_feed_without_the_library_ends_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nowhere:
        def put(self, item: LiveItem) -> None:
            assert isinstance(item, ConnectionNotice)

        async def ready(self) -> None:
            return None

    def load(exchange: str) -> type[Any]:
        raise errors.FailedPrecondition("install quasar-platform[ccxt]")

    monkeypatch.setattr(ccxt_library, "load", load)
    provider = Ccxt()
    await provider.start()
    with pytest.raises(errors.FailedPrecondition, match="install"):
        await provider.pump(Feed([LiveSymbol("BTC/USD")]), Nowhere())


async def test_pages_go_on_behind_a_window_without_trades() -> None:
    """An exchange that answers for a window says nothing for one without trades; there may be more behind it."""
    asked: list[int] = []

    async def fetch_ohlcv(symbol: str, frame: str, since: int, limit: int) -> list[list[float]]:
        asked.append(since)
        start = 5 * 500 * MINUTE_MS
        return [[start, 1, 2, 0.5, 1.5, 3]] if since <= start < since + limit * MINUTE_MS else []

    provider = Ccxt()
    await provider.start()
    provider._rest = SimpleNamespace(
        markets={"A/B": {}},
        timeframes={"1m": 1},
        has={"fetchOHLCV": True},
        fetch_ohlcv=fetch_ohlcv,
        feature_value=lambda *_: 500,
    )
    request = BarRequest("A/B", "1min", 0, 8 * 500 * 60_000_000_000)
    bars = [item async for item in provider.bars(request) if isinstance(item, Bar)]
    assert [bar.open_time_ns for bar in bars] == [5 * 500 * 60_000_000_000]
    assert len(asked) == len(set(asked)) <= 10
