"""When orders may be placed: sessions of calendars, and windows of local time. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from zoneinfo import ZoneInfo

INSTRUMENT: Final = "instrument"
"""Stands for the calendar of the exchange of the order's own instrument."""
_DAY: Final = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Hours:
    """What the time is, and which calendars are open at it."""

    time: dt.datetime
    open: Mapping[str, bool] = field(default_factory=dict)
    """By name; one that is not known is not open."""


@dataclass(frozen=True, slots=True)
class Window:
    """A window of local time on some days of the week; one that ends at or before its start ends on the next day."""

    start: dt.time
    end: dt.time
    zone: ZoneInfo
    weekdays: frozenset[int] = frozenset(range(1, 8))
    """Days on which it starts: 1 Monday to 7 Sunday."""

    def holds(self, time: dt.datetime) -> bool:
        """Tell whether an instant lies in the window: its start does, its end does not."""
        today = time.astimezone(self.zone).date()
        return any(self._covers(day, time) for day in (today - _DAY, today) if day.isoweekday() in self.weekdays)

    def _covers(self, day: dt.date, time: dt.datetime) -> bool:
        last = day if self.start < self.end else day + _DAY
        return local_instant(day, self.start, self.zone) <= time < local_instant(last, self.end, self.zone)

    def __str__(self) -> str:
        """Return for example "09:30 to 16:00 America/New_York"."""
        return f"{self.start:%H:%M} to {self.end:%H:%M} {self.zone.key}"


@dataclass(frozen=True, slots=True)
class AllowedSession:
    """One of the times in which orders may be placed: the sessions of a calendar, or a window."""

    calendar: str = ""
    window: Window | None = None

    def holds(self, hours: Hours) -> bool:
        """Tell whether it is that time."""
        return self.window.holds(hours.time) if self.window else hours.open.get(self.calendar, False)

    def __str__(self) -> str:
        """Return what it is, for people."""
        return str(self.window) if self.window else f"the sessions of {self.calendar}"


def session_of(document: Mapping[str, Any]) -> AllowedSession:
    """Return the session that the JSON form of the contract's `AllowedSession` holds.

    Raises:
        ZoneInfoNotFoundError: There is no such time zone.
    """
    found = document.get("window")
    if found is None:
        return AllowedSession(str(document["calendar"]))
    window = Window(
        start=dt.time.fromisoformat(found["start"]),
        end=dt.time.fromisoformat(found["end"]),
        zone=ZoneInfo(found.get("time_zone") or "UTC"),
        weekdays=frozenset(map(int, found.get("weekdays") or range(1, 8))),
    )
    return AllowedSession(window=window)


def local_instant(day: dt.date, time: dt.time, zone: ZoneInfo) -> dt.datetime:
    """Return when a local time is: the first of two where clocks repeat it, the change where they skip it."""
    local = dt.datetime.combine(day, time, tzinfo=zone)
    late, early = local.astimezone(dt.UTC), local.replace(fold=1).astimezone(dt.UTC)
    if early >= late or late.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None):
        return late
    offset = early.astimezone(zone).utcoffset()
    while late - early > dt.timedelta(seconds=1):
        middle = early + (late - early) // 2
        early, late = (middle, late) if middle.astimezone(zone).utcoffset() == offset else (early, middle)
    return late.replace(microsecond=0)
