"""Which bar of time an instant belongs to: by the clock, or by the sessions of a market for bars of a day and longer.

A bar of a day holds the trades of one session, from its open to its close, half days included, and is keyed by 00:00
UTC of the session's date; a bar of a week or a month holds those of all sessions with such dates. It closes with the
last of them. What trades outside of sessions belongs to no such bar, but for closing auctions, which are printed
shortly after the close. On a market that never closes the days are those of UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from quasar.model.columns import MISSING, Int64Array
from quasar.model.instants import NS_PER_DAY, NS_PER_MINUTE, TimeRange
from quasar.model.intervals import Interval
from quasar.model.sessions import Sessions, SessionSource

AUCTION_NS: Final = 5 * NS_PER_MINUTE
"""How long after the close of a session what trades counts as its closing auction."""
REACH_NS: Final = 70 * NS_PER_DAY
"""Sessions around an instant that are kept: more than a month to both sides."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The bar that an instant belongs to."""

    open_time_ns: int
    """Its key."""
    close_time_ns: int
    """When it closes."""
    since_ns: int
    """Whatever trades in [since_ns, until_ns) belongs to it, too."""
    until_ns: int


class Slots(Protocol):
    """Tells which bars instants belong to."""

    def at(self, time_ns: int) -> Slot | None:
        """Return the bar of an instant; None: it belongs to none."""
        ...

    def keys(self, times_ns: Int64Array) -> Int64Array:
        """Return the open time of the bar of each instant; `MISSING` where there is none."""
        ...

    def ranges(self, open_time_ns: int) -> list[tuple[int, int]]:
        """Return the ranges of instants of a bar, ascending; with sessions they may begin before its key."""
        ...

    def begin_ns(self, open_time_ns: int) -> int:
        """Return the first instant of a bar."""
        ...


class ClockSlots:
    """Bars that begin and end at boundaries of their interval."""

    def __init__(self, interval: Interval) -> None:
        """Cut by `interval`."""
        self._interval = interval

    def at(self, time_ns: int) -> Slot | None:
        """Return the bar of an instant."""
        start = self._interval.floor_ns(time_ns)
        end = self._interval.next_boundary_ns(start)
        return Slot(start, end, start, end)

    def keys(self, times_ns: Int64Array) -> Int64Array:
        """Return the open time of the bar of each instant."""
        return self._interval.floors(times_ns)

    def ranges(self, open_time_ns: int) -> list[tuple[int, int]]:
        """Return the one range of a bar."""
        return [(open_time_ns, self._interval.next_boundary_ns(open_time_ns))]

    def begin_ns(self, open_time_ns: int) -> int:
        """Return the key: a bar begins there."""
        return open_time_ns


class SessionSlots:
    """Bars of a day and longer on a market with sessions."""

    def __init__(self, interval: Interval, sessions: SessionSource) -> None:
        """Cut by the dates of `sessions`, which are asked for around the instants that are looked up."""
        self._interval = interval
        self._source = sessions
        self._span = TimeRange(0, 0)
        self._known = Sessions.without_breaks(*(np.zeros(0, np.int64) for _ in range(3)))
        self._keys: Int64Array = np.zeros(0, np.int64)

    def at(self, time_ns: int) -> Slot | None:
        """Return the bar of an instant; None: the market is closed then."""
        self._look(time_ns, time_ns)
        row = int(self._rows(np.array([time_ns], np.int64))[0])
        if row < 0:
            return None
        key = int(self._keys[row])
        last = int(np.searchsorted(self._keys, key, side="right")) - 1
        close, known = int(self._known.close_ns[last]), self._known
        return Slot(key, close, int(known.open_ns[row]), int(known.close_ns[row]))

    def keys(self, times_ns: Int64Array) -> Int64Array:
        """Return the open time of the bar of each instant; `MISSING` where the market is closed."""
        if not len(times_ns):
            return np.zeros(0, np.int64)
        self._look(int(times_ns.min()), int(times_ns.max()))
        rows = self._rows(times_ns)
        return np.where(rows >= 0, self._keys[rows], MISSING) if len(self._keys) else np.full(len(rows), MISSING)

    def ranges(self, open_time_ns: int) -> list[tuple[int, int]]:
        """Return the sessions of a bar, each with its closing auction."""
        self._look(open_time_ns, open_time_ns)
        first, last = (int(np.searchsorted(self._keys, open_time_ns, side=side)) for side in ("left", "right"))
        opens, closes = self._known.open_ns[first:last], self._known.close_ns[first:last] + AUCTION_NS
        return list(zip(opens.tolist(), closes.tolist(), strict=True))

    def begin_ns(self, open_time_ns: int) -> int:
        """Return when the first session of a bar opens."""
        ranges = self.ranges(open_time_ns)
        return ranges[0][0] if ranges else open_time_ns

    def _rows(self, times_ns: Int64Array) -> Int64Array:
        """Return the session of each instant, or -1."""
        rows: Int64Array = np.searchsorted(self._known.open_ns, times_ns, side="right").astype(np.int64) - 1
        if len(self._known):
            rows[times_ns >= self._known.close_ns[rows] + AUCTION_NS] = -1
        return rows

    def _look(self, first_ns: int, last_ns: int) -> None:
        if self._span.start_ns <= first_ns and last_ns < self._span.end_ns:
            return
        # What is kept reaches further than what is answered from, so that every bar that begins in it is whole.
        self._known = self._source.sessions(first_ns - REACH_NS, last_ns + REACH_NS)
        self._keys = self._interval.floors(self._known.date_ns)
        self._span = TimeRange(first_ns - REACH_NS // 2, last_ns + REACH_NS // 2)


def slots_of(interval: Interval, sessions: SessionSource) -> Slots:
    """Return how bars of an interval of time are cut on a market."""
    by_session = interval.is_dated and not sessions.always_open
    return SessionSlots(interval, sessions) if by_session else ClockSlots(interval)
