"""One live stream as its reader sees it: it outlives the processes that feed it, and a swap loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, Protocol

from quasar import errors
from quasar.clock import Clock
from quasar.plugins.batches import LiveBatch
from quasar.plugins.errands import Errands
from quasar.plugins.live_call import PATH, LiveCall
from quasar.plugins.process import PluginProcess
from quasar.plugins.seam import Seam
from quasar.sdk.failures import Unauthorised
from quasar.sdk.jitter import FullJitter
from quasar.sdk.notices import ConnectionNotice, ConnectionState, GapCause, GapNotice, SymbolNotice
from quasar.sdk.requests import LiveSymbol
from quasar_proto.datahub.v1 import stream_pb2
from quasar_proto.plugin.v1 import provider_pb2

_SETTLE_S: Final = 10.0
"""How long a new process has to connect and subscribe before it takes over all the same."""
_SEAM_S: Final = 2.0
"""How long after a change repeats are looked for."""
_names = count(1)


class Processes(Protocol):
    """Where processes come from; what a keeper is to a relay."""

    async def ready(self) -> PluginProcess:
        """Wait for a process that runs."""
        ...


@dataclass(frozen=True, slots=True)
class Subscription:
    """One symbol and the ids of its series."""

    symbol: LiveSymbol
    series_id: int
    bar_ids: Mapping[str, int]

    def to_proto(self) -> provider_pb2.LiveSubscription:
        """Return the contract's form."""
        wanted = self.symbol
        contents = {
            stream_pb2.STREAM_CONTENT_TRADES: wanted.trades,
            stream_pb2.STREAM_CONTENT_QUOTES: wanted.quotes,
            stream_pb2.STREAM_CONTENT_BOOK_TOP: wanted.book_top,
        }
        return provider_pb2.LiveSubscription(
            series_id=self.series_id,
            symbol=wanted.symbol,
            contents=[content for content, present in contents.items() if present],
            bars=[provider_pb2.LiveBars(series_id=number, interval=name) for name, number in self.bar_ids.items()],
            provider_id=wanted.provider_id,
        )


