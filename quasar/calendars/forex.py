"""Sessions of spot currencies: Sunday 17:00 to Friday 17:00 New York, without Christmas and New Year's Day."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np

from quasar.model.instants import NS_PER_DAY, day_ns, ns_date, to_ns
from quasar.model.sessions import Sessions

_NEW_YORK = ZoneInfo("America/New_York")
_ROLL = dt.time(17)
_HOLIDAYS = frozenset({(12, 25), (1, 1)})


def forex_sessions(first_ns: int, end_ns: int) -> Sessions:
    """Return the sessions with dates in [first, end), both 00:00 UTC of a date.

    The session of a date lasts from 17:00 New York of the day before to 17:00 of the date, as banks value trades.
    """
    days = [ns_date(first_ns + number * NS_PER_DAY) for number in range((end_ns - first_ns) // NS_PER_DAY)]
    traded = [day for day in days if day.weekday() < 5 and (day.month, day.day) not in _HOLIDAYS]
    return Sessions.without_breaks(
        np.array([day_ns(day) for day in traded], dtype=np.int64),
        np.array([_roll_ns(day - dt.timedelta(days=1)) for day in traded], dtype=np.int64),
        np.array([_roll_ns(day) for day in traded], dtype=np.int64),
    )


def _roll_ns(day: dt.date) -> int:
    return to_ns(dt.datetime.combine(day, _ROLL, tzinfo=_NEW_YORK))
