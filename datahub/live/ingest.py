"""What happens to live ticks: numbered, published, priced, built into bars, handed to storage; holes filled first."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from datahub.live.bars import BuiltBar, SymbolBars
from datahub.live.gaps import FeedGap, FeedGaps
from datahub.live.prices import PriceBoard
from datahub.live.seam import RecentTrades, missed
from datahub.live.storage import LiveStore
from datahub.live.symbols import LiveSeries
from datahub.stream.envelope import BARS, TICKS
from datahub.stream.hub import Hub
from datahub.stream.topic import CONTENT_OF_KIND, Content, Topic
from quasar import errors, logs
from quasar.clock import Clock
from quasar.convert import wire
from quasar.convert.columns import TICK_CHUNK, BarChunk, TickChunk, encode_bars, encode_ticks
from quasar.convert.wire import Buffer, WireType
from quasar.model.bars import BarColumns
from quasar.model.columns import MISSING
from quasar.model.intervals import Interval
from quasar.model.ticks import TickColumns, TickKind

LONGEST_REFILL_NS = 3_600_000_000_000
"""A hole that is longer is left to collection and told as a gap."""
REFILL_S = 20.0
"""How long ticks after a hole wait for what was in it."""
SETTLE_S = 1.0
"""How long after a feed is back the first tick is waited for; then what was missed is asked for without it."""

_log = logs.get(__name__)
_MINUTE = Interval.parse("1min")
_NS = struct.Struct("<q")
_FIELD = wire.tag(TICKS, WireType.LENGTH)
_PUBLISH = wire.tag(TICK_CHUNK.columns["publish_time_ns"][0], WireType.LENGTH)
_FIRST = wire.tag(TICK_CHUNK.numbers["first_sequence"], WireType.VARINT)
_BREAK = TickColumns.empty()
"""Stands among the ticks that wait where the feed was interrupted again."""


class FetchTicks(Protocol):
    """Asks a provider for ticks of the past."""

    async def __call__(self, symbol: str, start_ns: int, end_ns: int, after_trade_id: int | None) -> TickColumns:
        """Return the ticks of a symbol in [start, end).

        Raises:
            QuasarError: The provider has none, or failed.
        """
        ...


@dataclass(frozen=True, slots=True)
class StoredEnd:
    """Where the stored ticks of a series end."""

    sequence: int = 0
    """Of the last tick of any kind."""
    event_ns: int = 0
    """Event time of the last trade; 0: none is stored."""
    trade_id: int = MISSING
    """The venue's id of that trade."""


@dataclass(slots=True)
class _Symbol:
    series: LiveSeries
    sequence: int
    last_ns: int
    """Event time of the newest trade; 0: there is none."""
    recent: RecentTrades
    broken: bool = True
    """The next tick comes after a hole, whether or not anything was missed in it."""
    waiting: list[TickColumns] = field(default_factory=list)
    filling: bool = False
    bars: SymbolBars | None = None
    gap: FeedGap | None = None
    last_row_ns: int = 0
    interrupted_by: str = ""
    """What interrupted the feed while a hole was being filled."""
    refill: tuple[float, FetchTicks] | None = None
    """When to fill the hole although no tick came after it, and whom to ask."""

    def first_waiting(self) -> TickColumns | None:
        """Return the first trades that wait, if they came before another interruption."""
        for ticks in self.waiting:
            if not len(ticks):
                return None
            if _kind_of(ticks) is TickKind.TRADE:
                return ticks
        return None


