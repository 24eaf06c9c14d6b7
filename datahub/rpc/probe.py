"""Checks a provider end to end, step by step."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing

from datahub.providers.entry import ProviderEntry
from datahub.providers.runtime import ProviderRuntime
from quasar.clock import Clock
from quasar.errors import DeadlineExceeded, PluginFailed, QuasarError, VendorFailed
from quasar.model.instants import from_ns, to_ns
from quasar.model.intervals import Interval
from quasar.plugins.permits import Lane
from quasar.plugins.ports import hosts_in_use
from quasar.plugins.provider import ProviderHandle
from quasar.rpc.wellknown import duration
from quasar.sdk.notices import SymbolNotice, SymbolState
from quasar.sdk.requests import BarRequest, LiveSymbol
from quasar_proto.datahub.v1 import feed_pb2
from quasar_proto.datahub.v1 import provider_pb2 as pb

_STEP_S = 20.0
_LIVE_S = 10.0
"""How long a live row is waited for; a market may be quiet."""
_SLOTS = 10
_MOST_HOSTS = 8
_OWN_STREAM = 1_000_000
"""The number of the live stream of a probe; those of feeds count from 0."""
_BROKEN = (feed_pb2.FEED_STATE_STALE, feed_pb2.FEED_STATE_RECONNECTING, feed_pb2.FEED_STATE_DOWN)

Feeds = Callable[[str], Awaitable[Sequence[feed_pb2.Feed]]]
"""Returns the live connections of a provider."""


class Probe:
    """One probe of one provider."""

    def __init__(
        self, entry: ProviderEntry, runtime: ProviderRuntime, clock: Clock, feeds: Feeds | None = None
    ) -> None:
        """Probe `entry`, whose live connections are among `feeds`."""
        self._entry = entry
        self._runtime = runtime
        self._clock = clock
        self._feeds = feeds
        self._symbol = ""
        self._steps: list[pb.ProbeStep] = []

    async def run(self, symbol: str, interval: str) -> list[pb.ProbeStep]:
        """Try what the provider can do; a step that fails is told and does not raise.

        Args:
            symbol: What to ask for; empty: the first that the provider lists.
            interval: At which interval; empty: the finest.
        """
        self._symbol = symbol
        code = Interval.parse(interval).code if interval else next(iter(self._entry.manifest.intervals), "")
        running = await self._step("configure", self._configure)
        for host in hosts_in_use(self._entry.manifest, self._entry.preferences)[:_MOST_HOSTS]:
            await self._step(f"resolve {host}", lambda host=host: _resolved(host))  # type: ignore[misc]  # bound now
        await self._step("symbols", self._symbols, possible=running and self._entry.can("SYMBOLS"))
        bars = running and self._entry.can("HISTORICAL") and bool(self._symbol) and bool(code)
        await self._step(f"bars {self._symbol} {code}".strip(), lambda: self._bars(code), possible=bars)
        live = running and self._entry.can("LIVE") and bool(self._symbol)
        await self._step(f"live {self._symbol}".strip(), self._live, possible=live)
        index = running and self._entry.can("INDEX")
        await self._step("constituents", self._constituents, possible=index)
        return self._steps

    async def _step(self, name: str, work: Callable[[], Awaitable[str]], *, possible: bool = True) -> bool:
        step = pb.ProbeStep(name=name, outcome=pb.PROBE_OUTCOME_SKIPPED)
        self._steps.append(step)
        if not possible:
            step.detail = "not tried: the provider cannot do it, or a step before failed"
            return False
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(_STEP_S):
                step.detail = await work()
            step.outcome = pb.PROBE_OUTCOME_PASSED
        except QuasarError as error:
            step.outcome, step.detail = pb.PROBE_OUTCOME_FAILED, error.message
        except TimeoutError:
            step.outcome, step.detail = pb.PROBE_OUTCOME_FAILED, f"no answer within {_STEP_S:g} seconds"
        step.elapsed.CopyFrom(duration(self._clock.monotonic() - began) or step.elapsed)
        return step.outcome == pb.PROBE_OUTCOME_PASSED

    async def _configure(self) -> str:
        handle = await self._runtime.handle(self._entry.name)
        view = self._runtime.process(self._entry.name)
        return f"process {view.pid if view else 0} runs {handle.manifest.class_name or self._entry.name}"

    async def _symbols(self) -> str:
        handle = await self._runtime.handle(self._entry.name)
        async with aclosing(handle.list_symbols(lane=Lane.INTERACTIVE)) as pages:
            async for page in pages:
                self._symbol = self._symbol or (page[0].symbol if page else "")
                return f"{len(page)} symbols in the first page"
        return "it knows no symbols"

    async def _bars(self, code: str) -> str:
        interval = Interval.parse(code)
        end = interval.floor_ns(to_ns(self._clock.now() - self._entry.delay))
        length = interval.length_ns or 31 * 86_400 * 10**9
        request = BarRequest(self._symbol, code, end - _SLOTS * length, end)
        handle = await self._runtime.handle(self._entry.name)
        count, last = 0, 0
        async with aclosing(handle.fetch_bars([request], lane=Lane.INTERACTIVE)) as batches:
            async for batch in batches:
                if batch.error is not None:
                    raise batch.error
                if batch.columns is not None and len(batch.columns):
                    count += len(batch.columns)
                    last = max(last, int(batch.columns.open_time_ns.max()))
        return f"{count} bars, last {from_ns(last).isoformat()}" if count else "no bar in the last slots"

    async def _constituents(self) -> str:
        handle = await self._runtime.handle(self._entry.name)
        return f"{len(await handle.constituents())} constituents"

    async def _live(self) -> str:
        # A second stream beside a running feed would cost a connection that the vendor may not allow.
        running = await self._feeds(self._entry.name) if self._feeds is not None else ()
        if not running:
            return await self._row_of(await self._runtime.handle(self._entry.name))
        for feed in running:
            if feed.state in _BROKEN:
                name = feed_pb2.FeedState.Name(feed.state).removeprefix("FEED_STATE_")
                raise VendorFailed(f"the feed {feed.feed_id} is {name}{': ' + feed.detail if feed.detail else ''}")
        symbols, rate = sum(feed.symbol_count for feed in running), sum(feed.rows_per_second for feed in running)
        return f"a feed runs already: {symbols} symbols, {rate:.1f} rows a second"

    async def _row_of(self, handle: ProviderHandle) -> str:
        """Open a live stream and wait for its first row; a symbol that is quiet is told as such."""
        subscribed = False
        try:
            async with (
                asyncio.timeout(_LIVE_S),
                aclosing(handle.stream_live([self._wish()], number=_OWN_STREAM)) as batches,
            ):
                async for batch in batches:
                    for notice in batch.notices:
                        if isinstance(notice, SymbolNotice):
                            if notice.state is SymbolState.REFUSED:
                                raise VendorFailed(f"{notice.symbol} was refused: {notice.message}")
                            subscribed = subscribed or notice.state is SymbolState.SUBSCRIBED
                    rows = sum(len(one.columns) for one in batch.tick_chunks)
                    rows += sum(len(one.columns) for one in batch.bar_chunks)
                    if rows:
                        return f"{rows} rows in the first batch"
        except TimeoutError:
            if not subscribed:
                raise DeadlineExceeded(
                    f"neither a row nor an answer to the subscription within {_LIVE_S:g} s"
                ) from None
        if not subscribed:
            raise PluginFailed("the stream ended before anything came")
        return f"subscribed, and no row within {_LIVE_S:g} seconds: the market may be quiet or closed"

    def _wish(self) -> LiveSymbol:
        manifest = self._entry.manifest
        kinds = manifest.tick_kinds or (("trade",) if manifest.streams_ticks else ())
        return LiveSymbol(
            self._symbol,
            trades="trade" in kinds,
            quotes="quote" in kinds,
            book_top="book_top" in kinds,
            intervals=() if kinds else manifest.intervals[:1],
        )


async def _resolved(host: str) -> str:
    try:
        found = await asyncio.to_thread(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise VendorFailed(f"the name cannot be resolved here: {error.strerror or error}") from error
    addresses = dict.fromkeys(str(one[4][0]) for one in found)
    return ", ".join(list(addresses)[:4])
