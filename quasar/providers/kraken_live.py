"""Rows of Kraken's WebSocket v2 as ticks and bars; pure, tested with recordings."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from quasar.model.intervals import Interval
from quasar.provider import Bar, BarState, LiveItem, RejectedRow, Side, Tick, TickFlag, TickKind

MINUTES: Final = {"1min": 1, "5min": 5, "15min": 15, "30min": 30, "1h": 60, "4h": 240, "1d": 1440, "1w": 10_080}
_INTERVAL_OF: Final = {minutes: code for code, minutes in MINUTES.items()}
_SECOND_NS: Final = 1_000_000_000


def nanoseconds(text: str) -> int:
    """Return an RFC 3339 time in UTC as nanoseconds; up to nine decimals, or none.

    Raises:
        ValueError: The text is no such time.
    """
    whole, dot, fraction = text.removesuffix("Z").partition(".")
    seconds = dt.datetime.fromisoformat(whole).replace(tzinfo=dt.UTC).timestamp()
    return int(seconds) * _SECOND_NS + (int(fraction.ljust(9, "0")[:9]) if dot else 0)


def live_trade(row: Mapping[str, Any]) -> Iterator[LiveItem]:
    """Read a row of `trade`."""
    try:
        tick = Tick(
            nanoseconds(row["timestamp"]),
            price=float(row["price"]),
            size=float(row["qty"]),
            side=Side.BUY if row["side"] == "buy" else Side.SELL,
            trade_id=int(row["trade_id"]),
        )
        yield str(row["symbol"]), tick
    except (KeyError, TypeError, ValueError) as error:
        yield RejectedRow(f"a trade must have symbol, price, qty, side, timestamp: {error}", _plain(row))


def live_quote(row: Mapping[str, Any], kind: str, now_ns: int) -> Iterator[LiveItem]:
    """Read a row of `ticker`, a snapshot or an update; its own time goes before `now_ns`."""
    try:
        tick = Tick(
            nanoseconds(row["timestamp"]) if "timestamp" in row else now_ns,
            TickKind.QUOTE,
            bid_price=float(row["bid"]),
            bid_size=float(row["bid_qty"]),
            ask_price=float(row["ask"]),
            ask_size=float(row["ask_qty"]),
            flags=TickFlag.SNAPSHOT if kind == "snapshot" else TickFlag.NONE,
        )
        yield str(row["symbol"]), tick
    except (KeyError, TypeError, ValueError) as error:
        yield RejectedRow(f"a ticker must have symbol, bid, bid_qty, ask, ask_qty: {error}", _plain(row))


def live_bar(row: Mapping[str, Any]) -> Iterator[LiveItem]:
    """Read a row of `ohlc`; it says not whether the bar is over."""
    try:
        minutes = int(row["interval"])
        code = _INTERVAL_OF[minutes]
        start = nanoseconds(row["interval_begin"])
        bar = Bar(
            start,
            float(row["open"]),
            float(row["high"]),
            float(row["low"]),
            float(row["close"]),
            float(row["volume"]),
            close_time_ns=Interval.parse(code).next_boundary_ns(start),
            trade_count=int(row["trades"]),
            vwap=float(row["vwap"]),
            state=BarState.FORMING,
        )
        yield str(row["symbol"]), code, bar
    except (KeyError, TypeError, ValueError) as error:
        yield RejectedRow(f"a bar must have symbol, prices, interval and interval_begin: {error}", _plain(row))


def _plain(row: Mapping[str, Any]) -> dict[str, object]:
    return {key: str(value) if isinstance(value, Decimal) else value for key, value in row.items()}
