"""Bars from the ticks of one symbol, at every interval that is built, and which of them are whole."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from quasar.model.bars import Bar, BarOrigin, BarState
from quasar.model.columns import BoolArray
from quasar.model.intervals import Interval
from quasar.model.sessions import SessionSource
from quasar.model.slots import ClockSlots, Slot, Slots, slots_of
from quasar.model.tick_bars import TimeBarBuilder, TradeSums, usable_trades
from quasar.model.ticks import TickColumns

MINUTE = Interval.parse("1min")
FEW = 32
"""Up to so many trades are taken one by one."""
LATE_NS = 500_000_000
"""How long after its end a bar waits for trades that are on their way."""


_MINUTES = 3
"""Minutes that closed last are held: they are on their way to the table."""


@dataclass(frozen=True, slots=True)
class BuiltBar:
    """A bar of one of the symbol's series."""

    series_id: int
    interval: Interval
    bar: Bar
    end_sequence: int = 0
    """Number of the tick that filled it; 0: it is one of time."""
    origin: BarOrigin = BarOrigin.LIVE_TICKS


@dataclass(frozen=True, slots=True)
class SoFar:
    """A bar that was forming when a former life of the process ended."""

    slot: Slot
    sums: TradeSums | None
    """Its trades but for those that are given themselves; None: all are."""
    complete_from_ns: int
    """Since when none of its trades is missing."""


