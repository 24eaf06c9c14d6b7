"""The hub: one log in, any number of readers out. Publishing costs the same for one reader and for a thousand.

A write to a gRPC stream costs the same for one tick and for five hundred, so entries are gathered for a few
milliseconds, joined once for each distinct selection, and handed to the readers as one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from datahub.stream.batch import PORTION_BYTES, Batch, Portion
from datahub.stream.log import Cursor, Entry, LiveLog
from datahub.stream.reader import Bounds, Policy, Reader
from datahub.stream.topic import Content, Topic
from quasar.clock import Clock

FLUSH_S: Final = 0.005
"""Entries are gathered for this long at least, seconds."""
WRITES_PER_S: Final = 15_000
"""Writes that one core makes at the most; with more busy readers entries are gathered for longer."""

Keep = Callable[[Sequence[Entry]], None]
"""Keeps entries beyond the life of this process."""


@dataclass(slots=True, eq=False)
class Group:
    """Readers with the same selection that gather for as long; what they get is joined once."""

    topics: frozenset[Topic]
    flush_s: float
    position: int
    """Everything up to here was handed over."""
    readers: set[Reader] = field(default_factory=set)
    pending: list[Entry] = field(default_factory=list)
    pending_bytes: int = 0
    flushed_s: float = 0.0
    """When it was last handed something, monotonic seconds."""


class Hub:
    """Publishes into the log and flushes to the readers. Belongs to one event loop."""

    def __init__(self, log: LiveLog, clock: Clock, keep: Keep | None = None) -> None:
        """Publish into `log`; `keep` gets everything before a reader gets it, or a cursor after it."""
        self.log = log
        self._clock = clock
        self._keep = keep
        self._unkept: list[Entry] = []
        self._groups: dict[tuple[frozenset[Topic], float], Group] = {}
        self._group_of: dict[Reader, Group] = {}
        self._interested: dict[Topic, list[Group]] = {}
        self._busy: dict[Group, None] = {}
        """Groups that something is gathered for; the order is that of the first entry."""
        self._latest: dict[Topic, Entry] = {}
        self.rows_published = 0

    @property
    def readers(self) -> int:
        """How many readers there are."""
        return len(self._group_of)

    @property
    def waiting_bytes(self) -> int:
        """What waits for the slowest reader."""
        return max((reader.queued_bytes for reader in self._group_of), default=0)

    def publish(self, topic: Topic, field: bytes, rows: int) -> Entry:
        """Publish one encoded chunk; it reaches the readers at the next flush."""
        return self.receive(topic, field, rows, self._clock.time_ns())

    def receive(self, topic: Topic, field: bytes, rows: int, time_ns: int, position: int = 0) -> Entry:
        """Take a chunk that was published elsewhere, at a time and with a position that were given to it there."""
        entry = self.log.append(topic, field, rows, time_ns, position)
        if self._keep is not None:
            self._unkept.append(entry)
        self._latest[topic] = entry
        self.rows_published += rows
        for group in self._interested.get(topic, ()):
            if not group.pending:
                self._busy[group] = None
            group.pending.append(entry)
            group.pending_bytes += len(field)
            if group.pending_bytes >= PORTION_BYTES:
                self._flush(group)
        return entry

    def restore(self, entry: Entry) -> None:
        """Take back an entry that was kept; there are no readers so far."""
        self.log.append(entry.topic, entry.field, entry.rows, entry.time_ns, entry.position)
        self._latest[entry.topic] = entry

    def settle(self) -> None:
        """Let everything that was published be kept; a cursor that is given out afterwards is good for ever."""
        if self._unkept and self._keep is not None:
            entries, self._unkept = self._unkept, []
            self._keep(entries)

    def flush(self) -> None:
        """Hand what was published since the last flush to the readers."""
        for group in list(self._busy):
            self._flush(group)

    def flush_due(self) -> None:
        """Hand over what was gathered for long enough: as long as the readers wish, or as their number demands."""
        if not self._busy:
            return
        now = self._clock.monotonic()
        least_s = sum(len(group.readers) for group in self._busy) / WRITES_PER_S
        for group in list(self._busy):
            # This look or the next one, whichever is nearer to the time that was wished for.
            if now - group.flushed_s >= max(group.flush_s, least_s) - FLUSH_S / 2:
                self._flush(group)

    async def run(self) -> None:
        """Flush for ever."""
        while True:
            await self._clock.sleep(FLUSH_S)
            self.settle()
            self.flush_due()

    def _flush(self, group: Group) -> None:
        self.settle()
        group.position = self.log.position
        entries, group.pending = group.pending, []
        if not entries:
            return
        group.pending_bytes = 0
        group.flushed_s = self._clock.monotonic()
        self._busy.pop(group, None)
        batch = Batch(entries, self.log.head, self._clock.time_ns())
        for reader in group.readers:
            reader.offer(batch)

    def join(
        self, topics: frozenset[Topic], policy: Policy, bounds: Bounds | None = None, *, flush_s: float = 0.0
    ) -> Reader:
        """Return a new reader that begins right after everything published so far.

        Args:
            topics: What it selects.
            policy: What happens when it is slow.
            bounds: How much may wait for it.
            flush_s: How long data is gathered for it, seconds.
        """
        self.settle()
        reader = Reader(topics, policy, self.log.head, bounds, flush_s=flush_s)
        self._enter(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """Forget a reader."""
        reader.close()
        self._exit(reader)

    def change(self, reader: Reader, topics: frozenset[Topic]) -> None:
        """Give a reader another selection; what waits for it stays."""
        if (group := self._group_of.get(reader)) is not None:
            self._flush(group)
        self._exit(reader)
        reader.topics = topics
        self._enter(reader)

    def _enter(self, reader: Reader) -> None:
        group = self._groups.get((reader.topics, reader.flush_s))
        if group is None:
            group = Group(reader.topics, reader.flush_s, self.log.position)
            self._groups[group.topics, group.flush_s] = group
            for topic in group.topics:
                self._interested.setdefault(topic, []).append(group)
        else:
            self._flush(group)  # the newcomer begins after it
        reader.topics = group.topics  # one set for all of them
        group.readers.add(reader)
        self._group_of[reader] = group

    def _exit(self, reader: Reader) -> None:
        group = self._group_of.pop(reader, None)
        if group is None:
            return
        group.readers.discard(reader)
        if group.readers:
            return
        del self._groups[group.topics, group.flush_s]
        self._busy.pop(group, None)
        for topic in group.topics:
            groups = self._interested[topic]
            groups.remove(group)
            if not groups:
                del self._interested[topic]

    def cursor_of(self, reader: Reader) -> Cursor:
        """Return where a reader resumes that has everything which it was given so far."""
        self.settle()
        if (group := self._group_of.get(reader)) is not None:
            reader.caught_up(group.position if group.pending else self.log.position)
        return reader.cursor

    def wake_all(self) -> None:
        """Hand over what was gathered, and let every writer look around."""
        self.flush()
        for reader in self._group_of:
            reader.wake()

    def replay(self, topics: frozenset[Topic], cursor: Cursor) -> list[Portion]:
        """Return what the log holds of the topics after a cursor.

        Bars that were forming are left out: what they became follows them.

        Raises:
            CursorExpired: It is no longer kept.
        """
        self.settle()
        wanted = (
            entry
            for entry in self.log.after(cursor)
            if entry.topic in topics and entry.topic.content is not Content.FORMING_BARS
        )
        return _portions(wanted)

    def replay_last(self, topics: frozenset[Topic], rows: int) -> list[Portion]:
        """Return the chunks of the log that hold the last rows, so many of each topic; forming bars are left out."""
        self.settle()
        return _portions(self.log.last(topics, rows))

    def snapshot(self, topics: frozenset[Topic]) -> list[Portion]:
        """Return the latest entry of each topic."""
        self.settle()
        found = [entry for topic in topics if (entry := self._latest.get(topic)) is not None]
        return _portions(sorted(found, key=lambda entry: entry.position))

    def forget(self, series_ids: Iterable[int]) -> None:
        """Leave series out of later snapshots: nothing comes of them any more."""
        gone = set(series_ids)
        for topic in [topic for topic in self._latest if topic.series_id in gone]:
            del self._latest[topic]


def _portions(entries: Iterable[Entry]) -> list[Portion]:
    """Join entries to messages that a client takes."""
    portions: list[Portion] = []
    fields: list[bytes] = []
    size = position = 0
    for entry in entries:
        if fields and size + len(entry.field) > PORTION_BYTES:
            portions.append(Portion(b"".join(fields), position))
            fields, size = [], 0
        fields.append(entry.field)
        size += len(entry.field)
        position = entry.position
    return [*portions, Portion(b"".join(fields), position)] if fields else portions