class LiveIngest:
    """Takes in the ticks of all feeds of this process."""

    def __init__(
        self, hub: Hub, board: PriceBoard, store: LiveStore, gaps: FeedGaps, clock: Clock, start: Callable[..., None]
    ) -> None:
        """Bring together where ticks go.

        Args:
            hub: Publishes.
            board: Keeps the latest prices.
            store: Keeps ticks and bars.
            gaps: Records holes.
            clock: The time.
            start: Runs a task beside: `start(coroutine, name)`.
        """
        self._hub = hub
        self._board = board
        self._store = store
        self._gaps = gaps
        self._clock = clock
        self._start = start
        self._symbols: dict[int, _Symbol] = {}

    async def stored(self) -> None:
        """Wait until everything that was taken in is stored.

        Raises:
            DatabaseUnavailable: The database is away.
            DeadlineExceeded: It is too slow.
        """
        await self._store.flush()

    def follows(self, series_id: int) -> bool:
        """Tell whether a symbol is taken in."""
        return series_id in self._symbols

    def follow(self, series: LiveSeries, stored: StoredEnd) -> None:
        """Take in a symbol from now on.

        Args:
            series: Its series.
            stored: Where its stored ticks end.
        """
        known = self._symbols.get(series.ticks.series_id)
        if known is None:
            recent = RecentTrades(stored.trade_id)
            self._symbols[series.ticks.series_id] = _Symbol(series, stored.sequence, stored.event_ns, recent)
            return
        known.series = series
        if known.bars is not None:
            for interval, bars in series.bars.items():
                known.bars.add_interval(interval, bars.series_id)

    def forget(self, series_id: int) -> None:
        """Take in a symbol no longer."""
        symbol = self._symbols.pop(series_id, None)
        if symbol is not None:
            self._hub.forget(symbol.series.all_ids)

    def last_row_ns(self, series_id: int) -> int:
        """Return when the last row of a series of ticks came; 0: none did."""
        found = self._symbols.get(series_id)
        return found.last_row_ns if found else 0

    def forming(self, topics: Iterable[Topic]) -> None:
        """Publish forming bars that changed, of topics that somebody reads."""
        wanted = {topic.series_id for topic in topics if topic.content is Content.FORMING_BARS}
        if not wanted:
            return
        for symbol in self._symbols.values():
            if symbol.bars is not None and not wanted.isdisjoint(symbol.series.all_ids):
                self._publish_bars(symbol.bars.forming(wanted), Content.FORMING_BARS)

    def tick(self) -> None:
        """Do what time alone brings: close bars, also where nothing trades, and fill holes that no tick ends.

        A bar with a hole in it stays open: it closes when the hole is filled, or is left to the provider's history.
        """
        now, monotonic = self._clock.time_ns(), self._clock.monotonic()
        for symbol in self._symbols.values():
            if symbol.refill is not None and monotonic >= symbol.refill[0]:
                self._begin_to_fill(symbol, symbol.refill[1])
            if symbol.bars is not None and not symbol.filling and symbol.gap is None:
                self._take_bars(symbol.bars.advance(now))

    async def interrupted(self, series_ids: Sequence[int], why: str) -> None:
        """Note that ticks may be missed from now on; readers are told at once."""
        for series_id in series_ids:
            symbol = self._symbols.get(series_id)
            if symbol is None:
                continue
            symbol.broken, symbol.refill = True, None
            if symbol.filling:
                symbol.interrupted_by = why
                symbol.waiting.append(_BREAK)
            elif symbol.bars is not None and symbol.gap is None:
                symbol.gap = await self._open_gap(symbol, why)

    def resumed(self, series_ids: Iterable[int], fetch: FetchTicks) -> None:
        """Note that ticks come again: a hole is filled soon also where nothing trades."""
        due = self._clock.monotonic() + SETTLE_S
        for series_id in series_ids:
            symbol = self._symbols.get(series_id)
            if symbol is not None and symbol.gap is not None:
                symbol.refill = due, fetch

    def take(self, series_id: int, ticks: TickColumns, fetch: FetchTicks, encoded: Buffer | None = None) -> None:
        """Take ticks of one kind of one symbol, in the order of arrival.

        Args:
            series_id: Of which series of ticks.
            ticks: The ticks.
            fetch: Whom to ask for what was missed.
            encoded: The same as an encoded `TickChunk`, where it came as one: it is passed on as it is.
        """
        symbol = self._symbols.get(series_id)
        if symbol is None or not len(ticks):
            return
        symbol.last_row_ns = self._clock.time_ns()
        if symbol.filling:
            symbol.waiting.append(ticks)
            return
        if symbol.broken and _kind_of(ticks) is TickKind.TRADE:
            symbol.waiting.append(ticks)
            self._begin_to_fill(symbol, fetch)
            return
        self._process(symbol, ticks, encoded)

    def _begin_to_fill(self, symbol: _Symbol, fetch: FetchTicks) -> None:
        symbol.refill = None
        if not symbol.filling:
            symbol.filling = True
            self._start(self._fill(symbol, fetch), f"refill {symbol.series.ticks.name}")

    async def _fill(self, symbol: _Symbol, fetch: FetchTicks) -> None:
        """Fetch what was missed, then let what waits through, in order.

        A hole is only known to be over when a trade came after it. Without one what is there is fetched all the same,
        and the next trade has its place checked again.
        """
        try:
            while True:
                first = symbol.first_waiting()
                symbol.broken = first is None
                await self._fill_once(symbol, fetch, first)
                if first is not None:
                    self._let_through(symbol)
                if symbol.interrupted_by:
                    why, symbol.interrupted_by = symbol.interrupted_by, ""
                    symbol.broken = True
                    symbol.gap = await self._open_gap(symbol, why)
                if symbol.first_waiting() is None:
                    break
        finally:
            symbol.filling = False

    def _let_through(self, symbol: _Symbol) -> None:
        """Take in what waits, up to the next interruption."""
        while symbol.waiting:
            ticks = symbol.waiting.pop(0)
            if not len(ticks):
                return
            self._process(symbol, ticks)

    async def _fill_once(self, symbol: _Symbol, fetch: FetchTicks, first: TickColumns | None) -> None:
        until_ns = int(first.event_time_ns[0]) + 1 if first is not None else self._clock.time_ns()
        too_long = symbol.last_ns > 0 and until_ns - symbol.last_ns > LONGEST_REFILL_NS
        since_ns = symbol.last_ns if symbol.last_ns and not too_long else until_ns - 1
        # From the start of a minute on, so that the bar that was forming is whole again.
        start_ns = _MINUTE.floor_ns(since_ns)
        fetched, problem = await self._fetched(symbol, fetch, start_ns, until_ns)
        before = TickColumns.empty() if first is None else first
        between = missed(fetched, (symbol.last_ns, symbol.recent.newest), before)
        if symbol.bars is None or problem or too_long:
            ids = {interval: series.series_id for interval, series in symbol.series.bars.items()}
            symbol.bars = SymbolBars(ids, until_ns - 1 if problem else start_ns)
            self._take_bars(symbol.bars.add(fetched[fetched.event_time_ns <= symbol.last_ns]))
        if too_long and not problem:
            problem = f"longer than {LONGEST_REFILL_NS // 3_600_000_000_000} h; fetch its bars instead"
        if problem and symbol.last_ns and symbol.gap is None:
            # Nobody interrupted the feed while this process lives: the hole lies between its life and the former one.
            symbol.gap = await self._open_gap(symbol, problem)
        if len(between):
            self._process(symbol, between)
        await self._end_gap(symbol, until_ns, problem, len(between))

    async def _open_gap(self, symbol: _Symbol, why: str) -> FeedGap:
        ticks = symbol.series.ticks
        return await self._gaps.open(ticks.series_id, ticks.name, symbol.last_ns, why)

    async def _fetched(self, symbol: _Symbol, fetch: FetchTicks, start_ns: int, end_ns: int) -> tuple[TickColumns, str]:
        """Return what the provider has, and why it has nothing, or not in time."""
        why = "the provider did not answer"
        try:
            async with asyncio.timeout(REFILL_S):
                while True:
                    try:
                        return await fetch(symbol.series.name.symbol, start_ns, end_ns, None), ""
                    except errors.Unavailable as error:
                        why = error.message
                        await self._clock.sleep(error.retry_after_s or 1.0)
        except TimeoutError:
            return TickColumns.empty(), f"{why}, for {REFILL_S:.0f} s"
        except errors.QuasarError as error:
            return TickColumns.empty(), error.message

    async def _end_gap(self, symbol: _Symbol, end_ns: int, problem: str, refilled: int) -> None:
        gap, symbol.gap = symbol.gap, None
        if gap is None:
            return
        evidence = problem or f"{refilled} ticks refilled from the provider's history"
        await self._gaps.close(gap, end_ns, repaired=not problem, evidence=evidence, refilled=refilled)

    def _process(self, symbol: _Symbol, given: TickColumns, encoded: Buffer | None = None) -> None:
        series_id = symbol.series.ticks.series_id
        kind = _kind_of(given)
        ticks = symbol.recent.fresh(given)
        rows = len(ticks)
        if not rows:
            return
        first = symbol.sequence + 1
        symbol.sequence += rows
        unchanged = encoded if ticks is given else None
        field_bytes = _published(series_id, ticks, first, self._clock.time_ns(), unchanged)
        self._hub.publish(Topic(series_id, CONTENT_OF_KIND[kind]), field_bytes, rows)
        self._board.update(series_id, ticks)
        if symbol.series.store_ticks:
            self._store.add_ticks(series_id, ticks, first)
        if kind is TickKind.TRADE:
            symbol.last_ns = max(symbol.last_ns, int(ticks.event_time_ns[-1]))
            if symbol.bars is not None:
                self._take_bars(symbol.bars.add(ticks))

    def _take_bars(self, built: Sequence[BuiltBar]) -> None:
        if built:
            self._store.add_bars(built)
            self._publish_bars(built, Content.CLOSED_BARS)

    def _publish_bars(self, built: Sequence[BuiltBar], content: Content) -> None:
        for one in built:
            chunk = encode_bars(BarChunk(one.series_id, BarColumns.from_bars([one.bar])))
            self._hub.publish(Topic(one.series_id, content), wire.embedded(BARS, chunk), 1)


def _published(series_id: int, ticks: TickColumns, first: int, now_ns: int, encoded: Buffer | None) -> bytes:
    """Return a chunk as a field of an envelope: what is appended to an encoded message is part of it."""
    if ticks.publish_time_ns is not None:
        ticks, encoded = replace(ticks, publish_time_ns=None), None
    chunk = encode_ticks(TickChunk(series_id, ticks)) if encoded is None else encoded
    rows = len(ticks)
    tail = b"".join((_PUBLISH, wire.varint(8 * rows), _NS.pack(now_ns) * rows, _FIRST, wire.varint(first)))
    return b"".join((_FIELD, wire.varint(len(chunk) + len(tail)), chunk, tail))


def _kind_of(ticks: TickColumns) -> TickKind:
    return TickKind.TRADE if ticks.kind is None else TickKind(int(ticks.kind[0]))