class Relay:
    """Feeds one reader."""

    def __init__(self, processes: Processes, clock: Clock, jitter: FullJitter, flush_s: float) -> None:
        """Prepare; `batches` begins.

        Args:
            processes: Where processes come from.
            clock: Tells the time and waits.
            jitter: Waits between attempts.
            flush_s: How long rows are gathered at most before they are sent.
        """
        self._processes = processes
        self._clock = clock
        self._jitter = jitter
        self._flush_s = flush_s
        self._subscriptions: dict[str, Subscription] = {}
        self._names: dict[int, tuple[str, str]] = {}
        self._ids = count(1)
        self._errands = Errands()
        self._call: LiveCall | None = None
        self._successor: LiveCall | None = None
        self._seam = Seam()

    def subscribe(self, symbols: Iterable[LiveSymbol], series_ids: Mapping[tuple[str, str], int] | None = None) -> None:
        """Add symbols, or change what is wanted of them.

        Args:
            symbols: What is wanted.
            series_ids: The id for each (symbol, interval), ticks under the interval ""; absent ones are made up.
        """
        given = series_ids or {}
        for symbol in symbols:
            former = self._subscriptions.get(symbol.symbol)
            number = given.get((symbol.symbol, "")) or (former.series_id if former else self._fresh())
            self._names[number] = (symbol.symbol, "")
            bars: dict[str, int] = {}
            for name in symbol.intervals:
                kept = former.bar_ids.get(name) if former else None
                bars[name] = given.get((symbol.symbol, name)) or kept or self._fresh()
                self._names[bars[name]] = (symbol.symbol, name)
            self._subscriptions[symbol.symbol] = Subscription(symbol, number, bars)

    def _fresh(self) -> int:
        return next(number for number in self._ids if number not in self._names)

    async def update(
        self,
        add: Sequence[LiveSymbol] = (),
        remove: Sequence[str] = (),
        series_ids: Mapping[tuple[str, str], int] | None = None,
    ) -> None:
        """Change the running stream."""
        gone = [self._subscriptions.pop(symbol) for symbol in remove if symbol in self._subscriptions]
        self.subscribe(add, series_ids)
        added = [self._subscriptions[symbol.symbol].to_proto() for symbol in add]
        for call in (self._call, self._successor):
            if call is not None:
                request = provider_pb2.UpdateLiveSubscriptionsRequest(
                    stream_id=call.stream_id, remove_series_ids=[one.series_id for one in gone], add=added
                )
                await self._ask(call, "UpdateLiveSubscriptions", request)

    async def resync(self, symbols: Sequence[str] = ()) -> None:
        """Ask for new snapshots of symbols, or without symbols for a new connection."""
        numbers = [self._subscriptions[symbol].series_id for symbol in symbols if symbol in self._subscriptions]
        if symbols and not numbers:
            return  # none of them is subscribed any more: that is no wish for a new connection
        if self._call is not None:
            request = provider_pb2.ResyncLiveRequest(stream_id=self._call.stream_id, series_ids=numbers)
            await self._ask(self._call, "ResyncLive", request)

    async def _ask(self, call: LiveCall, method: str, request: Any) -> None:
        response = getattr(provider_pb2, f"{method}Response")
        asking: Any = call.process.channel.unary_unary(
            f"{PATH}{method}", type(request).SerializeToString, response.FromString
        )
        with contextlib.suppress(errors.NotFound, errors.PluginUnavailable):
            # A stream that is being made again takes its wishes from the subscriptions.
            await call.process.answer(asking(request, timeout=10.0))

    def _open(self, process: PluginProcess) -> LiveCall:
        request = provider_pb2.StreamLiveRequest(
            stream_id=f"s{next(_names)}", subscriptions=[one.to_proto() for one in self._subscriptions.values()]
        )
        request.flush_interval.FromNanoseconds(int(self._flush_s * 1e9))
        return LiveCall(process, request, self._names)

    async def batches(self) -> AsyncGenerator[LiveBatch, None]:
        """Yield what the feed brings, over restarts and swaps of its process.

        Raises:
            Unauthorised: The vendor refused the credentials.
            Unimplemented: The provider has no live data.
            PluginUnavailable: The process does not come back.
        """
        failures = 0
        async with self._errands:
            while True:
                self._call = self._begin(self._open(await self._processes.ready()))
                failure: errors.QuasarError | None = None
                try:
                    async for batch in self._through():
                        failures = 0 if batch.tick_chunks or batch.bar_chunks else failures
                        yield batch
                except errors.QuasarError as error:
                    failure = error
                if isinstance(failure, Unauthorised | errors.Unimplemented):
                    raise failure
                failures += 1
                wait = self._jitter.wait_s(failures)
                yield self._broken(failure, wait)
                await self._clock.sleep(wait)

    def _begin(self, call: LiveCall) -> LiveCall:
        self._errands.add(call.pump())
        return call

    async def _through(self) -> AsyncGenerator[LiveBatch, None]:
        """Yield the batches of the present call, and of those that take over from it."""
        while True:
            batch = await self._read()
            if batch is None:
                if self._successor is None:
                    return
                self._call, self._successor = self._successor, None
                self._call.on_batch = None
                self._errands.add(self._forget_seam())
            elif self._successor is not None:
                self._seam.remember(batch)
                yield batch
            else:
                yield self._seam.without_repeats(batch) if self._seam else batch

    async def _read(self) -> LiveBatch | None:
        assert self._call is not None
        try:
            return await self._call.read()
        except errors.QuasarError:
            if self._successor is None:
                raise
            return None  # the next process is there already: nothing is lost but what the former one still held

    async def _forget_seam(self) -> None:
        await self._clock.sleep(_SEAM_S)
        self._seam = Seam()

    async def take_over(self, process: PluginProcess) -> None:
        """Have a new process take over: returns when it is connected and subscribed, and the former one may end."""
        if self._call is None:
            return
        successor = self._open(process)
        waiting = {one.symbol.symbol for one in self._subscriptions.values()}
        settled = asyncio.Event()
        reports = False

        def look(batch: LiveBatch) -> None:
            nonlocal reports
            reports = reports or any(isinstance(one, ConnectionNotice) for one in batch.notices)
            waiting.difference_update(one.symbol for one in batch.notices if isinstance(one, SymbolNotice))
            if not waiting or (not reports and (batch.tick_chunks or batch.bar_chunks)):
                settled.set()

        successor.on_batch = look
        self._seam = Seam()
        self._successor = self._begin(successor)
        async with Errands() as errands:
            sooner = {errands.add(settled.wait()), errands.add(self._clock.sleep(_SETTLE_S))}
            await asyncio.wait(sooner, return_when=asyncio.FIRST_COMPLETED)

    def _broken(self, failure: errors.QuasarError | None, wait_s: float) -> LiveBatch:
        text = failure.message if failure is not None else "the process ended the stream"
        due = self._clock.time_ns() + int(wait_s * 1e9)
        return LiveBatch(
            notices=(
                ConnectionNotice(ConnectionState.DISCONNECTED, error=text, next_attempt_ns=due),
                GapNotice(cause=GapCause.FEED_INTERRUPTED, detail=text),
            )
        )
