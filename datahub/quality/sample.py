"""Bars as the checks see them: some of a series in order of time, with the session that each belongs to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quasar.calendars import Calendar
from quasar.model.columns import FloatArray, Int64Array
from quasar.model.instants import NS_PER_DAY
from quasar.model.intervals import Interval


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sample:
    """Bars of one series, ascending: those to be checked with some before and after them that say what is usual."""

    open_time_ns: Int64Array
    close_time_ns: Int64Array
    date_ns: Int64Array
    """00:00 UTC of the date of each bar's session."""
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    """NaN where the source has none."""
    split_factor: FloatArray
    """NaN where none is told."""
    dividend: FloatArray
    """NaN where none is told."""
    checked: npt.NDArray[np.bool_]
    """Which bars findings may be about."""

    def __len__(self) -> int:
        """Return the number of bars."""
        return len(self.open_time_ns)


def session_dates(calendar: Calendar, interval: Interval, times_ns: Int64Array) -> Int64Array:
    """Return 00:00 UTC of the date of the session that each open time belongs to, int64 ns.

    Bars of a day and longer carry their date; times outside of every session, and those of markets that never close,
    have the date in UTC.
    """
    days: Int64Array = times_ns - times_ns % NS_PER_DAY
    dated = interval.is_time and interval.is_dated
    if not len(times_ns) or calendar.always_open or dated:
        return days
    sessions = calendar.sessions(int(times_ns.min()), int(times_ns.max()) + NS_PER_DAY)
    if not len(sessions):
        return days
    rows = sessions.index_of(times_ns)
    if interval.is_time and interval.length_ns:
        # A slot on the clock may begin before the open that it holds.
        rows = np.where(rows < 0, sessions.index_of(times_ns + interval.length_ns - 1), rows)
    return np.where(rows >= 0, sessions.date_ns[rows], days)
