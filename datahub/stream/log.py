"""The live log: what was published, in order, as encoded fields of an envelope, bounded by bytes and age.

A cursor names an epoch (one life of a log) and a position in it. A reader that resumes right after a cursor gets what
follows from here, without a hole, or is told the earliest cursor that is left.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from datahub.stream.topic import FORMING, Topic
from quasar import errors
from quasar.model.instants import from_ns

_HEX: Final = re.compile("[0-9a-f]{1,16}")


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
        if not (_HEX.fullmatch(epoch) and _HEX.fullmatch(position)):
            raise errors.InvalidCursor(f"cursor must be one that a stream sent, was {text[:40]!r}")
        return cls(int(epoch, 16), int(position, 16))


def expired(place: Cursor | str, earliest: Cursor) -> errors.CursorExpired:
    """Return what a reader is told when what follows its cursor, or a time, is no longer kept."""
    named = f"cursor {place}" if isinstance(place, Cursor) else place
    return errors.CursorExpired(
        f"What follows the {named} is no longer kept; resume from {earliest} and read what lies between from "
        "the store.",
        metadata={"earliest_cursor": str(earliest)},
    )


class LiveLog:
    """Keeps what was published until it is too much or too old."""

    def __init__(
        self,
        epoch: int,
        *,
        position: int = 0,
        lost: Sequence[tuple[int, int]] = (),
        max_bytes: int = 64 * 1024 * 1024,
        max_age_ns: int = 900_000_000_000,
    ) -> None:
        """Begin an epoch, or go on in one.

        Args:
            epoch: Greater than that of every former log.
            position: Of the last entry before the first that will be kept.
            lost: Stretches between two positions in which nobody knows what was published: former lives of the log
                ended there, and the next one began far beyond.
            max_bytes: Encoded bytes that are kept.
            max_age_ns: Age that is kept, nanoseconds.
        """
        self.epoch = epoch
        self.position = position
        """Position of the newest entry."""
        self._left_out = position
        self._left_out_ns = 0
        """When the newest of what is not kept was published at the latest."""
        self._lost = tuple(lost)
        self.size_bytes = 0
        self._entries: deque[Entry] = deque()
        self._max_bytes = max_bytes
        self.max_age_ns = max_age_ns
        """Age that is kept, nanoseconds."""

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

    @property
    def latest_time_ns(self) -> int:
        """When the newest entry was published; 0: there is none."""
        return self._entries[-1].time_ns if self._entries else 0

    def append(self, topic: Topic, field: bytes, rows: int, time_ns: int) -> Entry:
        """Publish one chunk."""
        entry = Entry(self.position + 1, topic, field, rows, time_ns)
        self.add(entry)
        return entry

    def add(self, entry: Entry) -> None:
        """Take the next entry; the oldest ones go when there is too much."""
        if not self._entries and not self._left_out_ns:
            self._left_out_ns = entry.time_ns - 1  # of what came before it that much is known
        self.position = entry.position
        self._entries.append(entry)
        self.size_bytes += len(entry.field)
        oldest_ns = entry.time_ns - self.max_age_ns
        while self._entries and (self.size_bytes > self._max_bytes or self._entries[0].time_ns < oldest_ns):
            oldest = self._entries.popleft()
            self.size_bytes -= len(oldest.field)
            self._left_out, self._left_out_ns = oldest.position, oldest.time_ns

    def go_on_at(self, position: int) -> None:
        """Give the next entry a position after this one."""
        self.position = position

    def break_off(self, position: int) -> None:
        """Forget everything and go on after a position: what lies before it is not all here."""
        self._left_out_ns = 0 if not self._entries else self._entries[-1].time_ns
        self._entries.clear()
        self.size_bytes = 0
        self.position = self._left_out = position

    def after(self, cursor: Cursor) -> Iterator[Entry]:
        """Return the entries after a cursor.

        Raises:
            CursorExpired: What follows the cursor is no longer kept; the metadata name the earliest one.
        """
        if cursor.epoch > self.epoch or (cursor.epoch == self.epoch and cursor.position > self.position):
            raise errors.InvalidCursor(f"cursor must be one of this log, was {cursor}, which is ahead of it")
        in_the_dark = any(begin < cursor.position < end for begin, end in self._lost)
        if cursor.epoch < self.epoch or cursor.position < self.earliest.position or in_the_dark:
            raise expired(cursor, self.earliest)
        skip = bisect_right(self._entries, cursor.position, key=lambda entry: entry.position)
        return islice(self._entries, skip, None)

    def cursor_at(self, time_ns: int) -> Cursor:
        """Return the cursor before the first entry that was published at or after a time.

        Raises:
            CursorExpired: Something of that is no longer kept; the metadata name the earliest cursor.
        """
        if self._left_out and time_ns <= self._left_out_ns:
            raise expired(f"time {from_ns(time_ns):%Y-%m-%d %H:%M:%S}", self.earliest)
        return Cursor(self.epoch, self.position_at(time_ns))

    def position_at(self, time_ns: int) -> int:
        """Return the position before the first entry that was published at or after a time."""
        index = bisect_left(self._entries, time_ns, key=lambda entry: entry.time_ns)
        return self._entries[index - 1].position if index else self._left_out

    def last(self, topics: frozenset[Topic], rows: int) -> list[Entry]:
        """Return the entries that hold the last rows, so many of each topic, in order; forming bars are left out."""
        left = {topic: rows for topic in topics if topic.content not in FORMING}
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
