from __future__ import annotations

import datetime as dt
import gzip
import json
from typing import Any

import pytest

from quasar.model.instants import day_ns
from quasar.provider import Bar, BarRequest, Instrument, RejectedRow
from quasar.providers.eodhd import Eodhd, parse_dated, parse_intraday
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
