"""How many rows a feed brings and how late they are, over the last seconds."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from quasar.model.columns import MISSING, Int64Array
from quasar.model.instants import NS_PER_SECOND
from quasar.model.ticks import TickColumns

RATE_S = 10
"""Rows a second are counted over so many seconds."""
LAG_S = 60
"""Lags are kept for so many seconds."""
_MOST_LAGS = 512
"""Lags of one second that are kept: enough for the 99th percentile of a minute, however many rows come."""


@dataclass(slots=True)
class _Second:
    second: int
    rows: int = 0
    lags: list[Int64Array] = field(default_factory=list)
    kept: int = 0


class FeedMeter:
    """Measures one feed; what is older than a minute is forgotten."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._seconds: deque[_Second] = deque()

    def take(self, ticks: TickColumns, now_ns: int) -> None:
        """Count ticks that came now."""
        second = self._second(now_ns // NS_PER_SECOND)
        second.rows += len(ticks)
        if second.kept >= _MOST_LAGS:
            return
        received = np.full(len(ticks), now_ns, np.int64) if ticks.receive_time_ns is None else ticks.receive_time_ns
        timed = (ticks.event_time_ns != MISSING) & (received != MISSING)
        lags = (received - ticks.event_time_ns)[timed][: _MOST_LAGS - second.kept]
        second.kept += len(lags)
        second.lags.append(lags)

    def rows_per_second(self, now_ns: int) -> float:
        """Return the rows a second over the last ten seconds."""
        first = now_ns // NS_PER_SECOND - RATE_S
        # A copy, for metrics are read in another thread.
        return sum(each.rows for each in tuple(self._seconds) if each.second > first) / RATE_S

    def lags_s(self, now_ns: int) -> tuple[float, float] | None:
        """Return median and 99th percentile of the lag over the last minute, in seconds; None: no row has come."""
        first = now_ns // NS_PER_SECOND - LAG_S
        lags = [part for each in self._seconds if each.second > first for part in each.lags]
        if not sum(len(part) for part in lags):
            return None
        median, late = np.percentile(np.concatenate(lags), (50, 99)) / NS_PER_SECOND
        return float(median), float(late)

    def _second(self, number: int) -> _Second:
        if not self._seconds or self._seconds[-1].second != number:
            self._seconds.append(_Second(number))
            while self._seconds[0].second <= number - LAG_S:
                self._seconds.popleft()
        return self._seconds[-1]
