"""A market without a vendor: for trying the platform, for demonstrations and for tests. Deterministic by its seed."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Iterator, Sequence
from decimal import Decimal
from typing import ClassVar

from quasar.model import bar_aggregates
from quasar.model.intervals import Interval
from quasar.provider import (
    BarColumns,
    BarRequest,
    Feed,
    Instrument,
    LiveItem,
    LiveSymbol,
    Preference,
    Provider,
    SymbolNotice,
    SymbolState,
    Tick,
    TickItem,
    TickKind,
    TickRequest,
    UnknownSymbol,
)
from quasar.providers.market import MINUTE_NS, Market

_MINUTE = Interval.parse("1min")
_CHUNK_NS = 7 * 24 * 60 * MINUTE_NS


class Simulated(Provider):
    """Twenty invented markets that never close: bars of any interval, live trades and best prices, for everybody."""

    name = "simulated"
    version = "1"
    intervals = ("1min", "5min", "15min", "30min", "1h", "4h", "1d")
    history_depth: ClassVar = {
        "1min": dt.timedelta(days=30),
        "5min": dt.timedelta(days=90),
        "15min": dt.timedelta(days=180),
        "30min": dt.timedelta(days=365),
        "1h": dt.timedelta(days=730),
        "4h": dt.timedelta(days=1825),
        "1d": dt.timedelta(days=3650),
    }
    tick_kinds = ("trade", "book_top")
    asset_classes = ("crypto", "equity")
    calendar = "24/7"

    seed = Preference(
        1, minimum=0, maximum=2**31 - 1, description="Another seed is another market.", needs_restart=True
    )
    pace = Preference(
        0.25, minimum=0.01, maximum=10.0, unit="s", description="Time between two batches of live trades."
    )

    async def start(self) -> None:
        """Open the market."""
        self._market = Market(self.seed)

    async def bars(self, request: BarRequest) -> AsyncIterator[BarColumns]:
        """Yield the bars of a symbol, week by week, aggregated from its minutes."""
        self._known(request.symbol)
        length = request.length
        at, end = length.ceil_ns(request.start_ns), min(request.end_ns, length.floor_ns(self.clock.time_ns()))
        while at < end:
            stop = min(end, length.ceil_ns(at + _CHUNK_NS))
            minutes = self._market.minute_bars(request.symbol, at, length.ceil_ns(stop))
            yield minutes if length == _MINUTE else bar_aggregates.aggregate(minutes, _MINUTE, length)
            at = stop
            await asyncio.sleep(0)

    async def ticks(self, request: TickRequest) -> AsyncIterator[TickItem]:
        """Yield the trades of a symbol."""
        self._known(request.symbol)
        at = request.start_ns
        while at < request.end_ns:
            stop = min(request.end_ns, at + 60 * MINUTE_NS)
            yield self._market.trades(request.symbol, at, stop)
            at = stop

    async def live(self, feed: Feed) -> AsyncIterator[LiveItem]:
        """Yield each trade when its time has come, and the best prices when they change."""
        tops: dict[str, tuple[float, ...]] = {}
        seen = self.clock.time_ns()
        told: dict[str, LiveSymbol] = {}
        while True:
            for notice in self._answers(feed, told):
                yield notice
            await self.clock.sleep(self.pace)
            now = self.clock.time_ns()
            for symbol, wanted in list(feed.symbols.items()):
                if symbol not in self._market.listings:
                    continue
                if wanted.trades and len(trades := self._market.trades(symbol, seen, now)):
                    yield symbol, trades
                if wanted.book_top and (top := self._market.top(symbol, now)) != tops.get(symbol):
                    tops[symbol] = top
                    bid, bid_size, ask, ask_size = top
                    prices = Tick(
                        now,
                        TickKind.BOOK_TOP,
                        bid_price=bid,
                        bid_size=bid_size,
                        ask_price=ask,
                        ask_size=ask_size,
                    )
                    yield symbol, prices
            seen = max(seen, now)

    def _answers(self, feed: Feed, told: dict[str, LiveSymbol]) -> Iterator[SymbolNotice]:
        """Answer what was subscribed or given up since the last look, as a venue does."""
        for symbol in [symbol for symbol in told if symbol not in feed.symbols]:
            del told[symbol]
            yield SymbolNotice(symbol, SymbolState.UNSUBSCRIBED)
        for symbol, wanted in list(feed.symbols.items()):
            if told.get(symbol) == wanted:
                continue
            told[symbol] = wanted
            if symbol in self._market.listings:
                yield SymbolNotice(symbol, SymbolState.SUBSCRIBED)
            else:
                yield SymbolNotice(symbol, SymbolState.REFUSED, f"the simulated market lists no {symbol!r}")

    async def symbols(self, exchange: str = "") -> AsyncIterator[Sequence[Instrument]]:
        """Yield the twenty symbols."""
        yield [
            self.instrument(
                listing.symbol,
                asset_class=listing.asset_class,
                name=listing.name,
                base_currency=listing.base_currency,
                quote_currency=listing.quote_currency,
                price_step=Decimal(str(listing.price_step)),
            )
            for listing in self._market.listings.values()
        ]

    def _known(self, symbol: str) -> None:
        if symbol not in self._market.listings:
            raise UnknownSymbol(
                f"the simulated market lists {', '.join(self._market.listings)}; {symbol!r} is not among them"
            )
