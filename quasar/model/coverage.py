"""Coverage: which slots of a series are there, which are not, and why. Pure arithmetic on half-open ranges of time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from quasar.model.columns import BoolArray, Int64Array, Uint8Array, ascending, frozen_array
from quasar.model.instants import TimeRange
from quasar.model.intervals import Interval
from quasar.model.violations import violation


class SlotState(IntEnum):
    """What is known about one slot of a series."""

    OBSERVED = 1
    """There is a bar."""
    NO_TRADE = 2
    """The market was open, the data was complete, and nothing was traded."""
    CLOSED = 3
    """The market was closed."""
    EMPTY = 4
    """The provider was asked and answered that it has nothing."""
    GAP = 5
    """A bar should be there and is not."""
    REPAIRED = 6
    """There was a gap; the bar was fetched later or borrowed from another provider."""
    UNREPAIRABLE = 7
    """A bar should be there, and every source was asked in vain."""


@dataclass(frozen=True, slots=True, eq=False)
class TimeRanges:
    """Disjoint half-open ranges of time in ascending order, as two read-only int64 columns of nanoseconds.

    Ranges that touch are one range.
    """

    start_ns: Int64Array
    """First instant of each range."""
    end_ns: Int64Array
    """First instant after each range."""

    @classmethod
    def of(cls, ranges: Iterable[TimeRange | tuple[int, int]]) -> TimeRanges:
        """Build from ranges in any order, overlapping or not."""
        pairs = [(r.start_ns, r.end_ns) if isinstance(r, TimeRange) else r for r in ranges]
        table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        return cls.merged(table[:, 0], table[:, 1])

    @classmethod
    def merged(cls, starts: Int64Array, ends: Int64Array) -> TimeRanges:
        """Build from columns in any order: overlapping and touching ranges become one, empty ones vanish."""
        if len(starts) != len(ends) or bool(np.any(starts > ends)):
            raise violation("ranges", "pairs with start at or before end", f"{len(starts)} starts and {len(ends)} ends")
        kept = starts < ends
        starts, ends = starts[kept], ends[kept]
        order = np.argsort(starts, kind="stable")
        starts, reach = starts[order], np.maximum.accumulate(ends[order]) if len(ends) else ends
        first = np.append(True, starts[1:] > reach[:-1]) if len(starts) else np.empty(0, dtype=np.bool_)
        last = np.append(np.flatnonzero(first)[1:], len(starts)) - 1 if len(starts) else np.empty(0, dtype=np.intp)
        return cls(frozen_array(starts[first], np.int64, "start"), frozen_array(reach[last], np.int64, "end"))

    def __len__(self) -> int:
        """Return the number of ranges."""
        return len(self.start_ns)

    def __iter__(self) -> Iterator[TimeRange]:
        """Iterate over the ranges as values."""
        return (TimeRange(int(s), int(e)) for s, e in zip(self.start_ns, self.end_ns, strict=True))

    def __eq__(self, other: object) -> bool:
        """Tell whether both cover the same instants."""
        if not isinstance(other, TimeRanges):
            return NotImplemented
        return np.array_equal(self.start_ns, other.start_ns) and np.array_equal(self.end_ns, other.end_ns)

    def __hash__(self) -> int:
        """Return a hash of the covered instants."""
        return hash((self.start_ns.tobytes(), self.end_ns.tobytes()))

    @property
    def total_ns(self) -> int:
        """Nanoseconds covered."""
        return int((self.end_ns - self.start_ns).sum())

    def union(self, other: TimeRanges) -> TimeRanges:
        """Return what either covers."""
        starts = np.concatenate([self.start_ns, other.start_ns])
        return TimeRanges.merged(starts, np.concatenate([self.end_ns, other.end_ns]))

    def subtract(self, other: TimeRanges) -> TimeRanges:
        """Return what this one covers and the other does not."""
        return self._swept(other, other_inside=False)

    def intersect(self, other: TimeRanges) -> TimeRanges:
        """Return what both cover."""
        return self._swept(other, other_inside=True)

    def contains(self, times_ns: Int64Array) -> BoolArray:
        """Tell for each instant whether it is covered."""
        rows = np.searchsorted(self.start_ns, times_ns, side="right") - 1
        return np.asarray((rows >= 0) & (times_ns < np.append(self.end_ns, 0)[rows]))

    def covers(self, span: TimeRange) -> bool:
        """Tell whether every instant of a range is covered; an empty range always is."""
        if span.length_ns == 0:
            return True
        row = int(np.searchsorted(self.start_ns, span.start_ns, side="right")) - 1
        return row >= 0 and bool(self.end_ns[row] >= span.end_ns)

    def _swept(self, other: TimeRanges, *, other_inside: bool) -> TimeRanges:
        """Keep the stretches between neighbouring edges that lie in this one and (not) in the other."""
        edges = ascending(np.concatenate([self.start_ns, self.end_ns, other.start_ns, other.end_ns]))
        starts, ends = edges[:-1], edges[1:]
        kept = self.contains(starts) & (other.contains(starts) == other_inside)
        return TimeRanges.merged(starts[kept], ends[kept])


NO_RANGES = TimeRanges.of(())
"""Covers nothing."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about slots without a bar, and about how bars came to be there."""

    no_trade: TimeRanges = NO_RANGES
    """Where the data is known to be complete and nothing was traded."""
    empty: TimeRanges = NO_RANGES
    """Where the provider answered that it has nothing."""
    repaired: TimeRanges = NO_RANGES
    """Where bars were fetched later or borrowed."""
    unrepairable: TimeRanges = NO_RANGES
    """Where every source was asked in vain."""


