"""The value that stands for a series everywhere in the DataHub."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from quasar.calendars import Calendar, calendar_for
from quasar.model.asset_classes import AssetClass
from quasar.model.intervals import Interval
from quasar.model.violations import violation


@dataclass(frozen=True, slots=True, order=True)
class SeriesName:
    """How a series is named from outside."""

    provider: str
    symbol: str
    interval: str
    """Canonical; empty: the ticks of the symbol."""

    @classmethod
    def of(cls, provider: str, symbol: str, interval: str) -> SeriesName:
        """Return a name with the interval in its canonical form.

        Raises:
            InvalidArgument: The interval is none.
        """
        return cls(provider, symbol, Interval.parse(interval).code if interval else "")

    def __str__(self) -> str:
        """Return the form that people read: `kraken:BTC/USD@1min`, ticks without the last part."""
        return f"{self.provider}:{self.symbol}" + (f"@{self.interval}" if self.interval else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A stored series with what the registry knows of its asset; what nobody knows is empty."""

    series_id: int
    name: SeriesName
    derived_from: int = 0
    common_symbol: str = ""
    asset_name: str = ""
    exchange: str = ""
    """A MIC."""
    asset_class: str = ""
    """Canonical word, as in `quasar.model.asset_classes`."""
    base_currency: str = ""
    quote_currency: str = ""
    identity_id: str = ""
    external_id: str = ""
    """The vendor's own id of the symbol."""
    price_increment: Decimal | None = None
    size_increment: Decimal | None = None
    default_calendar: str = ""
    """What the provider declares for symbols without a known exchange."""

    @property
    def interval(self) -> Interval:
        """The interval as a value.

        Raises:
            InvalidArgument: It is a series of ticks.
        """
        if not self.name.interval:
            raise violation("series", "a series of bars", str(self.name))
        return Interval.parse(self.name.interval)

    @property
    def calendar(self) -> Calendar:
        """The calendar of its market; the first use of any calendar loads a library, so warm it in a thread."""
        kind = AssetClass(self.asset_class) if self.asset_class else None
        found = calendar_for(self.exchange or None, kind)
        if not found.known and self.default_calendar:
            return calendar_for(self.default_calendar, kind)
        return found

    def expected_between(self, start_ns: int, end_ns: int) -> int:
        """Return in how many slots with open times in [start, end) a bar is expected; 0 for bars not cut by time."""
        interval = self.interval
        if not interval.is_time or start_ns >= end_ns:
            return 0
        return self.calendar.expected_count(interval, start_ns, end_ns)
