"""A market's calendar: when it trades, and which bars that makes expected."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable

import numpy as np

from quasar.model.columns import Int64Array
from quasar.model.instants import MAX_NS, MIN_NS, NS_PER_DAY, Instant, TimeRange, day_ns, from_ns, ns_date, to_ns
from quasar.model.intervals import Interval
from quasar.model.sessions import Sessions, SlotAnchor

SessionLoader = Callable[[int, int], Sessions]
"""Returns the sessions with dates in [first, end), both 00:00 UTC of a date in nanoseconds."""

_MARGIN_NS = 3 * NS_PER_DAY
"""How far a session's hours may lie from its date."""


class Calendar:
    """When one market trades. Answers for every date; loads what it needs by decades, once; thread-safe.

    Instants are aware datetimes or nanoseconds. Arrays are int64 nanoseconds.
    """

    def __init__(self, name: str, load: SessionLoader, *, known: bool = True, always_open: bool = False) -> None:
        """Build a calendar without loading anything.

        Args:
            name: The calendar's name: a MIC, `XFX` or `24/7`.
            load: Where sessions come from.
            known: Whether the market is known, or taken to be always open for want of knowledge.
            always_open: Whether the market never closes.
        """
        self.name = name
        """A MIC of exchange_calendars, `XFX` or `24/7`."""
        self.known = known
        """False when the market is unknown and therefore taken to be always open."""
        self.always_open = always_open
        """Whether the market never closes."""
        self._load = load
        self._decades: dict[int, Sessions] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        """Return the name, and whether it is assumed."""
        return f"Calendar({self.name!r}{'' if self.known else ', known=False'})"

    def is_open(self, time: Instant) -> bool:
        """Tell whether the market trades at an instant: the open is inside, the close and the break are not."""
        time_ns = to_ns(time)
        if self.always_open:
            return True
        return bool(self._around(time_ns, time_ns + 1).contains(np.array([time_ns], dtype=np.int64))[0])

    def is_session(self, day: dt.date) -> bool:
        """Tell whether the market has a session of a date; of a datetime, whatever its zone, its date counts."""
        return self.always_open or len(self.sessions_dated(day, day + dt.timedelta(days=1))) > 0

    def has_session(self, start: Instant | dt.date, end: Instant | dt.date) -> bool:
        """Tell whether the market trades in [start, end), or has a session dated so when both are plain dates."""
        if isinstance(start, int | dt.datetime) and isinstance(end, int | dt.datetime):
            return len(self.sessions(start, end)) > 0
        first, last = _date(start), _date(end)
        return first < last and (self.always_open or len(self.sessions_dated(first, last)) > 0)

    def sessions(self, start: Instant, end: Instant) -> Sessions:
        """Return the sessions that trade at some instant of [start, end); of a market that never closes, UTC days.

        Raises:
            InvalidArgument: A time is naive, or the start is after the end.
        """
        span = TimeRange.of(start, end)
        if span.length_ns == 0:
            return self._around(span.start_ns, span.end_ns)[:0]
        return self._around(span.start_ns, span.end_ns).overlapping(span)

    def sessions_dated(self, first: dt.date, end: dt.date) -> Sessions:
        """Return the sessions with dates in [first, end)."""
        span = TimeRange.of(day_ns(_date(first)), day_ns(_date(end)))
        return self._around(span.start_ns, span.end_ns).dated(span)

    def next_open(self, after: Instant) -> dt.datetime | None:
        """Return when trading next begins strictly after an instant, in UTC, also after a break; None: never."""
        return self._next(to_ns(after), opens=True)

    def next_close(self, after: Instant) -> dt.datetime | None:
        """Return when trading next ends strictly after an instant, in UTC, also for a break; None: never."""
        return self._next(to_ns(after), opens=False)

    def expected_slots(
        self, interval: Interval, start: Instant, end: Instant, anchor: SlotAnchor = SlotAnchor.CLOCK
    ) -> Int64Array:
        """Return the open times in [start, end) of the bars that should exist, ascending.

        Bars of a day or longer are keyed by dates: 00:00 UTC of each session's date, of the Monday of a week and of the
        1st of a month that have a session. Shorter bars are expected when their slot overlaps trading.

        Args:
            interval: An interval of time.
            start: First open time.
            end: First instant after the range.
            anchor: Where bars shorter than a day begin; vendors that cut from the open need `SESSION`.

        Raises:
            InvalidArgument: The interval is not one of time, or the range is malformed.
        """
        span = TimeRange.of(start, end)
        if self.always_open or span.length_ns == 0:
            return interval.slots(span.start_ns, span.end_ns)
        first_ns = interval.floor_ns(span.start_ns)
        end_ns = interval.next_boundary_ns(span.end_ns)
        return self._around(first_ns, end_ns).slots(interval, span, anchor)

    def expected_count(self, interval: Interval, start: Instant, end: Instant) -> int:
        """Return how many slots `expected_slots` has by the clock.

        Twenty years of minutes are millions of slots, which nobody wants as an array in order to count them.

        Raises:
            InvalidArgument: The interval is not one of time, or the range is malformed.
        """
        span = TimeRange.of(start, end)
        if span.length_ns == 0:
            return 0
        if not self.always_open:
            first_ns, end_ns = interval.floor_ns(span.start_ns), interval.next_boundary_ns(span.end_ns)
            return self._around(first_ns, end_ns).slot_count(interval, span)
        return interval.slot_count(span.start_ns, span.end_ns)

    def _next(self, after_ns: int, *, opens: bool) -> dt.datetime | None:
        if self.always_open:
            return None
        reach_ns = 14 * NS_PER_DAY
        while True:
            end_ns = min(after_ns + reach_ns, MAX_NS)
            starts, ends = self._around(after_ns, end_ns).trading_ranges()
            edges = starts if opens else ends
            row = int(np.searchsorted(edges, after_ns, side="right"))
            if row < len(edges):
                return from_ns(int(edges[row]))
            if end_ns == MAX_NS:
                return None
            reach_ns *= 4

    def _around(self, start_ns: int, end_ns: int) -> Sessions:
        """Return at least the sessions that touch a range, with some before and after."""
        first_ns = max(start_ns - _MARGIN_NS, MIN_NS) // NS_PER_DAY * NS_PER_DAY
        last_ns = -(-min(end_ns + _MARGIN_NS, MAX_NS) // NS_PER_DAY) * NS_PER_DAY
        if self.always_open:
            return self._load(first_ns, last_ns)
        decades = range(ns_date(first_ns).year // 10, ns_date(last_ns).year // 10 + 1)
        if any(decade not in self._decades for decade in decades):
            self._load_decades(decades)
        parts = [self._decades[decade] for decade in decades]
        sessions = parts[0] if len(parts) == 1 else Sessions.concatenate(parts)
        return sessions.dated(TimeRange(first_ns, last_ns))

    def _load_decades(self, decades: range) -> None:
        """Load what is missing, neighbouring decades in one go, since each load costs about as much as ten years do."""
        with self._lock:
            missing = [decade for decade in decades if decade not in self._decades]
            while missing:
                run = [missing.pop(0)]
                while missing and missing[0] == run[-1] + 1:
                    run.append(missing.pop(0))
                sessions = self._load(_decade_ns(run[0]), _decade_ns(run[-1] + 1))
                for decade in run:
                    self._decades[decade] = sessions.dated(TimeRange(_decade_ns(decade), _decade_ns(decade + 1)))


def _decade_ns(decade: int) -> int:
    """Return the begin of a decade, within what nanoseconds can hold."""
    if decade * 10 < 1678:
        return MIN_NS
    return MAX_NS if decade * 10 > 2262 else day_ns(dt.date(decade * 10, 1, 1))


def _date(value: Instant | dt.date) -> dt.date:
    if isinstance(value, int):
        return ns_date(value)
    return value.date() if isinstance(value, dt.datetime) else value
