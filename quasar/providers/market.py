"""A market that can be computed for any instant: the same seed gives the same trades, on every machine, in any order.

The price at the start of each minute is `base · exp(noise)`, the noise being a sum of value noise over spans from a
minute to a quarter of a year. Within a minute the trades lead from its first price to that of the next one and touch a
high and a low that are drawn for the minute, so that its bar is known without its trades, and agrees with them exactly.
Sizes are multiples of 1/1024, which binary fractions add up without error.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasar.model.bars import BarColumns
from quasar.model.ticks import Side, TickColumns, TickKind

MINUTE_NS: Final = 60_000_000_000
_LOT: Final = 1024.0

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]

# Minutes that a swing lasts, and its standard deviation in log price for a daily volatility of one.
_SWINGS: Final = ((1, 0.03), (7, 0.08), (31, 0.2), (181, 0.5), (1440, 1.8), (10_080, 3.0), (129_600, 8.0))


@dataclass(frozen=True, slots=True)
class Listing:
    """One symbol of the market."""

    symbol: str
    name: str
    asset_class: str
    base_currency: str
    quote_currency: str
    price: float
    """Price around which it moves."""
    price_step: float
    volatility: float
    """Standard deviation of a day's log return, roughly."""
    trades_per_minute: int

    @property
    def decimals(self) -> int:
        """Decimals of its prices."""
        return max(0, round(-math.log10(self.price_step)))


def _pair(base: str, name: str, price: float, step: float, volatility: float, trades: int) -> Listing:
    return Listing(f"{base}/USD", f"{name} / US Dollar", "crypto", base, "USD", price, step, volatility, trades)


def _share(symbol: str, name: str, price: float, volatility: float, trades: int) -> Listing:
    return Listing(symbol, name, "equity", "", "USD", price, 0.01, volatility, trades)


LISTINGS: Final = (
    _pair("BTC", "Bitcoin", 64_000, 0.1, 0.030, 60),
    _pair("ETH", "Ether", 3_200, 0.01, 0.038, 48),
    _pair("SOL", "Solana", 150, 0.01, 0.050, 40),
    _pair("XRP", "XRP", 0.55, 0.0001, 0.045, 36),
    _pair("ADA", "Cardano", 0.45, 0.0001, 0.048, 24),
    _pair("DOGE", "Dogecoin", 0.12, 0.00001, 0.055, 24),
    _pair("DOT", "Polkadot", 6.5, 0.001, 0.050, 18),
    _pair("LTC", "Litecoin", 80, 0.01, 0.040, 18),
    _pair("LINK", "Chainlink", 14, 0.001, 0.048, 18),
    _pair("AVAX", "Avalanche", 30, 0.001, 0.052, 18),
    _share("NOVA", "Nova Materials", 42, 0.018, 30),
    _share("PULSR", "Pulsar Instruments", 128, 0.022, 30),
    _share("ORBT", "Orbital Freight", 77, 0.020, 24),
    _share("HELIO", "Helio Power", 19, 0.028, 24),
    _share("LUMEN", "Lumen Optics", 210, 0.017, 24),
    _share("KEPLR", "Kepler Software", 355, 0.021, 24),
    _share("TITAN", "Titan Shipping", 11, 0.030, 12),
    _share("VEGA", "Vega Biotech", 64, 0.034, 12),
    _share("RIGEL", "Rigel Foods", 51, 0.012, 12),
    _share("ATLAS", "Atlas Bank", 88, 0.015, 12),
)
"""Ten crypto pairs and ten invented shares."""


