"""What happens to live ticks: numbered, published, priced, built into bars, handed to storage; holes filled first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from datahub.live.bars import BuiltBar, SymbolBars
from datahub.live.gaps import FeedGap, FeedGaps
from datahub.live.prices import PriceBoard
from datahub.live.seam import missed
from datahub.live.storage import LiveStore
from datahub.live.symbols import LiveSeries
from datahub.stream.envelope import BARS, TICKS
from datahub.stream.hub import Hub
from datahub.stream.topic import CONTENT_OF_KIND, Content, Topic
from quasar import errors, logs
from quasar.clock import Clock
from quasar.convert import wire
from quasar.convert.columns import BarChunk, TickChunk, encode_bars, encode_ticks
from quasar.model.bars import BarColumns
from quasar.model.columns import MISSING
from quasar.model.intervals import Interval
from quasar.model.ticks import TickColumns, TickKind

LONGEST_REFILL_NS = 3_600_000_000_000
"""A hole that is longer is left to collection and told as a gap."""
REFILL_S = 20.0

_log = logs.get(__name__)
_MINUTE = Interval.parse("1min")


class FetchTicks(Protocol):
    """Asks a provider for ticks of the past."""

    async def __call__(self, symbol: str, start_ns: int, end_ns: int, after_trade_id: int | None) -> TickColumns:
        """Return the ticks of a symbol in [start, end).

        Raises:
            QuasarError: The provider has none, or failed.
        """
        ...


@dataclass(slots=True)
class _Symbol:
    series: LiveSeries
    sequence: int = 0
    last_ns: int = 0
    last_id: int = MISSING
    seen: bool = False
    """Ticks of it came since the feed began."""
    broken: bool = True
    """The next tick comes after a hole, whether or not anything was missed in it."""
    waiting: list[TickColumns] = field(default_factory=list)
    filling: bool = False
    bars: SymbolBars | None = None
    gap: FeedGap | None = None
    last_row_ns: int = 0


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

    def follow(self, series: LiveSeries, sequence: int, watermark_ns: int) -> None:
        """Take in a symbol from now on.

        Args:
            series: Its series.
            sequence: Sequence of the last stored tick.
            watermark_ns: Event time of the last stored tick; 0: none is stored.
        """
        known = self._symbols.get(series.ticks.series_id)
        if known is None:
            self._symbols[series.ticks.series_id] = _Symbol(series, sequence, watermark_ns)
            return
        known.series = series
        if known.bars is not None:
            for interval, bars in series.bars.items():
                known.bars.add_interval(interval, bars.series_id)

    def forget(self, series_id: int) -> None:
        """Take in a symbol no longer."""
        self._symbols.pop(series_id, None)

    def last_row_ns(self, series_id: int) -> int:
        """Return when the last row of a series of ticks came; 0: none did."""
        found = self._symbols.get(series_id)
        return found.last_row_ns if found else 0

    def forming(self, topics: frozenset[Topic]) -> None:
        """Publish forming bars that changed, of topics that somebody reads."""
        for symbol in self._symbols.values():
            if symbol.bars is None:
                continue
            for built in symbol.bars.forming():
                if Topic(built.series_id, Content.FORMING_BARS) in topics:
                    self._publish_bars([built], Content.FORMING_BARS)

    def close_bars(self) -> None:
        """Close bars whose time is over, also where nothing trades."""
        now = self._clock.time_ns()
        for symbol in self._symbols.values():
            if symbol.bars is not None and not symbol.filling:
                self._take_bars(symbol.bars.advance(now))

    async def interrupted(self, series_ids: Sequence[int], why: str) -> None:
        """Note that ticks may be missed from now on; readers are told at once."""
        for series_id in series_ids:
            symbol = self._symbols.get(series_id)
            if symbol is None:
                continue
            symbol.broken = True
            if symbol.seen and symbol.gap is None and not symbol.filling:
                symbol.gap = await self._gaps.open(series_id, symbol.series.ticks.name, symbol.last_ns, why)

    def take(self, series_id: int, ticks: TickColumns, fetch: FetchTicks) -> None:
        """Take ticks of one kind of one symbol, in the order of arrival."""
        symbol = self._symbols.get(series_id)
        if symbol is None or not len(ticks):
            return
        symbol.last_row_ns = self._clock.time_ns()
        if symbol.filling:
            symbol.waiting.append(ticks)
            return
        trades = ticks.kind is None or int(ticks.kind[0]) == TickKind.TRADE
        if symbol.broken and trades:
            symbol.filling = True
            symbol.waiting.append(ticks)
            self._start(self._fill(symbol, fetch), f"refill {symbol.series.ticks.name}")
            return
        self._process(symbol, ticks)

    async def _fill(self, symbol: _Symbol, fetch: FetchTicks) -> None:
        """Fetch what lies before the first tick after a hole, then let both through in order."""
        first = symbol.waiting[0]
        first_ns = int(first.event_time_ns[0])
        since_ns = symbol.last_ns if first_ns - symbol.last_ns <= LONGEST_REFILL_NS else first_ns
        # From the start of a minute on, so that the bar that was forming is whole again.
        start_ns = _MINUTE.floor_ns(since_ns)
        fetched, problem = await self._fetched(symbol, fetch, start_ns, first_ns + 1)
        between = missed(fetched, (symbol.last_ns, symbol.last_id), first)
        if symbol.bars is None or problem:
            ids = {interval: series.series_id for interval, series in symbol.series.bars.items()}
            symbol.bars = SymbolBars(ids, first_ns if problem else start_ns)
            self._take_bars(symbol.bars.add(fetched[fetched.event_time_ns <= symbol.last_ns]))
        if len(between):
            self._process(symbol, between)
        await self._end_gap(symbol, first_ns, problem, len(between))
        symbol.filling = symbol.broken = False
        waiting, symbol.waiting = symbol.waiting, []
        for ticks in waiting:
            self._process(symbol, ticks)

    async def _fetched(self, symbol: _Symbol, fetch: FetchTicks, start_ns: int, end_ns: int) -> tuple[TickColumns, str]:
        """Return what the provider has, and why it has nothing, or not in time."""
        try:
            async with asyncio.timeout(REFILL_S):
                return await fetch(symbol.series.name.symbol, start_ns, end_ns, None), ""
        except TimeoutError:
            return TickColumns.empty(), f"the provider did not answer within {REFILL_S:.0f} s"
        except errors.QuasarError as error:
            return TickColumns.empty(), error.message

    async def _end_gap(self, symbol: _Symbol, end_ns: int, problem: str, refilled: int) -> None:
        gap, symbol.gap = symbol.gap, None
        if gap is None:
            return
        evidence = problem or f"{refilled} ticks refilled from the provider's history"
        await self._gaps.close(gap, end_ns, repaired=not problem, evidence=evidence, refilled=refilled)

    def _process(self, symbol: _Symbol, ticks: TickColumns) -> None:
        series_id = symbol.series.ticks.series_id
        kind = TickKind.TRADE if ticks.kind is None else TickKind(int(ticks.kind[0]))
        rows = len(ticks)
        first = symbol.sequence + 1
        symbol.sequence += rows
        symbol.seen = True
        now = self._clock.time_ns()
        published = replace(ticks, publish_time_ns=np.full(rows, now, np.int64))
        field_bytes = wire.embedded(TICKS, encode_ticks(TickChunk(series_id, published, first)))
        self._hub.publish(Topic(series_id, CONTENT_OF_KIND[kind]), field_bytes, rows)
        self._board.update(series_id, ticks)
        if symbol.series.store_ticks:
            self._store.add_ticks(series_id, ticks, first)
        if kind is TickKind.TRADE:
            symbol.last_ns = max(symbol.last_ns, int(ticks.event_time_ns[-1]))
            if ticks.trade_id is not None:
                symbol.last_id = int(ticks.trade_id[-1])
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
