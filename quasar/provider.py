"""What an author of a market-data source subclasses.

History, from a vendor's HTTP interface (`bars` may yield single bars or whole columns):

    class Demo(Provider):
        name = "demo"
        intervals = ("1d",)
        hosts = ("api.example.com",)
        rate_limit = (60, 60)
        secrets = ("api_token",)

        async def bars(self, request: BarRequest) -> AsyncIterator[Bar]:
            rows = await self.http.json(
                f"https://api.example.com/eod/{request.symbol}",
                {"from": request.start.date().isoformat(), "token": self.secret("api_token")},
            )
            for row in rows:
                yield parse(row)

Live data over a WebSocket: subclass `WebSocketProvider`, say how symbols are subscribed, and parse messages.

A class can do what the methods that it overrides can do. Everything runs in a process of its own with limits; what is
not declared (hosts, secrets) is not there.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from quasar import errors
from quasar.clock import Clock
from quasar.engine.parameters import declared
from quasar.model.asset_classes import AssetClass
from quasar.model.bars import Bar, BarColumns, BarState
from quasar.model.instruments import Instrument
from quasar.model.ticks import Side, Tick, TickColumns, TickFlag, TickKind
from quasar.sdk.context import Context
from quasar.sdk.declarations import Host, Preference, RateLimit, RateLimits, Secret
from quasar.sdk.failures import Throttled, Unauthorised, UnknownSymbol, Unsupported
from quasar.sdk.feed import Feed, Sink
from quasar.sdk.http_options import HttpOptions
from quasar.sdk.notices import (
    ConnectionNotice,
    ConnectionState,
    EmptyRange,
    GapCause,
    GapNotice,
    HistoryItem,
    LiveItem,
    RejectedRow,
    SymbolNotice,
    SymbolState,
    TickItem,
)
from quasar.sdk.patience import Patience
from quasar.sdk.permits import CallOutcome
from quasar.sdk.requests import BarRequest, Constituent, LiveSymbol, TickRequest

if TYPE_CHECKING:  # loading it costs a plug-in without HTTP a quarter of its start
    from quasar.sdk.http import HttpClient

__all__ = [
    "AssetClass",
    "Bar",
    "BarColumns",
    "BarRequest",
    "BarState",
    "Capability",
    "ConnectionNotice",
    "ConnectionState",
    "Constituent",
    "Context",
    "EmptyRange",
    "Feed",
    "GapCause",
    "GapNotice",
    "HistoryItem",
    "Host",
    "HttpOptions",
    "Instrument",
    "LiveItem",
    "LiveSymbol",
    "Patience",
    "Preference",
    "Provider",
    "RateLimit",
    "RejectedRow",
    "Secret",
    "Side",
    "Sink",
    "SymbolNotice",
    "SymbolState",
    "Throttled",
    "Tick",
    "TickColumns",
    "TickFlag",
    "TickItem",
    "TickKind",
    "TickRequest",
    "Unauthorised",
    "UnknownSymbol",
    "Unsupported",
    "WebSocketProvider",
]


class Capability(Enum):
    """What a provider can do."""

    HISTORICAL = "HISTORICAL"
    LIVE = "LIVE"
    INDEX = "INDEX"
    SYMBOLS = "SYMBOLS"


class Provider:
    """Base class of providers: declare on the class, override what the source can do, use what `self` offers."""

    name: ClassVar[str] = ""
    """Name in the registry; empty: the class's name in lower case with underscores, without "provider"."""
    version: ClassVar[str] = ""
    """The author's own version; free text."""
    intervals: ClassVar[tuple[str, ...]] = ()
    """Intervals that can be fetched or streamed as bars: `1min`, `5min`, `1h`, `1d` …"""
    streams_ticks: ClassVar[bool] = True
    """Live sources: whether single ticks can be streamed; False: bars only."""
    tick_kinds: ClassVar[tuple[TickKind | str, ...]] = (TickKind.TRADE,)
    """Live sources: the kinds of ticks that can be streamed: `trade`, `quote`, `book_top`. `LiveSymbol` says which of
    them somebody wants."""
    rate_limit: ClassVar[RateLimits] = None
    """Calls that the vendor allows: `(calls, seconds)`, a `RateLimit`, or several; counted outside, over all uses."""
    concurrency: ClassVar[int] = 5
    """Requests that may be in flight at once."""
    hosts: ClassVar[tuple[str | Host, ...]] = ()
    """Hosts that the code reaches, with the port where it is not 443: `api.example.com`, `feed.example.com:9443`."""
    history_depth: ClassVar[Mapping[str, dt.timedelta]] = {}
    """How far back intervals go at the vendor; an interval that is absent has no known limit."""
    publication_delay: ClassVar[dt.timedelta] = dt.timedelta(0)
    """How long after its close a bar is there at the vendor."""
    asset_classes: ClassVar[tuple[AssetClass | str, ...]] = ()
    """Classes of assets that it handles; empty: any."""
    calendar: ClassVar[str] = ""
    """Calendar of symbols without a known exchange: a MIC, or `24/7`; empty: always open."""
    indices: ClassVar[tuple[str, ...]] = ()
    """Index sources: the names of the indices; empty: one that is named like the provider."""
    secrets: ClassVar[tuple[str | Secret, ...]] = ()
    """Secrets that it takes; a bare name is a required one."""
    symbols_per_connection: ClassVar[int] = 0
    """Live sources: symbols that one connection carries at most; 0: any number."""
    max_live_streams: ClassVar[int] = 1
    """Live sources: connections that may be open at once. One object serves all of them: where there are several,
    `reset` must not forget what belongs to symbols of the others."""
    own_client: ClassVar[bool] = False
    """The vendor is called by another client than `self.http` (a library of the vendor's): the platform then counts one
    call for each symbol, or the code asks for its permits with `self.permit`."""
    http_options: ClassVar[HttpOptions] = HttpOptions()
    """How the HTTP client behaves: base URL, headers, time-out, attempts."""

    def __init__(self, context: Context | None = None, preferences: Mapping[str, object] | None = None) -> None:
        """Take the surroundings and the preferences. Keep it quick: no network, no files; `start` is for those.

        Raises:
            InvalidArgument: A preference is unknown, of another type or out of bounds.
        """
        self.context = context or Context(name=self.registered_name())
        self.apply_preferences(preferences or {})

    # What an author overrides.

    async def start(self) -> None:
        """Prepare: log in, read a list. Called once the settings are there, before anything else."""

    async def stop(self) -> None:
        """Finish: close what `start` opened. The HTTP client closes itself."""

    def bars(self, request: BarRequest) -> AsyncIterator[HistoryItem]:
        """Yield the bars of one symbol in a range, oldest first: `Bar`, `BarColumns`, `EmptyRange`, `RejectedRow`.

        A bar that is not finished has the state `FORMING`. Rows outside the range are no error.

        Raises:
            UnknownSymbol: The vendor does not know the symbol.
            Unsupported: It does not serve the interval or range.
            Throttled: It asked to wait.
            Unauthorised: It refused the credentials.
            VendorFailed: It failed otherwise.
        """
        raise errors.Unimplemented(f"{self.registered_name()} has no history")

    def ticks(self, request: TickRequest) -> AsyncIterator[TickItem]:
        """Yield the ticks of one symbol in a range, oldest first; used to fill holes of a live feed."""
        raise errors.Unimplemented(f"{self.registered_name()} has no history of ticks")

    def live(self, feed: Feed) -> AsyncIterator[LiveItem]:
        """Yield what happens: `(symbol, tick)`, `(symbol, ticks)`, `(symbol, interval, bar)`, or notices; never end.

        `feed.symbols` is what is wanted now; `await feed.changed()` waits for a change. `receive_time_ns` of ticks
        is filled in where it is absent.
        """
        raise errors.Unimplemented(f"{self.registered_name()} has no live data")

    def symbols(self, exchange: str = "") -> AsyncIterator[Instrument | Sequence[Instrument] | RejectedRow]:
        """Yield the symbols that the vendor knows, made with `self.instrument`.

        Args:
            exchange: Only those of this exchange, a MIC or the vendor's own code; empty: all.
        """
        raise errors.Unimplemented(f"{self.registered_name()} cannot list symbols")

    async def constituents(self, index: str, as_of: dt.date | None) -> Sequence[Constituent]:
        """Return the members of an index, now or on a date; an empty index is an empty answer.

        Raises:
            NotFound: The index is not known.
            Unsupported: The vendor cannot answer for a date.
        """
        raise errors.Unimplemented(f"{self.registered_name()} is no source of indices")

    def preferences_changed(self) -> None:
        """Hear that an operator changed preferences; their values are in force already."""

    # What an author uses.

    @property
    def http(self) -> HttpClient:
        """The HTTP client: paced by the rate limits, patient with a busy vendor, retrying."""
        return self.context.http(replace(self.http_options, connections=self.concurrency))

    @property
    def clock(self) -> Clock:
        """The source of time and of waiting."""
        return self.context.clock

    @property
    def log(self) -> logging.Logger:
        """A standard logger; what it and `print` write goes into the platform's log."""
        return self.context.log

    def secret(self, name: str) -> str:
        """Return the value of a declared secret.

        Raises:
            FailedPrecondition: It is not stored.
        """
        return self.context.secret(name)

    def permit(self, weight: int = 1) -> AbstractAsyncContextManager[CallOutcome]:
        """Wait for a permit of the rate limits, for calls that are not made with `self.http`.

        async with self.permit():
            rows = await client.fetch(...)
        """
        return self.context.permits.call(weight)

    def instrument(self, symbol: str, *, asset_class: str | None = None, **fields: Any) -> Instrument:
        """Return a symbol of this provider; `fields` are those of `Instrument`, blanks become None.

        Raises:
            InvalidArgument: A field is malformed; yield a `RejectedRow` for it, since an error ends the whole list.
        """
        return Instrument.told(self.registered_name(), symbol, asset_class=asset_class, **fields)

    # What the platform calls.

    async def pump(self, feed: Feed, sink: Sink) -> None:
        """Push what happens into `sink` until cancelled; overridden by sources that are driven by messages."""
        put, ready = sink.put, sink.ready
        turn = 0
        async for item in self.live(feed):
            put(item)
            turn += 1
            # Asking after every single tick would cost as much as taking it.
            if not turn & 31 or type(item) is not tuple or type(item[-1]) is not Tick:
                await ready()

    def apply_preferences(self, values: Mapping[str, object]) -> None:
        """Put preferences in force, all or none; what is not given has its default.

        Raises:
            InvalidArgument: A preference is unknown, of another type or out of bounds.
        """
        known = declared(type(self))
        if unknown := sorted(set(values) - set(known)):
            names = ", ".join(known) or "none"
            raise errors.InvalidArgument(f"preferences must be among {names}, was {', '.join(unknown)}")
        read = {name: own.read(values[name]) if name in values else own.default for name, own in known.items()}
        self.__dict__.update(read)

    @classmethod
    def registered_name(cls) -> str:
        """Return the name in the registry."""
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
        return cls.name or words.removesuffix("_provider") or words

    @classmethod
    def overrides(cls, *methods: str) -> bool:
        """Tell whether the class has one of these methods of its own."""
        return any(getattr(cls, method) is not getattr(Provider, method) for method in methods)

    @classmethod
    def capabilities(cls) -> tuple[Capability, ...]:
        """Return what the class can do."""
        found = {
            Capability.HISTORICAL: cls.overrides("bars"),
            Capability.LIVE: cls.overrides("live", "pump"),
            Capability.INDEX: cls.overrides("constituents"),
            Capability.SYMBOLS: cls.overrides("symbols"),
        }
        return tuple(capability for capability, present in found.items() if present)


