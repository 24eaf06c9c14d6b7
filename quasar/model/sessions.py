"""Trading sessions as columns, and which slots of an interval they make expected."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Protocol

import numpy as np

from quasar.model.columns import BoolArray, Int64Array, Selection, ascending, frozen_array
from quasar.model.instants import MISSING_NS, Instant, TimeRange
from quasar.model.intervals import Interval


class SlotAnchor(StrEnum):
    """Where the slots of an interval shorter than a day begin."""

    CLOCK = "clock"
    """At multiples of the interval on the UTC clock: hourly bars of New York at 14:00, 15:00 …"""
    SESSION = "session"
    """At multiples of the interval from the open: hourly bars of New York at 14:30, 15:30 …"""


@dataclass(frozen=True, slots=True, eq=False)
class Sessions:
    """Consecutive sessions of one market as read-only int64 columns, ascending, not overlapping."""

    date_ns: Int64Array
    """00:00 UTC of the date that the market gives the session."""
    open_ns: Int64Array
    """First instant of trading."""
    close_ns: Int64Array
    """First instant after trading."""
    break_start_ns: Int64Array
    """First instant of the break, `MISSING_NS` where there is none."""
    break_end_ns: Int64Array
    """First instant after the break, `MISSING_NS` where there is none."""

    def __post_init__(self) -> None:
        """Make the columns read-only and check that they have one length."""
        rows = len(np.atleast_1d(self.date_ns))
        for field in fields(self):
            object.__setattr__(self, field.name, frozen_array(getattr(self, field.name), np.int64, field.name, rows))

    @classmethod
    def without_breaks(cls, date_ns: Int64Array, open_ns: Int64Array, close_ns: Int64Array) -> Sessions:
        """Build sessions that trade from open to close."""
        none = np.full(len(date_ns), MISSING_NS, dtype=np.int64)
        return cls(date_ns, open_ns, close_ns, none, none)

    @classmethod
    def concatenate(cls, parts: list[Sessions]) -> Sessions:
        """Join sessions of one market; the parts must follow each other."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def __len__(self) -> int:
        """Return the number of sessions."""
        return len(self.date_ns)

    def __getitem__(self, selection: Selection) -> Sessions:
        """Return the selected sessions."""
        return Sessions(*(getattr(self, field.name)[selection] for field in fields(self)))

    def overlapping(self, span: TimeRange) -> Sessions:
        """Return the sessions that trade at some instant of a range."""
        first = int(np.searchsorted(self.close_ns, span.start_ns, side="right"))
        last = int(np.searchsorted(self.open_ns, span.end_ns, side="left"))
        return self[first : max(first, last)]

    def dated(self, span: TimeRange) -> Sessions:
        """Return the sessions whose date lies in a range."""
        first, last = np.searchsorted(self.date_ns, [span.start_ns, span.end_ns])
        return self[int(first) : int(last)]

    def index_of(self, times_ns: Int64Array) -> Int64Array:
        """Return for each instant the row of the session that lasts then, breaks included, or -1."""
        rows = np.searchsorted(self.open_ns, times_ns, side="right").astype(np.int64) - 1
        rows[(rows >= 0) & (np.asarray(times_ns) >= np.append(self.close_ns, MISSING_NS)[rows])] = -1
        return rows

    def contains(self, times_ns: Int64Array) -> BoolArray:
        """Tell for each instant whether the market trades then: open inclusive, close exclusive, breaks closed."""
        times = np.asarray(times_ns, dtype=np.int64)
        rows = self.index_of(times)
        starts, ends = np.append(self.break_start_ns, MISSING_NS)[rows], np.append(self.break_end_ns, MISSING_NS)[rows]
        on_break = (starts != MISSING_NS) & (times >= starts) & (times < ends)
        return np.asarray((rows >= 0) & ~on_break)

    def trading_ranges(self) -> tuple[Int64Array, Int64Array]:
        """Return starts and ends of uninterrupted trading: a break parts it, sessions that touch do not."""
        broken = self.break_start_ns != MISSING_NS
        starts = np.concatenate([self.open_ns, self.break_end_ns[broken]])
        ends = np.concatenate([np.where(broken, self.break_start_ns, self.close_ns), self.close_ns[broken]])
        order = np.argsort(starts, kind="stable")
        starts, ends = starts[order], ends[order]
        kept = starts < ends
        starts, ends = starts[kept], ends[kept]
        parted = starts[1:] > ends[:-1]
        return starts[np.append(len(starts) > 0, parted)[: len(starts)]], ends[np.append(parted, True)[: len(ends)]]

    def slots(self, interval: Interval, span: TimeRange, anchor: SlotAnchor = SlotAnchor.CLOCK) -> Int64Array:
        """Return the open times in `span` of the bars that these sessions make expected, ascending, int64 ns.

        Bars of a day or longer are keyed by 00:00 UTC of session dates (of the Monday, of the 1st), whatever the hours
        of the market: that is how vendors date them. Shorter ones are expected when their slot overlaps trading.

        Args:
            interval: An interval of time.
            span: Which open times to return. The sessions must reach a day beyond it on both sides.
            anchor: Where slots shorter than a day begin.
        """
        if interval.is_dated:
            slots = ascending(interval.floors(self.date_ns))
        elif anchor is SlotAnchor.SESSION:
            slots = self._session_slots(interval.length_ns)
        else:
            starts, ends = self.trading_ranges()
            firsts = interval.floors(starts)
            slots = ascending(_stepped(firsts, -(-(ends - firsts) // interval.length_ns), interval.length_ns))
        first, last = np.searchsorted(slots, [span.start_ns, span.end_ns])
        return slots[int(first) : int(last)]

    def slot_count(self, interval: Interval, span: TimeRange) -> int:
        """Return how many slots `slots` has by the clock, for intervals shorter than a day without building them."""
        if interval.is_dated:
            return len(self.slots(interval, span))
        step = interval.length_ns
        starts, ends = self.trading_ranges()
        firsts = interval.floors(starts)
        counts = -(-(ends - firsts) // step)
        low = np.clip(-(-(span.start_ns - firsts) // step), 0, counts)
        high = np.clip(-(-(span.end_ns - firsts) // step), 0, counts)
        # The slot in which trading ends may be the one in which it begins again.
        again = firsts[1:][firsts[1:] <= (firsts + (counts - 1) * step)[:-1]]
        twice = np.count_nonzero((again >= span.start_ns) & (again < span.end_ns))
        return int((high - low).sum()) - int(twice)

    def _session_slots(self, step_ns: int) -> Int64Array:
        slots = _stepped(self.open_ns, -(-(self.close_ns - self.open_ns) // step_ns), step_ns)
        rows = self.index_of(slots)
        in_break = (
            (self.break_start_ns[rows] != MISSING_NS)
            & (slots >= self.break_start_ns[rows])
            & (slots + step_ns <= self.break_end_ns[rows])
        )
        kept: Int64Array = slots[~in_break]
        return kept


class SessionSource(Protocol):
    """Whoever knows the sessions of a market; `quasar.calendars.Calendar` does."""

    @property
    def always_open(self) -> bool:
        """Whether the market never closes, so that sessions need not be asked for."""
        ...

    def sessions(self, start: Instant, end: Instant) -> Sessions:
        """Return the sessions that trade at some instant of [start, end)."""
        ...


def _stepped(firsts: Int64Array, counts: Int64Array, step: int) -> Int64Array:
    """Return first, first + step … `count` times for each pair, as one array."""
    total = int(counts.sum())
    offsets = np.arange(total, dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.asarray(np.repeat(firsts, counts) + offsets * step, dtype=np.int64)
