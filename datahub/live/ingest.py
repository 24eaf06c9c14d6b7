"""What happens to live ticks: numbered, published, priced, built into bars, handed to storage; holes filled first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from datahub.bus.outlet import Outlet
from datahub.live.bars import BuiltBar, SymbolBars
from datahub.live.chunks import MOST_ROWS, bar_field, kind_of, pieces, tick_field
from datahub.live.coverage import Stretch, stretches_of
from datahub.live.event_bars import Progress
from datahub.live.followed import FetchTicks, FollowedSymbol, FormingNow, forming_of
from datahub.live.gaps import FeedGap, FeedGaps
from datahub.live.history import trades_of
from datahub.live.past import Past, Unstored, event_intervals, time_intervals
from datahub.live.prices import PriceBoard
from datahub.live.seam import RecentTrades, missed
from datahub.live.storage import LiveStore
from datahub.live.symbols import TRADES, LiveSeries
from datahub.live.vendor_bars import Disagreement, VendorBars
from datahub.series.series import Series
from datahub.stream.topic import CONTENT_OF_KIND, FORMING, LONE, Content, Topic
from quasar import logs
from quasar.clock import Clock
from quasar.convert.wire import Buffer
from quasar.model.bars import Bar, BarColumns
from quasar.model.intervals import Interval
from quasar.model.ticks import TickColumns, TickKind

LONGEST_REFILL_NS = 3_600_000_000_000
"""A hole that is longer is left to collection and told as a gap."""
SETTLE_S = 1.0
"""How long after a feed is back the first tick is waited for; then what was missed is asked for without it."""

_log = logs.get(__name__)
_MINUTE = Interval.parse("1min")
_BREAK = TickColumns.empty()
"""Stands among the ticks that wait where the feed was interrupted again."""


class LiveIngest:
    """Takes in the ticks of all feeds of this process."""

    def __init__(
        self,
        hub: Outlet,
        board: PriceBoard,
        store: LiveStore,
        gaps: FeedGaps,
        clock: Clock,
        start: Callable[..., None],
        disagree: Callable[[Disagreement], None] = lambda _: None,
    ) -> None:
        """Bring together where ticks go.

        Args:
            hub: Publishes.
            board: Keeps the latest prices.
            store: Keeps ticks and bars.
            gaps: Records holes.
            clock: The time.
            start: Runs a task beside: `start(coroutine, name)`.
            disagree: Hears of bars that a vendor pushed and that differ from ours.
        """
        self._hub = hub
        self._board = board
        self._store = store
        self._gaps = gaps
        self._clock = clock
        self._start = start
        self._symbols: dict[int, FollowedSymbol] = {}
        self._vendor_bars = VendorBars(clock, disagree)
        self.forming_now: FormingNow = lambda of: forming_of(self._symbols, self._vendor_bars.forming_now, of)

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

    def follow(self, series: LiveSeries, past: Past) -> None:
        """Take in a symbol from now on.

        Args:
            series: Its series.
            past: What is known of it from before this process.
        """
        symbol = self._symbols.get(series.ticks.series_id)
        if symbol is None:
            end = past.end
            recent = RecentTrades(end.trade_id)
            symbol = FollowedSymbol(series, end.sequence, end.event_ns, recent, gap=past.gap, known_ns=end.row_ns)
            self._symbols[series.ticks.series_id] = symbol
            if len(past.trades):
                symbol.bars = _bars(series, past.complete_from_ns)
                for interval, so_far in past.so_far.items():
                    symbol.bars.go_on(interval, so_far)
                symbol.bars.restore(past.trades, past.closed)
        symbol.broken |= TickKind.TRADE in series.kinds - symbol.series.kinds
        symbol.series = series
        if symbol.bars is not None:
            for interval, series_id in time_intervals(series).items():
                symbol.bars.add_interval(interval, series_id, self._clock.time_ns())
        self._follow_events(symbol, past)

    def _follow_events(self, symbol: FollowedSymbol, past: Past) -> None:
        new = {at: series_id for at, series_id in event_intervals(symbol.series).items() if at not in symbol.events}
        for interval, series_id in new.items():
            progress = past.progress.get(series_id)
            if progress is None:
                progress = Progress(symbol.sequence)
                self._store.add_progress({series_id: progress}, self._clock.time_ns())
            symbol.events.begin(interval, series_id, progress)
        if new:
            # Those of a former life were told in it; they may not have been stored.
            self._store.add_bars(symbol.events.add(past.trades, past.sequences))

    def restore(self, series: LiveSeries, unstored: Unstored, *, show: bool = True) -> None:
        """Store what was published in a former life of this process and may not have been stored.

        Args:
            series: Of which symbol.
            unstored: What was published.
            show: Take prices from it; False: they were taken when it came over the bus.
        """
        for chunk in unstored.ticks:
            if show:
                self._board.update(chunk.series_id, chunk.columns)
            if series.store_ticks:
                self._store.add_ticks(chunk.series_id, chunk.columns, chunk.first_sequence)
        self._store.add_bars(unstored.bars)

    def forget(self, series_id: int) -> None:
        """Take in a symbol no longer."""
        symbol = self._symbols.pop(series_id, None)
        if symbol is not None:
            self._hub.forget(symbol.series.all_ids)
            self._vendor_bars.forget(symbol.series.all_ids)

    def stretches(self) -> Iterator[Stretch]:
        """Yield where the bars of time that are subscribed live, and only live, are whole."""
        return stretches_of(self._symbols.values(), self._vendor_bars.stretch, self._clock.time_ns())

    def minutes(self, series: LiveSeries) -> list[Bar]:
        """Return the minutes of a symbol that closed last and the one that is forming; they may not be stored yet."""
        symbol = self._symbols.get(series.ticks.series_id)
        return symbol.bars.minutes() if symbol is not None and symbol.bars is not None else []

    def last_row_ns(self, series_id: int) -> int:
        """Return when the last row of a series of ticks came; 0: none did."""
        found = self._symbols.get(series_id)
        return found.last_row_ns if found else 0

    def forming(self, topics: Iterable[Topic]) -> None:
        """Publish forming bars that changed, of topics that somebody reads."""
        wanted = {topic.series_id for topic in topics if topic.content in FORMING}
        if not wanted:
            return
        self._publish_pushed(self._vendor_bars.forming(wanted), Content.PUSHED_FORMING)
        for symbol in self._symbols.values():
            if wanted.isdisjoint(symbol.series.all_ids):
                continue
            if symbol.bars is not None:
                self._publish_bars(symbol.bars.forming(wanted), Content.FORMING_BARS)
            self._publish_bars(symbol.events.forming(wanted), Content.FORMING_BARS)

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
        self._take_vendor_bars(self._vendor_bars.advance(now))

    async def interrupted(self, series_ids: Sequence[int], why: str, cause: str = "FEED_INTERRUPTED") -> None:
        """Note that ticks may be missed from now on; readers are told at once.

        Args:
            series_ids: Series of ticks.
            why: For people.
            cause: A word of the contract's `GapCause`.
        """
        for series_id in series_ids:
            symbol = self._symbols.get(series_id)
            if symbol is None:
                continue
            symbol.broken, symbol.refill = True, None
            self._vendor_bars.interrupted(symbol.series.all_ids)
            if symbol.filling:
                symbol.interrupted_by = why
                symbol.waiting.append(_BREAK)
            elif symbol.gap is None and symbol.newest_ns:
                symbol.gap = await self._open_gap(symbol, why, cause)

    def doubt(self, series_ids: Iterable[int]) -> None:
        """Note that something came that nobody could read: the next hole of these series begins here."""
        for series_id in series_ids:
            if series_id in self._symbols:
                self._symbols[series_id].doubt()

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
        trades = kind_of(ticks) is TickKind.TRADE
        if trades and (symbol.filling or symbol.broken):
            # What a vendor repeats around a break came before the hole and does not end it.
            ticks = symbol.recent.unseen(ticks)
            if not len(ticks):
                return
        if symbol.filling:
            symbol.waiting.append(ticks)
            return
        if symbol.broken and trades:
            symbol.waiting.append(ticks)
            self._begin_to_fill(symbol, fetch)
            return
        self._process(symbol, ticks, encoded)

    def take_pushed(self, series_id: int, series: Series, bars: BarColumns) -> None:
        """Take bars that a vendor pushed.

        Args:
            series_id: The series of ticks of their symbol.
            series: Their own series.
            bars: The bars; forming ones are over when a later one comes.
        """
        symbol = self._symbols.get(series_id)
        if symbol is not None:
            symbol.last_row_ns = self._clock.time_ns()
            self._take_vendor_bars(self._vendor_bars.push(series, bars))

    def _take_vendor_bars(self, built: Sequence[BuiltBar]) -> None:
        """Store bars of a vendor, and publish them."""
        if built:
            self._store.add_bars(built)
            self._publish_pushed(built, Content.PUSHED_BARS)

    def _publish_pushed(self, built: Sequence[BuiltBar], content: Content) -> None:
        """Publish bars of a vendor; where nothing is built from ticks, all who want bars get them."""
        if built:
            ticking = {at for one in self._symbols.values() if one.last_ns for at in one.series.all_ids}
            for one in built:
                self._publish_bars([one], content if one.series_id in ticking else LONE[content])

    def _begin_to_fill(self, symbol: FollowedSymbol, fetch: FetchTicks) -> None:
        symbol.refill = None
        if not symbol.filling:
            symbol.filling = True
            self._start(self._fill(symbol, fetch), f"refill {symbol.series.ticks.name}")

    async def _fill(self, symbol: FollowedSymbol, fetch: FetchTicks) -> None:
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
        except Exception as error:
            # The task shares its end with the whole service: a defect that a plug-in's rows bring out must not be that.
            _log.error("a hole was not filled", series=str(symbol.series.ticks.name), exc_info=error)
            symbol.waiting.clear()  # the next trade has what is missing fetched again
            symbol.broken, symbol.interrupted_by = True, ""
            if symbol.gap is None and symbol.newest_ns:
                symbol.gap = await self._open_gap(symbol, f"an error of the DataHub ({type(error).__name__})")
        finally:
            symbol.filling = False

    def _let_through(self, symbol: FollowedSymbol) -> None:
        """Take in what waits, up to the next interruption."""
        while symbol.waiting:
            ticks = symbol.waiting.pop(0)
            if not len(ticks):
                return
            self._process(symbol, ticks)

    async def _fill_once(self, symbol: FollowedSymbol, fetch: FetchTicks, first: TickColumns | None) -> None:
        until_ns = int(first.event_time_ns[0]) + 1 if first is not None else self._clock.time_ns()
        if not symbol.has_trades:
            await self._end_gap(symbol, until_ns, "vendors have trades of the past, and no quotes", 0)
            return
        after, doubt = symbol.begin_of_hole(first)
        too_long = after[0] > 0 and until_ns - after[0] > LONGEST_REFILL_NS
        since_ns = after[0] if after[0] and not too_long else until_ns - 1
        # From the start of a minute on, so that the bar that was forming is whole again.
        start_ns = _MINUTE.floor_ns(since_ns)
        name = symbol.series.name.symbol
        fetched, problem = await trades_of(fetch, name, start_ns, until_ns, self._clock)
        before = TickColumns.empty() if first is None else first
        between = symbol.recent.unseen(missed(fetched, after, before))
        if symbol.bars is None or problem or too_long:
            symbol.bars = _bars(symbol.series, until_ns - 1 if problem else start_ns)
            self._take_bars(symbol.bars.add(fetched[fetched.event_time_ns <= symbol.last_ns]))
            if problem or too_long:
                self._store.add_progress(symbol.events.cut(symbol.sequence), self._clock.time_ns())
        if too_long and not problem:
            problem = f"longer than {LONGEST_REFILL_NS // 3_600_000_000_000} h; fetch its bars instead"
        if problem and symbol.last_ns and symbol.gap is None:
            # Nobody interrupted the feed while this process lives: the hole lies between its life and the former one.
            symbol.gap = await self._open_gap(symbol, problem)
        if len(between):
            self._process(symbol, between)
        await self._end_gap(symbol, until_ns, problem or doubt, len(between))

    async def _open_gap(self, symbol: FollowedSymbol, why: str, cause: str = "FEED_INTERRUPTED") -> FeedGap:
        ticks = symbol.series.ticks
        return await self._gaps.open(ticks.series_id, ticks.name, symbol.newest_ns, why, cause)

    async def _end_gap(self, symbol: FollowedSymbol, end_ns: int, problem: str, refilled: int) -> None:
        gap, symbol.gap = symbol.gap, None
        if gap is None:
            return
        only = " trades" if symbol.series.kinds > TRADES else " ticks"
        evidence = problem or f"{refilled}{only} refilled from the provider's history"
        await self._gaps.close(gap, end_ns, repaired=not problem, evidence=evidence, refilled=refilled)

    def _process(self, symbol: FollowedSymbol, given: TickColumns, encoded: Buffer | None = None) -> None:
        if len(given) > MOST_ROWS:
            for piece in pieces(given):
                self._process(symbol, piece)
            return
        series_id = symbol.series.ticks.series_id
        kind = kind_of(given)
        ticks = symbol.fresh(given)
        rows = len(ticks)
        if not rows:
            return
        first = symbol.sequence + 1
        symbol.sequence += rows
        unchanged = encoded if ticks is given else None
        now_ns = self._clock.time_ns()
        field_bytes = tick_field(series_id, ticks, first, now_ns, unchanged)
        self._hub.publish(Topic(series_id, CONTENT_OF_KIND[kind]), field_bytes, rows)
        self._board.update(series_id, ticks)
        if symbol.series.store_ticks:
            self._store.add_ticks(series_id, replace(ticks, publish_time_ns=np.full(rows, now_ns)), first)
        if kind is TickKind.TRADE:
            symbol.last_ns = max(symbol.last_ns, int(ticks.event_time_ns[-1]))
            if symbol.bars is not None:
                self._take_bars(symbol.bars.add(ticks))
            if symbol.events.any:
                self._take_bars(symbol.events.add(ticks, np.arange(first, first + rows)))

    def _take_bars(self, built: Sequence[BuiltBar]) -> None:
        if built:
            self._store.add_bars(built)
            self._vendor_bars.own(built)
            self._publish_bars(built, Content.CLOSED_BARS)

    def _publish_bars(self, built: Sequence[BuiltBar], content: Content) -> None:
        for one in built:
            self._hub.publish(Topic(one.series_id, content), bar_field(one), 1)


def _bars(series: LiveSeries, complete_from_ns: int) -> SymbolBars:
    return SymbolBars(time_intervals(series), complete_from_ns, series.ticks.calendar)
