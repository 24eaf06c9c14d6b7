"""What a Kraken-speaking server shows: a simulated market, or a recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Protocol

import numpy as np

from quasar.model.ticks import TickColumns
from quasar.providers.market import MINUTE_NS, Listing, Market

SECOND_NS: Final = 1_000_000_000
ROWS_PER_ANSWER: Final = 720
Level = tuple[Decimal, Decimal]
Levels = tuple[Sequence[Level], Sequence[Level]]
"""Bids and asks, best first."""


class Exchange(Protocol):
    """What a Kraken-speaking server shows."""

    def pairs(self) -> dict[str, dict[str, Any]]:
        """Return the pairs as `AssetPairs` has them."""
        ...

    def ohlc(self, altname: str, minutes: int, since_s: int, now_ns: int) -> list[list[Any]]:
        """Return rows of `OHLC` after a second."""
        ...

    def trades(self, symbol: str, start_ns: int, end_ns: int) -> TickColumns:
        """Return the trades in [start, end) of a symbol, by its v2 name."""
        ...

    def book(self, symbol: str, depth: int, now_ns: int) -> Levels | None:
        """Return the order book as it is at an instant; None: there is none."""
        ...

    def frames(self, channel: str, symbol: str) -> Sequence[str]:
        """Return recorded messages that a subscription is answered with, as they were on the wire."""
        ...


class SimulatedExchange:
    """The simulated market under Kraken's names."""

    def __init__(self, market: Market | None = None) -> None:
        """Show a market; by default that of seed 1."""
        self._market = market or Market()
        crypto = [listing for listing in self._market.listings.values() if listing.asset_class == "crypto"]
        self._by_altname = {listing.symbol.replace("/", ""): listing for listing in crypto}

    def pairs(self) -> dict[str, dict[str, Any]]:
        """Return the pairs, by the v2 names, which v1 names equal here."""
        return {
            altname: {
                "altname": altname,
                "wsname": listing.symbol,
                "base": listing.base_currency,
                "quote": "ZUSD",
                "pair_decimals": listing.decimals,
                "lot_decimals": 8,
                "ordermin": "0.0001",
                "tick_size": format(listing.price_step, "f"),
                "status": "online",
            }
            for altname, listing in self._by_altname.items()
        }

    def ohlc(self, altname: str, minutes: int, since_s: int, now_ns: int) -> list[list[Any]]:
        """Return the newest 720 bars after a second, the last of them in progress: of the trades until now."""
        listing = self._by_altname[altname]
        length = minutes * MINUTE_NS
        last = now_ns // length * length
        first = max(last - (ROWS_PER_ANSWER - 1) * length, (since_s * SECOND_NS // length + 1) * length)
        rows = (self._row(listing, start, min(start + length, now_ns)) for start in range(first, last + 1, length))
        return [row for row in rows if row is not None]

    def _row(self, listing: Listing, start: int, end: int) -> list[Any] | None:
        whole = max(start, end // MINUTE_NS * MINUTE_NS)
        bars = self._market.minute_bars(listing.symbol, start, whole)
        part = self._market.trades(listing.symbol, whole, end)
        fresh = part.price if part.price is not None else np.empty(0)
        sizes = part.size if part.size is not None else np.empty(0)
        opens, closes = [*bars.open[:1], *fresh[:1]], [*bars.close[-1:], *fresh[-1:]]
        if not opens:
            return None
        prices = (opens[0], max([*bars.high, *fresh]), min([*bars.low, *fresh]), closes[-1])
        average = sum(prices) / 4
        count = len(bars) * listing.trades_per_minute + len(part)
        texts = (f"{price:.{listing.decimals}f}" for price in (*prices, average))
        return [start // SECOND_NS, *texts, f"{bars.volume.sum() + sizes.sum():.8f}", count]

    def trades(self, symbol: str, start_ns: int, end_ns: int) -> TickColumns:
        """Return the market's trades."""
        if symbol not in self._market.listings:
            return TickColumns.empty()
        return self._market.trades(symbol, start_ns, end_ns)

    def book(self, symbol: str, depth: int, now_ns: int) -> Levels | None:
        """Return levels around the last trade, one step apart, with sizes that change from second to second."""
        listing = self._market.listings[symbol]
        recent = self._market.trades(symbol, now_ns - 2 * MINUTE_NS, now_ns).price
        assert recent is not None, "two minutes of the market always hold trades"
        step = Decimal(str(listing.price_step))
        middle = round(float(recent[-1]) / listing.price_step)
        bids = [self._level(step, middle - place, now_ns) for place in range(1, min(depth, middle - 1) + 1)]
        return bids, [self._level(step, middle + place, now_ns) for place in range(1, depth + 1)]

    @staticmethod
    def _level(step: Decimal, steps: int, now_ns: int) -> Level:
        lots = (steps * 2_654_435_761 + now_ns // SECOND_NS * 40_503) % 997 + 1
        return step * steps, Decimal(lots).scaleb(-3).quantize(Decimal("1.00000000"))

    def frames(self, channel: str, symbol: str) -> Sequence[str]:
        """Return nothing: this market is computed."""
        return ()


class RecordedExchange:
    """What was recorded of Kraken: answers of REST, cut to what is asked, and messages of WebSocket v2 as they came."""

    def __init__(
        self,
        pairs: Mapping[str, dict[str, Any]],
        *,
        ohlc: Mapping[tuple[str, int], Sequence[list[Any]]] | None = None,
        trades: Mapping[str, TickColumns] | None = None,
        frames: Mapping[tuple[str, str], Sequence[str]] | None = None,
    ) -> None:
        """Show recordings.

        Args:
            pairs: The result of `AssetPairs`.
            ohlc: Rows of `OHLC` by altname and minutes.
            trades: Trades by v2 symbol.
            frames: Messages by channel and v2 symbol.
        """
        self._pairs = dict(pairs)
        self._ohlc = dict(ohlc or {})
        self._trades = dict(trades or {})
        self._frames = dict(frames or {})

    def pairs(self) -> dict[str, dict[str, Any]]:
        """Return the recorded pairs."""
        return self._pairs

    def ohlc(self, altname: str, minutes: int, since_s: int, now_ns: int) -> list[list[Any]]:
        """Return the newest recorded rows after a second."""
        return [row for row in self._ohlc.get((altname, minutes), ()) if row[0] > since_s][-ROWS_PER_ANSWER - 1 :]

    def trades(self, symbol: str, start_ns: int, end_ns: int) -> TickColumns:
        """Return the recorded trades of the range."""
        found = self._trades.get(symbol, TickColumns.empty())
        return found[(found.event_time_ns >= start_ns) & (found.event_time_ns < end_ns)]

    def book(self, symbol: str, depth: int, now_ns: int) -> Levels | None:
        """Return nothing: recorded books come as frames."""
        return None

    def frames(self, channel: str, symbol: str) -> Sequence[str]:
        """Return the recorded messages."""
        return self._frames.get((channel, symbol), ())
