"""The live half of `ProviderService`: connections, the symbols on them, and connecting anew."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from datahub.live.feeds import Feeds
from datahub.live.hours import MarketHours
from datahub.live.provider_feed import ProviderFeed
from datahub.live.replicas import Asked
from datahub.live.states import FeedState
from datahub.live.symbols import LiveName
from datahub.rpc.feed_exchange import FeedExchange, Shown
from datahub.rpc.feed_messages import feed_message, symbol_message
from quasar import paging
from quasar.clock import Clock
from quasar.errors import Draining, InvalidFilter, NotFound, Resource
from quasar.filters import Field, predicate
from quasar.rpc.wellknown import seconds, timestamp_ns
from quasar_proto.datahub.v1 import feed_pb2
from quasar_proto.datahub.v1 import provider_service_pb2 as pb

USUAL_INTERVAL_S: Final = 1.0
USUAL_HEARTBEAT_S: Final = 10.0
_STATES = tuple(state.name for state in FeedState)
_FEED_FIELDS: Mapping[str, Field] = {
    "feed_id": Field("feed_id"),
    "provider": Field("provider"),
    "state": Field("state", "enum", _STATES, str.upper),
}
_SYMBOL_FIELDS: Mapping[str, Field] = {**_FEED_FIELDS, "symbol": Field("symbol")}
_ORDERS: Mapping[str, Callable[[feed_pb2.SymbolFeed], Any]] = {
    "symbol": lambda one: (one.key.symbol, one.key.provider),
    "state": lambda one: (one.state, one.key.symbol, one.key.provider),
    "last_receive_time": lambda one: (one.last_receive_time.ToNanoseconds(), one.key.symbol, one.key.provider),
    "rows": lambda one: (one.rows, one.key.symbol, one.key.provider),
}


class FeedPages:
    """Answers about the feeds of this process and of the other replicas."""

    def __init__(self, feeds: Feeds, exchange: FeedExchange, clock: Clock, draining: asyncio.Event) -> None:
        """Show `feeds`, and through `exchange` those of others; watches end when `draining` is set."""
        self._feeds = feeds
        self._exchange = exchange
        self._clock = clock
        self._draining = draining
        self._hours = MarketHours()

    async def run(self) -> None:
        """Tell other replicas of the feeds of this one, and do what they ask, until cancelled."""
        await self._exchange.run(self._own, self._do)

    async def _do(self, asked: Asked) -> None:
        feed = self._feeds.running.get(asked.feed_id)
        if feed is not None:
            await _anew(feed, asked.symbols)

    async def of_provider(self, provider: str) -> Sequence[feed_pb2.Feed]:
        """Return the connections of a provider."""
        own = self._feeds.of_provider(provider)
        if own:
            return (await self._shown(own))[0]
        return [one.feed for one in await self._exchange.others(with_symbols=False) if one.feed.provider == provider]

    async def symbol_feeds(self, names: Collection[LiveName]) -> dict[LiveName, feed_pb2.SymbolFeed]:
        """Return how symbols are, on this replica or another one; those that no connection carries are left out."""
        known = {name: (self._feeds.feed_of(name), self._feeds.symbols.current.get(name)) for name in names}
        now_ns = self._clock.time_ns()
        await self._hours.look([series.ticks.calendar for _, series in known.values() if series is not None], now_ns)
        found = {
            name: symbol_message(feed, series, self._hours.of(series.ticks.calendar), now_ns)
            for name, (feed, series) in known.items()
            if feed is not None and series is not None
        }
        if elsewhere := known.keys() - found.keys():
            for remote in await self._exchange.others(with_symbols=True):
                told = {LiveName(one.key.provider, one.key.symbol): one for one in remote.symbols}
                found |= {name: told[name] for name in elsewhere & told.keys()}
        return found

    async def list_feeds(self, request: pb.ListFeedsRequest) -> pb.ListFeedsResponse:
        """Return a page of connections, by id."""
        passes = predicate(request.filter, _FEED_FIELDS)
        feeds, _ = await self._all(with_symbols=False)
        matching = [each for each in feeds if passes(_facts(each))]
        begin, end, token = _page(("ListFeeds", request.filter), request, len(matching))
        return pb.ListFeedsResponse(feeds=matching[begin:end], next_page_token=token)

    async def list_symbol_feeds(self, request: pb.ListSymbolFeedsRequest) -> pb.ListSymbolFeedsResponse:
        """Return a page of symbols on connections."""
        passes = predicate(request.filter, _SYMBOL_FIELDS)
        words = request.order_by.split() or ["symbol"]
        if words[0] not in _ORDERS or words[1:] not in ([], ["asc"], ["desc"]):
            names = ", ".join(_ORDERS)
            raise InvalidFilter(f"order_by must be one of {names}, with or without ' desc', was {request.order_by!r}.")
        _, symbols = await self._all()
        matching = [each for each in symbols if passes(_symbol_facts(each))]
        matching.sort(key=_ORDERS[words[0]], reverse=words[1:] == ["desc"])
        asked = ("ListSymbolFeeds", request.filter, request.order_by)
        begin, end, token = _page(asked, request, len(matching))
        return pb.ListSymbolFeedsResponse(symbols=matching[begin:end], next_page_token=token)

    async def watch_feeds(self, request: pb.WatchFeedsRequest) -> AsyncGenerator[pb.WatchFeedsResponse, None]:
        """Yield all connections at first, then those that changed.

        Raises:
            Draining: The service stops.
        """
        passes = predicate(request.filter, _FEED_FIELDS)
        interval_s = seconds(request.interval) or USUAL_INTERVAL_S
        heartbeat_s = seconds(request.heartbeat_interval) or USUAL_HEARTBEAT_S
        watch = _Watch(request.include_symbols)
        told: float | None = None
        while not self._draining.is_set():
            feeds, symbols = await self._all(with_symbols=request.include_symbols)
            message = watch.changed([each for each in feeds if passes(_facts(each))], symbols)
            now = self._clock.monotonic()
            if message.ByteSize() or told is None or now - told >= heartbeat_s:
                told = now
                message.time.CopyFrom(timestamp_ns(self._clock.time_ns()))
                yield message
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval_s):
                    await self._draining.wait()
        raise Draining(retry_after_s=1.0)

    async def reconnect_feed(self, request: pb.ReconnectFeedRequest) -> pb.ReconnectFeedResponse:
        """Connect anew, or synchronise some symbols anew."""
        feed = self._feeds.running.get(request.feed_id)
        if feed is None:
            return pb.ReconnectFeedResponse(feed=await self._passed_on(request))
        carried = feed.series
        for symbol in request.symbols:
            if symbol not in carried:
                raise NotFound(f"{request.feed_id} does not carry {symbol}.", resource=Resource("symbol", symbol))
        await _anew(feed, request.symbols)
        return pb.ReconnectFeedResponse(feed=(await self._shown([feed]))[0][0])

    async def _passed_on(self, request: pb.ReconnectFeedRequest) -> feed_pb2.Feed:
        """Ask the replica that runs a connection; return how it was told last.

        Raises:
            NotFound: No replica runs it.
        """
        told = await self._exchange.others(with_symbols=True)
        remote = next((one for one in told if one.feed.feed_id == request.feed_id), None)
        if remote is None:
            raise NotFound(f"There is no feed {request.feed_id}.", resource=Resource("feed", request.feed_id))
        await self._exchange.ask(remote, request.symbols)
        return remote.feed

    async def _own(self) -> Shown:
        return await self._shown([self._feeds.running[name] for name in sorted(self._feeds.running)])

    async def _all(self, *, with_symbols: bool = True) -> Shown:
        """Return the connections of all replicas, by id; this one's own where two have the same."""
        feeds, symbols = await self._own()
        held = {feed.feed_id for feed in feeds}
        for remote in await self._exchange.others(with_symbols=with_symbols):
            if remote.feed.feed_id not in held:
                held.add(remote.feed.feed_id)
                feeds.append(remote.feed)
                symbols += remote.symbols
        return sorted(feeds, key=lambda feed: feed.feed_id), symbols

    async def _shown(self, feeds: Iterable[ProviderFeed]) -> Shown:
        """Return connections and all their symbols as they are now."""
        chosen = [(feed, list(feed.series.values())) for feed in feeds]
        calendars = {one.ticks.series_id: one.ticks.calendar for _, series in chosen for one in series}
        now_ns = self._clock.time_ns()
        await self._hours.look(calendars.values(), now_ns)
        messages: list[feed_pb2.Feed] = []
        symbols: list[feed_pb2.SymbolFeed] = []
        for feed, series in chosen:
            mine = [symbol_message(feed, one, self._hours.of(calendars[one.ticks.series_id]), now_ns) for one in series]
            messages.append(feed_message(feed, mine, now_ns))
            messages[-1].instance_id = self._exchange.instance_id
            symbols += mine
        return messages, symbols


