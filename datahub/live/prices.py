"""The latest price of each live symbol, and how it moved since the session opened."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from quasar.model.instants import NS_PER_DAY
from quasar.model.ticks import Side, TickColumns, TickKind


@dataclass(slots=True)
class Quote:
    """What is known of one symbol now. A session is the day in UTC; figures of the session begin when the feed does."""

    series_id: int
    last: float | None = None
    last_size: float | None = None
    last_side: Side = Side.UNKNOWN
    last_time_ns: int = 0
    bid: float | None = None
    bid_size: float | None = None
    ask: float | None = None
    ask_size: float | None = None
    session_open_ns: int = 0
    session_open: float | None = None
    session_high: float = -math.inf
    session_low: float = math.inf
    session_volume: float = 0.0
    session_value: float = 0.0
    session_trades: int = 0
    revision: int = 0
    """Grows with every change, so that watchers know what is new."""

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


@dataclass(slots=True)
class PriceBoard:
    """Every live symbol's quote, by the id of its series of ticks."""

    quotes: dict[int, Quote] = field(default_factory=dict)
    revision: int = 0

    def update(self, series_id: int, ticks: TickColumns) -> None:
        """Take ticks of one kind."""
        if not len(ticks):
            return
        quote = self.quotes.setdefault(series_id, Quote(series_id))
        self.revision += 1
        quote.revision = self.revision
        last = ticks.tick(len(ticks) - 1)
        if last.kind is not TickKind.TRADE:
            quote.bid, quote.bid_size = last.bid_price, last.bid_size
            quote.ask, quote.ask_size = last.ask_price, last.ask_size
            return
        if last.event_time_ns >= quote.last_time_ns:
            quote.last, quote.last_size, quote.last_side = last.price, last.size, last.side
            quote.last_time_ns = last.event_time_ns
        self._session(quote, ticks)

    def _session(self, quote: Quote, ticks: TickColumns) -> None:
        if ticks.price is None:
            return
        day = int(ticks.event_time_ns[-1]) // NS_PER_DAY * NS_PER_DAY
        if day > quote.session_open_ns:
            quote.session_open_ns = day
            quote.session_open = float(ticks.price[0])
            quote.session_high, quote.session_low = -math.inf, math.inf
            quote.session_volume = quote.session_value = 0.0
            quote.session_trades = 0
        quote.session_high = max(quote.session_high, float(ticks.price.max()))
        quote.session_low = min(quote.session_low, float(ticks.price.min()))
        quote.session_trades += len(ticks)
        if ticks.size is not None:
            quote.session_volume += float(ticks.size.sum())
            quote.session_value += float((ticks.size * ticks.price).sum())
