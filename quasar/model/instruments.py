"""Instruments: what a provider or broker calls one thing that can be observed or traded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from typing import Any

from quasar.model.asset_classes import AssetClass, AssetGroup, group_of, parse_asset_class
from quasar.model.money import currency_code, quantise
from quasar.model.violations import violation


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One instrument as one provider names it. A property that the provider does not give is None."""

    provider: str
    """The provider's or broker's name."""
    symbol: str
    """The symbol as the provider writes it."""
    name: str | None = None
    """The name for people."""
    asset_class: AssetClass | None = None
    """What kind of thing it is."""
    exchange: str | None = None
    """ISO 10383 MIC of the market, for example `XNAS`."""
    base_currency: str | None = None
    """The base of a pair."""
    quote_currency: str | None = None
    """The currency that prices are in."""
    country: str | None = None
    """ISO 3166 alpha-2 code."""
    price_step: Decimal | None = None
    """Prices are multiples of it (tick size)."""
    size_step: Decimal | None = None
    """Order sizes are multiples of it (lot size)."""
    minimum_size: Decimal | None = None
    """The smallest order."""
    external_id: str | None = None
    """The provider's own id, where it differs from the symbol."""
    primary_id: str | None = None
    """The identity over all providers: a FIGI, an ISIN."""
    matcher_symbol: str | None = None
    """The symbol to look identities up by, where it differs from `symbol`."""

    def __post_init__(self) -> None:
        """Check what must be there and what must be positive."""
        if not self.symbol.strip() or len(self.symbol) > 200:
            raise violation("symbol", "1 to 200 characters", self.symbol)
        if not self.provider.strip():
            raise violation("provider", "the name of a provider or broker", self.provider)
        for field in ("price_step", "size_step", "minimum_size"):
            value = getattr(self, field)
            if value is not None and not value > 0:
                raise violation(field, "greater than zero", str(value))

    @classmethod
    def of(
        cls,
        provider: str,
        symbol: str,
        *,
        name: str | None = None,
        asset_class: str | None = None,
        exchange: str | None = None,
        base_currency: str | None = None,
        quote_currency: str | None = None,
    ) -> Instrument:
        """Build an instrument from what a vendor writes: aliases are resolved, blanks become None.

        Raises:
            InvalidArgument: The asset class or a currency code is unknown or malformed.
        """
        return cls(
            provider=provider,
            symbol=symbol,
            name=(name or "").strip() or None,
            asset_class=parse_asset_class(asset_class),
            exchange=(exchange or "").strip().upper() or None,
            base_currency=_currency(base_currency, "base_currency"),
            quote_currency=_currency(quote_currency, "quote_currency"),
        )

    @classmethod
    def told(cls, provider: str, symbol: str, *, asset_class: str | None = None, **fields: Any) -> Instrument:
        """Build an instrument from any of its fields as a vendor writes them; blanks become None.

        Raises:
            InvalidArgument: A field is malformed.
        """
        texts = ("name", "exchange", "base_currency", "quote_currency")
        known = {name: fields.pop(name) for name in texts if name in fields}
        made = cls.of(provider, symbol, asset_class=asset_class, **known)
        rest = {name: value for name, value in fields.items() if value is not None and value != ""}
        return replace(made, **rest) if rest else made

    @property
    def group(self) -> AssetGroup | None:
        """The group within which the instrument can be identified."""
        return group_of(self.asset_class)

    def round_price(self, price: Decimal) -> Decimal:
        """Return the valid price nearest to a price."""
        return price if self.price_step is None else quantise(price, self.price_step, ROUND_HALF_EVEN)

    def round_size(self, size: Decimal) -> Decimal:
        """Return the largest valid size that is not above a size."""
        return size if self.size_step is None else quantise(size, self.size_step, ROUND_DOWN)


def _currency(text: str | None, field: str) -> str | None:
    return currency_code(text, field) if text and text.strip() else None
