"""Bars of time from trades, as they arrive or in bulk; both ways give the same numbers to the last bit.

A bar's open is the price of its earliest trade by event time and its close that of its latest; of several trades at one
instant the first to arrive opens and the last to arrive closes. Sums are added up in the order of arrival.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from quasar.model.bars import Bar, BarColumns, BarState
from quasar.model.columns import MISSING, FloatArray, Int64Array, group_sums, ratios
from quasar.model.intervals import Interval
from quasar.model.slots import ClockSlots, Slot, Slots
from quasar.model.ticks import TickColumns, TickFlag
from quasar.model.violations import violation


def usable_trades(ticks: TickColumns) -> TickColumns:
    """Return the trades that count for bars: priced, and not excluded by the venue's own rules."""
    trades = ticks.trades()
    if trades.price is None:
        return TickColumns.empty()
    keep = np.isfinite(trades.price)
    if trades.flags is not None:
        keep = keep & ((trades.flags & TickFlag.EXCLUDED) == 0)
    return trades if keep.all() else trades[keep]


def bars_from_trades(ticks: TickColumns, interval: Interval) -> BarColumns:
    """Build all bars of time of some trades at once.

    Slots without a trade give no bar.

    Args:
        ticks: Ticks in the order of arrival; what is not a usable trade is left out.
        interval: An interval of time.

    Returns:
        Bars by open time with close times, trade counts, vwap and quote volume, all `CLOSED`.
    """
    trades = usable_trades(ticks)
    if not len(trades):
        return BarColumns.empty()
    assert trades.price is not None
    keys, group = np.unique(interval.floors(trades.event_time_ns), return_inverse=True)
    order = np.lexsort((trades.event_time_ns, group))  # stable: ties keep the order of arrival
    starts = np.flatnonzero(np.append(True, np.diff(group[order]) != 0))
    price = trades.price[order]
    size = _sizes(trades)
    volume = group_sums(group, size, len(keys))
    value = group_sums(group, trades.price * size, len(keys))
    return BarColumns(
        open_time_ns=keys,
        open=price[starts],
        high=np.maximum.reduceat(price, starts),
        low=np.minimum.reduceat(price, starts),
        close=price[np.append(starts[1:], len(price)) - 1],
        volume=volume,
        close_time_ns=interval.closes(keys),
        trade_count=np.diff(np.append(starts, len(price))),
        vwap=ratios(value, volume),
        quote_volume=value,
    )


def _sizes(trades: TickColumns) -> FloatArray:
    if trades.size is None:
        return np.zeros(len(trades))
    return np.nan_to_num(trades.size, nan=0.0)


@dataclass(frozen=True, slots=True)
class TradeSums:
    """What trades come to."""

    first_ns: int
    """Event time of the earliest."""
    last_ns: int
    """Event time of the latest."""
    open: float
    high: float
    low: float
    close: float
    volume: float
    value: float
    """Sum of price times size."""
    count: int

    def then(self, later: TradeSums) -> TradeSums:
        """Return what these trades and later ones come to."""
        return TradeSums(
            self.first_ns,
            later.last_ns,
            self.open,
            max(self.high, later.high),
            min(self.low, later.low),
            later.close,
            self.volume + later.volume,
            self.value + later.value,
            self.count + later.count,
        )


@dataclass(slots=True)
class _Slot:
    """What is known about one bar that may still change."""

    open_time_ns: int
    close_time_ns: int
    since_ns: int
    until_ns: int
    first_ns: int
    last_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float = 0.0
    value: float = 0.0
    count: int = 0

    def add(self, event_ns: int, price: float, size: float) -> None:
        if event_ns < self.first_ns:
            self.first_ns, self.open = event_ns, price
        if event_ns >= self.last_ns:
            self.last_ns, self.close = event_ns, price
        if price > self.high:
            self.high = price
        if price < self.low:
            self.low = price
        self.volume += size
        self.value += price * size
        self.count += 1

    def bar(self, state: BarState) -> Bar:
        return Bar(
            self.open_time_ns,
            self.open,
            self.high,
            self.low,
            self.close,
            self.volume,
            self.close_time_ns,
            self.count,
            self.value / self.volume if self.volume > 0 else None,
            self.value,
            state=state,
        )


