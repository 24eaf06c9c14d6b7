"""The WebSocket side of ccxt as a live feed: watched symbol by symbol, on connections that ccxt shares among them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from quasar.model.intervals import Interval
from quasar.provider import (
    Bar,
    ConnectionNotice,
    ConnectionState,
    Feed,
    GapCause,
    GapNotice,
    LiveItem,
    LiveSymbol,
    RejectedRow,
    Sink,
    SymbolNotice,
    SymbolState,
    Tick,
    TickKind,
    Unauthorised,
    UnknownSymbol,
    Unsupported,
)
from quasar.providers.ccxt_library import passing, told
from quasar.providers.ccxt_rows import MS_NS, TIMEFRAMES, parse_ohlcv, parse_trade
from quasar.sdk.reconnecting import Reconnects, first_leaf

if TYPE_CHECKING:
    from quasar.providers.ccxt import Ccxt

_WATCH_S: Final = 1.0
_GRACE_S: Final = 3.0
"""How long nothing must be refused for a subscription to count as taken; ccxt keeps the answer to itself."""
_REMEMBERED: Final = 4_000
"""Trades a symbol; ccxt holds a thousand."""

Watch = Callable[[], Awaitable[list[LiveItem]]]


class Watching:
    """Runs one feed until it is cancelled, or until the exchange refuses the credentials."""

    def __init__(self, provider: Ccxt, feed: Feed, sink: Sink) -> None:
        """Bring together who asks, what is wanted and where rows go."""
        self._provider = provider
        self._feed = feed
        self._sink = sink
        self._connection = 0
        self._reconnects = Reconnects(provider.context, feed, self._report)
        self._began_ns = provider.clock.time_ns()
        self._seen: dict[str, dict[str, None]] = {}
        self._tops: dict[str, tuple[Any, ...]] = {}

    async def run(self) -> None:
        """Connect, and connect again.

        Raises:
            Unauthorised: The exchange refused the credentials.
        """
        failures = 0
        while True:
            self._connection += 1
            session = None
            try:
                self._report(ConnectionState.CONNECTING)
                session = _Session(self, await self._provider.connection())
                await session.run()
                continue  # the platform asked for a new connection
            except Exception as raised:
                error = first_leaf(raised)
                known = told(error)
                if isinstance(known, Unauthorised) or not passing(error):
                    raise known from None
            failures = 1 if session is not None and session.received_ns else failures + 1
            text = self._provider.context.redact(" ".join(str(known).split()) or type(known).__name__)
            if session is not None and session.received_ns:
                self._sink.put(GapNotice(cause=GapCause.FEED_INTERRUPTED, detail=text))
            await self._reconnects.pause(failures, text)

    def _report(self, state: ConnectionState, **fields: Any) -> None:
        self._sink.put(ConnectionNotice(state, self._connection, self._provider.exchange, **fields))

    def fresh_trades(self, symbol: str, rows: list[dict[str, Any]]) -> Iterator[LiveItem]:
        """Return trades that were not told yet, oldest first.

        Exchanges begin each subscription with some of the past; what is older than the feed is left out.
        """
        seen, begin_ms = self._seen.setdefault(symbol, {}), self._began_ns // MS_NS
        fresh = [row for row in rows if (row.get("timestamp") or begin_ms) >= begin_ms and _key(row) not in seen]
        for row in sorted(fresh, key=_order):
            if _key(row) in seen:
                continue
            seen[_key(row)] = None
            item = parse_trade(row)
            yield item if isinstance(item, RejectedRow) else (symbol, item)
        for old in list(seen)[: max(0, len(seen) - _REMEMBERED)]:
            del seen[old]

    def fresh_top(self, symbol: str, book: Any, now_ns: int) -> Iterator[LiveItem]:
        """Return the best bid and ask of a book when they changed."""
        bid, ask = next(iter(book["bids"]), (None, None)), next(iter(book["asks"]), (None, None))
        top = (bid[0], bid[1], ask[0], ask[1])
        if top == self._tops.get(symbol):
            return
        self._tops[symbol] = top
        time_ns = int(book["timestamp"]) * MS_NS if book.get("timestamp") else now_ns
        yield (
            symbol,
            Tick(time_ns, TickKind.BOOK_TOP, bid_price=top[0], bid_size=top[1], ask_price=top[2], ask_size=top[3]),
        )


class _Reconnect(Exception):
    """The platform wants a new connection."""


class _Session:
    """One exchange object of ccxt, from its first subscription to its end."""

    def __init__(self, watching: Watching, exchange: Any) -> None:
        self._watching = watching
        self._exchange = exchange
        self._feed, self._sink = watching._feed, watching._sink
        self._clock = watching._provider.clock
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._taken: set[str] = set()
        self.received_ns = 0

    async def run(self) -> None:
        """Watch until the connection ends; return when the platform wants a new one."""
        self._feed.forget_changes()
        try:
            async with asyncio.TaskGroup() as group:
                for symbol in list(self._feed.symbols.values()):
                    self._begin(group, symbol)
                group.create_task(self._follow(group))
                group.create_task(self._report())
        except ExceptionGroup as raised:
            if not isinstance(first_leaf(raised), _Reconnect):
                raise
        finally:
            await self._exchange.close()

    async def _follow(self, group: asyncio.TaskGroup) -> None:
        while True:
            change = await self._feed.changed()
            again = [self._feed.symbols[name] for name in change.resync if name in self._feed.symbols]
            if change.reconnect or again:
                raise _Reconnect  # ccxt has no other way to a new snapshot
            for symbol in [*change.removed, *change.added]:
                for task in self._tasks.pop(symbol.symbol, ()):
                    task.cancel()
            for symbol in change.removed:
                self._sink.put(SymbolNotice(symbol.symbol, SymbolState.UNSUBSCRIBED))
            for symbol in change.added:
                self._begin(group, symbol)

    async def _report(self) -> None:
        while True:
            await self._clock.sleep(_WATCH_S)
            if any(client.isConnected for client in (self._exchange.clients or {}).values()):
                self._watching._report(ConnectionState.CONNECTED, last_receive_ns=self.received_ns)

    def _begin(self, group: asyncio.TaskGroup, wanted: LiveSymbol) -> None:
        symbol = wanted.symbol
        if symbol not in self._exchange.markets:
            text = f"{self._watching._provider.exchange} lists no {symbol!r}; ccxt writes BTC/USD"
            self._sink.put(SymbolNotice(symbol, SymbolState.REFUSED, text))
            return
        watches = list(self._watches(wanted))
        self._tasks[symbol] = [group.create_task(self._watch(symbol, what, watch)) for what, watch in watches]
        self._tasks[symbol].append(group.create_task(self._take(symbol)))

    def _watches(self, wanted: LiveSymbol) -> Iterator[tuple[str, Watch]]:
        symbol = wanted.symbol
        if wanted.trades:
            yield "trades", lambda: self._trades(symbol)
        if wanted.book_top:
            yield "the book", lambda: self._top(symbol)
        for code in wanted.intervals:
            if code in TIMEFRAMES:
                yield f"bars of {code}", lambda code=code: self._bars(symbol, code, TIMEFRAMES[code])  # type: ignore[misc]

    async def _watch(self, symbol: str, what: str, watch: Watch) -> None:
        while True:
            try:
                items = await watch()
            except Exception as error:
                known = told(error)
                if not isinstance(known, UnknownSymbol | Unsupported):
                    raise
                self._sink.put(SymbolNotice(symbol, SymbolState.REFUSED, f"{what}: {known}"))
                self._taken.add(symbol)
                return
            self.received_ns = self._clock.time_ns()
            self._confirm(symbol)
            for item in items:
                self._sink.put(item)
            await self._sink.ready()

    async def _take(self, symbol: str) -> None:
        await self._clock.sleep(_GRACE_S)
        while not any(client.isConnected for client in (self._exchange.clients or {}).values()):
            await self._clock.sleep(_WATCH_S)
        self._confirm(symbol)

    def _confirm(self, symbol: str) -> None:
        if symbol not in self._taken:
            if not self._taken:
                self._watching._report(ConnectionState.CONNECTED, last_receive_ns=self.received_ns)
            self._taken.add(symbol)
            self._sink.put(SymbolNotice(symbol, SymbolState.SUBSCRIBED))

    async def _trades(self, symbol: str) -> list[LiveItem]:
        await self._exchange.watch_trades(symbol)
        # ccxt returns what it held when it woke this task; its cache has what came since, too.
        return list(self._watching.fresh_trades(symbol, self._exchange.trades.get(symbol) or []))

    async def _top(self, symbol: str) -> list[LiveItem]:
        book = await self._exchange.watch_order_book(symbol)
        return list(self._watching.fresh_top(symbol, book, self._clock.time_ns()))

    async def _bars(self, symbol: str, code: str, frame: str) -> list[LiveItem]:
        await self._exchange.watch_ohlcv(symbol, frame)
        # What `watch_ohlcv` returns may be of another interval of the symbol; its cache is not.
        rows = (self._exchange.ohlcvs.get(symbol) or {}).get(frame) or []
        found = parse_ohlcv(rows[-2:], Interval.parse(code), self._clock.time_ns())
        return [(symbol, code, bar) for bar in found if isinstance(bar, Bar)]


def _order(row: dict[str, Any]) -> tuple[float, int]:
    """Return what sorts trades: their milliseconds, and within one their ids, which snapshots have newest first."""
    number = str(row.get("id") or "")
    return row.get("timestamp") or 0, int(number) if number.isdecimal() else 0


def _key(row: dict[str, Any]) -> str:
    return str(row.get("id") or row)
