from __future__ import annotations

import gzip
import json
from decimal import Decimal
from typing import Any

import pytest

from quasar.model.intervals import Interval
from quasar.provider import (
    Bar,
    BarState,
    EmptyRange,
    Instrument,
    LiveSymbol,
    RejectedRow,
    Side,
    SymbolNotice,
    SymbolState,
    Tick,
    TickFlag,
    TickKind,
)
from quasar.providers.kraken import Kraken, nanoseconds, parse_ohlc, parse_rest_trades, v2_symbol
from quasar.providers.kraken_book import Book, checksum
from tests.unit.recorded import recorded


async def started() -> Kraken:
    provider = Kraken()
    await provider.start()
    return provider


def messages(path: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in recorded(path).read_text().splitlines()]
    return [json.loads(line["payload"], parse_float=Decimal) if "payload" in line else line for line in lines]


@pytest.mark.parametrize(
    ("wsname", "symbol"),
    [("XBT/USD", "BTC/USD"), ("XDG/EUR", "DOGE/EUR"), ("ETH/XBT", "ETH/BTC"), ("AAVE/AUD", "AAVE/AUD")],
)
def test_pairs_have_the_names_that_version_2_knows(wsname: str, symbol: str) -> None:
    assert v2_symbol(wsname) == symbol


def test_every_recorded_pair_becomes_an_instrument_or_says_why_not() -> None:
    pairs = json.loads(gzip.decompress(recorded("kraken/rest/AssetPairs_2021-04-17.json.gz").read_bytes()))["result"]
    provider = Kraken()
    found = [provider._instrument(key, pair) for key, pair in pairs.items()]
    listed = {item.symbol: item for item in found if isinstance(item, Instrument)}
    unnamed = sum("wsname" not in pair for pair in pairs.values())
    assert len(found) - len(listed) == unnamed
    assert listed["BTC/USD"].base_currency == "BTC"
    assert listed["BTC/USD"].external_id == "XBTUSD"
    assert listed["DOGE/USD"].matcher_symbol == "DOGE"
    assert listed["EUR/USD"].asset_class == "currency"


def test_the_recorded_ohlc_answer_has_its_empty_minutes_and_its_unfinished_bar_told_apart() -> None:
    rows = json.loads(gzip.decompress(recorded("kraken/rest/http_ohlc.json.gz").read_bytes()))["result"]["XBTUSDT"]
    now = rows[-1][0] * 1_000_000_000 + 30_000_000_000
    items = list(parse_ohlc(rows, Interval.parse("1min"), now))
    bars = [item for item in items if isinstance(item, Bar)]
    empty = [item for item in items if isinstance(item, EmptyRange)]
    assert len(rows) == 721
    # 216 minutes had no trade; one of them is still in progress and may yet get one.
    assert len(empty) == 215
    assert all(item.no_trade for item in empty)
    assert len(bars) == 505
    assert {bar.state for bar in bars} == {BarState.CLOSED}


def test_a_row_that_is_no_bar_is_kept_apart_and_the_others_stay() -> None:
    good = [1_700_000_040, "1", "2", "0.5", "1.5", "1.2", "10", 4]
    items = list(parse_ohlc([good, [1_700_000_100, "x"], good], Interval.parse("1min"), 1 << 62))
    assert [type(item) for item in items] == [Bar, RejectedRow, Bar]


async def test_the_recorded_session_replays_with_every_checksum_right() -> None:
    provider = await started()
    provider.apply_preferences({"book_depth": 25})
    items = [
        item
        for message in messages("kraken/ws_v2/btcusd_book25_trade_session_part1.jsonl")
        for item in provider.parse(message)
    ]
    ticks = [item[1] for item in items if isinstance(item, tuple)]
    notices = [item for item in items if isinstance(item, SymbolNotice)]
    assert all(notice.state is SymbolState.SUBSCRIBED for notice in notices)
    assert len(notices) == 3
    tops = [tick for tick in ticks if isinstance(tick, Tick) and tick.kind is TickKind.BOOK_TOP]
    assert tops
    assert all(
        tick.bid_price is not None and tick.ask_price is not None and tick.bid_price < tick.ask_price for tick in tops
    )


def test_the_recorded_book_of_version_1_replays_with_all_its_checksums() -> None:
    books: dict[str, Book] = {}
    checked = 0
    for line in gzip.decompress(recorded("kraken/ws_v1/book.jsonl.gz").read_bytes()).splitlines():
        message = json.loads(json.loads(line)["raw"])
        if not isinstance(message, list):
            continue
        pair = message[-1]
        for part in message[1:-2]:
            if "as" in part:
                books[pair] = Book(int(message[-2].split("-")[1]))
            sides = {"asks": part.get("as", part.get("a", ())), "bids": part.get("bs", part.get("b", ()))}
            row: dict[str, Any] = {
                name: [{"price": level[0], "qty": level[1]} for level in levels] for name, levels in sides.items()
            }
            # Version 1 splits an update with both sides into two parts; the checksum stands in the last one.
            if "c" in part:
                row["checksum"] = part["c"]
                checked += 1
            books[pair].apply(row)
    assert checked == 2595


