"""What the platform asks of a provider."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

from quasar.model.asset_classes import AssetClass
from quasar.model.instants import TimeRange, from_ns
from quasar.model.intervals import Interval
from quasar.model.ticks import TickKind


@dataclass(frozen=True, slots=True)
class BarRequest:
    """Bars of one symbol whose open time lies in the half-open range [start, end)."""

    symbol: str
    """The symbol, in the provider's words."""
    interval: str
    """The interval, canonical (`1min`, `1d`)."""
    start_ns: int
    """First open time wanted, nanoseconds UTC."""
    end_ns: int
    """First open time not wanted, nanoseconds UTC; never in the future."""
    provider_id: str = ""
    """The vendor's own id of the symbol; empty: not known."""
    exchange: str = ""
    """The exchange, a MIC; empty: not known."""

    @property
    def start(self) -> dt.datetime:
        """The start, aware, UTC."""
        return from_ns(self.start_ns)

    @property
    def end(self) -> dt.datetime:
        """The end, aware, UTC."""
        return from_ns(self.end_ns)

    @property
    def span(self) -> TimeRange:
        """The range as a value."""
        return TimeRange(self.start_ns, self.end_ns)

    @property
    def length(self) -> Interval:
        """The interval as a value."""
        return Interval.parse(self.interval)


@dataclass(frozen=True, slots=True)
class TickRequest:
    """Ticks of one symbol whose event time lies in the half-open range [start, end)."""

    symbol: str
    start_ns: int
    end_ns: int
    kinds: tuple[TickKind, ...] = (TickKind.TRADE,)
    provider_id: str = ""
    after_trade_id: int | None = None
    """The trade id of the last tick before the hole, for vendors that page by it."""

    @property
    def start(self) -> dt.datetime:
        """The start, aware, UTC."""
        return from_ns(self.start_ns)

    @property
    def end(self) -> dt.datetime:
        """The end, aware, UTC."""
        return from_ns(self.end_ns)


@dataclass(frozen=True, slots=True)
class LiveSymbol:
    """One symbol of a live feed and what is wanted of it."""

    symbol: str
    """The symbol, in the provider's words."""
    trades: bool = True
    quotes: bool = False
    book_top: bool = False
    intervals: tuple[str, ...] = ()
    """Bars wanted, canonical, for vendors that push them."""
    provider_id: str = ""
    """The vendor's own id of the symbol; empty: not known."""

    def __bool__(self) -> bool:
        """Tell whether anything is wanted."""
        return self.trades or self.quotes or self.book_top or bool(self.intervals)

    def without(self, other: LiveSymbol | None) -> LiveSymbol:
        """Return what of this another wish for the same symbol does not hold; None holds nothing."""
        if other is None:
            return self
        return replace(
            self,
            trades=self.trades and not other.trades,
            quotes=self.quotes and not other.quotes,
            book_top=self.book_top and not other.book_top,
            intervals=tuple(code for code in self.intervals if code not in other.intervals),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Constituent:
    """One member of an index. What the vendor does not tell is None."""

    symbol: str
    """The symbol, in the provider's words."""
    weight: float | None = None
    """Share of the whole: 0.05 is 5 %."""
    name: str | None = None
    matcher_symbol: str | None = None
    """The symbol to compare with identities; None: `symbol`."""
    exchange: str | None = None
    """A MIC."""
    asset_class: AssetClass | None = None
    base_currency: str | None = None
    quote_currency: str | None = None
    primary_id: str | None = None
