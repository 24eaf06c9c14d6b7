"""The live stream of one provider: kept in step with what is wanted, started again when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing

from datahub.live.ingest import LiveIngest
from datahub.live.states import QUIET_NS, FeedFacts
from datahub.live.symbols import LiveSeries
from datahub.providers.runtime import ProviderRuntime
from datahub.series.series import Series
from quasar import errors, logs
from quasar.clock import Clock
from quasar.model.ticks import TickColumns, TickKind
from quasar.plugins.batches import LiveBatch
from quasar.plugins.provider import ProviderHandle
from quasar.sdk.notices import (
    ConnectionNotice,
    ConnectionState,
    GapCause,
    GapNotice,
    RejectedRow,
    SymbolNotice,
    SymbolState,
)
from quasar.sdk.requests import LiveSymbol, TickRequest

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
UNREAD_NS = 5_000_000_000
"""What cannot be read makes a hole at most so often: a vendor may send such a message with every row."""

_log = logs.get(__name__)


class ProviderFeed:
    """The live stream of one provider."""

    def __init__(
        self,
        provider: str,
        runtime: ProviderRuntime,
        ingest: LiveIngest,
        clock: Clock,
        changed: Callable[[], None],
        number: int = 0,
    ) -> None:
        """Feed `ingest` from `provider`.

        Args:
            provider: Whose feed it is.
            runtime: The providers.
            ingest: Takes in what comes.
            clock: The time.
            changed: Hears when the feed or one of its symbols is in another state.
            number: Which connection of the provider it is.
        """
        self.facts = FeedFacts(provider, number, since_ns=clock.time_ns())
        self._runtime = runtime
        self._ingest = ingest
        self._clock = clock
        self._changed = changed
        self._series: dict[str, LiveSeries] = {}
        self._symbols: dict[int, str] = {}
        self._bars: dict[int, tuple[LiveSeries, Series]] = {}
        self._handle: ProviderHandle | None = None
        self._attempt: asyncio.Timeout | None = None
        self._asked_anew = False
        self._number = 0
        """Of the vendor's connection."""
        self._beyond: Mapping[str, LiveSeries] = {}
        """Symbols for which the vendor has no room, on any connection."""
        self._unread = ""
        """What the vendor sent and nobody could read, since the last look."""
        self._unread_until_ns = 0

    @property
    def series(self) -> Mapping[str, LiveSeries]:
        """The symbols that are wanted, by symbol."""
        return {**self._series, **self._beyond}

    async def want(self, wanted: Iterable[LiveSeries], beyond: Iterable[LiveSeries] = (), why: str = "") -> None:
        """Bring the running stream in step with what is wanted.

        Args:
            wanted: What it carries.
            beyond: What no connection has room for; it is told as refused.
            why: What is said of those.
        """
        series = {one.name.symbol: one for one in wanted}
        added = [symbol for symbol in series if symbol not in self._series]
        added += [at for at, one in series.items() if at in self._series and _news(self._series[at], one)]
        removed = [symbol for symbol in self._series if symbol not in series]
        for symbol in removed:
            self._forget(symbol)
        self._refuse({one.name.symbol: one for one in beyond}, why)
        self._series = series
        self._symbols = {one.ticks.series_id: symbol for symbol, one in series.items()}
        self._bars = {bar.series_id: (one, bar) for one in series.values() for bar in one.bars.values()}
        if self._handle is None or not (added or removed):
            return
        try:
            await self._handle.update_live(
                [self._wish(symbol) for symbol in added],
                removed,
                series_ids=_ids(series[symbol] for symbol in added),
                number=self.facts.number,
            )
        except errors.NotFound:
            _log.info("feed begins anew with the changed symbols", provider=self.facts.provider)

    def _refuse(self, beyond: Mapping[str, LiveSeries], why: str) -> None:
        for symbol in self._beyond.keys() - beyond.keys():
            self._forget(symbol)
        for symbol in beyond.keys() - self._beyond.keys():
            self.facts.refused[symbol] = why
            self.facts.symbol(symbol).since_ns = self._clock.time_ns()
        if beyond.keys() != self._beyond.keys():
            self._changed()
        self._beyond, self.facts.no_room = beyond, frozenset(beyond)

    def _forget(self, symbol: str) -> None:
        self.facts.symbols.pop(symbol, None)
        self.facts.refused.pop(symbol, None)

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
            await handle.resync_live(symbols, number=self.facts.number)
        except errors.NotFound:
            raise errors.PluginUnavailable(f"{self.facts.provider} is connecting") from None

    def _wish(self, symbol: str) -> LiveSymbol:
        """Return what is wanted of a symbol: its kinds of ticks, and bars at the intervals that the vendor may push."""
        entry = self._runtime.directory.find(self.facts.provider)
        offered = entry.manifest.intervals if entry is not None else ()
        series = self._series[symbol]
        return LiveSymbol(
            symbol,
            trades=TickKind.TRADE in series.kinds,
            quotes=TickKind.QUOTE in series.kinds,
            book_top=TickKind.BOOK_TOP in series.kinds,
            intervals=tuple(sorted(series.subscribed.intersection(offered))),
        )

    async def _streamed(self) -> str:
        """Stream until it ends, and return why."""
        try:
            await self._stream()
        except errors.QuasarError as error:
            return error.message
        except Exception as error:
            # Feeds share a task group: a defect that one plug-in's rows bring out must not end all the others.
            _log.error("a feed failed", provider=self.facts.provider, exc_info=error)
            return f"an error of the DataHub ({type(error).__name__}); see its log"
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
        facts.refused = {symbol: why for symbol, why in facts.refused.items() if symbol in self._beyond}
        self._changed()
        why = "the connection is made anew"
        await self._ingest.interrupted([one.ticks.series_id for one in self._series.values()], why)

    async def _stream(self) -> None:
        handle = await self._runtime.handle(self.facts.provider)
        symbols = [self._wish(symbol) for symbol in self._series]
        ids = _ids(self._series.values())
        self._handle = handle
        try:
            async with aclosing(handle.stream_live(symbols, series_ids=ids, number=self.facts.number)) as batches:
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
        if self._unread and facts.last_message_ns >= self._unread_until_ns:
            await self._doubt()
        if not facts.connected and (batch.tick_chunks or batch.bar_chunks):
            self._connected()
            self._changed()
            self._ingest.resumed([one.ticks.series_id for one in self._series.values()], self._fetch)
        for chunk in batch.tick_chunks:
            if chunk.series_id not in self._symbols:
                continue  # on its way when it was given up
            self._count(chunk.series_id, chunk.columns)
            self._ingest.take(chunk.series_id, chunk.columns, self._fetch, chunk.encoded)
        for bars in batch.bar_chunks:
            if bars.series_id in self._bars:
                series, bar_series = self._bars[bars.series_id]
                self._ingest.take_pushed(series.ticks.series_id, bar_series, bars.columns)

    async def _doubt(self) -> None:
        """Treat what could not be read as a hole: nobody knows how much stood in it, the provider's history does."""
        ids = [one.ticks.series_id for one in self._series.values()]
        why, self._unread = f"could not be read: {self._unread}", ""
        self._unread_until_ns = self._clock.time_ns() + UNREAD_NS
        await self._ingest.interrupted(ids, why, "SEQUENCE_BROKEN")
        self._ingest.resumed(ids, self._fetch)

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
            ids = [one.ticks.series_id for one in chosen]
            cause = notice.cause or GapCause.FEED_INTERRUPTED
            await self._ingest.interrupted(ids, notice.detail or "feed interrupted", cause.name)
            if cause is not GapCause.FEED_INTERRUPTED:
                self._ingest.resumed(ids, self._fetch)  # the connection stands
        elif isinstance(notice, SymbolNotice):
            if notice.symbol in self._series:  # vendors also speak of what is not wanted any more
                await self._symbol(notice, [self._series[notice.symbol].ticks.series_id])
        else:
            _log.warning("live row refused", provider=self.facts.provider, detail=notice.detail, symbol=notice.symbol)
            self._unread = self._unread or notice.detail or "a message could not be read"
            if self.facts.last_message_ns < self._unread_until_ns:
                self._ingest.doubt([one.ticks.series_id for one in self._series.values()])

    async def _symbol(self, notice: SymbolNotice, ids: Sequence[int]) -> None:
        if notice.state is SymbolState.RESYNCING:
            # It is given up for a moment and taken again: what came in between is fetched.
            await self._ingest.interrupted(ids, "it is synchronised anew")
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
            self._ingest.resumed(ids, self._fetch)

    def _connection(self, notice: ConnectionNotice) -> None:
        before = self.facts.connected
        self.facts.host = notice.host or self.facts.host
        if notice.state is ConnectionState.CONNECTED:
            # It is told every second that the connection stands.
            if not self.facts.connected or notice.connection != self._number:
                self._connected()
            self._number = notice.connection
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


def _ids(series: Iterable[LiveSeries]) -> dict[tuple[str, str], int]:
    """Return the ids that chunks are marked with, by symbol and interval; ticks stand under no interval."""
    ids: dict[tuple[str, str], int] = {}
    for one in series:
        ids[one.name.symbol, ""] = one.ticks.series_id
        ids |= {(one.name.symbol, str(interval)): bar.series_id for interval, bar in one.bars.items()}
    return ids


def _news(before: LiveSeries, now: LiveSeries) -> bool:
    """Tell whether the vendor is to be asked for other ticks or bars of a symbol."""
    return before.subscribed != now.subscribed or before.kinds != now.kinds