class TimeBarBuilder:
    """Bars of time of one series from trades as they arrive.

    `CLOSED` bars come in the order of time, each slot at most once. Whatever comes for a slot at or before the last one
    that was closed is `REVISED`, also when it is the slot's first trade. Slots without a trade give no bar.

    A bar closes when a trade of a later slot arrives, or when `advance` is told a time at or after its close. Not
    thread-safe.
    """

    def __init__(self, interval: Interval, *, revisable_bars: int = 64, slots: Slots | None = None) -> None:
        """Start without a bar.

        Args:
            interval: An interval of time.
            revisable_bars: How many closed bars are kept so that late trades can revise them.
            slots: Which bar a trade belongs to; by default the clock decides.
        """
        if not interval.is_time:
            raise violation("interval", "an interval of time", interval.code)
        self.interval = interval
        """The interval of the bars."""
        self.too_late = 0
        """Late trades for slots that are no longer kept: those bars must be rebuilt from stored ticks."""
        self._slots = slots or ClockSlots(interval)
        self._revisable_bars = revisable_bars
        self._closed: dict[int, _Slot] = {}
        self._forming: _Slot | None = None
        self._last_closed_ns: int | None = None
        self._forgotten_before_ns: int | None = None

    @property
    def forming(self) -> Bar | None:
        """The bar that is still open, as it stands, or None."""
        return self._forming.bar(BarState.FORMING) if self._forming else None

    @property
    def next_close_ns(self) -> int | None:
        """When `advance` should be called next, or None when no bar is open."""
        return self._forming.close_time_ns if self._forming else None

    def begin(self, slot: Slot, sums: TradeSums) -> None:
        """Go on with a bar of which some trades were counted elsewhere; nothing was added so far."""
        times = (slot.open_time_ns, slot.close_time_ns, slot.since_ns, slot.until_ns, sums.first_ns, sums.last_ns)
        prices = (sums.open, sums.high, sums.low, sums.close)
        self._forming = _Slot(*times, *prices, sums.volume, sums.value, sums.count)

    def add_trade(self, event_time_ns: int, price: float, size: float) -> list[Bar]:
        """Take one trade; return the bars that it closed or revised, oldest first."""
        slot = self._forming
        if slot is not None and slot.since_ns <= event_time_ns < slot.until_ns:
            slot.add(event_time_ns, price, size)
            return []
        return self._add_elsewhere(event_time_ns, price, size)

    def add_trades(self, ticks: TickColumns) -> list[Bar]:
        """Take trades in the order of arrival; return each bar that they closed or revised once, oldest first.

        The last state of every bar is the same as from `add_trade` one by one; what changes more than once within the
        call is returned once.
        """
        trades = usable_trades(ticks)
        if not len(trades):
            return []
        assert trades.price is not None
        floors = self._slots.keys(trades.event_time_ns)
        if (floors == MISSING).any():
            trades, floors = trades[floors != MISSING], floors[floors != MISSING]
            if not len(trades):
                return []
        assert trades.price is not None
        if self._forming is not None and np.all(floors == self._forming.open_time_ns):
            _merge(self._forming, trades.event_time_ns, trades.price, _sizes(trades))
            return []
        changed: dict[int, Bar] = {}
        sizes = _sizes(trades)
        for first, last in _runs(floors):
            head = self.add_trade(int(trades.event_time_ns[first]), float(trades.price[first]), float(sizes[first]))
            _collect(changed, head)
            _collect(changed, self._add_run(trades, sizes, first + 1, last, int(floors[first])))
        return [changed[key] for key in sorted(changed)]

    def add_rows(self, trades: Iterable[tuple[int, float, float]]) -> list[Bar]:
        """Take trades as plain numbers: like `add_trades`, and faster up to some dozens of them.

        Args:
            trades: Event time, price and size of each, in the order of arrival; usable ones only.
        """
        changed: dict[int, Bar] = {}
        for event_ns, price, size in trades:
            if bars := self.add_trade(event_ns, price, size):
                _collect(changed, bars)
        return [changed[key] for key in sorted(changed)]

    def advance(self, now_ns: int) -> list[Bar]:
        """Close the forming bar if its time is over; return it, or nothing.

        Args:
            now_ns: The present time, less whatever delay late trades are granted.
        """
        if self._forming is None or now_ns < self._forming.close_time_ns:
            return []
        return [self._close()]

    def _add_elsewhere(self, event_ns: int, price: float, size: float) -> list[Bar]:
        slot = self._slots.at(event_ns)
        if slot is None:
            return []
        if self._is_late(slot.open_time_ns):
            return self._revise(slot, event_ns, price, size)
        forming, closed = self._forming, list[Bar]()
        if forming is None or forming.open_time_ns != slot.open_time_ns:
            closed = [self._close()] if forming else []
            forming = self._forming = _new_slot(slot, event_ns, price)
        forming.since_ns, forming.until_ns = slot.since_ns, slot.until_ns
        forming.add(event_ns, price, size)
        return closed

    def _is_late(self, open_ns: int) -> bool:
        if self._forming is not None and open_ns < self._forming.open_time_ns:
            return True
        return self._last_closed_ns is not None and open_ns <= self._last_closed_ns

    def _revise(self, at: Slot, event_ns: int, price: float, size: float) -> list[Bar]:
        slot = self._closed.get(at.open_time_ns)
        if slot is None:
            if self._forgotten_before_ns is not None and at.open_time_ns < self._forgotten_before_ns:
                self.too_late += 1
                return []
            slot = _new_slot(at, event_ns, price)
            self._keep(slot)
        slot.add(event_ns, price, size)
        return [slot.bar(BarState.REVISED)]

    def _add_run(self, trades: TickColumns, sizes: FloatArray, first: int, last: int, open_ns: int) -> list[Bar]:
        """Take trades of one slot that the trade before them belongs to as well."""
        if first >= last:
            return []
        assert trades.price is not None
        slot = self._forming if self._forming and self._forming.open_time_ns == open_ns else self._closed.get(open_ns)
        if slot is None:
            self.too_late += last - first
            return []
        _merge(slot, trades.event_time_ns[first:last], trades.price[first:last], sizes[first:last])
        return [] if slot is self._forming else [slot.bar(BarState.REVISED)]

    def _close(self) -> Bar:
        slot = self._forming
        assert slot is not None
        self._forming = None
        self._last_closed_ns = slot.open_time_ns
        self._keep(slot)
        return slot.bar(BarState.CLOSED)

    def _keep(self, slot: _Slot) -> None:
        self._closed[slot.open_time_ns] = slot
        while len(self._closed) > self._revisable_bars:
            oldest = min(self._closed)
            del self._closed[oldest]
            self._forgotten_before_ns = max(self._forgotten_before_ns or oldest + 1, oldest + 1)


