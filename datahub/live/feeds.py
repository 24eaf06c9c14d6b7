"""One feed for each provider with live symbols: kept in step with what is wanted, started again when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from datahub.live.ingest import LiveIngest, StoredEnd
from datahub.live.states import QUIET_NS, FeedFacts
from datahub.live.symbols import LiveName, LiveSeries, LiveSymbols
from datahub.providers.runtime import ProviderRuntime
from datahub.store.statements import SQL
from quasar import errors, logs
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.model.columns import MISSING
from quasar.model.instants import to_ns
from quasar.model.ticks import TickColumns
from quasar.plugins.batches import LiveBatch
from quasar.plugins.provider import ProviderHandle
from quasar.sdk.notices import ConnectionNotice, ConnectionState, GapNotice, RejectedRow, SymbolNotice, SymbolState
from quasar.sdk.requests import LiveSymbol, TickRequest

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0

_log = logs.get(__name__)


class ProviderFeed:
    """The live stream of one provider."""

    def __init__(
        self, provider: str, runtime: ProviderRuntime, ingest: LiveIngest, clock: Clock, changed: Callable[[], None]
    ) -> None:
        """Feed `ingest` from `provider`; `changed` hears when the feed or one of its symbols is in another state."""
        self.facts = FeedFacts(provider, since_ns=clock.time_ns())
        self._runtime = runtime
        self._ingest = ingest
        self._clock = clock
        self._changed = changed
        self._series: dict[str, LiveSeries] = {}
        self._symbols: dict[int, str] = {}
        self._handle: ProviderHandle | None = None
        self._attempt: asyncio.Timeout | None = None
        self._asked_anew = False

    @property
    def series(self) -> Mapping[str, LiveSeries]:
        """The symbols that are wanted, by symbol."""
        return self._series

    async def want(self, wanted: Iterable[LiveSeries]) -> None:
        """Bring the running stream in step with what is wanted."""
        series = {one.name.symbol: one for one in wanted}
        added = [symbol for symbol in series if symbol not in self._series]
        removed = [symbol for symbol in self._series if symbol not in series]
        for symbol in removed:
            self._ingest.forget(self._series[symbol].ticks.series_id)
            self.facts.symbols.pop(symbol, None)
        self._series = series
        self._symbols = {one.ticks.series_id: symbol for symbol, one in series.items()}
        if self._handle is None or not (added or removed):
            return
        try:
            await self._handle.update_live(
                [LiveSymbol(symbol) for symbol in added],
                removed,
                series_ids={(symbol, ""): series[symbol].ticks.series_id for symbol in added},
            )
        except errors.NotFound:
            _log.info("feed begins anew with the changed symbols", provider=self.facts.provider)

    async def run(self) -> None:
        """Run until cancelled; a stream that ends is started again, later and later, or at once when asked for."""
        wait_s = FIRST_WAIT_S
        while True:
            started = self._clock.monotonic()
            try:
                async with asyncio.timeout(None) as attempt:
                    self._attempt = attempt
                    why = await self._streamed()
                    if self._clock.monotonic() - started > LONGEST_WAIT_S:
                        wait_s = FIRST_WAIT_S
                    await self._down(why, wait_s)
                    await self._clock.sleep(wait_s)
                    wait_s = min(LONGEST_WAIT_S, 2 * wait_s)
            except TimeoutError:
                if not attempt.expired():
                    raise
                await self._begin_anew()
                wait_s = FIRST_WAIT_S
            finally:
                self._attempt = None

    def reconnect(self) -> None:
        """Give up the present connection, or the wait for the next attempt, and connect anew; returns at once."""
        if self._attempt is not None:
            attempt, self._attempt = self._attempt, None
            attempt.reschedule(asyncio.get_running_loop().time())

    async def resync(self, symbols: Sequence[str]) -> None:
        """Synchronise some symbols anew on the present connection.

        Raises:
            PluginUnavailable: The provider is not connected.
        """
        handle = self._handle
        if handle is None:
            raise errors.PluginUnavailable(f"{self.facts.provider} is not running: {self.facts.down}")
        try:
            await handle.resync_live(symbols)
        except errors.NotFound:
            raise errors.PluginUnavailable(f"{self.facts.provider} is connecting") from None

    async def _streamed(self) -> str:
        """Stream until it ends, and return why."""
        try:
            await self._stream()
        except errors.QuasarError as error:
            return error.message
        return "the stream ended"

    async def _down(self, why: str, wait_s: float) -> None:
        facts, now = self.facts, self._clock.time_ns()
        facts.connected, facts.down, facts.since_ns = False, why, now
        facts.next_attempt_ns = now + int(wait_s * 1e9)
        self._changed()
        await self._ingest.interrupted([one.ticks.series_id for one in self._series.values()], why)
        _log.warning("feed is down", provider=facts.provider, problem=why, next_attempt_s=wait_s)

    async def _begin_anew(self) -> None:
        """Note that the connection is made anew because somebody asked for it."""
        facts = self.facts
        facts.connected, facts.down, facts.detail = False, "", ""
        facts.since_ns, facts.next_attempt_ns = self._clock.time_ns(), 0
        # The provider begins with a whole budget, and what an operator asks for is not taken from it.
        facts.made_anew.clear()
        self._asked_anew = True
        facts.refused.clear()
        self._changed()
        why = "the connection is made anew"
        await self._ingest.interrupted([one.ticks.series_id for one in self._series.values()], why)

    async def _stream(self) -> None:
        handle = await self._runtime.handle(self.facts.provider)
        symbols = [LiveSymbol(symbol) for symbol in self._series]
        ids = {(symbol, ""): series.ticks.series_id for symbol, series in self._series.items()}
        self._handle = handle
        try:
            async with aclosing(handle.stream_live(symbols, series_ids=ids)) as batches:
                async for batch in batches:
                    await self._take(batch)
        finally:
            self._handle = None

    async def _take(self, batch: LiveBatch) -> None:
        facts = self.facts
        facts.last_message_ns = self._clock.time_ns()
        if facts.down:
            facts.down, facts.next_attempt_ns = "", 0
            self._changed()
        for notice in batch.notices:
            await self._notice(notice)
        if not facts.connected and (batch.tick_chunks or batch.bar_chunks):
            self._connected()
            self._changed()
            self._ingest.resumed([one.ticks.series_id for one in self._series.values()], self._fetch)
        for chunk in batch.tick_chunks:
            self._count(chunk.series_id, chunk.columns)
            self._ingest.take(chunk.series_id, chunk.columns, self._fetch, chunk.encoded)

    def _connected(self) -> None:
        facts, now = self.facts, self._clock.time_ns()
        if facts.connects and not facts.connected and not self._asked_anew:
            facts.made_anew.append(now)
        self._asked_anew = False
        facts.connected = True
        facts.connects += 1
        facts.connect_ns = facts.since_ns = now
        facts.next_attempt_ns = 0
        facts.detail = ""

    def _count(self, series_id: int, ticks: TickColumns) -> None:
        """Count rows, for those who look at the feed and its symbols."""
        now = self._clock.time_ns()
        self.facts.rows += len(ticks)
        self.facts.meter.take(ticks, now)
        symbol = self._symbols.get(series_id)
        if symbol is None or not len(ticks):
            return
        facts = self.facts.symbol(symbol)
        if now - facts.last_receive_ns > QUIET_NS or facts.last_receive_ns < self.facts.connect_ns:
            facts.since_ns = now
        facts.rows += len(ticks)
        facts.last_receive_ns, facts.resyncing = now, False
        facts.last_event_ns = int(ticks.event_time_ns[-1])

    async def _notice(self, notice: ConnectionNotice | SymbolNotice | GapNotice | RejectedRow) -> None:
        if isinstance(notice, ConnectionNotice):
            self._connection(notice)
        elif isinstance(notice, GapNotice):
            self.facts.gaps += 1
            chosen = [self._series[notice.symbol]] if notice.symbol in self._series else list(self._series.values())
            await self._ingest.interrupted([one.ticks.series_id for one in chosen], notice.detail or "feed interrupted")
        elif isinstance(notice, SymbolNotice):
            self._symbol(notice)
        else:
            _log.warning("live row refused", provider=self.facts.provider, detail=notice.detail, symbol=notice.symbol)

    def _symbol(self, notice: SymbolNotice) -> None:
        refused, facts = self.facts.refused, self.facts.symbol(notice.symbol)
        facts.resyncing = notice.state in (SymbolState.RESYNCING, SymbolState.CHECKSUM_FAILED)
        if notice.state is SymbolState.REFUSED:
            refused[notice.symbol] = notice.message
            facts.since_ns = self._clock.time_ns()
            self._changed()
        elif facts.resyncing:
            facts.since_ns = self._clock.time_ns()
            facts.resyncs += notice.state is SymbolState.RESYNCING
            self.facts.checksum_failures += notice.state is SymbolState.CHECKSUM_FAILED
        elif notice.state is SymbolState.SUBSCRIBED:
            if refused.pop(notice.symbol, None) is not None:
                self._changed()
            if notice.symbol in self._series:
                self._ingest.resumed([self._series[notice.symbol].ticks.series_id], self._fetch)

    def _connection(self, notice: ConnectionNotice) -> None:
        before = self.facts.connected
        self.facts.host = notice.host or self.facts.host
        if notice.state is ConnectionState.CONNECTED:
            self._connected()
        elif notice.state in (ConnectionState.DISCONNECTED, ConnectionState.REFUSED):
            self.facts.connected = False
            self.facts.detail = notice.error
            self.facts.since_ns = self._clock.time_ns()
            self.facts.next_attempt_ns = notice.next_attempt_ns
        if self.facts.connected != before:
            self._changed()

    async def _fetch(self, symbol: str, start_ns: int, end_ns: int, after_trade_id: int | None) -> TickColumns:
        handle = self._handle
        if handle is None:
            raise errors.PluginUnavailable(f"{self.facts.provider} is not running")
        parts = []
        request = TickRequest(symbol, start_ns, end_ns, after_trade_id=after_trade_id)
        async with aclosing(handle.fetch_ticks([request])) as batches:
            async for batch in batches:
                if batch.error is not None:
                    raise batch.error
                if batch.columns is not None:
                    parts.append(batch.columns)
        return TickColumns.concatenate(parts) if parts else TickColumns.empty()


class Feeds:
    """All feeds of this process, kept in step with the subscriptions."""

    def __init__(
        self,
        symbols: LiveSymbols,
        runtime: ProviderRuntime,
        ingest: LiveIngest,
        database: Database,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        """Run feeds for what `symbols` wants; `changed` hears when `revision` has grown."""
        self.symbols = symbols
        self._runtime = runtime
        self._ingest = ingest
        self._database = database
        self._clock = clock
        self._tell_change = changed
        self.revision = 0
        """Grows whenever a feed or a symbol is in another state."""
        self.symbols_revision = 0
        """Grows whenever other symbols are wanted."""
        self.running: dict[str, ProviderFeed] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._awaited: list[asyncio.Future[None]] = []

    async def caught_up(self) -> None:
        """Wait until the subscriptions that exist now were read, or until that has failed."""
        read = asyncio.get_running_loop().create_future()
        self._awaited.append(read)
        self._changed.set()
        await read

    def facts_of(self, name: LiveName) -> FeedFacts | None:
        """Return what is known of the feed of a symbol."""
        feed = self.running.get(name.provider)
        return feed.facts if feed else None

    async def run(self, every_s: float = 5.0) -> None:
        """Keep feeds running until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                # Taken before the look: who asks while it goes on needs the next one.
                self._changed.clear()
                awaited, self._awaited = self._awaited, []
                try:
                    await self._reconcile(group)
                except errors.QuasarError as error:
                    _log.warning("live subscriptions not read", problem=error.message)
                for read in awaited:
                    if not read.done():
                        read.set_result(None)
                try:
                    async with asyncio.timeout(every_s):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    async def _reconcile(self, group: asyncio.TaskGroup) -> None:
        former = self.symbols.current.keys()
        current = await self.symbols.refresh()
        await self._follow(current)
        if current.keys() != former:
            self.symbols_revision += 1
            self._tell_change()
        for provider in list(self.running):
            if provider not in self.symbols.providers:
                await self.running.pop(provider).want(())
                self._tasks.pop(provider).cancel()
        for provider in sorted(self.symbols.providers):
            feed = self.running.get(provider)
            wanted = self.symbols.of_provider(provider)
            if feed is not None:
                await feed.want(wanted)
                continue
            feed = ProviderFeed(provider, self._runtime, self._ingest, self._clock, self._state_changed)
            await feed.want(wanted)
            self.running[provider] = feed
            self._tasks[provider] = group.create_task(feed.run(), name=f"feed {provider}")

    def _state_changed(self) -> None:
        self.revision += 1
        self._tell_change()

    async def _follow(self, current: Mapping[LiveName, LiveSeries]) -> None:
        new = [
            series.ticks.series_id for series in current.values() if not self._ingest.follows(series.ticks.series_id)
        ]
        ends: dict[int, StoredEnd] = {}
        if new:
            # A symbol that was given up a moment ago may have ticks on their way to the table.
            await self._ingest.stored()
            ends = {row["series_id"]: _end(row) for row in await self._database.fetch(SQL["tick_ends"], new)}
        for series in current.values():
            self._ingest.follow(series, ends.get(series.ticks.series_id, StoredEnd()))


def _end(row: Any) -> StoredEnd:
    if row["event_time"] is None:
        return StoredEnd(row["sequence"])
    trade_id = MISSING if row["trade_id"] is None else row["trade_id"]
    return StoredEnd(row["sequence"], to_ns(row["event_time"]) + row["event_ns"], trade_id)
