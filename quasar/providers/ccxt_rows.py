"""Candles and trades as ccxt writes them, read into ours. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from quasar.model.intervals import Interval
from quasar.provider import Bar, BarState, EmptyRange, RejectedRow, Side, Tick

TIMEFRAMES: Final = {
    "1min": "1m",
    "5min": "5m",
    "15min": "15m",
    "30min": "30m",
    "1h": "1h",
    "4h": "4h",
    "1d": "1d",
    "1w": "1w",
    "1M": "1M",
}
"""ccxt's word of each interval that it may have."""
MS_NS: Final = 1_000_000
"""Nanoseconds of a millisecond: times of ccxt are milliseconds."""


def parse_ohlcv(
    rows: Sequence[Sequence[Any]], interval: Interval, now_ns: int
) -> Iterator[Bar | EmptyRange | RejectedRow]:
    """Read candles: milliseconds, open, high, low, close, volume. One whose interval is not over is `FORMING`.

    A candle without volume whose prices are all one is how an exchange fills a stretch without trades; it is told as
    such a stretch, and not as a bar.
    """
    last = -1
    for row in sorted((row for row in rows if _timed(row)), key=lambda row: row[0]):
        start = int(row[0]) * MS_NS
        if start == last:
            continue
        last = start
        prices = [_number(value) for value in row[1:5]]
        if len(prices) < 4 or None in prices:
            yield RejectedRow("open, high, low and close must be numbers", {"row": list(row)}, start)
            continue
        opened, high, low, close = (price for price in prices if price is not None)
        volume = _number(row[5]) if len(row) > 5 else None
        end = interval.next_boundary_ns(start)
        state = BarState.FORMING if end > now_ns else BarState.CLOSED
        if volume == 0 and opened == high == low == close:
            if state is BarState.CLOSED:
                yield EmptyRange(start, end, no_trade=True)
            continue
        yield Bar(start, opened, high, low, close, volume, close_time_ns=end, state=state)
    yield from (RejectedRow("a candle must begin with its time", {"row": list(row)}) for row in rows if not _timed(row))


def parse_trade(row: Mapping[str, Any]) -> Tick | RejectedRow:
    """Read a trade of ccxt's unified form."""
    price, size, time = _number(row.get("price")), _number(row.get("amount")), row.get("timestamp")
    if price is None or size is None or not isinstance(time, int | float):
        return RejectedRow("a trade must have price, amount and timestamp", {"info": repr(row.get("info"))[:500]})
    side = {"buy": Side.BUY, "sell": Side.SELL}.get(str(row.get("side")), Side.UNKNOWN)
    made = Tick(int(time) * MS_NS, price=price, size=size, side=side)
    number = str(row.get("id") or "")
    # Beyond 63 bits an id is kept as it is written.
    if number.isdecimal() and int(number) < 1 << 63:
        return replace(made, trade_id=int(number))
    return replace(made, trade_id_text=number)


def _timed(row: Sequence[Any]) -> bool:
    return bool(row) and isinstance(row[0], int | float) and not isinstance(row[0], bool)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