@dataclass(frozen=True, slots=True)
class CoverageRun:
    """Neighbouring slots in one state: one row of the ledger."""

    start_ns: int
    """Open time of the first slot."""
    end_ns: int
    """First boundary after the last slot."""
    state: SlotState
    """Their state."""
    slots: int
    """How many they are."""


@dataclass(frozen=True, slots=True, eq=False)
class Coverage:
    """The state of every slot of one series in a range, one row a slot in order of time."""

    interval: Interval
    """The interval of the series."""
    slots_ns: Int64Array
    """int64, open times."""
    states: Uint8Array
    """uint8, values of `SlotState`."""

    def count(self, *states: SlotState) -> int:
        """Return how many slots are in any of some states."""
        return int(np.isin(self.states, states).sum())

    @property
    def completeness(self) -> float:
        """Share of the slots that need no further work, 0 to 1; 1 when there are no slots.

        Only GAP needs work; UNREPAIRABLE does not count as complete either.
        """
        if not len(self.states):
            return 1.0
        return 1.0 - self.count(SlotState.GAP, SlotState.UNREPAIRABLE) / len(self.states)

    def runs(self) -> list[CoverageRun]:
        """Return neighbouring slots of one state as one row each, in order of time."""
        if not len(self.states):
            return []
        first = np.flatnonzero(np.append(True, self.states[1:] != self.states[:-1]))
        last = np.append(first[1:], len(self.states)) - 1
        columns = (self.slots_ns[first], self._ends(self.slots_ns[last]), self.states[first], last - first + 1)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return [CoverageRun(start, end, SlotState(state), slots) for start, end, state, slots in rows]

    def ranges(self, *states: SlotState) -> TimeRanges:
        """Return the ranges of the slots that are in any of some states."""
        slots = self.slots_ns[np.isin(self.states, states)]
        return TimeRanges.merged(slots, self._ends(slots))

    def _ends(self, slots_ns: Int64Array) -> Int64Array:
        """Return where slots end: at the boundary, or a length on for those that were cut from the open."""
        on_clock = self.interval.floors(slots_ns) == slots_ns
        return np.where(on_clock, self.interval.closes(slots_ns), slots_ns + self.interval.length_ns)


def classify(
    interval: Interval,
    span: TimeRange,
    expected_ns: Int64Array,
    observed_ns: Int64Array,
    evidence: Evidence | None = None,
) -> Coverage:
    """Give every slot of a range its state.

    A slot with a bar is OBSERVED (or REPAIRED) whatever the calendar says. One without is CLOSED when it is not
    expected, else NO_TRADE, EMPTY or UNREPAIRABLE by the evidence, in this order, else GAP.

    Args:
        interval: The interval of the series, one of time.
        span: Which open times to classify.
        expected_ns: Open times that the calendar makes expected, ascending (`Calendar.expected_slots`).
        observed_ns: Open times of the bars that are there, ascending. One that is not expected becomes a slot of its
            own.
        evidence: What is known beyond that.

    Returns:
        The expected and the observed slots; where the expected ones are on the clock, also the CLOSED ones between.
    """
    known = evidence or Evidence()
    observed = observed_ns[(observed_ns >= span.start_ns) & (observed_ns < span.end_ns)]
    expected = expected_ns[(expected_ns >= span.start_ns) & (expected_ns < span.end_ns)]
    on_clock = np.array_equal(interval.floors(expected), expected)
    slots = _with(interval.slots(span.start_ns, span.end_ns) if on_clock else expected, observed)
    states = np.full(len(slots), SlotState.CLOSED, dtype=np.uint8)
    states[np.searchsorted(slots, expected) if len(expected) < len(slots) else slice(None)] = SlotState.GAP
    for ranges, state in (
        (known.unrepairable, SlotState.UNREPAIRABLE),
        (known.empty, SlotState.EMPTY),
        (known.no_trade, SlotState.NO_TRADE),
    ):
        if len(ranges):
            states[(states != SlotState.CLOSED) & ranges.contains(slots)] = state
    places = np.searchsorted(slots, observed)
    states[places] = np.where(known.repaired.contains(observed), SlotState.REPAIRED, SlotState.OBSERVED)
    return Coverage(interval, slots, states)


def _with(slots_ns: Int64Array, observed_ns: Int64Array) -> Int64Array:
    """Return slots and the open times that are none of them, ascending; without a sort when all of them are."""
    if not len(observed_ns):
        return slots_ns
    places = np.searchsorted(slots_ns, observed_ns)
    known = (places < len(slots_ns)) & (np.append(slots_ns, 0)[places] == observed_ns)
    return slots_ns if known.all() else ascending(np.concatenate([slots_ns, observed_ns[~known]]))