def test_the_checksum_of_the_documentation_comes_out() -> None:
    asks = [("0.05005", "0.00000500"), ("0.05010", "0.00000500"), ("0.05015", "0.00000500"), ("0.05020", "0.00000500"),
            ("0.05025", "0.00000500"), ("0.05030", "0.00000500"), ("0.05035", "0.00000500"), ("0.05040", "0.00000500"),
            ("0.05045", "0.00000500"), ("0.05050", "0.00000500")]  # fmt: skip
    bids = [("0.05000", "0.00000500"), ("0.04995", "0.00000500"), ("0.04990", "0.00000500"), ("0.04980", "0.00000500"),
            ("0.04975", "0.00000500"), ("0.04970", "0.00000500"), ("0.04965", "0.00000500"), ("0.04960", "0.00000500"),
            ("0.04955", "0.00000500"), ("0.04950", "0.00000500")]  # fmt: skip
    levels = [[(Decimal(price), Decimal(size)) for price, size in side] for side in (asks, bids)]
    assert checksum(*levels) == 974947235


async def test_a_wrong_checksum_is_told_and_the_book_waits_for_its_snapshot() -> None:
    provider = await started()
    row = {"symbol": "BTC/USD", "bids": [{"price": Decimal(1), "qty": Decimal(1)}], "asks": [], "checksum": 1}
    told = list(provider.parse({"channel": "book", "type": "snapshot", "data": [row]}))
    assert isinstance(told[0], SymbolNotice)
    assert told[0].state is SymbolState.CHECKSUM_FAILED
    assert list(provider.parse({"channel": "book", "type": "update", "data": [row]})) == []


async def test_the_recorded_bars_leave_out_minutes_without_trades_and_a_refusal_names_its_symbol() -> None:
    provider = await started()
    items = [
        item for message in messages("kraken/ws_v2/ohlc1m_btcusdt_session.jsonl") for item in provider.parse(message)
    ]
    bars = [item[2] for item in items if isinstance(item, tuple) and len(item) == 3]
    minutes = [bar.open_time.strftime("%H:%M") for bar in bars if isinstance(bar, Bar)]
    assert not {"17:36", "17:37", "17:42"} & set(minutes)
    refused = [item for item in items if isinstance(item, SymbolNotice) and item.state is SymbolState.REFUSED]
    assert [(notice.symbol, notice.message) for notice in refused] == [
        ("XBT/USDT", "Currency pair not supported XBT/USDT")
    ]


async def test_a_trade_keeps_its_nanoseconds_side_and_id() -> None:
    row = {
        "symbol": "BTC/USD",
        "side": "sell",
        "price": 1.5,
        "qty": 2,
        "trade_id": 9,
        "timestamp": "2026-08-26T11:55:56.865741001Z",
    }
    provider = await started()
    (item,) = provider.parse({"channel": "trade", "type": "update", "data": [row]})
    assert isinstance(item, tuple)
    symbol, tick = item[0], item[1]
    assert isinstance(tick, Tick)
    assert (symbol, tick.price, tick.size, tick.side, tick.trade_id) == ("BTC/USD", 1.5, 2.0, Side.SELL, 9)
    assert tick.event_time_ns % 1_000_000_000 == 865_741_001


@pytest.mark.parametrize(("text", "ns"), [("1970-01-01T00:00:01Z", 10**9), ("1970-01-01T00:00:01.5Z", 1_500_000_000)])
def test_times_are_read_with_any_number_of_decimals(text: str, ns: int) -> None:
    assert nanoseconds(text) == ns


def test_trades_of_the_rest_interface_are_read() -> None:
    (tick,) = parse_rest_trades([["30243.40000", "0.34507674", 1688669597.8277369, "b", "m", "", 61044952]])
    assert isinstance(tick, Tick)
    assert (tick.price, tick.side, tick.trade_id) == (30243.4, Side.BUY, 61044952)


async def test_one_message_subscribes_all_symbols_of_a_channel() -> None:
    provider = await started()
    wanted = [LiveSymbol("BTC/USD", quotes=True, intervals=("1min",)), LiveSymbol("ETH/USD", book_top=True)]
    sent = [(m["params"]["channel"], m["params"]["symbol"]) for m in provider.subscribe(wanted)]
    both = ["BTC/USD", "ETH/USD"]
    assert sent == [("trade", both), ("ticker", ["BTC/USD"]), ("book", ["ETH/USD"]), ("ohlc", ["BTC/USD"])]


async def test_a_ticker_is_a_quote_of_the_venues_own_time() -> None:
    provider = await started()
    message = json.loads(recorded("kraken/ws_v2/doc_shaped/ws_ticker_snapshot.json").read_text())
    (item,) = provider.parse(message)
    assert isinstance(item, tuple)
    symbol, tick = item[0], item[1]
    assert isinstance(tick, Tick)
    assert (symbol, tick.kind, tick.flags) == ("BTC/USD", TickKind.QUOTE, TickFlag.SNAPSHOT)
    assert (tick.bid_price, tick.bid_size, tick.ask_price, tick.ask_size) == (105944.2, 2.5, 105944.3, 3.2)
    assert tick.event_time_ns == nanoseconds("2022-12-25T09:30:59.123456Z")
    (refused,) = provider.parse({"channel": "ticker", "type": "update", "data": [{"symbol": "BTC/USD", "bid": 1.0}]})
    assert isinstance(refused, RejectedRow)
