"""Feeds of other replicas as messages: this one tells how its own are, shows the others', and does what it is asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from datahub.live.replicas import TELL_S, Asked, Replicas, ToldFeed
from quasar import errors, logs
from quasar.clock import Clock
from quasar.errors import DatabaseUnavailable, DeadlineExceeded
from quasar.ops.hints import Hint
from quasar_proto.datahub.v1 import feed_pb2
from quasar_proto.datahub.v1 import provider_service_pb2 as pb

FRESH_S: Final = 1.0
"""What was read of the others is shown again for so long."""
SYMBOLS_EVERY: Final = 3
"""Symbols are told each time that feeds have been told so often, and at once when one is in another state."""
_AWAY: Final = (DatabaseUnavailable, DeadlineExceeded)
_log = logs.get(__name__)

Shown = tuple[list[feed_pb2.Feed], list[feed_pb2.SymbolFeed]]


@dataclass(slots=True)
class RemoteFeed:
    """A connection of another replica."""

    told: ToldFeed
    feed: feed_pb2.Feed
    symbols: list[feed_pb2.SymbolFeed] = field(default_factory=list)


class FeedExchange:
    """Tells and hears of feeds."""

    def __init__(self, replicas: Replicas, instance_id: str, clock: Clock) -> None:
        """Speak through `replicas`, as the process `instance_id`."""
        self._replicas = replicas
        self.instance_id = instance_id
        self._clock = clock
        self._hint = Hint(clock)
        self._read: dict[bool, tuple[float, list[RemoteFeed]]] = {}
        self._told_states: dict[str, list[int]] = {}
        self._turn = 0

    def notified(self, payload: str = "") -> None:
        """Wake this replica; fits as a callback of a `Listener`."""
        if payload in ("", self._replicas.replica_id):
            self._hint.give()

    async def run(self, mine: Callable[[], Awaitable[Shown]], do: Callable[[Asked], Awaitable[object]]) -> None:
        """Tell, and do what is asked, until cancelled.

        Args:
            mine: Returns the connections of this replica and all their symbols.
            do: Makes a connection anew.
        """
        async with self._present():
            while True:
                mark = self._hint.mark()
                try:
                    await self._exchange(mine, do)
                except _AWAY as error:
                    _log.warning("feeds not told to other replicas", problem=str(error))
                await self._hint.after(mark, TELL_S)

    @asynccontextmanager
    async def _present(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            with contextlib.suppress(*_AWAY, TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._replicas.leave()

    async def _exchange(self, mine: Callable[[], Awaitable[Shown]], do: Callable[[Asked], Awaitable[object]]) -> None:
        for asked in await self._replicas.asked():
            try:
                await do(asked)
            except errors.QuasarError as error:
                _log.warning("feed not made anew", feed=asked.feed_id, problem=error.message)
        await self._replicas.seen()
        if not self._replicas.alone:
            await self._replicas.tell(self._encoded(*await mine()))

    def _encoded(
        self, feeds: Sequence[feed_pb2.Feed], symbols: Sequence[feed_pb2.SymbolFeed]
    ) -> Mapping[str, tuple[bytes, bytes | None]]:
        self._turn += 1
        carried: dict[str, list[feed_pb2.SymbolFeed]] = {}
        for symbol in symbols:
            carried.setdefault(symbol.feed_id, []).append(symbol)
        found: dict[str, tuple[bytes, bytes | None]] = {}
        for feed in feeds:
            own = carried.get(feed.feed_id, [])
            states = [int(symbol.state) for symbol in own]
            due = self._turn % SYMBOLS_EVERY == 1 or self._told_states.get(feed.feed_id) != states
            self._told_states[feed.feed_id] = states
            listed = pb.ListSymbolFeedsResponse(symbols=own).SerializeToString() if due else None
            found[feed.feed_id] = feed.SerializeToString(), listed
        return found

    async def others(self, *, with_symbols: bool) -> list[RemoteFeed]:
        """Return the connections of the other replicas; while the database is away, none."""
        at, read = self._read.get(with_symbols, (0.0, []))
        now = self._clock.monotonic()
        if at and now - at < FRESH_S:
            return read
        try:
            found = [_remote(told) for told in await self._replicas.others(with_symbols=with_symbols)]
        except _AWAY as error:
            _log.warning("feeds of other replicas not read", problem=str(error))
            found = []
        self._read[with_symbols] = now, found
        return found

    async def ask(self, remote: RemoteFeed, symbols: Sequence[str]) -> None:
        """Pass a wish on to the replica that runs a connection.

        Raises:
            NotFound: The connection does not carry one of the symbols.
            PluginUnavailable: Symbols cannot be synchronised while it is not connected.
        """
        carried = {symbol.key.symbol for symbol in remote.symbols}
        for symbol in symbols:
            if symbol not in carried:
                raise errors.NotFound(
                    f"{remote.feed.feed_id} does not carry {symbol}.", resource=errors.Resource("symbol", symbol)
                )
        if symbols and not remote.feed.HasField("connect_time"):
            raise errors.PluginUnavailable(f"{remote.feed.provider} is not connected: {remote.feed.detail}")
        await self._replicas.ask(remote.told, symbols)


def _remote(told: ToldFeed) -> RemoteFeed:
    symbols = pb.ListSymbolFeedsResponse.FromString(told.symbols).symbols
    return RemoteFeed(told, feed_pb2.Feed.FromString(told.feed), list(symbols))
