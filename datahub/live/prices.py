"""The latest price of each live symbol, and how it moved since the session opened."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from quasar.model.columns import FloatArray
from quasar.model.intervals import Interval
from quasar.model.sessions import SessionSource
from quasar.model.slots import ClockSlots, Slot, Slots, slots_of
from quasar.model.ticks import Side, TickColumns, TickKind

FEW = 32
"""Up to so many trades are counted one by one."""


@dataclass(slots=True)
class Quote:
    """What is known of one symbol now. Figures of the session begin with what is known of it."""

    series_id: int
    last: float | None = None
    last_size: float | None = None
    last_side: Side = Side.UNKNOWN
    last_time_ns: int = 0
    bid: float | None = None
    bid_size: float | None = None
    ask: float | None = None
    ask_size: float | None = None
    quote_time_ns: int = 0
    session_open_ns: int = 0
    session_until_ns: int = 0
    """Trades before this time are of the session, if they are not older than it."""
    previous_close: float | None = None
    """Last price of the session before; None: the feed was not there."""
    session_open: float | None = None
    session_high: float = -math.inf
    session_low: float = math.inf
    session_volume: float = 0.0
    session_value: float = 0.0
    session_trades: int = 0
    session_last: float | None = None
    revision: int = 0
    """Grows with every change, so that watchers know what is new."""

    def begin_session(self, open_ns: int, until_ns: int) -> None:
        """Forget the session before."""
        if self.session_open is not None:
            self.previous_close = self.session_last
        self.session_open_ns, self.session_until_ns, self.session_open = open_ns, until_ns, None
        self.session_high, self.session_low = -math.inf, math.inf
        self.session_volume = self.session_value = 0.0
        self.session_trades = 0

    def go_on(self, so_far: SessionSoFar) -> None:
        """Go on with the session that has just begun, or know the close of the one before it."""
        if so_far.begin_ns < self.session_open_ns:
            self.previous_close = so_far.previous_close if so_far.close is None else so_far.close
            return
        self.previous_close = so_far.previous_close
        if so_far.open is None or so_far.high is None or so_far.low is None:
            return
        self.session_open, self.session_high, self.session_low = so_far.open, so_far.high, so_far.low
        self.session_volume, self.session_value = so_far.volume, so_far.value
        self.session_trades, self.session_last = so_far.trades, so_far.close

    def add_few(self, prices: Sequence[float], sizes: Sequence[float] | None) -> None:
        """Count a handful of trades as plain numbers: numpy would cost more than it spares."""
        for price, size in zip(prices, sizes or [0.0] * len(prices), strict=True):
            if price != price:
                continue
            if self.session_open is None:
                self.session_open = price
            if price > self.session_high:
                self.session_high = price
            if price < self.session_low:
                self.session_low = price
            self.session_last = price
            self.session_trades += 1
            if size == size:
                self.session_volume += size
                self.session_value += size * price

    def add_many(self, prices: FloatArray, sizes: FloatArray | None) -> None:
        """Count many trades."""
        usable = np.isfinite(prices)
        if not usable.all():
            prices, sizes = prices[usable], None if sizes is None else sizes[usable]
        if not len(prices):
            return
        if self.session_open is None:
            self.session_open = float(prices[0])
        self.session_high = max(self.session_high, float(prices.max()))
        self.session_low = min(self.session_low, float(prices.min()))
        self.session_last = float(prices[-1])
        self.session_trades += len(prices)
        if sizes is not None:
            known = np.nan_to_num(sizes)
            self.session_volume += float(known.sum())
            self.session_value += float(np.dot(known, prices))

    @property
    def session_vwap(self) -> float | None:
        """Volume-weighted average price of the session."""
        return self.session_value / self.session_volume if self.session_volume else None

    @property
    def change(self) -> float | None:
        """Last price less the first of the session."""
        return None if self.last is None or self.session_open is None else self.last - self.session_open

    @property
    def change_ratio(self) -> float | None:
        """The same as a share of the first price."""
        return None if self.change is None or not self.session_open else self.change / self.session_open


@dataclass(frozen=True, slots=True)
class SessionSoFar:
    """What a session came to before this process; None: nothing is known of it."""

    begin_ns: int
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: float
    value: float
    trades: int
    previous_close: float | None


@dataclass(slots=True)
class PriceBoard:
    """Every live symbol's quote, by the id of its series of ticks. A session is a day of the symbol's market."""

    quotes: dict[int, Quote] = field(default_factory=dict)
    revision: int = 0
    _slots: dict[int, Slots] = field(default_factory=dict)
    _so_far: dict[int, SessionSoFar] = field(default_factory=dict)
    """Of symbols that nothing was shown of so far."""

    def know(self, series_id: int, sessions: SessionSource) -> None:
        """Cut the sessions of a symbol by a calendar; by default they are days of UTC."""
        self._slots[series_id] = slots_of(_DAY, sessions)

    def session_at(self, series_id: int, time_ns: int) -> Slot | None:
        """Return the session of a symbol's market at a time; None: there is none."""
        return self._slots.get(series_id, _UTC).at(time_ns)

    def go_on(self, series_id: int, so_far: SessionSoFar) -> None:
        """Go on with a session of a former life of the process, once its next trade comes."""
        if series_id not in self.quotes:
            self._so_far[series_id] = so_far

    def is_open(self, series_id: int, time_ns: int) -> bool:
        """Tell whether the market of a symbol trades, closing auctions included."""
        return self._slots.get(series_id, _UTC).at(time_ns) is not None

    def update(self, series_id: int, ticks: TickColumns) -> None:
        """Take ticks of one kind."""
        if not len(ticks):
            return
        quote = self.quotes.setdefault(series_id, Quote(series_id))
        self.revision += 1
        quote.revision = self.revision
        if ticks.kind is None or ticks.kind[-1] == TickKind.TRADE:
            self._trade(quote, ticks)
        else:
            quote.bid, quote.bid_size = _last(ticks.bid_price), _last(ticks.bid_size)
            quote.ask, quote.ask_size = _last(ticks.ask_price), _last(ticks.ask_size)
            quote.quote_time_ns = int(ticks.event_time_ns[-1])

    def _trade(self, quote: Quote, ticks: TickColumns) -> None:
        if ticks.price is None:
            return
        time_ns = int(ticks.event_time_ns[-1])
        if time_ns >= quote.last_time_ns:
            quote.last, quote.last_size, quote.last_time_ns = _last(ticks.price), _last(ticks.size), time_ns
            quote.last_side = Side.UNKNOWN if ticks.side is None else Side(int(ticks.side[-1]))
        if not self._is_of_session(quote, time_ns):
            return
        if len(ticks) <= FEW:
            quote.add_few(ticks.price.tolist(), None if ticks.size is None else ticks.size.tolist())
        else:
            quote.add_many(ticks.price, ticks.size)

    def _is_of_session(self, quote: Quote, time_ns: int) -> bool:
        """Tell whether a trade counts for the session; a trade of a later one begins that."""
        if quote.session_open_ns <= time_ns < quote.session_until_ns:
            return True
        slot = self._slots.get(quote.series_id, _UTC).at(time_ns)
        if slot is None or slot.since_ns < quote.session_open_ns:
            return False
        if slot.since_ns > quote.session_open_ns:
            quote.begin_session(slot.since_ns, slot.until_ns)
            if (so_far := self._so_far.pop(quote.series_id, None)) is not None:
                quote.go_on(so_far)
        return True


_DAY: Final = Interval.parse("1d")
_UTC: Final = ClockSlots(_DAY)


def _last(column: FloatArray | None) -> float | None:
    if column is None:
        return None
    value = float(column[-1])
    return None if math.isnan(value) else value
