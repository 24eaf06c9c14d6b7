"""One WebSocket connection for many symbols: subscribed with acknowledgement, watched, made again when it breaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from quasar import errors
from quasar.model.ticks import TickKind
from quasar.sdk.context import Context
from quasar.sdk.failures import Unauthorised
from quasar.sdk.feed import Feed, FeedChange, Sink
from quasar.sdk.notices import (
    ConnectionNotice,
    ConnectionState,
    GapCause,
    GapNotice,
    LiveItem,
    RejectedRow,
    SymbolNotice,
    SymbolState,
)
from quasar.sdk.patience import Patience
from quasar.sdk.reconnecting import Reconnects, first_leaf
from quasar.sdk.requests import LiveSymbol
from quasar.sdk.wire import Wire

Message = str | bytes | Mapping[str, Any] | list[Any]
"""What is sent; mappings and lists are sent as JSON."""

_WATCH_S: Final = 1.0
_TRIES: Final = 3
"""How often a subscription is sent before it counts as refused."""
_MEND_S: Final = 5.0
"""A symbol is synchronised anew at most so often because of its checksum."""
_LARGEST_MESSAGE: Final = 16 * 1024 * 1024
_KEPT_OF_MESSAGE: Final = 2_000
_PASSING: Final = (OSError, TimeoutError, WebSocketException, errors.VendorFailed)
"""What another connection may cure."""


class SilentFeed(errors.VendorFailed):
    """The connection is open and dead: neither data nor heartbeat came."""


class Dialect(Protocol):
    """How a vendor's feed speaks; what `WebSocketProvider` declares."""

    patience: ClassVar[Patience]
    acknowledges: ClassVar[bool]
    tick_kinds: ClassVar[tuple[TickKind | str, ...]]

    async def endpoint(self) -> str:
        """Return the URL to connect to."""
        ...

    def greet(self) -> Iterable[Message]:
        """Return what is sent first on each connection."""
        ...

    def subscribe(self, symbols: Sequence[LiveSymbol]) -> Iterable[Message]:
        """Return what subscribes symbols."""
        ...

    def unsubscribe(self, symbols: Sequence[LiveSymbol]) -> Iterable[Message]:
        """Return what unsubscribes symbols."""
        ...

    def decode(self, raw: str | bytes) -> Any:
        """Return a received message as `parse` wants it."""
        ...

    def parse(self, message: Any) -> Iterable[LiveItem]:
        """Return what a message holds."""
        ...

    def reset(self) -> None:
        """Forget what belongs to one connection."""
        ...


class WebSocketFeed:
    """Runs one feed until it is cancelled, or until the vendor refuses the credentials."""

    def __init__(self, dialect: Dialect, feed: Feed, sink: Sink, context: Context) -> None:
        """Bring together who speaks, what is wanted, and where rows go."""
        self._dialect = dialect
        self._feed = feed
        self._sink = sink
        self._context = context
        self._connection = 0
        self._host = ""
        self._reconnects = Reconnects(context, feed, self._report)

    async def run(self) -> None:
        """Connect, and connect again.

        Raises:
            Unauthorised: The vendor refused the credentials.
        """
        failures = 0
        while True:
            self._connection += 1
            session = None
            try:
                session = await self._connect()
                failures = 0
                await session.run()
                continue  # the platform asked for a new connection
            except Exception as raised:
                error = first_leaf(raised)
                if isinstance(error, Unauthorised) or not isinstance(error, _PASSING):
                    raise error from None
            failures += 1
            text = self._context.redact(_words(error))
            if session is not None:
                self._sink.put(GapNotice(cause=GapCause.FEED_INTERRUPTED, detail=text))
            await self._reconnects.pause(failures, text)

    async def _connect(self) -> _Session:
        url = await self._dialect.endpoint()
        wire = self._context.wire
        self._host = urlsplit(url).hostname or ""
        self._report(ConnectionState.CONNECTING)
        patience = self._dialect.patience
        try:
            async with self._context.permits.call():
                socket = await connect(
                    url if wire is None else wire.route(url),
                    open_timeout=patience.connect_s,
                    ping_interval=patience.ping_s,
                    ping_timeout=patience.ping_s,
                    close_timeout=2.0,
                    max_size=_LARGEST_MESSAGE,
                    compression=None,  # inflating costs more than it saves on one connection
                )
        except InvalidStatus as error:
            if error.response.status_code in (401, 403):
                raise Unauthorised(f"{self._host} refused the connection with {error.response.status_code}") from error
            raise
        self._dialect.reset()
        self._feed.forget_changes()
        tap = None if wire is None else _Tap(wire, url)
        return _Session(socket, self._dialect, self._feed, self._sink, self._context, self._report, tap)

    def _report(self, state: ConnectionState, **fields: Any) -> None:
        self._sink.put(ConnectionNotice(state, self._connection, self._host, **fields))