class SymbolBars:
    """The builders of one symbol.

    A bar is published as closed only when the feed was there from its first moment on: a bar that began before is left
    to the provider's history.
    """

    def __init__(
        self, series: Mapping[Interval, int], complete_from_ns: int, sessions: SessionSource | None = None
    ) -> None:
        """Build bars for these series.

        Args:
            series: Series id of each interval.
            complete_from_ns: Since when every trade is known.
            sessions: When the market trades, by which bars of a day and longer are cut; None: it never closes.
        """
        self._series = dict(series)
        self._sessions = sessions
        self._slots = {interval: self._slots_of(interval) for interval in series}
        self._builders = {interval: TimeBarBuilder(interval, slots=self._slots[interval]) for interval in series}
        self._complete_from_ns = dict.fromkeys(series, complete_from_ns)
        self._closed_until_ns = 0
        """End of the last minute that was told as closed."""
        self._minutes: deque[Bar] = deque(maxlen=_MINUTES)
        self._told: dict[Interval, tuple[int, int | None]] = {}

    def _slots_of(self, interval: Interval) -> Slots:
        return ClockSlots(interval) if self._sessions is None else slots_of(interval, self._sessions)

    @property
    def intervals(self) -> Iterable[Interval]:
        """The intervals that are built."""
        return self._builders

    def complete_from_ns(self, interval: Interval) -> int:
        """Return since when every trade of an interval's bars is known."""
        return self._complete_from_ns[interval]

    def add_interval(self, interval: Interval, series_id: int, now_ns: int) -> None:
        """Build another interval from now on."""
        if interval not in self._builders:
            self._complete_from_ns[interval] = now_ns
            self._series[interval] = series_id
            self._slots[interval] = self._slots_of(interval)
            self._builders[interval] = TimeBarBuilder(interval, slots=self._slots[interval])

    def add(self, ticks: TickColumns) -> list[BuiltBar]:
        """Take ticks; return bars that closed or were revised."""
        trades = usable_trades(ticks)
        if not len(trades) or trades.price is None:
            return []
        if len(trades) > FEW:
            changed = ((interval, builder.add_trades(trades)) for interval, builder in self._builders.items())
        else:
            # A feed brings a handful of trades of a symbol at a time: numpy would cost more than it spares.
            sizes = [0.0] * len(trades) if trades.size is None else [s if s == s else 0.0 for s in trades.size.tolist()]
            rows = list(zip(trades.event_time_ns.tolist(), trades.price.tolist(), sizes, strict=True))
            changed = ((interval, builder.add_rows(rows)) for interval, builder in self._builders.items())
        return [built for interval, bars in changed if bars for built in self._whole(interval, bars)]

    def go_on(self, interval: Interval, so_far: SoFar) -> None:
        """Go on with a bar of a former life of the process, before `restore`."""
        builder = self._builders.get(interval)
        if builder is None:
            return
        self._complete_from_ns[interval] = so_far.complete_from_ns
        if so_far.sums is not None:
            builder.begin(so_far.slot, so_far.sums)

    def restore(self, trades: TickColumns, closed: Mapping[int, int]) -> None:
        """Take trades of a former life of the process, whose bars were told.

        Args:
            trades: In the order of arrival.
            closed: Open time of the last bar that was closed then, by series.
        """
        self.add(trades)
        if last := closed.get(self._series.get(MINUTE, 0), 0):
            self._closed_until_ns = max(self._closed_until_ns, MINUTE.next_boundary_ns(last))
        for interval, builder in self._builders.items():
            forming, close_ns = builder.forming, builder.next_close_ns
            if forming is not None and close_ns and forming.open_time_ns <= closed.get(self._series[interval], 0):
                builder.advance(close_ns)

    def advance(self, now_ns: int) -> list[BuiltBar]:
        """Close what is over."""
        return [
            built
            for interval, builder in self._builders.items()
            for built in self._whole(interval, builder.advance(now_ns - LATE_NS))
        ]

    def late(self, ticks: TickColumns) -> BoolArray | None:
        """Return which of some trades belong to minutes that were told as closed; None: none does."""
        if not self._closed_until_ns or int(ticks.event_time_ns.min()) >= self._closed_until_ns:
            return None
        late = (ticks.event_time_ns < self._closed_until_ns) & (ticks.event_time_ns >= self._complete_from_ns[MINUTE])
        return late if late.any() else None

    def minutes(self) -> list[Bar]:
        """Return the minutes that closed last and the one that is forming, whole or not, in order."""
        builder = self._builders.get(MINUTE)
        forming = None if builder is None else builder.forming
        return [*self._minutes, *([forming] if forming is not None else ())]

    def forming(self, wanted: Set[int]) -> list[BuiltBar]:
        """Return the forming bars of some series that changed since they were last returned."""
        found = []
        for interval, builder in self._builders.items():
            if self._series[interval] not in wanted:
                continue
            bar = builder.forming
            if bar is None or not self._is_whole(interval, bar):
                continue
            mark = (bar.open_time_ns, bar.trade_count)
            if self._told.get(interval) != mark:
                self._told[interval] = mark
                found.append(BuiltBar(self._series[interval], interval, bar))
        return found

    def forming_now(self, wanted: Set[int]) -> list[BuiltBar]:
        """Return the forming bars of some series, told or not."""
        return [
            BuiltBar(self._series[interval], interval, bar)
            for interval, builder in self._builders.items()
            if self._series[interval] in wanted
            and (bar := builder.forming) is not None
            and self._is_whole(interval, bar)
        ]

    def _whole(self, interval: Interval, bars: Sequence[Bar]) -> list[BuiltBar]:
        if interval == MINUTE:
            closed = [bar for bar in bars if bar.state is BarState.CLOSED]
            self._minutes.extend(closed)
            ends = (bar.close_time_ns or 0 for bar in closed if self._is_whole(interval, bar))
            self._closed_until_ns = max(self._closed_until_ns, *ends, 0)
        return [
            BuiltBar(self._series[interval], interval, bar)
            for bar in bars
            if bar.state is not BarState.FORMING and self._is_whole(interval, bar)
        ]

    def _is_whole(self, interval: Interval, bar: Bar) -> bool:
        """Tell whether every trade of a bar is known."""
        return self._slots[interval].begin_ns(bar.open_time_ns) >= self._complete_from_ns[interval]