class WebSocketProvider(Provider):
    """A live source with one WebSocket connection for many symbols: reconnects, resubscribes, tells quiet from dead."""

    url: ClassVar[str] = ""
    """Where to connect, unless `endpoint` is overridden."""
    acknowledges: ClassVar[bool] = True
    """Whether the vendor answers subscriptions; `parse` then yields a `SymbolNotice` for each answer."""
    patience: ClassVar[Patience] = Patience()
    """How long to wait for connections, answers, pings and heartbeats."""

    @abstractmethod
    def subscribe(self, symbols: Sequence[LiveSymbol]) -> Iterable[Any]:
        """Return the messages that subscribe symbols; mappings are sent as JSON."""
        raise NotImplementedError

    @abstractmethod
    def parse(self, message: Any) -> Iterable[LiveItem]:
        """Return what one message holds. Keep it pure: it is what recordings are tested with."""
        raise NotImplementedError

    async def endpoint(self) -> str:
        """Return the URL to connect to; override it where the vendor wants a token asked for first."""
        return self.url

    def greet(self) -> Iterable[Any]:
        """Return the messages that are sent first on each connection, for example a login."""
        return ()

    def unsubscribe(self, symbols: Sequence[LiveSymbol]) -> Iterable[Any]:
        """Return the messages that unsubscribe symbols; none where the vendor has none."""
        return ()

    def decode(self, raw: str | bytes) -> Any:
        """Return a received message as `parse` wants it: JSON, unless overridden."""
        return json.loads(raw)

    def reset(self) -> None:
        """Forget what belongs to one connection, for example order books; called on each new one."""

    async def pump(self, feed: Feed, sink: Sink) -> None:
        """Run the connection until cancelled."""
        from quasar.sdk.websocket import WebSocketFeed  # loaded by sources that connect, not by all that are declared

        await WebSocketFeed(self, feed, sink, self.context).run()
