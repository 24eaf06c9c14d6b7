"""Bars of ticks, volume and value of one symbol, which go on after a restart exactly where they were.

Each knows the number of the tick that filled its last bar. Ticks are numbered and stored in the transaction that stores
the bars they filled, so the bar that was forming is built again from the ticks after that number. Over a hole that
nobody can fill nothing is built: the bar that was forming is given up and the next one begins behind the hole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from datahub.live.bars import BuiltBar
from quasar.model.columns import Int64Array
from quasar.model.event_bars import EventBarBuilder
from quasar.model.intervals import Interval
from quasar.model.ticks import TickColumns, TickFlag


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the bars of one series are."""

    sequence: int
    """Number of the last tick that no later bar counts."""
    last_open_ns: int | None = None
    """Open time of the last bar; None: there is none."""


@dataclass(slots=True)
class _Series:
    series_id: int
    builder: EventBarBuilder
    after: int
    last_open_ns: int | None
    told: tuple[int, int | None] = (0, 0)


class EventBars:
    """The builders of one symbol."""

    def __init__(self) -> None:
        """Begin without an interval."""
        self._series: dict[Interval, _Series] = {}

    @property
    def any(self) -> bool:
        """Whether bars of any interval are built."""
        return bool(self._series)

    def __contains__(self, interval: Interval) -> bool:
        """Tell whether bars of an interval are built."""
        return interval in self._series

    def begin(self, interval: Interval, series_id: int, progress: Progress) -> None:
        """Build bars of an interval, from the ticks after its progress on."""
        builder = EventBarBuilder(interval, last_open_time_ns=progress.last_open_ns)
        self._series[interval] = _Series(series_id, builder, progress.sequence, progress.last_open_ns)

    def add(self, ticks: TickColumns, sequences: Int64Array) -> list[BuiltBar]:
        """Take trades with their numbers, in order; return the bars that they filled."""
        if not self._series or ticks.price is None:
            return []
        usable = np.isfinite(ticks.price)
        if ticks.flags is not None:
            usable &= (ticks.flags & TickFlag.EXCLUDED) == 0
        sizes = np.zeros(len(ticks)) if ticks.size is None else np.nan_to_num(ticks.size)
        columns = (sequences, ticks.event_time_ns, ticks.price, sizes)
        rows = list(zip(*(column[usable].tolist() for column in columns), strict=True))
        return [built for interval, one in self._series.items() for built in _filled(interval, one, rows)]

    def cut(self, sequence: int) -> Mapping[int, Progress]:
        """Give up what is forming: a hole follows the tick of this number. Return the progress of each series."""
        for interval, one in list(self._series.items()):
            self.begin(interval, one.series_id, Progress(sequence, one.last_open_ns))
        return {one.series_id: Progress(sequence, one.last_open_ns) for one in self._series.values()}

    def forming(self, wanted: Set[int]) -> list[BuiltBar]:
        """Return the forming bars of some series that changed since they were last returned."""
        found: list[BuiltBar] = []
        for interval, one in self._series.items():
            bar = one.builder.forming if one.series_id in wanted else None
            if bar is None or one.told == (bar.open_time_ns, bar.trade_count):
                continue
            one.told = (bar.open_time_ns, bar.trade_count)
            found.append(BuiltBar(one.series_id, interval, bar))
        return found

    def forming_now(self, wanted: Set[int]) -> list[BuiltBar]:
        """Return the forming bars of some series, told or not."""
        return [
            BuiltBar(one.series_id, interval, bar)
            for interval, one in self._series.items()
            if one.series_id in wanted and (bar := one.builder.forming) is not None
        ]


def _filled(interval: Interval, one: _Series, rows: Iterable[Sequence[float]]) -> Iterable[BuiltBar]:
    for sequence, event_ns, price, size in rows:
        if sequence <= one.after:
            continue
        for bar in one.builder.add_trade(int(event_ns), price, size):
            one.after, one.last_open_ns = int(sequence), bar.open_time_ns
            yield BuiltBar(one.series_id, interval, bar, end_sequence=int(sequence))
