"""The hub: one log in, any number of readers out. Publishing costs the same for one reader and for a thousand.

A write to a gRPC stream costs the same for one tick and for five hundred, so entries are gathered for a few
milliseconds, joined once for each distinct selection, and handed to the readers as one batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from datahub.stream.batch import PORTION_BYTES, Batch, Past
from datahub.stream.log import Cursor, Entry, LiveLog
from datahub.stream.reader import Bounds, Policy, Reader
from datahub.stream.topic import FORMING, Topic
from quasar import logs
from quasar.clock import Clock

FLUSH_S: Final = 0.005
"""Entries are gathered for this long at least, seconds."""
WRITES_PER_S: Final = 15_000
"""Writes that one core makes at the most; with more busy readers entries are gathered for longer."""

PATIENCE_S: Final = 0.25
"""Readers wait so long for the disk, seconds; then they are served before what they get is kept."""

_log = logs.get(__name__)


class Keeper(Protocol):
    """Keeps entries beyond the life of this process."""

    @property
    def kept(self) -> int:
        """Position up to which it is done with everything."""
        ...

    def keep(self, entries: Sequence[Entry]) -> None:
        """Take entries, in order and without waiting; they are kept now or some time later."""
        ...

    def listen(self, heard: Callable[[], None]) -> None:
        """Call back on the running event loop when `kept` has grown."""
        ...


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
    """Publishes into the log and flushes to the readers. Belongs to one event loop.

    With a keeper, what is published enters the log when it is kept: no reader gets it before, and no cursor lies after
    it. Only when the disk takes longer than readers can wait do they go ahead of it.
    """

    def __init__(self, log: LiveLog, clock: Clock, keeper: Keeper | None = None) -> None:
        """Publish into `log`, as soon as `keeper` has it."""
        self.log = log
        self._clock = clock
        self._keeper = keeper
        self._position = log.position
        """Of the newest entry, in the log or on its way there."""
        self._staged: deque[Entry] = deque()
        """Published, and not in the log so far."""
        self._staged_bytes = 0
        self._unsent: list[Entry] = []
        """Those of them that the keeper does not have so far."""
        self._on_way: deque[tuple[int, float]] = deque()
        """What the keeper was given: up to which position, and when."""
        self._ahead = False
        """Whether readers are ahead of the keeper."""
        self._forgotten: dict[int, int] = {}
        """Series that were given up while something of them was on its way, and up to which position."""
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
        """What waits for the keeper and for the slowest reader."""
        return self._staged_bytes + max((reader.queued_bytes for reader in self._group_of), default=0)

    def publish(self, topic: Topic, field: bytes, rows: int) -> Entry:
        """Publish one encoded chunk; it reaches the readers at the next flush."""
        return self.receive(topic, field, rows, self._clock.time_ns())

    def receive(self, topic: Topic, field: bytes, rows: int, time_ns: int, position: int = 0) -> Entry:
        """Take a chunk that was published elsewhere, at a time and with a position that were given to it there."""
        self.rows_published += rows
        self._position = position or self._position + 1
        entry = Entry(self._position, topic, field, rows, time_ns)
        if self._keeper is None:
            self._admit(entry)
            return entry
        self._staged.append(entry)
        self._staged_bytes += len(field)
        self._unsent.append(entry)
        if topic.content in FORMING:
            self._latest[topic] = entry  # made for a snapshot that is taken now, and nothing that a cursor counts
        return entry

    def _admit(self, entry: Entry) -> None:
        """Let an entry into the log, and to the readers at the next flush."""
        self.log.add(entry)
        if entry.position > self._forgotten.get(entry.topic.series_id, 0):
            self._latest[entry.topic] = entry
        for group in self._interested.get(entry.topic, ()):
            if not group.pending:
                self._busy[group] = None
            group.pending.append(entry)
            group.pending_bytes += len(entry.field)
            if group.pending_bytes >= PORTION_BYTES:
                self._flush(group)

    def restore(self, entries: Iterable[Entry], position: int) -> None:
        """Take back what was kept, and go on after a position; there are no readers so far."""
        for entry in entries:
            self.log.add(entry)
            self._latest[entry.topic] = entry
        self.log.go_on_at(position)
        self._position = position

    def settle(self) -> None:
        """Hand what was published to the keeper, and let into the log what is kept."""
        if self._keeper is None:
            return
        if self._unsent:
            entries, self._unsent = self._unsent, []
            self._on_way.append((entries[-1].position, self._clock.monotonic()))
            self._keeper.keep(entries)
        kept = self._readable(self._keeper.kept)
        while self._staged and self._staged[0].position <= kept:
            entry = self._staged.popleft()
            self._staged_bytes -= len(entry.field)
            self._admit(entry)
        while self._on_way and self._on_way[0][0] <= kept:
            self._on_way.popleft()
        if not self._staged:
            self._forgotten.clear()

    def _readable(self, kept: int) -> int:
        """Return up to which position readers may get everything, where so much is kept."""
        late_s = self._clock.monotonic() - self._on_way[0][1] if self._on_way else 0.0
        ahead = kept < self.log.position or late_s > PATIENCE_S
        if ahead is not self._ahead:
            self._ahead = ahead
            note = _log.warning if ahead else _log.info
            note("readers do not wait for the disk any more" if ahead else "the disk has caught up with the readers")
        return self._position if ahead else kept

    def flush(self) -> None:
        """Hand what came into the log since the last flush to the readers."""
        self.settle()
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
        if self._keeper is not None:
            self._keeper.listen(self._heard)
        try:
            while True:
                await self._clock.sleep(FLUSH_S)
                self.settle()
                # What was just given to the keeper is most often kept a moment later, and goes out with the rest then.
                if len(self._on_way) != 1:
                    self.flush_due()
        finally:
            self.settle()

    def _heard(self) -> None:
        self.settle()
        self.flush_due()

    def _flush(self, group: Group) -> None:
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
        """Return a new reader that begins right after everything in the log.

        Args:
            topics: What it selects.
            policy: What happens when it is slow.
            bounds: How much may wait for it.
            flush_s: How long data is gathered for it, seconds.
        """
        reader = Reader(topics, policy, self.log.head, bounds, flush_s=flush_s)
        self._enter(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """Forget a reader."""
        reader.close()
        self._exit(reader)

    def change(self, reader: Reader, topics: frozenset[Topic]) -> None:
        """Give a reader another selection; of what waits the selected part stays. One that has left stays away."""
        group = self._group_of.get(reader)
        if group is None:
            return
        self._flush(group)
        self._exit(reader)
        reader.narrow(topics)
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
        if (group := self._group_of.get(reader)) is not None:
            reader.caught_up(group.position if group.pending else self.log.position)
        return reader.cursor

    def wake_all(self) -> None:
        """Hand over what was gathered, and let every writer look around."""
        self.flush()
        for reader in self._group_of:
            reader.wake()

    def break_off(self, position: int) -> None:
        """Go on after a position, behind a hole that nobody can fill here; readers end and are told."""
        self.log.break_off(position)
        self._position = position
        for group in self._groups.values():
            group.pending, group.pending_bytes, group.position = [], 0, position
        self._busy.clear()
        for reader in self._group_of:
            reader.break_off(self.log.earliest)

    def replay(self, topics: frozenset[Topic], cursor: Cursor) -> list[Past]:
        """Return what the log holds of the topics after a cursor.

        Bars that were forming are left out: what they became follows them.

        Raises:
            CursorExpired: It is no longer kept.
        """
        wanted = (
            entry for entry in self.log.after(cursor) if entry.topic in topics and entry.topic.content not in FORMING
        )
        return _portions(wanted)

    def replay_last(self, topics: frozenset[Topic], rows: int) -> list[Past]:
        """Return the chunks of the log that hold the last rows, so many of each topic; forming bars are left out."""
        return _portions(self.log.last(topics, rows))

    def remember(self, topic: Topic, field: bytes, time_ns: int) -> None:
        """Have something of a former life in snapshots, where nothing came under its topic since."""
        if topic not in self._latest:
            self._latest[topic] = Entry(0, topic, field, 1, time_ns)

    def latest(self, topic: Topic) -> Entry | None:
        """Return the latest entry of a topic."""
        return self._latest.get(topic)

    def snapshot(self, topics: frozenset[Topic]) -> list[Past]:
        """Return the latest entry of each topic."""
        found = [entry for topic in topics if (entry := self._latest.get(topic)) is not None]
        return _portions(sorted(found, key=lambda entry: entry.position))

    def forget(self, series_ids: Iterable[int]) -> None:
        """Leave series out of later snapshots: nothing comes of them any more."""
        gone = set(series_ids)
        if self._staged:
            self._forgotten.update(dict.fromkeys(gone, self._position))
        for topic in [topic for topic in self._latest if topic.series_id in gone]:
            del self._latest[topic]


def _portions(entries: Iterable[Entry]) -> list[Past]:
    """Part entries into messages that a client takes."""
    portions: list[Past] = []
    part: list[Entry] = []
    size = 0
    for entry in entries:
        if part and size + len(entry.field) > PORTION_BYTES:
            portions.append(Past(part))
            part, size = [], 0
        part.append(entry)
        size += len(entry.field)
    return [*portions, Past(part)] if part else portions
