"""The hub: one log in, any number of readers out. Publishing costs the same for one reader and for a thousand.

A write to a gRPC stream costs the same for one tick and for five hundred, so entries are gathered for a few
milliseconds, joined once for each distinct selection, and handed to the readers as one batch.
"""

from __future__ import annotations

from collections.abc import Iterable

from datahub.stream.log import Cursor, Entry, LiveLog
from datahub.stream.reader import PORTION_BYTES, Batch, Bounds, Group, Policy, Portion, Reader
from datahub.stream.topic import Content, Topic
from quasar.clock import Clock

FLUSH_S = 0.01
"""Time that entries are gathered."""


class Hub:
    """Publishes into the log and flushes to the readers. Belongs to one event loop."""

    def __init__(self, log: LiveLog, clock: Clock) -> None:
        """Publish into `log`."""
        self.log = log
        self._clock = clock
        self._pending: list[Entry] = []
        self._groups: dict[frozenset[Topic], Group] = {}
        self._latest: dict[Topic, Entry] = {}
        self._flushed = log.position
        self.rows_published = 0

    @property
    def readers(self) -> int:
        """How many readers there are."""
        return sum(len(group.readers) for group in self._groups.values())

    def publish(self, topic: Topic, field: bytes, rows: int) -> Entry:
        """Publish one encoded chunk; it reaches the readers at the next flush."""
        entry = self.log.append(topic, field, rows, self._clock.time_ns())
        self._pending.append(entry)
        self._latest[topic] = entry
        self.rows_published += rows
        return entry

    def flush(self) -> None:
        """Hand what was published since the last flush to the readers."""
        if not self._pending:
            return
        entries, self._pending = self._pending, []
        now, last = self._clock.time_ns(), entries[-1].position
        self._flushed = last
        for group in self._groups.values():
            wanted = [entry for entry in entries if entry.topic in group.topics]
            if not wanted:
                continue
            batch = Batch(b"".join(entry.field for entry in wanted), wanted, last, now)
            for reader in group.readers:
                reader.offer(batch)

    async def run(self) -> None:
        """Flush for ever."""
        while True:
            await self._clock.sleep(FLUSH_S)
            self.flush()

    def join(self, topics: frozenset[Topic], policy: Policy, bounds: Bounds | None = None) -> Reader:
        """Return a new reader that begins right after everything published so far."""
        self.flush()
        reader = Reader(topics, policy, self.log.head, bounds)
        self._groups.setdefault(topics, Group(topics)).readers.add(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """Forget a reader."""
        group = self._groups.get(reader.topics)
        if group is None:
            return
        group.readers.discard(reader)
        if not group.readers:
            del self._groups[reader.topics]

    def change(self, reader: Reader, topics: frozenset[Topic]) -> None:
        """Give a reader another selection; what waits for it stays."""
        self.flush()
        self.leave(reader)
        reader.topics = topics
        self._groups.setdefault(topics, Group(topics)).readers.add(reader)

    def cursor_of(self, reader: Reader) -> Cursor:
        """Return where a reader resumes that has everything which it was given so far."""
        reader.caught_up(self._flushed)
        return reader.cursor

    def wake_all(self) -> None:
        """Let every writer look around."""
        for group in self._groups.values():
            for reader in group.readers:
                reader.wake()

    def replay(self, topics: frozenset[Topic], cursor: Cursor) -> list[Portion]:
        """Return what the log holds of the topics after a cursor.

        Bars that were forming are left out: what they became follows them.

        Raises:
            CursorExpired: It is no longer kept.
        """
        wanted = (
            entry
            for entry in self.log.after(cursor)
            if entry.topic in topics and entry.topic.content is not Content.FORMING_BARS
        )
        return _portions(wanted)

    def replay_last(self, topics: frozenset[Topic], rows: int) -> list[Portion]:
        """Return the chunks of the log that hold the last rows, so many of each topic; forming bars are left out."""
        return _portions(self.log.last(topics, rows))

    def snapshot(self, topics: frozenset[Topic]) -> list[Portion]:
        """Return the latest entry of each topic."""
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
