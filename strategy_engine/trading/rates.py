"""Exchange rates: the newest prices of stored currency pairs."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Context, Decimal
from typing import Final

from strategy_engine.trading.quotes import Quotes

_DIGITS: Final = Context(prec=15)
"""Prices are doubles: more digits would be noise."""


class ExchangeRates:
    """Knows what one currency is worth in another, where a pair of the two is stored: EUR/USD, or USD/EUR."""

    def __init__(self, quotes: Quotes) -> None:
        """Take the prices of `quotes`."""
        self._quotes = quotes

    async def rate(self, source: str, target: str) -> Decimal | None:
        """Return what one unit of `source` is worth in `target`; None: neither pair of the two is stored."""
        if source == target:
            return Decimal(1)
        if (price := await self._price(f"{source}/{target}")) is not None:
            return price
        inverse = await self._price(f"{target}/{source}")
        return None if inverse is None else _DIGITS.divide(Decimal(1), inverse)

    async def among(self, sources: Iterable[str], targets: Iterable[str]) -> dict[tuple[str, str], Decimal]:
        """Return the rates that are known from each of some currencies to each of others."""
        pairs = {(source, target) for source in sources for target in targets if source != target}
        found = {pair: await self.rate(*pair) for pair in sorted(pairs)}
        return {pair: rate for pair, rate in found.items() if rate is not None}

    async def _price(self, symbol: str) -> Decimal | None:
        quote = await self._quotes.get(symbol)
        return quote.price if quote is not None and quote.price else None
