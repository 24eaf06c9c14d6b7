"""When the markets of live symbols are open, kept until that changes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from quasar.calendars import Calendar
from quasar.model.instants import NS_PER_DAY

_REACH_NS = 14 * NS_PER_DAY
"""No market rests for longer."""


@dataclass(frozen=True, slots=True)
class Hours:
    """Whether a market is open."""

    open: bool
    since_ns: int = 0
    """Since when; 0: always, or not known."""
    until_ns: int = 0
    """Until when; 0: always, or not known."""


ALWAYS = Hours(True)


class MarketHours:
    """Looks calendars up, each once for every opening and close."""

    def __init__(self) -> None:
        """Begin with nothing looked up."""
        self._known: dict[str, Hours] = {}

    async def look(self, calendars: Iterable[Calendar], now_ns: int) -> None:
        """Bring what is known of some calendars up to date."""
        asked = {calendar.name: calendar for calendar in calendars}
        due = [each for name, each in asked.items() if not self._holds(name, now_ns)]
        for calendar in due:
            # A library is loaded at the first question, which takes seconds.
            self._known[calendar.name] = await asyncio.to_thread(hours_of, calendar, now_ns)

    def of(self, calendar: Calendar) -> Hours:
        """Return what was found at the last look."""
        return self._known.get(calendar.name, ALWAYS)

    def _holds(self, name: str, now_ns: int) -> bool:
        known = self._known.get(name)
        return known is not None and (known.until_ns == 0 or now_ns < known.until_ns)


def hours_of(calendar: Calendar, now_ns: int) -> Hours:
    """Return whether a market is open now, since when and until when; breaks count as closed."""
    if calendar.always_open:
        return ALWAYS
    sessions = calendar.sessions(now_ns - _REACH_NS, now_ns + _REACH_NS)
    changes: list[tuple[int, bool]] = []
    for row in range(len(sessions)):
        changes.append((int(sessions.open_ns[row]), True))
        if int(sessions.break_start_ns[row]) > 0:
            changes.append((int(sessions.break_start_ns[row]), False))
            changes.append((int(sessions.break_end_ns[row]), True))
        changes.append((int(sessions.close_ns[row]), False))
    past = [each for each in changes if each[0] <= now_ns]
    following = [at for at, _ in changes if at > now_ns]
    since_ns, is_open = past[-1] if past else (0, False)
    return Hours(is_open, since_ns, following[0] if following else 0)
