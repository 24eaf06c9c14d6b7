"""One reader of the stream: what waits for it, how much that may be, and what happens when it is slow."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from datahub.stream.log import Cursor, Entry
from datahub.stream.topic import NEVER_LEFT_OUT, Topic
from quasar import errors

PORTION_BYTES = 1024 * 1024
"""What is taken at once: clients take messages of 4 MiB unless they say otherwise."""


class Policy(Enum):
    """What happens when a reader is slower than the data."""

    LOSSLESS = 1
    CONFLATE = 2


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Entries that were flushed together, joined once for all readers with the same selection."""

    payload: bytes
    entries: Sequence[Entry]
    last_position: int
    time_ns: int


@dataclass(slots=True)
class Drops:
    """What a conflating reader did not get, of one topic."""

    since_report: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Portion:
    """What a reader takes at once."""

    payload: bytes
    last_position: int


@dataclass(slots=True, kw_only=True)
class Bounds:
    """How much may wait for one reader."""

    max_bytes: int = 8 * 1024 * 1024
    max_age_ns: int = 10_000_000_000


class Reader:
    """Waits for nobody: whoever publishes offers batches, whoever writes to the client takes portions."""

    def __init__(self, topics: frozenset[Topic], policy: Policy, start: Cursor, bounds: Bounds | None = None) -> None:
        """Begin after a place in the log."""
        self.topics = topics
        self.policy = policy
        self.bounds = bounds or Bounds()
        self.position = start.position
        """Position of the last entry that was taken."""
        self.drops: dict[Topic, Drops] = {}
        self.queued_bytes = 0
        self._epoch = start.epoch
        self._batches: deque[Batch] = deque()
        self._latest: dict[Topic, Entry] = {}
        self._kept: list[Entry] = []
        self._offered = start.position
        self._oldest_ns = 0
        self._ready = asyncio.Event()
        self._slow = False

    @property
    def cursor(self) -> Cursor:
        """The place after everything that was taken."""
        return Cursor(self._epoch, self.position)

    @property
    def oldest_ns(self) -> int:
        """When the oldest of what waits was published; 0: nothing waits."""
        return self._oldest_ns if self.queued_bytes else 0

    def offer(self, batch: Batch) -> None:
        """Put a batch into the queue; never waits."""
        if self._slow:
            return
        if not self.queued_bytes:
            self._oldest_ns = batch.time_ns
        self._offered = batch.last_position
        if self.policy is Policy.LOSSLESS:
            self._batches.append(batch)
            self.queued_bytes += len(batch.payload)
        else:
            self._conflate(batch.entries)
        too_old = batch.time_ns - self._oldest_ns > self.bounds.max_age_ns and self.policy is Policy.LOSSLESS
        if self.queued_bytes > self.bounds.max_bytes or too_old:
            self._give_up()
        self._ready.set()

    def caught_up(self, position: int) -> None:
        """Know that nothing of the selection lies before a position of the log, other than what waits.

        Without it the cursor of a quiet selection would stay where it is until the log no longer reaches back to it.
        """
        if not self.queued_bytes and not self._slow:
            self.position = self._offered = max(self.position, position)

    def wake(self) -> None:
        """Let the writer look around, for example because the service stops."""
        self._ready.set()

    async def wait(self, seconds: float) -> bool:
        """Wait until there is something to take; False when there is nothing after the time."""
        try:
            async with asyncio.timeout(seconds):
                await self._ready.wait()
        except TimeoutError:
            return False
        return True

    def take(self) -> Portion | None:
        """Return what waits, or as much of it as is taken at once; None when nothing does.

        Raises:
            SlowReader: More was waiting than is allowed; the stream ends, and goes on at another call after its cursor,
                which the metadata name.
        """
        if self._slow:
            raise errors.SlowReader(
                f"The reader fell too far behind; resume from the cursor {self.cursor}, or ask for CONFLATE, which "
                "leaves out what is not the latest.",
                metadata={"cursor": str(self.cursor)},
            )
        self._ready.clear()
        if not self.queued_bytes:
            return None
        return self._lossless() if self.policy is Policy.LOSSLESS else self._conflated()

    def _lossless(self) -> Portion:
        taken = [self._batches.popleft()]
        size = len(taken[0].payload)
        while self._batches and size + len(self._batches[0].payload) <= PORTION_BYTES:
            taken.append(self._batches.popleft())
            size += len(taken[-1].payload)
        self.queued_bytes -= size
        self.position = taken[-1].last_position
        if self._batches:
            self._oldest_ns = self._batches[0].time_ns
            self._ready.set()
        return Portion(b"".join(batch.payload for batch in taken), self.position)

    def _conflated(self) -> Portion:
        entries = sorted([*self._kept, *self._latest.values()], key=lambda entry: entry.position)
        self._kept.clear()
        self._latest.clear()
        self.queued_bytes = 0
        self.position = self._offered
        return Portion(b"".join(entry.field for entry in entries), self.position)

    def reported(self) -> dict[Topic, tuple[int, int]]:
        """Return the rows left out since the last report and in all, by topic, and begin a new report."""
        found = {topic: (drop.since_report, drop.total) for topic, drop in self.drops.items() if drop.since_report}
        for drop in self.drops.values():
            drop.since_report = 0
        return found

    def _conflate(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.topic.content in NEVER_LEFT_OUT:
                self._kept.append(entry)
                self.queued_bytes += len(entry.field)
                continue
            former = self._latest.get(entry.topic)
            if former is not None:
                drop = self.drops.setdefault(entry.topic, Drops())
                drop.since_report += former.rows
                drop.total += former.rows
                self.queued_bytes -= len(former.field)
            self._latest[entry.topic] = entry
            self.queued_bytes += len(entry.field)

    def _give_up(self) -> None:
        self._slow = True
        self.queued_bytes = 0
        self._batches.clear()
        self._latest.clear()
        self._kept.clear()


@dataclass(slots=True)
class Group:
    """Readers with the same selection; their batches are joined once."""

    topics: frozenset[Topic]
    readers: set[Reader] = field(default_factory=set)
