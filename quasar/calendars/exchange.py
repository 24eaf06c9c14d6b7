"""Sessions of exchanges, from exchange_calendars, for any range of dates.

Where exchange_calendars knows nothing (before its first and after its last year) the market's usual weekdays and hours
stand in, without holidays. exchange_calendars brings pandas, which takes a second to import: both are loaded at first
use.
"""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from quasar.calendars.maintenance import GLOBEX, before_maintenance
from quasar.model.instants import MISSING_NS, NS_PER_DAY, day_ns, ns_date, to_ns
from quasar.model.sessions import Sessions

_FIRST_NS = day_ns(dt.date(1900, 1, 1))
_END_NS = day_ns(dt.date(2100, 1, 1))
_LOCK = threading.Lock()
"""exchange_calendars keeps caches of its own and does not guard them."""


class _Times(Protocol):
    """What is read of an `exchange_calendars.ExchangeCalendar`."""

    tz: Any
    weekmask: str
    open_offset: int
    close_offset: int
    open_times: list[tuple[Any, dt.time | None]]
    close_times: list[tuple[Any, dt.time | None]]
    break_start_times: list[tuple[Any, dt.time | None]] | None
    break_end_times: list[tuple[Any, dt.time | None]] | None


def exchange_sessions(name: str, first_ns: int, end_ns: int) -> Sessions:
    """Return the sessions of a market with dates in [first, end), both 00:00 UTC of a date.

    Args:
        name: A name in `quasar.calendars.names.EXCHANGES`.
        first_ns: First date.
        end_ns: First date after the range.
    """
    sessions = _told_sessions(name, first_ns, end_ns)
    return before_maintenance(sessions) if name in GLOBEX else sessions


def _told_sessions(name: str, first_ns: int, end_ns: int) -> Sessions:
    """Return the sessions as exchange_calendars has them, and the usual ones where it has none."""
    import exchange_calendars

    with _LOCK:
        low, high = max(first_ns, _FIRST_NS), min(end_ns, _END_NS)
        calendar, low, high = _build(exchange_calendars, name, low, high)
    if low >= high:
        return _usual_sessions(calendar, first_ns, end_ns)
    known = Sessions(
        calendar.sessions_nanos,
        calendar.opens_nanos,
        calendar.closes_nanos,
        calendar.break_starts_nanos,
        calendar.break_ends_nanos,
    )
    before = _usual_sessions(calendar, first_ns, low, latest=False)
    after = _usual_sessions(calendar, high, end_ns)
    return Sessions.concatenate([part for part in (before, known, after) if len(part)] or [known])


def _build(package: Any, name: str, low: int, high: int) -> tuple[Any, int, int]:
    """Build the calendar over as much of [low, high) as the package knows; return it with that range."""
    try:
        if low < high:
            return package.get_calendar(name, start=_text(low), end=_text(high - NS_PER_DAY)), low, high
    except ValueError:  # the range leaves the years that the package knows for this market
        pass
    calendar = package.get_calendar(name)
    first, last = calendar.bound_min(), calendar.bound_max()
    low = low if first is None else max(low, int(first.value))
    high = high if last is None else min(high, int(last.value) + NS_PER_DAY)
    if low < high:
        calendar = package.get_calendar(name, start=_text(low), end=_text(high - NS_PER_DAY))
    return calendar, low, high


def _text(date_ns: int) -> str:
    return ns_date(date_ns).isoformat()


def _usual_sessions(calendar: _Times, first_ns: int, end_ns: int, *, latest: bool = True) -> Sessions:
    """Return sessions on the usual weekdays at the latest or the earliest usual hours."""
    which = -1 if latest else 0
    days = [ns_date(first_ns + number * NS_PER_DAY) for number in range(max(0, end_ns - first_ns) // NS_PER_DAY)]
    days = [day for day in days if calendar.weekmask[day.weekday()] == "1"]

    def instants(times: list[tuple[Any, dt.time | None]] | None, offset: int = 0) -> npt.NDArray[np.int64]:
        hour = times[which][1] if times else None
        if hour is None:
            return np.full(len(days), MISSING_NS, dtype=np.int64)
        shift = dt.timedelta(days=offset)
        local = (dt.datetime.combine(day + shift, hour, tzinfo=calendar.tz) for day in days)
        return np.array([to_ns(time) for time in local], dtype=np.int64)

    return Sessions(
        np.array([day_ns(day) for day in days], dtype=np.int64),
        instants(calendar.open_times, calendar.open_offset),
        instants(calendar.close_times, calendar.close_offset),
        instants(calendar.break_start_times),
        instants(calendar.break_end_times),
    )
