"""When bars end: at the boundary of their interval, or with the session that they are dated by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from quasar.model.bars import BarColumns
from quasar.model.columns import MISSING, Int64Array
from quasar.model.instants import NS_PER_DAY
from quasar.model.intervals import Interval
from quasar.model.sessions import SessionSource


def with_closes(columns: BarColumns, interval: Interval, calendar: SessionSource) -> BarColumns:
    """Return the rows with close times where the source gave none.

    Bars of a day and longer end with the last session of their dates, half days included, where the market has
    sessions. Bars that are not cut by time end where they begin when nobody knows better.
    """
    given = columns.close_time_ns
    if not len(columns) or (given is not None and not (given == MISSING).any()):
        return columns
    if not interval.is_time:
        computed = columns.open_time_ns
    elif interval.is_dated and not calendar.always_open:
        computed = _session_closes(columns.open_time_ns, interval, calendar)
    else:
        computed = interval.closes(columns.open_time_ns)
    if given is not None:
        computed = np.where(given == MISSING, computed, given)
    return replace(columns, close_time_ns=computed)


def _session_closes(opens: Int64Array, interval: Interval, calendar: SessionSource) -> Int64Array:
    first, last = int(opens.min()), int(interval.closes(opens).max())
    sessions = calendar.sessions(first - 2 * NS_PER_DAY, last + 2 * NS_PER_DAY)
    ends = interval.closes(opens)
    if not len(sessions):
        return ends
    keys = interval.floors(sessions.date_ns)
    rows = np.searchsorted(keys, opens, side="right") - 1
    known = (rows >= 0) & (keys[rows] == opens)
    return np.where(known, sessions.close_ns[rows], ends)
