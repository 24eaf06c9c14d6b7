"""What waits for the bus, bounded: what there is no room for is left out and remembered as holes.

Once something was left out everything is, until half of the room is free again: one hole for one outage, not a sieve.
Gaps always pass: they are few, and say what is missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from datahub.stream.envelope import payload_of
from datahub.stream.log import Entry
from datahub.stream.topic import CLOSED, FORMING, Content
from quasar import logs
from quasar.convert.columns import decode_bars, decode_ticks

LARGEST_MESSAGE: Final = 256 * 1024
"""Bytes of one message; servers take one MiB unless they are told otherwise."""

_BARS: Final = CLOSED | FORMING
_log = logs.get(__name__)


@dataclass(slots=True)
class Hole:
    """What was left out of one series."""

    start_ns: int
    """Event time of the first row."""
    end_ns: int
    """Event time right after the last one."""
    rows: int = 0

    def take(self, start_ns: int, end_ns: int, rows: int) -> None:
        """Reach over more rows."""
        self.start_ns, self.end_ns = min(self.start_ns, start_ns), max(self.end_ns, end_ns)
        self.rows += rows


class Outbox:
    """Entries on their way to the bus, in order."""

    def __init__(self, max_bytes: int, room: Callable[[], None] = lambda: None) -> None:
        """Hold up to `max_bytes`; `room` hears when nothing is left out any more."""
        self.waiting_bytes = 0
        self.refused_rows = 0
        """Rows that were left out."""
        self._max_bytes = max_bytes
        self._room = room
        self._entries: deque[Entry] = deque()
        self._holes: dict[int, Hole] = {}
        self._full = False

    def __bool__(self) -> bool:
        """Tell whether anything waits."""
        return bool(self._entries)

    def put(self, entry: Entry) -> None:
        """Take an entry, or note that it is left out."""
        size = len(entry.field)
        if entry.topic.content is not Content.GAPS and (self._full or self.waiting_bytes + size > self._max_bytes):
            self._leave_out(entry)
            return
        self._entries.append(entry)
        self.waiting_bytes += size

    def take(self, most: int) -> list[Entry]:
        """Return the entries of the next message; they count as waiting until they are `done`."""
        taken = [self._entries.popleft()]
        size = len(taken[0].field)
        while self._entries and len(taken) < most and size + len(self._entries[0].field) < LARGEST_MESSAGE:
            taken.append(self._entries.popleft())
            size += len(taken[-1].field)
        return taken

    def done(self, entries: list[Entry]) -> None:
        """Forget entries that the bus has."""
        self.waiting_bytes -= sum(len(one.field) for one in entries)
        if self._full and self.waiting_bytes <= self._max_bytes // 2:
            self._full = False
            _log.warning("live data goes out again; what was left out is told as gaps", rows=self.refused_rows)
            self._room()

    def take_holes(self) -> dict[int, Hole]:
        """Return what was left out since the last time, by series; nothing while it still grows."""
        if self._full:
            return {}
        found, self._holes = self._holes, {}
        return found

    def _leave_out(self, entry: Entry) -> None:
        if not self._full:
            _log.error("live data is left out: the bus is away for too long", waiting_bytes=self.waiting_bytes)
        self._full = True
        self.refused_rows += entry.rows
        start_ns, end_ns = _span(entry)
        self._holes.setdefault(entry.topic.series_id, Hole(start_ns, end_ns)).take(start_ns, end_ns, entry.rows)


def _span(entry: Entry) -> tuple[int, int]:
    """Return from which event time to which an entry reaches."""
    payload = payload_of(entry.field)
    if entry.topic.content in _BARS:
        times = decode_bars(payload).columns.open_time_ns
    else:
        times = decode_ticks(payload).columns.event_time_ns
    return int(times.min()), int(times.max()) + 1