async def _anew(feed: ProviderFeed, symbols: Sequence[str]) -> None:
    """Make a connection anew, or synchronise some of its symbols anew."""
    if symbols:
        await feed.resync(list(symbols))
    else:
        feed.reconnect()


class _Watch:
    """What a watcher was told last."""

    def __init__(self, include_symbols: bool) -> None:
        self._include_symbols = include_symbols
        self._feeds: dict[str, bytes] = {}
        self._symbols: dict[int, int] = {}

    def changed(self, feeds: Sequence[feed_pb2.Feed], symbols: Sequence[feed_pb2.SymbolFeed]) -> pb.WatchFeedsResponse:
        """Return what is new since the last time."""
        now = {each.feed_id: each.SerializeToString(deterministic=True) for each in feeds}
        message = pb.WatchFeedsResponse(
            feeds=[each for each in feeds if self._feeds.get(each.feed_id) != now[each.feed_id]],
            removed_feed_ids=[feed_id for feed_id in self._feeds if feed_id not in now],
        )
        if self._include_symbols:
            mine = [each for each in symbols if each.feed_id in now]
            message.symbols.extend(each for each in mine if self._symbols.get(each.series_id) != each.state)
            self._symbols = {each.series_id: int(each.state) for each in mine}
        self._feeds = now
        return message


def _page(asked: tuple[str, ...], request: Any, rows: int) -> tuple[int, int, str]:
    """Return begin and end of a page among `rows` rows, and the token of the next one."""
    key = paging.page_key(asked, request.page_token)
    begin = int(key[0]) if key else 0
    end = begin + paging.page_size(request.page_size)
    return begin, end, paging.page_token(asked, [end]) if end < rows else ""


def _facts(feed: feed_pb2.Feed) -> dict[str, Any]:
    return {"feed_id": feed.feed_id, "provider": feed.provider, "state": FeedState(feed.state).name}


def _symbol_facts(symbol: feed_pb2.SymbolFeed) -> dict[str, Any]:
    return {
        "feed_id": symbol.feed_id,
        "provider": symbol.key.provider,
        "symbol": symbol.key.symbol,
        "state": FeedState(symbol.state).name,
    }