class Market:
    """The market of one seed."""

    def __init__(self, seed: int = 1, listings: tuple[Listing, ...] = LISTINGS) -> None:
        """Open the market."""
        self.seed = seed
        self.listings = {listing.symbol: listing for listing in listings}

    def minute_bars(self, symbol: str, start_ns: int, end_ns: int) -> BarColumns:
        """Return the one-minute bars whose open time lies in [start, end)."""
        listing = self.listings[symbol]
        first, last = -(-start_ns // MINUTE_NS), -(-end_ns // MINUTE_NS)
        if last <= first:
            return BarColumns.empty()
        minutes = np.arange(first, last, dtype=np.int64)
        opens, highs, lows, closes = self._prices(listing, minutes)
        times = minutes * MINUTE_NS
        return BarColumns(
            open_time_ns=times,
            open=opens,
            high=highs,
            low=lows,
            close=closes,
            volume=self._lots(listing, minutes) / _LOT,
            close_time_ns=times + MINUTE_NS,
            trade_count=np.full(len(minutes), listing.trades_per_minute, np.int64),
        )

    def trades(self, symbol: str, start_ns: int, end_ns: int) -> TickColumns:
        """Return the trades whose event time lies in [start, end), in order."""
        listing = self.listings[symbol]
        first, last = start_ns // MINUTE_NS, -(-end_ns // MINUTE_NS)
        if last <= first:
            return TickColumns.empty()
        minutes = np.arange(first, last, dtype=np.int64)
        times, ids = self._times(listing, minutes), self._ids(listing, minutes)
        wanted = (times >= start_ns) & (times < end_ns)
        sides = np.where(self._hash(listing, ids, "side") & np.uint64(1), Side.BUY, Side.SELL).astype(np.uint8)
        return TickColumns(
            event_time_ns=times[wanted],
            price=self._trade_prices(listing, minutes)[wanted],
            size=self._sizes(listing, minutes)[wanted],
            side=sides[wanted],
            kind=np.full(int(wanted.sum()), TickKind.TRADE, np.uint8),
            trade_id=ids[wanted],
        )

    def top(self, symbol: str, now_ns: int) -> tuple[float, float, float, float]:
        """Return best bid, its size, best ask and its size: a step beside the last trade, of the second's own sizes."""
        listing = self.listings[symbol]
        recent = self.trades(symbol, now_ns - 2 * MINUTE_NS, now_ns).price
        assert recent is not None, "two minutes of the market always hold trades"
        steps = np.rint(recent[-1] / listing.price_step) + np.array([-1.0, 1.0])
        bid, ask = np.round(steps * listing.price_step, listing.decimals).tolist()
        second = np.array([now_ns // 1_000_000_000], np.int64)
        sizes = (float(1 + self._hash(listing, second, side)[0] % np.uint64(997)) / _LOT for side in ("bid", "ask"))
        return bid, next(sizes), ask, next(sizes)

    def _prices(self, listing: Listing, minutes: Ints) -> tuple[Floats, Floats, Floats, Floats]:
        edges = self._level(listing, np.append(minutes, minutes[-1] + 1))
        opens, closes = edges[:-1], edges[1:]
        reach = listing.volatility * 0.018 * np.abs(self._uniform(listing, minutes, "reach") + 0.05)
        share = self._uniform(listing, minutes, "share")
        top, bottom = np.maximum(opens, closes), np.minimum(opens, closes)
        highs = self._rounded(listing, top * (1 + reach * share))
        lows = self._rounded(listing, bottom * (1 - reach * (1 - share)))
        return opens, np.maximum(highs, top), np.minimum(lows, bottom), closes

    def _level(self, listing: Listing, minutes: Ints) -> Floats:
        noise = np.zeros(len(minutes))
        for span, weight in _SWINGS:
            block, place = np.divmod(minutes, span)
            part = place / span
            ease = part * part * (3 - 2 * part)
            low = self._uniform(listing, block, f"swing{span}") - 0.5
            high = self._uniform(listing, block + 1, f"swing{span}") - 0.5
            noise += weight * listing.volatility * (low + (high - low) * ease)
        return self._rounded(listing, listing.price * np.exp(noise))

    def _rounded(self, listing: Listing, values: Floats) -> Floats:
        steps = np.maximum(1, np.rint(values / listing.price_step))
        rounded: Floats = np.round(steps * listing.price_step, listing.decimals)
        return rounded

    def _lots(self, listing: Listing, minutes: Ints) -> Floats:
        scale = 4_000_000 / listing.price * listing.trades_per_minute
        activity = np.exp(1.2 * (self._uniform(listing, minutes, "volume") - 0.5))
        lots: Floats = np.maximum(listing.trades_per_minute, np.rint(scale * activity))
        return lots

    def _times(self, listing: Listing, minutes: Ints) -> Ints:
        count = listing.trades_per_minute
        slot = MINUTE_NS // count
        jitter = self._uniform(listing, self._ids(listing, minutes), "time") * (slot - 1_000_000)
        places = (np.arange(count, dtype=np.int64) * slot)[None, :]
        # To the microsecond, as venues publish and databases keep it.
        whole = (minutes[:, None] * MINUTE_NS + places).ravel() + jitter.astype(np.int64)
        return whole // 1_000 * 1_000

    def _ids(self, listing: Listing, minutes: Ints) -> Ints:
        count = listing.trades_per_minute
        return (minutes[:, None] * count + np.arange(count, dtype=np.int64)[None, :]).ravel()

    def _trade_prices(self, listing: Listing, minutes: Ints) -> Floats:
        opens, highs, lows, closes = self._prices(listing, minutes)
        count = listing.trades_per_minute
        way = np.linspace(0.0, 1.0, count)[None, :]
        drift = opens[:, None] + (closes - opens)[:, None] * way
        wobble = (self._uniform(listing, self._ids(listing, minutes), "price").reshape(-1, count) - 0.5) * (
            highs - lows
        )[:, None]
        prices = self._rounded(listing, np.clip(drift + wobble, lows[:, None], highs[:, None]).ravel()).reshape(
            -1, count
        )
        prices = np.clip(prices, lows[:, None], highs[:, None])
        prices[:, 0], prices[:, -1] = opens, closes
        rows = np.arange(len(minutes))
        middle = 1 + (self._hash(listing, minutes, "peak") % np.uint64(max(1, count - 3))).astype(np.int64)
        prices[rows, middle] = highs
        prices[rows, middle + 1] = lows
        return prices.ravel()

    def _sizes(self, listing: Listing, minutes: Ints) -> Floats:
        count = listing.trades_per_minute
        lots = self._lots(listing, minutes).astype(np.int64)
        weights = self._uniform(listing, self._ids(listing, minutes), "size").reshape(-1, count) + 0.1
        spare = (lots - count)[:, None]
        parts = 1 + np.floor(spare * weights / weights.sum(axis=1, keepdims=True)).astype(np.int64)
        parts[:, -1] += lots - parts.sum(axis=1)
        sizes: Floats = parts.ravel() / _LOT
        return sizes

    def _uniform(self, listing: Listing, index: Ints, stream: str) -> Floats:
        return (self._hash(listing, index, stream) >> np.uint64(11)).astype(np.float64) / float(1 << 53)

    def _hash(self, listing: Listing, index: Ints, stream: str) -> Hashes:
        """Return 64 well-mixed bits for each index (SplitMix64, Steele, Lea and Flood 2014)."""
        name = f"{self.seed}|{listing.symbol}|{stream}".encode()
        key = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")
        with np.errstate(over="ignore"):
            mixed = index.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))
