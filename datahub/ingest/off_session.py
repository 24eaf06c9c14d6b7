"""Slots outside the calendar in which a bar was stored, a bit for each: what the ledger expects beyond the calendar."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from datahub.ingest.ledger import LedgerRow
from datahub.series.series import Series
from quasar.model.columns import Int64Array
from quasar.model.instants import MIN_NS, MISSING_NS, NS_PER_DAY, TimeRange
from quasar.model.intervals import Interval

ROW_SLOTS: Final = 1_024
NO_SLOTS: Final[Int64Array] = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class SlotBits:
    """A row of slots."""

    start_ns: int
    """Open time of the first one."""
    bits: bytes
    """The lowest bit of the first byte is the first slot; zeros at the end are left out."""


def packed(times_ns: Int64Array, interval: Interval) -> list[SlotBits]:
    """Return open times, in any order, as rows of bits, ascending."""
    starts, places = _rows(times_ns, _step_ns(interval))
    rows = []
    for start_ns in np.unique(starts).tolist():
        slots = np.zeros(ROW_SLOTS, dtype=np.uint8)
        slots[places[starts == start_ns]] = 1
        rows.append(SlotBits(start_ns, np.packbits(slots, bitorder="little").tobytes().rstrip(b"\0")))
    return rows


def unpacked(rows: Iterable[SlotBits], interval: Interval) -> Int64Array:
    """Return the open times that rows of bits stand for, ascending."""
    step_ns = _step_ns(interval)
    times = [row.start_ns + step_ns * _set_bits(row.bits) for row in rows]
    # Rows of vendors that cut from the open may lie across those on the clock.
    return np.sort(np.concatenate(times)) if times else NO_SLOTS


def added(known_ns: Int64Array, fresh_ns: Int64Array, interval: Interval) -> list[SlotBits]:
    """Return the rows that slots change.

    Args:
        known_ns: The slots of these rows so far, those of others may be among them.
        fresh_ns: The slots that come to them.
        interval: Of the series.
    """
    touched = set(_rows(fresh_ns, _step_ns(interval))[0].tolist())
    return [row for row in packed(np.union1d(known_ns, fresh_ns), interval) if row.start_ns in touched]


def rows_over(span: TimeRange, interval: Interval) -> tuple[int, int]:
    """Return between which begins, both exclusive, the rows are that may have slots in a range."""
    return max(span.start_ns - ROW_SLOTS * _step_ns(interval), MIN_NS), span.end_ns


def reach(span: TimeRange, former: Sequence[LedgerRow]) -> TimeRange:
    """Return the range whose slots are counted when a range is classified anew: with the rows that it cuts."""
    start_ns, end_ns = span.start_ns, span.end_ns
    for row in former:
        if row.end_ns <= span.start_ns:
            start_ns = min(start_ns, row.end_ns)
        elif row.start_ns >= span.end_ns:
            end_ns = max(end_ns, row.start_ns)
        else:
            start_ns, end_ns = min(start_ns, row.start_ns), max(end_ns, row.end_ns)
    return TimeRange(start_ns, end_ns)


def expected_slots(series: Series, span: TimeRange, off_session_ns: Int64Array) -> Int64Array:
    """Return the open times in a range at which a bar is expected: by the calendar, and where there once was one."""
    expected = series.calendar.expected_slots(series.interval, span.start_ns, span.end_ns)
    more = _within(off_session_ns, span.start_ns, span.end_ns)
    return np.union1d(expected, more) if len(more) else expected


def expected_count(series: Series, start_ns: int, end_ns: int, off_session_ns: Int64Array) -> int:
    """Return how many slots `expected_slots` has in [start, end)."""
    if start_ns < end_ns and len(_within(off_session_ns, start_ns, end_ns)):
        return len(expected_slots(series, TimeRange(start_ns, end_ns), off_session_ns))
    return series.expected_between(start_ns, end_ns)


def beyond(observed_ns: Int64Array, expected_ns: Int64Array) -> Int64Array:
    """Return the observed times that are not expected; both ascend."""
    places = np.searchsorted(expected_ns, observed_ns)
    found = np.append(expected_ns, MISSING_NS)[places] == observed_ns
    return NO_SLOTS if found.all() else observed_ns[~found]


def _within(times_ns: Int64Array, start_ns: int, end_ns: int) -> Int64Array:
    first, last = np.searchsorted(times_ns, [start_ns, end_ns])
    return times_ns[first:last]


def _step_ns(interval: Interval) -> int:
    return interval.length_ns or NS_PER_DAY


def _rows(times_ns: Int64Array, step_ns: int) -> tuple[Int64Array, Int64Array]:
    """Return the begin of the row of each open time, and its place in it."""
    # Vendors that cut from the open have slots between those of the clock: these get rows of their own.
    phase = times_ns % step_ns
    place = (times_ns - phase) // step_ns
    return (place - place % ROW_SLOTS) * step_ns + phase, place % ROW_SLOTS


def _set_bits(bits: bytes) -> Int64Array:
    return np.flatnonzero(np.unpackbits(np.frombuffer(bits, dtype=np.uint8), bitorder="little")).astype(np.int64)
