"""The name of one series of market data."""

from __future__ import annotations

from dataclasses import dataclass

from quasar.model.intervals import Interval
from quasar.model.violations import violation


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """One provider's symbol at one interval; written `kraken:BTC/USD@1min`."""

    provider: str
    """The provider's name in the code registry; it contains no colon."""
    symbol: str
    """The symbol as the provider writes it; may contain any character."""
    interval: Interval
    """How much each bar covers."""

    def __post_init__(self) -> None:
        """Check that the parts can be told apart in the written form."""
        if not 0 < len(self.provider) <= 100 or ":" in self.provider or self.provider != self.provider.strip():
            raise violation("provider", "1 to 100 characters without a colon or surrounding space", self.provider)
        if not 0 < len(self.symbol) <= 200 or not self.symbol.strip():
            raise violation("symbol", "1 to 200 characters", self.symbol)

    @classmethod
    def parse(cls, text: str, field: str = "series") -> SeriesKey:
        """Read the written form.

        Raises:
            InvalidArgument: A part is missing or malformed.
        """
        provider, colon, rest = text.partition(":")
        symbol, at, interval = rest.rpartition("@")
        if not colon or not at:
            raise violation(field, "written as provider:symbol@interval", text)
        return cls(provider, symbol, Interval.parse(interval, field))

    def __str__(self) -> str:
        """Return the written form, which `parse` reads back."""
        return f"{self.provider}:{self.symbol}@{self.interval.code}"
