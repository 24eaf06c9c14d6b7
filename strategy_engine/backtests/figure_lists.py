"""The figures of a run that are lists: its deepest falls, the returns of months and years, and what each symbol gave.

Pure. Times are nanoseconds UTC, amounts exact decimals, ratios doubles.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import numpy as np

from quasar.model.columns import FloatArray, Int64Array
from quasar.model.instants import from_ns, to_ns
from strategy_engine.backtests.records import FillRecord, TradeRecord

_DEEPEST: Final = 5
Entry = dict[str, Any]


def drawdowns(start: float, times: Int64Array, equity: FloatArray) -> list[Entry]:
    """Return the deepest falls from a peak, deepest first; one that goes on at the end has no time of recovery.

    Args:
        start: Equity at the start, which counts as a peak at the time of the first mark.
        times: Of the marks.
        equity: The marks.
    """
    if not len(times):
        return []
    curve = np.concatenate(([start], equity))
    when = np.concatenate((times[:1], times))
    peaks = np.flatnonzero(curve >= np.maximum.accumulate(curve))
    found: list[Entry] = []
    for peak, end in zip(peaks.tolist(), [*peaks[1:].tolist(), len(curve)], strict=True):
        part = curve[peak:end]
        trough = peak + int(part.argmin())
        if curve[trough] < curve[peak] and curve[peak] > 0:
            recovered = {} if end == len(curve) else {"recovery_time": int(when[end])}
            found.append(
                {
                    "depth": float(curve[trough] / curve[peak] - 1),
                    "amount": _decimal(float(curve[trough] - curve[peak])),
                    "peak_time": int(when[peak]),
                    "trough_time": int(when[trough]),
                    **recovered,
                }
            )
    return sorted(found, key=lambda each: each["depth"])[:_DEEPEST]


def _decimal(value: float) -> Decimal:
    return Decimal(repr(round(value, 9)))


def period_returns(ends: Int64Array, returns: FloatArray, *, years: bool = False) -> list[Entry]:
    """Return the chained return of the periods that end in each calendar month, or year, in UTC.

    Args:
        ends: When each period ended; one that ends at midnight belongs to the day before.
        returns: Of each period.
        years: Of years instead of months.
    """
    grown: dict[dt.datetime, float] = {}
    for end, change in zip(ends.tolist(), returns.tolist(), strict=True):
        day = from_ns(end - 1)
        start = dt.datetime(day.year, 1 if years else day.month, 1, tzinfo=dt.UTC)
        grown[start] = grown.get(start, 1.0) * (1.0 + change)
    return [{"start_time": to_ns(start), "value": value - 1.0} for start, value in sorted(grown.items())]


def symbols(trades: Sequence[TradeRecord], fills: Sequence[FillRecord]) -> list[Entry]:
    """Return what each symbol contributed, by name; open trades count in its profit, as they stand at the last mark."""
    names = {each.symbol for each in trades} | {each.symbol for each in fills}
    return [_symbol(name, trades, fills) for name in sorted(names)]


def _symbol(name: str, trades: Sequence[TradeRecord], fills: Sequence[FillRecord]) -> Entry:
    own = [each for each in trades if each.symbol == name]
    profits = [each.profit or Decimal(0) for each in own if each.exit_time is not None]
    wins, losses = [each for each in profits if each > 0], [each for each in profits if each < 0]
    found: Entry = {
        "symbol": name,
        "net_profit": sum((each.profit for each in own if each.profit is not None), Decimal(0)),
        "commission": sum((each.commission for each in fills if each.symbol == name), Decimal(0)),
        "trades": len(profits),
        "traded_notional": sum((each.quantity * each.price for each in fills if each.symbol == name), Decimal(0)),
    }
    if profits:
        found["win_rate"] = len(wins) / len(profits)
    if losses:
        found["profit_factor"] = float(sum(wins, Decimal(0)) / -sum(losses, Decimal(0)))
    return found
