"""Bars of ticks, volume and value: a bar closes when enough has been traded, not when time is over.

A trade belongs to exactly one bar: the one that it fills closes with it, whatever it holds beyond the size. Trades
count in the order of arrival. A bar is keyed by the event time of its first trade, cut to the microsecond that
databases keep and moved on where that key is taken, so that no two bars share one.
"""

from __future__ import annotations

import math

import numpy as np

from quasar.model.bars import Bar, BarColumns, BarState
from quasar.model.columns import FloatArray, Int64Array, group_sums, ratios
from quasar.model.instants import NS_PER_MICROSECOND
from quasar.model.intervals import Interval, IntervalKind
from quasar.model.tick_bars import usable_trades
from quasar.model.ticks import TickColumns
from quasar.model.violations import violation


class EventBarBuilder:
    """Bars of ticks, volume or value of one series from trades as they arrive. Not thread-safe."""

    def __init__(self, interval: Interval, *, last_open_time_ns: int | None = None) -> None:
        """Start without a bar.

        Args:
            interval: An interval of ticks, volume or value.
            last_open_time_ns: The key of the series' last stored bar, which the next one must come after.
        """
        if interval.is_time:
            raise violation("interval", "one of ticks, volume or value, such as 500tick", interval.code)
        self.interval = interval
        """The interval of the bars."""
        self._last_key_ns = last_open_time_ns
        self._reset()

    def _reset(self) -> None:
        self._count, self._volume, self._value = 0, 0.0, 0.0
        self._key_ns = self._end_ns = 0
        self._open = self._close = math.nan
        self._high, self._low = -math.inf, math.inf

    @property
    def forming(self) -> Bar | None:
        """The bar that is still open, as it stands, or None."""
        return self._bar(BarState.FORMING) if self._count else None

    def add_trade(self, event_time_ns: int, price: float, size: float) -> list[Bar]:
        """Take one trade; return the bar that it filled, or nothing."""
        if not self._count:
            self._open = price
            self._key_ns = self._end_ns = _key(event_time_ns, self._last_key_ns)
        self._count += 1
        self._volume += size
        self._value += price * size
        self._high, self._low, self._close = max(self._high, price), min(self._low, price), price
        self._end_ns = max(self._end_ns, event_time_ns)
        if self._filled() < self.interval.size:
            return []
        bar = self._bar(BarState.CLOSED)
        self._last_key_ns = bar.open_time_ns
        self._reset()
        return [bar]

    def add_trades(self, ticks: TickColumns) -> list[Bar]:
        """Take trades in the order of arrival; return the bars that they filled."""
        trades = usable_trades(ticks)
        if not len(trades):
            return []
        assert trades.price is not None
        sizes = np.zeros(len(trades)) if trades.size is None else np.nan_to_num(trades.size, nan=0.0)
        columns = zip(trades.event_time_ns.tolist(), trades.price.tolist(), sizes.tolist(), strict=True)
        return [bar for event, price, size in columns for bar in self.add_trade(event, price, size)]

    def _filled(self) -> float:
        if self.interval.kind is IntervalKind.TICK:
            return self._count
        return self._volume if self.interval.kind is IntervalKind.VOLUME else self._value

    def _bar(self, state: BarState) -> Bar:
        return Bar(
            self._key_ns,
            self._open,
            self._high,
            self._low,
            self._close,
            self._volume,
            self._end_ns,
            self._count,
            self._value / self._volume if self._volume > 0 else None,
            self._value,
            state=state,
        )


def event_bars_from_trades(ticks: TickColumns, interval: Interval) -> BarColumns:
    """Build all bars of ticks, volume or value of some trades at once.

    Args:
        ticks: Ticks in the order of arrival; what is not a usable trade is left out.
        interval: An interval of ticks, volume or value.

    Returns:
        Bars in order, all `CLOSED` but the last, which is `FORMING` when it is not full.
    """
    if interval.is_time:
        raise violation("interval", "one of ticks, volume or value, such as 500tick", interval.code)
    trades = usable_trades(ticks)
    if not len(trades):
        return BarColumns.empty()
    assert trades.price is not None
    sizes = np.zeros(len(trades)) if trades.size is None else np.nan_to_num(trades.size, nan=0.0)
    values = trades.price * sizes
    weights = {IntervalKind.TICK: np.ones(len(trades)), IntervalKind.VOLUME: sizes, IntervalKind.VALUE: values}
    bounds, full = _bounds(weights[interval.kind], interval.size)
    starts = np.array(bounds[:-1], dtype=np.intp)
    group = np.repeat(np.arange(len(starts)), np.diff(bounds))
    volume, value = group_sums(group, sizes, len(starts)), group_sums(group, values, len(starts))
    keys = _keys(trades.event_time_ns[starts].tolist())
    state = np.full(len(starts), BarState.CLOSED, dtype=np.uint8)
    state[-1] = BarState.CLOSED if full else BarState.FORMING
    return BarColumns(
        open_time_ns=keys,
        open=trades.price[starts],
        high=np.maximum.reduceat(trades.price, starts),
        low=np.minimum.reduceat(trades.price, starts),
        close=trades.price[np.array(bounds[1:]) - 1],
        volume=volume,
        close_time_ns=np.maximum(np.maximum.reduceat(trades.event_time_ns, starts), keys),
        trade_count=np.diff(bounds),
        vwap=ratios(value, volume),
        quote_volume=value,
        state=None if full else state,
    )


def _bounds(weights: FloatArray, size: float) -> tuple[list[int], bool]:
    """Cut rows where the sum since the last cut reaches the size; return the cuts and whether the last bar is full.

    Each sum starts afresh at its bar, as an incremental builder's does, so that both round alike.
    """
    bounds, reach, full = [0], 64, False
    while bounds[-1] < len(weights):
        start = bounds[-1]
        sums = np.cumsum(weights[start : start + reach])
        filled = sums >= size
        end = start + int(np.argmax(filled)) + 1 if filled.any() else None
        if end is None and start + reach < len(weights):
            reach *= 4
            continue
        full = end is not None
        bounds.append(len(weights) if end is None else end)
        reach = max(64, 2 * (bounds[-1] - start))
    return bounds, full


def _key(event_time_ns: int, last_key_ns: int | None) -> int:
    key = event_time_ns - event_time_ns % NS_PER_MICROSECOND
    return key if last_key_ns is None or key > last_key_ns else last_key_ns + NS_PER_MICROSECOND


def _keys(first_events_ns: list[int]) -> Int64Array:
    keys: list[int] = []
    for event in first_events_ns:
        keys.append(_key(event, keys[-1] if keys else None))
    return np.array(keys, dtype=np.int64)
