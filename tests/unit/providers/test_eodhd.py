from __future__ import annotations

import datetime as dt
import gzip
import json
from typing import Any

import pytest

from quasar.model.instants import day_ns, to_ns
from quasar.model.intervals import Interval
from quasar.provider import Bar, BarRequest, BarState, Instrument, RejectedRow
from quasar.providers.eodhd import Eodhd, adjusted, parse_dated, parse_intraday
from tests.unit.recorded import recorded


def body(path: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(
        json.loads(gzip.decompress(recorded(path).read_bytes()))["response"]["body"]
    )
    return rows


@pytest.mark.parametrize(
    ("row", "listing", "wanted"),
    [
        (
            {"Code": "AAPL", "Exchange": "NASDAQ", "Type": "Common Stock"},
            "US",
            ("AAPL.US", "XNAS", "equity", None, None),
        ),
        ({"Code": "VTI", "Exchange": "NYSE ARCA", "Type": "ETF"}, "US", ("VTI.US", "ARCX", "etf", None, None)),
        ({"Code": "BTC-USD", "Exchange": "CC", "Type": "Currency"}, "CC", ("BTC-USD.CC", None, "crypto", "BTC", "USD")),
        ({"Code": "BTC-EUR", "Exchange": "CC", "Type": "Currency"}, "CC", ("BTC-EUR.CC", None, "crypto", "BTC", "EUR")),
        (
            {"Code": "EURUSD", "Exchange": "FOREX", "Type": "Currency"},
            "FOREX",
            ("EURUSD.FOREX", "XFX", "currency", "EUR", "USD"),
        ),
        (
            {"Code": "USDJPY", "Exchange": "FOREX", "Type": "Currency"},
            "FOREX",
            ("USDJPY.FOREX", "XFX", "currency", "USD", "JPY"),
        ),
    ],
)
def test_symbols_get_the_suffix_market_and_currencies_they_have(
    row: dict[str, Any], listing: str, wanted: tuple[str | None, ...]
) -> None:
    found = Eodhd().listed(row, listing)
    assert isinstance(found, Instrument)
    assert (found.symbol, found.exchange, found.asset_class, found.base_currency, found.quote_currency) == wanted


def test_kinds_that_are_not_collected_and_rows_without_a_kind_are_left_out() -> None:
    assert Eodhd().listed({"Code": "W", "Exchange": "NYSE", "Type": "Warrant"}, "US") is None
    assert Eodhd().listed({"Code": "W", "Exchange": "NYSE", "Type": None}, "US") is None


def test_every_recorded_australian_symbol_is_listed_in_sydney() -> None:
    rows = body("eodhd/exchange-symbol-list_AU_earlier.http.json.gz")
    found = [item for row in rows if (item := Eodhd().listed(row, "AU")) is not None]
    assert not [item for item in found if isinstance(item, RejectedRow)]
    symbols = {item.symbol: item for item in found if isinstance(item, Instrument)}
    assert len(symbols) > 2000
    assert symbols["BHP.AU"].exchange == "XASX"


def test_the_recorded_daily_history_is_read_to_the_last_row() -> None:
    rows = body("eodhd/eod_BHP.AU.http.json.gz")
    bars = list(parse_dated(rows))
    assert len(bars) == len(rows) == 8194
    last = bars[-1]
    assert isinstance(last, Bar)
    assert (last.open_time.isoformat(), last.close, last.adjusted_close) == ("2025-10-03T00:00:00+00:00", 42.08, 42.08)


def test_the_closing_bar_without_a_volume_is_kept_without_one() -> None:
    rows = body("eodhd/intraday5m_AAPL.US_2025-06-07.http.json.gz")
    request = BarRequest("AAPL.US", "5min", 0, 1)
    bars = [item for item in parse_intraday(rows, request, 1 << 62) if isinstance(item, Bar)]
    assert len(bars) == len(rows)
    assert bars[-1].volume is None
    assert bars[-1].close == 207.570007


def test_a_row_with_a_missing_price_is_told_apart() -> None:
    rows: list[dict[str, Any]] = [
        {"date": "2025-01-02", "open": 1, "high": 1, "low": 1, "close": None},
        {"date": "soon"},
    ]
    items = list(parse_dated(rows))
    assert all(isinstance(item, RejectedRow) for item in items)
    assert isinstance(items[0], RejectedRow)
    assert items[0].time_ns == day_ns(dt.date(2025, 1, 2))


NOON = to_ns(dt.datetime(2025, 10, 1, 12, tzinfo=dt.UTC))  # a Wednesday
PRICES: dict[str, Any] = {"open": 10, "high": 12, "low": 8, "close": 10, "adjusted_close": 5, "volume": 7}


@pytest.mark.parametrize(
    ("interval", "date", "opens", "state"),
    [
        ("1w", "2025-09-26", "2025-09-22", BarState.CLOSED),
        ("1w", "2025-09-29", "2025-09-29", BarState.FORMING),
        ("1w", "2025-10-01", "2025-09-29", BarState.FORMING),
        ("1M", "2025-09-30", "2025-09-01", BarState.CLOSED),
        ("1M", "2025-10-01", "2025-10-01", BarState.FORMING),
    ],
)
def test_weeks_and_months_begin_with_their_first_day_and_end_when_they_are_over(
    interval: str, date: str, opens: str, state: BarState
) -> None:
    (bar,) = parse_dated([{"date": date, **PRICES}], Interval.parse(interval), NOON)
    assert isinstance(bar, Bar)
    assert (bar.open_time.date().isoformat(), bar.state) == (opens, state)


def test_the_day_of_a_market_that_never_closes_is_over_at_midnight() -> None:
    row = {"date": "2025-10-01", **PRICES}
    (share,) = parse_dated([row], now_ns=NOON)
    (coin,) = parse_dated([row], now_ns=NOON, ends_daily=False)
    assert isinstance(share, Bar)
    assert isinstance(coin, Bar)
    assert (share.state, coin.state) == (BarState.CLOSED, BarState.FORMING)


def test_adjusted_prices_keep_their_proportions() -> None:
    (bar,) = parse_dated([{"date": "2025-10-01", **PRICES}])
    assert isinstance(bar, Bar)
    half = adjusted(bar)
    assert (half.open, half.high, half.low, half.close, half.volume) == (5.0, 6.0, 4.0, 5.0, 7.0)
    assert adjusted(half) == half
    assert adjusted(Bar(0, 1, 1, 1, 1)) == Bar(0, 1, 1, 1, 1)


@pytest.mark.parametrize(("exchange", "asked"), [("XASX", "AU"), ("AU", "AU"), ("XNAS", "US"), ("WAR", "WAR")])
async def test_symbols_of_any_exchange_are_asked_for_by_its_code_or_its_mic(exchange: str, asked: str) -> None:
    urls: list[str] = []

    class Listening(Eodhd):
        async def _get(self, path: str, params: Any, subject: str) -> list[Any]:
            urls.append(path)
            return [
                {"Code": "A", "Exchange": "NASDAQ" if asked == "US" else asked, "Type": "Common Stock"},
                {"Code": "B", "Exchange": "NYSE" if asked == "US" else asked, "Type": "Common Stock"},
            ]

    found = [item.symbol async for item in Listening().symbols(exchange) if isinstance(item, Instrument)]
    assert urls == [f"exchange-symbol-list/{asked}"]
    assert found == (["A.US"] if exchange == "XNAS" else [f"A.{asked}", f"B.{asked}"])