class _Reconnect(Exception):
    """The platform wants a new connection."""


class _Tap:
    """Tells a wire of one connection."""

    def __init__(self, wire: Wire, url: str) -> None:
        self._wire = wire
        self._number = wire.opened(url)

    def sent(self, message: str | bytes) -> None:
        self._wire.sent(self._number, message)

    def received(self, message: str | bytes) -> None:
        self._wire.received(self._number, message)

    def closed(self) -> None:
        self._wire.closed(self._number)


class _Session:
    """One connection from its first message to its end."""

    def __init__(
        self,
        socket: ClientConnection,
        dialect: Dialect,
        feed: Feed,
        sink: Sink,
        context: Context,
        report: Callable[..., None],
        tap: _Tap | None,
    ) -> None:
        self._socket = socket
        self._tap = tap
        self._dialect = dialect
        self._feed = feed
        self._sink = sink
        self._clock = context.clock
        self._log = context.log
        self._report = report
        self._waiting: dict[str, tuple[float, int]] = {}
        self._torn: set[str] = set()
        """Symbols whose book is to be asked for anew."""
        self._mended: dict[str, float] = {}
        self._received_ns = 0
        self._bytes = 0
        self._since = context.clock.monotonic()

    async def run(self) -> None:
        """Read until the connection ends; return when the platform wants a new one."""
        self._report(ConnectionState.CONNECTED)
        try:
            async with self._socket, asyncio.TaskGroup() as group:
                group.create_task(self._read())
                for message in self._dialect.greet():
                    await self._send(message)
                await self._subscribe(list(self._feed.symbols.values()), 1)
                group.create_task(self._follow())
                group.create_task(self._watch())
        except ExceptionGroup as group_error:
            if not isinstance(first_leaf(group_error), _Reconnect):
                raise
        finally:
            if self._tap is not None:
                self._tap.closed()

    async def _read(self) -> None:
        decode, parse, put, ready = self._dialect.decode, self._dialect.parse, self._sink.put, self._sink.ready
        time_ns = self._clock.time_ns
        async for raw in self._socket:
            self._received_ns = time_ns()
            self._bytes += len(raw)
            if self._tap is not None:
                self._tap.received(raw)
            try:
                for item in parse(decode(raw)):
                    if type(item) is SymbolNotice:
                        self._noted(item)
                    put(item)
            except errors.VendorFailed:
                raise  # the author says that this connection is of no use any more
            except Exception as error:  # one message that the author did not think of must not end the feed
                put(self._rejected(raw, error))
            await ready()
        raise ConnectionClosed(self._socket.protocol.close_rcvd, self._socket.protocol.close_sent)

    def _noted(self, notice: SymbolNotice) -> None:
        self._waiting.pop(notice.symbol, None)
        if notice.state is SymbolState.CHECKSUM_FAILED:
            self._torn.add(notice.symbol)

    def _rejected(self, raw: str | bytes, error: Exception) -> RejectedRow:
        self._log.warning("a message could not be parsed", exc_info=error)
        text = raw if isinstance(raw, str) else raw.decode(errors="replace")
        return RejectedRow(f"parse raised {type(error).__name__}: {error}", {"message": text[:_KEPT_OF_MESSAGE]})

    async def _follow(self) -> None:
        while True:
            change: FeedChange = await self._feed.changed()
            if change.reconnect:
                raise _Reconnect
            for message in self._dialect.unsubscribe(gone) if (gone := self._gone(change)) else ():
                await self._send(message)
            again = [self._feed.symbols[name] for name in change.resync if name in self._feed.symbols]
            if again:
                for message in self._dialect.unsubscribe(again):
                    await self._send(message)
                for symbol in again:
                    self._sink.put(SymbolNotice(symbol.symbol, SymbolState.RESYNCING))
            new = [more for one in change.added if (more := one.without(change.former.get(one.symbol)))]
            await self._subscribe([*new, *again], 1)

    def _gone(self, change: FeedChange) -> list[LiveSymbol]:
        """Return what is no longer wanted. A feed of one kind of ticks may know of symbols only, and keeps them."""
        less = (change.former[one.symbol].without(one) for one in change.added if one.symbol in change.former)
        return [*change.removed, *(one for one in less if one and len(self._dialect.tick_kinds) > 1)]

    async def _subscribe(self, symbols: Sequence[LiveSymbol], attempt: int) -> None:
        if not symbols:
            return
        if self._dialect.acknowledges:
            due = self._clock.monotonic() + self._dialect.patience.acknowledge_s
            self._waiting.update((symbol.symbol, (due, attempt)) for symbol in symbols)
        for message in self._dialect.subscribe(symbols):
            await self._send(message)
        if not self._dialect.acknowledges:
            for symbol in symbols:
                self._sink.put(SymbolNotice(symbol.symbol, SymbolState.SUBSCRIBED))

    async def _watch(self) -> None:
        while True:
            await self._clock.sleep(_WATCH_S)
            latency = self._socket.latency
            self._report(
                ConnectionState.CONNECTED,
                last_receive_ns=self._received_ns,
                ping_s=latency or None,
                bytes_received=self._bytes,
            )
            self._check_heartbeat()
            await self._check_acknowledgements()
            self._mend()

    def _check_heartbeat(self) -> None:
        promised = self._dialect.patience.heartbeat_s
        if promised is None:
            return
        last = self._received_ns or self._clock.time_ns() - int((self._clock.monotonic() - self._since) * 1e9)
        silent = (self._clock.time_ns() - last) / 1e9
        if silent > 3 * promised:
            raise SilentFeed(f"nothing was received for {silent:.0f} s, not even a heartbeat")

    def _mend(self) -> None:
        """Ask for books anew whose checksum did not hold, each now and then: the next one may not hold either."""
        now = self._clock.monotonic()
        due = {symbol for symbol in self._torn if now - self._mended.get(symbol, -_MEND_S) >= _MEND_S}
        if due:
            self._torn -= due
            self._mended.update(dict.fromkeys(due, now))
            self._feed.resync(sorted(due))

    async def _check_acknowledgements(self) -> None:
        now = self._clock.monotonic()
        late = [(name, tries) for name, (due, tries) in self._waiting.items() if due <= now]
        for name, tries in late:
            del self._waiting[name]
            symbol = self._feed.symbols.get(name)
            if symbol is None:
                continue
            if tries < _TRIES:
                await self._subscribe([symbol], tries + 1)
            else:
                text = f"no acknowledgement after {tries} attempts"
                self._sink.put(SymbolNotice(name, SymbolState.REFUSED, text))

    async def _send(self, message: Message) -> None:
        text = message if isinstance(message, str | bytes) else json.dumps(message)
        if self._tap is not None:
            self._tap.sent(text)
        await self._socket.send(text)


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no connection in time"
    return " ".join(str(error).split()) or type(error).__name__