def _new_slot(slot: Slot, event_ns: int, price: float) -> _Slot:
    times = (slot.open_time_ns, slot.close_time_ns, slot.since_ns, slot.until_ns, event_ns, event_ns)
    return _Slot(*times, price, price, price, price)


def _merge(slot: _Slot, events: Int64Array, prices: FloatArray, sizes: FloatArray) -> None:
    """Add trades of one slot, with the same roundings as one after the other."""
    first = int(np.argmin(events))
    if events[first] < slot.first_ns:
        slot.first_ns, slot.open = int(events[first]), float(prices[first])
    last = len(events) - 1 - int(np.argmax(events[::-1]))
    if events[last] >= slot.last_ns:
        slot.last_ns, slot.close = int(events[last]), float(prices[last])
    slot.high = max(slot.high, float(prices.max()))
    slot.low = min(slot.low, float(prices.min()))
    slot.volume = float(np.cumsum(np.append(slot.volume, sizes))[-1])
    slot.value = float(np.cumsum(np.append(slot.value, prices * sizes))[-1])
    slot.count += len(events)


def _runs(keys: Int64Array) -> Iterable[tuple[int, int]]:
    """Return the bounds of stretches of equal neighbours."""
    bounds = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])).tolist()
    return zip(bounds, [*bounds[1:], len(keys)], strict=True)


def _collect(changed: dict[int, Bar], bars: list[Bar]) -> None:
    """Keep the last values of each bar; one that was closed in this call stays CLOSED for the caller."""
    for bar in bars:
        former = changed.get(bar.open_time_ns)
        stays_closed = former is not None and former.state is BarState.CLOSED
        changed[bar.open_time_ns] = replace(bar, state=BarState.CLOSED) if stays_closed else bar
