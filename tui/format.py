"""How values look in cells. Pure."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
MISSING: Final = "–"


def price(value: float | None, decimals: int | None = None) -> str:
    """Return a price with the digits that its size asks for."""
    if value is None or math.isnan(value):
        return MISSING
    if decimals is None:
        size = abs(value)
        decimals = 2 if size >= 1 or size == 0 else min(10, 3 - math.floor(math.log10(size)))
    return f"{value:,.{decimals}f}"


def spread(bid: float | None, ask: float | None, decimals: int | None = None) -> str:
    """Return how far the best bid and ask are apart; a price of its own, which is below zero where they cross."""
    return MISSING if bid is None or ask is None else price(ask - bid, decimals)


def count(value: float | None) -> str:
    """Return a whole number with separators."""
    return MISSING if value is None else f"{value:,.0f}"


def ratio(value: float | None) -> str:
    """Return a change in per cent with its sign."""
    if value is None or math.isnan(value):
        return MISSING
    rounded = round(100 * value, 2)
    return f"{rounded:+.2f} %" if rounded else "0.00 %"  # nothing has no sign


def decimal(message: Any) -> str:
    """Return an exact decimal of the contract."""
    if message is None or not message.value:
        return MISSING
    return f"{float(message.value):,.2f}"


def size(value: float | None) -> str:
    """Return a number of bytes."""
    if value is None:
        return MISSING
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def age(time: dt.datetime | None, now: dt.datetime) -> str:
    """Return how long ago a time was, or how far ahead it is."""
    if time is None:
        return "never"
    seconds = (now - time).total_seconds()
    ahead, seconds = seconds < 0, abs(seconds)
    for limit, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= limit:
            text = f"{seconds // limit:.0f}{unit}"
            break
    else:
        text = f"{seconds:.0f}s"
    return f"in {text}" if ahead else f"{text} ago"


def clock(time: dt.datetime | None) -> str:
    """Return a time of day, UTC."""
    return MISSING if time is None else f"{time.astimezone(dt.UTC):%m-%d %H:%M:%S}"


def word(value: IntEnum) -> str:
    """Return an enum value as words: `BACKING_OFF` → `backing off`."""
    name = value.name or ""
    return MISSING if name in ("", "UNSPECIFIED") else name.lower().replace("_", " ")


def sparkline(values: Sequence[float], width: int = 20) -> str:
    """Return the last values as a row of blocks."""
    shown = [value for value in values[-width:] if not math.isnan(value)]
    if len(shown) < 2:
        return ""
    low, high = min(shown), max(shown)
    span = high - low
    if span == 0:
        return _BLOCKS[3] * len(shown)
    return "".join(_BLOCKS[min(7, int(8 * (value - low) / span))] for value in shown)
