"""Kraken's order book: applied level by level, cut to its depth, checked by CRC32.

Source: docs.kraken.com, "Spot WebSockets (v2) book checksum". The ten best asks from the lowest price up, then the ten
best bids from the highest down; of each the price and then the quantity, as they were written, without the point and
without leading zeros; one text, CRC32 of its ASCII bytes.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

_CHECKED_LEVELS: Final = 10

Top = tuple[float | None, float | None, float | None, float | None]


class ChecksumFailed(Exception):
    """The book no longer equals the venue's; a new snapshot is needed."""


class Book:
    """Both sides of one symbol's book."""

    def __init__(self, depth: int) -> None:
        """Begin empty.

        Args:
            depth: Levels a side that the venue publishes.
        """
        self._depth = depth
        self._bids = _Levels(descending=True)
        self._asks = _Levels(descending=False)

    def apply(self, row: Mapping[str, Any]) -> None:
        """Apply a snapshot or an update whose numbers are `Decimal` as written.

        Raises:
            ChecksumFailed: The row carries a checksum that the book does not have afterwards.
        """
        for levels, name in ((self._bids, "bids"), (self._asks, "asks")):
            for level in row.get(name, ()):
                levels.put(Decimal(level["price"]), Decimal(level["qty"]))
            levels.cut(self._depth)
        if "checksum" in row and (found := self.checksum()) != int(row["checksum"]):
            raise ChecksumFailed(f"the book's checksum must be {row['checksum']}, was {found}")

    def checksum(self) -> int:
        """Return the CRC32 of the ten best levels of each side."""
        return checksum(self._asks.best(_CHECKED_LEVELS), self._bids.best(_CHECKED_LEVELS))

    def top(self) -> Top:
        """Return best bid, its size, best ask, its size; None where a side is empty."""
        bid, ask = next(iter(self._bids.best(1)), None), next(iter(self._asks.best(1)), None)
        return (
            float(bid[0]) if bid else None,
            float(bid[1]) if bid else None,
            float(ask[0]) if ask else None,
            float(ask[1]) if ask else None,
        )


class _Levels:
    """One side: prices in order, quantities by price."""

    def __init__(self, *, descending: bool) -> None:
        self._descending = descending
        self._prices: list[Decimal] = []
        self._quantities: dict[Decimal, Decimal] = {}

    def put(self, price: Decimal, quantity: Decimal) -> None:
        if quantity == 0:
            if self._quantities.pop(price, None) is not None:
                del self._prices[bisect_left(self._prices, price)]
            return
        if price not in self._quantities:
            insort(self._prices, price)
        self._quantities[price] = quantity

    def cut(self, depth: int) -> None:
        extra = len(self._prices) - depth
        if extra <= 0:
            return
        gone = self._prices[:extra] if self._descending else self._prices[-extra:]
        self._prices = self._prices[extra:] if self._descending else self._prices[:-extra]
        for price in gone:
            del self._quantities[price]

    def best(self, count: int) -> list[tuple[Decimal, Decimal]]:
        prices = self._prices[: -count - 1 : -1] if self._descending else self._prices[:count]
        return [(price, self._quantities[price]) for price in prices]


def checksum(asks: Iterable[tuple[Decimal, Decimal]], bids: Iterable[tuple[Decimal, Decimal]]) -> int:
    """Return the CRC32 of levels that are given best first."""
    parts = [_digits(number) for side in (asks, bids) for level in side for number in level]
    return zlib.crc32("".join(parts).encode("ascii"))


def _digits(number: Decimal) -> str:
    """Return the digits as they were written: trailing zeros count, so the exponent of the text is kept."""
    return format(number, "f").replace(".", "").lstrip("0")
