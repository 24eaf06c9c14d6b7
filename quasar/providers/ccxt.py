"""Any exchange that the library ccxt knows: history over REST, live data over its WebSocket side (`ccxt.pro`).

One running provider is one exchange, chosen by a preference. For a second exchange upload three lines:

    class Okx(Ccxt):
        name = "okx"
        exchange = Preference("okx", description="The exchange, by ccxt's id.", needs_restart=True)

Traps that the code minds: the last candle of an answer is unfinished; exchanges answer with as many candles as they
like, some of them from before `since`; times are milliseconds; what a subscription was answered with stays in ccxt, so
that a symbol counts as subscribed when its first row came, or when nothing was refused for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from quasar import errors
from quasar.provider import (
    Bar,
    BarRequest,
    EmptyRange,
    Feed,
    HistoryItem,
    Instrument,
    Preference,
    Provider,
    RejectedRow,
    Sink,
    TickItem,
    TickRequest,
    UnknownSymbol,
    Unsupported,
)
from quasar.providers.ccxt_rows import MS_NS, TIMEFRAMES, parse_ohlcv, parse_trade
from quasar.sdk.attempts import Attempts

if TYPE_CHECKING:
    import aiohttp

_FIAT: Final = frozenset({"AUD", "BRL", "CAD", "CHF", "CNY", "EUR", "GBP", "JPY", "KRW", "MXN", "NZD", "TRY", "USD"})
_CLASS_OF_TYPE: Final = {"spot": "crypto", "swap": "future", "future": "future", "option": "option"}


class Ccxt(Provider):
    """One of the exchanges of the library ccxt: history, live trades, best bid and ask, and bars."""

    name = "ccxt"
    version = "1"
    intervals = tuple(TIMEFRAMES)
    # An upper bound; ccxt itself keeps to the pace and the weights that it knows of the exchange.
    rate_limit = (20, 1.0)
    concurrency = 4
    hosts = ("*", "*:8443", "*:9443")  # whatever exchange is chosen; the ports are all that ccxt has addresses on
    tick_kinds = ("trade", "book_top")
    asset_classes = ("crypto", "currency", "future", "option")
    calendar = "24/7"

    exchange = Preference(
        "kraken", description="The exchange, by ccxt's id: kraken, binance, coinbase, okx, bybit …", needs_restart=True
    )
    markets = Preference(
        "spot", choices=("spot", "swap", "future", "option", "all"), description="The kind of markets that are listed."
    )
    rest_url = Preference(
        "", description="Server of the REST interface, without a path; empty: where ccxt says.", needs_restart=True
    )
    websocket_url = Preference(
        "", description="Server of the WebSocket interface, without a path; empty: where ccxt says.", needs_restart=True
    )
    pace = Preference(
        0, minimum=0, maximum=60_000, unit="ms", needs_restart=True,
        description="Time between two calls; 0: what ccxt knows of the exchange.",
    )  # fmt: skip
    ping = Preference(
        0.0, minimum=0.0, maximum=300.0, unit="s", needs_restart=True,
        description="Time between two pings of a connection; 0: what ccxt knows of the exchange.",
    )  # fmt: skip

    async def start(self) -> None:
        """Begin without an exchange; the library is loaded with the first question."""
        self._rest: Any = None
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()

    async def stop(self) -> None:
        """Close the connections."""
        if self._rest is not None:
            await self._rest.close()
        if self._session is not None:
            await self._session.close()

    # History.

    async def bars(self, request: BarRequest) -> AsyncIterator[HistoryItem]:
        """Yield the candles of a symbol, page by page."""
        exchange, market = await self._known(request.symbol)
        frame = TIMEFRAMES.get(request.interval)
        if frame is None or frame not in (exchange.timeframes or {}) or not exchange.has.get("fetchOHLCV"):
            raise Unsupported(f"{self.exchange} has no candles of {request.interval}")
        limit = _page(exchange, request.symbol, "fetchOHLCV")
        at, end_ms = _first_ms(request.start_ns, market), -(-request.end_ns // MS_NS)
        stride = (request.length.length_ns or 28 * 86_400_000_000_000) // MS_NS
        while at < end_ms:
            rows = await self._ask(exchange.fetch_ohlcv(request.symbol, frame, at, limit))
            for item in parse_ohlcv(rows, request.length, self.clock.time_ns()):
                if at * MS_NS <= _time_of(item) < request.end_ns or isinstance(item, RejectedRow):
                    yield item
            newest = max((row[0] for row in rows if row and isinstance(row[0], int | float)), default=-1)
            # An exchange that answers for a window has nothing to say in one without trades; the next may have more.
            at = int(newest) + 1 if newest >= at else at + stride * (limit or 500)
            if (newest + stride) * MS_NS > self.clock.time_ns():
                return  # the candle in progress: nothing is newer

    async def ticks(self, request: TickRequest) -> AsyncIterator[TickItem]:
        """Yield the trades of a range, as far back as the exchange answers for."""
        exchange, _ = await self._known(request.symbol)
        if not exchange.has.get("fetchTrades"):
            raise Unsupported(f"{self.exchange} has no history of trades")
        limit = _page(exchange, request.symbol, "fetchTrades")
        at, seen = request.start_ns // MS_NS, set[str]()
        while at * MS_NS < request.end_ns:
            rows = await self._ask(exchange.fetch_trades(request.symbol, at, limit))
            fresh = [row for row in rows if str(row.get("id") or row) not in seen]
            for item in map(parse_trade, fresh):
                if isinstance(item, RejectedRow) or request.start_ns <= item.event_time_ns < request.end_ns:
                    yield item
            seen.update(str(row.get("id") or row) for row in fresh)
            newest = max((row["timestamp"] for row in fresh if row.get("timestamp")), default=-1)
            if newest < at:
                return
            at = newest  # again, for more trades of the same millisecond

    async def symbols(self, exchange: str = "") -> AsyncIterator[Instrument | RejectedRow]:
        """Yield the markets of the exchange that are open for trading."""
        found = await self._exchange()
        for market in found.markets.values():
            if market.get("active") is not False and self.markets in ("all", market.get("type")):
                yield self._instrument(market, tick_sizes=found.is_tick_precision())

    def _instrument(self, market: Mapping[str, Any], *, tick_sizes: bool) -> Instrument | RejectedRow:
        base, quote = str(market.get("base") or ""), str(market.get("quote") or "")
        kind = _CLASS_OF_TYPE.get(str(market.get("type")), "crypto")
        precision, limits = market.get("precision") or {}, market.get("limits") or {}
        try:
            return self.instrument(
                market["symbol"],
                asset_class="currency" if kind == "crypto" and base in _FIAT else kind,
                name=f"{base} / {quote}" if kind == "crypto" else str(market["symbol"]),
                base_currency=base,
                quote_currency=quote,
                external_id=str(market.get("id") or ""),
                matcher_symbol=base,
                price_step=_step(precision.get("price"), tick_sizes),
                size_step=_step(precision.get("amount"), tick_sizes),
                minimum_size=_step((limits.get("amount") or {}).get("min"), True),
            )
        except (KeyError, errors.InvalidArgument) as error:
            return RejectedRow(f"the market is no instrument: {error}", {"symbol": market.get("symbol")})

    # Live.

    async def pump(self, feed: Feed, sink: Sink) -> None:
        """Run the WebSocket side until cancelled."""
        from quasar.providers.ccxt_live import Watching

        await Watching(self, feed, sink).run()

    async def connection(self) -> Any:
        """Return an exchange for one WebSocket connection, with its markets; its user closes it."""
        rest = await self._exchange()
        made = self._made()
        made.set_markets(list(rest.markets.values()), rest.currencies)
        made.options.update({name: value for name, value in rest.options.items() if name.startswith("markets")})
        made.markets_loading = rest.markets_loading
        return made

    # The library.

    async def _known(self, symbol: str) -> tuple[Any, Mapping[str, Any]]:
        exchange = await self._exchange()
        market = exchange.markets.get(symbol)
        if market is None:
            raise UnknownSymbol(
                f"{self.exchange} lists no {symbol!r}; ccxt writes BTC/USD, or BTC/USDT:USDT for a swap"
            )
        return exchange, market

    async def _exchange(self) -> Any:
        async with self._opening:
            if self._rest is None:
                made = self._made()
                try:
                    await self._ask(made.load_markets())
                except BaseException:
                    await made.close()
                    raise
                self._rest = made
        return self._rest

    def _made(self) -> Any:
        from quasar.providers import ccxt_library as library

        attempts = Attempts(self.permit, self.clock, self.context.jitter)
        kind = library.paced(library.load(self.exchange), attempts)
        if self._session is None:
            self._session = library.session(self.concurrency)
        made = kind({"session": self._session, "timeout_on_exit": 0, **({"rateLimit": self.pace} if self.pace else {})})
        made.urls = redirected(made.urls, self.rest_url, self.websocket_url)
        if self.ping:
            made.streaming = {**made.streaming, "keepAlive": int(self.ping * 1000)}
        return made

    async def _ask(self, question: Any) -> Any:
        from quasar.providers.ccxt_library import told

        try:
            return await question
        except Exception as error:
            known = told(error)
            if isinstance(known, errors.QuasarError):
                raise known from error
            # ccxt reads an answer of another shape than it expects with whatever error comes of that.
            raise errors.VendorFailed(f"ccxt cannot read the answer of {self.exchange}: {error!r}") from error


# Pure, and tested so.


def redirected(urls: Mapping[str, Any], rest: str, websocket: str) -> dict[str, Any]:
    """Return ccxt's addresses with the servers replaced and the paths kept; an empty server replaces nothing."""

    def put(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: put(one) for name, one in value.items()}
        if not isinstance(value, str) or "://" not in value:
            return value
        server = websocket if value.startswith("ws") else rest
        _, slash, path = value.partition("://")[2].partition("/")
        return f"{server.rstrip('/')}{slash}{path}" if server else value

    return {name: put(value) if name in ("api", "test") else value for name, value in urls.items()}


def _time_of(item: Bar | EmptyRange | RejectedRow) -> int:
    return item.open_time_ns if isinstance(item, Bar) else getattr(item, "start_ns", 0)


def _step(value: Any, tick_size: bool) -> Decimal | None:
    """Return a step; ccxt gives it as such, or as a number of decimals."""
    if value is None or isinstance(value, bool):
        return None
    step = Decimal(str(value)) if tick_size else Decimal(1).scaleb(-int(value))
    return step if step > 0 else None


def _first_ms(start_ns: int, market: Mapping[str, Any]) -> int:
    created = market.get("created")
    return max(-(-start_ns // MS_NS), int(created) - 86_400_000 if created else 0)


def _page(exchange: Any, symbol: str, method: str) -> int | None:
    """Return the rows that one call brings at most; None: ccxt does not say."""
    found = exchange.feature_value(symbol, method, "limit")
    return int(found) if found else None
