"""The live log: what was published, in order, as encoded fields of an envelope, bounded by bytes and age.

A cursor names an epoch (one life of a log) and a position in it. A reader that resumes right after a cursor gets what
follows from here, without a hole, or is told the earliest cursor that is left.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from datahub.stream.topic import Content, Topic
from quasar import errors


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One published chunk."""

    position: int
    """Grows from entry to entry of the epoch; by one, unless a bus numbers them."""
    topic: Topic
    field: bytes
    """The chunk as a field of an envelope: tag, length and payload."""
    rows: int
    time_ns: int
    """When it was published, nanoseconds UTC."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a log."""

    epoch: int
    position: int

    def __str__(self) -> str:
        """Return the form that clients keep."""
        return f"{self.epoch:x}.{self.position:x}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read what `str` wrote.

        Raises:
            InvalidCursor: It is no cursor.
        """
        epoch, _, position = text.partition(".")
        try:
            return cls(int(epoch, 16), int(position, 16))
        except ValueError:
            raise errors.InvalidCursor(f"cursor must be one that a stream sent, was {text[:40]!r}") from None


class LiveLog:
    """Keeps what was published until it is too much or too old."""

    def __init__(
        self, epoch: int, *, position: int = 0, max_bytes: int = 64 * 1024 * 1024, max_age_ns: int = 900_000_000_000
    ) -> None:
        """Begin an epoch, or go on in one.

        Args:
            epoch: Greater than that of every former log.
            position: Of the last entry before the first that will be kept.
            max_bytes: Encoded bytes that are kept.
            max_age_ns: Age that is kept, nanoseconds.
        """
        self.epoch = epoch
        self.position = position
        """Position of the newest entry."""
        self._left_out = position
        self.size_bytes = 0
        self._entries: deque[Entry] = deque()
        self._max_bytes = max_bytes
        self._max_age_ns = max_age_ns

    @property
    def head(self) -> Cursor:
        """The cursor after everything."""
        return Cursor(self.epoch, self.position)

    @property
    def earliest(self) -> Cursor:
        """The earliest cursor that can be resumed from."""
        return Cursor(self.epoch, self._left_out)

    @property
    def earliest_time_ns(self) -> int:
        """When the oldest entry was published; 0: there is none."""
        return self._entries[0].time_ns if self._entries else 0

    def append(self, topic: Topic, field: bytes, rows: int, time_ns: int, position: int = 0) -> Entry:
        """Publish one chunk; the oldest entries go when there is too much. A position that is given is the next one."""
        self.position = position or self.position + 1
        entry = Entry(self.position, topic, field, rows, time_ns)
        self._entries.append(entry)
        self.size_bytes += len(field)
        while self._entries and (
            self.size_bytes > self._max_bytes or self._entries[0].time_ns < time_ns - self._max_age_ns
        ):
            oldest = self._entries.popleft()
            self.size_bytes -= len(oldest.field)
            self._left_out = oldest.position
        return entry

    def after(self, cursor: Cursor) -> Iterator[Entry]:
        """Return the entries after a cursor.

        Raises:
            CursorExpired: What follows the cursor is no longer kept; the metadata name the earliest one.
        """
        if cursor.epoch > self.epoch or (cursor.epoch == self.epoch and cursor.position > self.position):
            raise errors.InvalidCursor(f"cursor must be one of this log, was {cursor}, which is ahead of it")
        if cursor.epoch < self.epoch or cursor.position < self.earliest.position:
            raise errors.CursorExpired(
                f"What follows the cursor {cursor} is no longer kept; resume from {self.earliest} and read what lies "
                "between from the store.",
                metadata={"earliest_cursor": str(self.earliest)},
            )
        skip = bisect_right(self._entries, cursor.position, key=lambda entry: entry.position)
        return islice(self._entries, skip, None)

    def position_at(self, time_ns: int) -> int:
        """Return the position before the first entry that was published at or after a time."""
        index = bisect_left(self._entries, time_ns, key=lambda entry: entry.time_ns)
        return self._entries[index - 1].position if index else self._left_out

    def last(self, topics: frozenset[Topic], rows: int) -> list[Entry]:
        """Return the entries that hold the last rows, so many of each topic, in order; forming bars are left out."""
        left = {topic: rows for topic in topics if topic.content is not Content.FORMING_BARS}
        found: list[Entry] = []
        for entry in reversed(self._entries):
            if not left:
                break
            if entry.topic in left:
                found.append(entry)
                left[entry.topic] -= entry.rows
                if left[entry.topic] <= 0:
                    del left[entry.topic]
        return found[::-1]
