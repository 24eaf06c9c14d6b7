"""One reader of the stream: what waits for it, how much that may be, and what happens when it is slow."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from datahub.stream.batch import PORTION_BYTES, Batch, Portion
from datahub.stream.log import Cursor, Entry, expired
from datahub.stream.topic import NEVER_LEFT_OUT, Topic
from quasar import errors


class Policy(Enum):
    """What happens when a reader is slower than the data."""

    LOSSLESS = 1
    CONFLATE = 2


@dataclass(slots=True)
class Drops:
    """What a conflating reader did not get, of one topic."""

    since_report: int = 0
    total: int = 0


@dataclass(slots=True, kw_only=True)
class Bounds:
    """How much may wait for one reader."""

    max_bytes: int = 8 * 1024 * 1024
    max_age_ns: int = 10_000_000_000


class Reader:
    """Waits for nobody: whoever publishes offers batches, whoever writes to the client takes portions."""

    def __init__(
        self,
        topics: frozenset[Topic],
        policy: Policy,
        start: Cursor,
        bounds: Bounds | None = None,
        *,
        flush_s: float = 0.0,
    ) -> None:
        """Begin after a place in the log.

        Args:
            topics: What it selects.
            policy: What happens when it is slow.
            start: The place.
            bounds: How much may wait for it.
            flush_s: How long data is gathered for it, seconds.
        """
        self.topics = topics
        self.policy = policy
        self.bounds = bounds or Bounds()
        self.flush_s = flush_s
        self.position = start.position
        """Position of the last entry that was taken."""
        self.drops: dict[Topic, Drops] = {}
        self.queued_bytes = 0
        self._epoch = start.epoch
        self._batches: deque[Batch] = deque()
        """What waits; of a reader that conflates at most one batch, which nothing followed yet."""
        self._latest: dict[Topic, Entry] = {}
        self._kept: list[Entry] = []
        self._offered = start.position
        self._oldest_ns = 0
        self._bell = Bell()
        self._slow = False
        self._earliest: Cursor | None = None
        """Where it may begin anew when the log broke off."""
        self._unreported = False

    @property
    def cursor(self) -> Cursor:
        """The place after everything that was taken."""
        return Cursor(self._epoch, self.position)

    @property
    def oldest_ns(self) -> int:
        """When the oldest of what waits was published; 0: nothing waits."""
        return self._oldest_ns if self.queued_bytes else 0

    @property
    def missed_something(self) -> bool:
        """Whether rows were left out since the last report."""
        return self._unreported

    def offer(self, batch: Batch) -> None:
        """Put a batch into the queue; never waits."""
        if self._slow:
            return
        if not self.queued_bytes:
            self._oldest_ns = batch.time_ns
        self._offered = batch.cursor.position
        if self.policy is Policy.LOSSLESS:
            self._batches.append(batch)
            self.queued_bytes += len(batch.payload)
        else:
            self._conflate(batch.thinned)
        too_old = batch.time_ns - self._oldest_ns > self.bounds.max_age_ns and self.policy is Policy.LOSSLESS
        if self.queued_bytes > self.bounds.max_bytes or too_old:
            self._give_up()
        self._bell.ring()

    def narrow(self, topics: frozenset[Topic]) -> None:
        """Select something else from now on: what waits and is not selected any more is not wanted any more."""
        lost, self.topics = self.topics - topics, topics
        if not lost or not self.queued_bytes:
            return
        batches, others = list(self._batches), [*self._kept, *self._latest.values()]
        self._forget()
        for batch in batches:
            entries = [entry for entry in batch.entries if entry.topic not in lost]
            self._batches.append(Batch(entries, batch.cursor, batch.time_ns))
            self.queued_bytes += len(self._batches[-1].payload)
        self._add(entry for entry in others if entry.topic not in lost)
        if not self.queued_bytes:
            self._batches.clear()
            self.position = self._offered

    def caught_up(self, position: int) -> None:
        """Know that nothing of the selection lies before a position of the log, other than what waits.

        Without it the cursor of a quiet selection would stay where it is until the log no longer reaches back to it.
        """
        if not self.queued_bytes and not self._slow:
            self.position = self._offered = max(self.position, position)

    def break_off(self, earliest: Cursor) -> None:
        """End: what follows is not all there; `earliest` is where the log goes on."""
        self._give_up()
        self._earliest = earliest
        self._bell.ring()

    def wake(self) -> None:
        """Let the writer look around, for example because the service stops."""
        self._bell.ring()

    async def wait(self, seconds: float) -> bool:
        """Wait until there is something to take; False when there is nothing after the time."""
        return await self._bell.wait(seconds)

    def close(self) -> None:
        """Let go of what waits."""
        self._bell.close()
        self._forget()

    def take(self) -> Portion | None:
        """Return what waits, or as much of it as is taken at once; None when nothing does.

        Raises:
            SlowReader: More was waiting than is allowed; the stream ends, and goes on at another call after its cursor,
                which the metadata name.
            CursorExpired: The log broke off; what follows is not all there.
        """
        if self._earliest is not None:
            raise expired(self.cursor, self._earliest)
        if self._slow:
            raise errors.SlowReader(
                f"The reader fell too far behind; resume from the cursor {self.cursor}, or ask for CONFLATE, which "
                "leaves out what is not the latest.",
                metadata={"cursor": str(self.cursor)},
            )
        self._bell.still()
        if self._batches:
            return self._next_batches()
        return self._conflated() if self.queued_bytes else None

    def _next_batches(self) -> Portion:
        taken = [self._batches.popleft()]
        size = len(taken[0].payload)
        while self._batches and size + len(self._batches[0].payload) <= PORTION_BYTES:
            taken.append(self._batches.popleft())
            size += len(taken[-1].payload)
        self.queued_bytes -= size
        self.position = taken[-1].cursor.position
        if self._batches:
            self._oldest_ns = self._batches[0].time_ns
            self._bell.ring()
        if len(taken) == 1:
            return Portion(taken[0].payload, self.position, taken[0])
        return Portion(b"".join([batch.payload for batch in taken]), self.position)

    def _conflated(self) -> Portion:
        entries = sorted([*self._kept, *self._latest.values()], key=lambda entry: entry.position)
        taken = size = 0
        for entry in entries:
            if taken and size + len(entry.field) > PORTION_BYTES:
                break
            size += len(entry.field)
            taken += 1
        self._forget()
        self._add(entries[taken:])
        if self.queued_bytes:
            self._bell.ring()
        self.position = entries[taken - 1].position if self.queued_bytes else self._offered
        return Portion(b"".join([entry.field for entry in entries[:taken]]), self.position)

    def reported(self) -> dict[Topic, tuple[int, int]]:
        """Return the rows left out since the last report and in all, by topic, and begin a new report."""
        found = {topic: (drop.since_report, drop.total) for topic, drop in self.drops.items() if drop.since_report}
        for drop in self.drops.values():
            drop.since_report = 0
        self._unreported = False
        return found

    def _conflate(self, batch: Batch) -> None:
        for topic, rows in batch.left_out.items():
            self._drop(topic, rows)
        if not self.queued_bytes:
            # Most often it is taken before another one comes: nothing has to be looked at for this reader alone.
            self._batches.append(batch)
            self.queued_bytes = len(batch.payload)
            return
        if self._batches:
            waiting = self._batches.popleft()
            self.queued_bytes = 0
            self._add(waiting.entries)
        self._add(batch.entries)

    def _add(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self.queued_bytes += len(entry.field)
            if entry.topic.content in NEVER_LEFT_OUT:
                self._kept.append(entry)
                continue
            former = self._latest.get(entry.topic)
            if former is not None:
                self._drop(entry.topic, former.rows)
                self.queued_bytes -= len(former.field)
            self._latest[entry.topic] = entry

    def _drop(self, topic: Topic, rows: int) -> None:
        drop = self.drops.setdefault(topic, Drops())
        drop.since_report += rows
        drop.total += rows
        self._unreported = True

    def _give_up(self) -> None:
        self._slow = True
        self._forget()

    def _forget(self) -> None:
        self.queued_bytes = 0
        self._batches.clear()
        self._latest.clear()
        self._kept.clear()


class Bell:
    """Wakes one task, when it is rung or when its time is over.

    A busy stream waits hundreds of times a second for something that comes at once. A timer is therefore set once and
    looks at the time to wait for only when it goes off, instead of being set and taken back each time.
    """

    def __init__(self) -> None:
        """Begin in silence."""
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._until = 0.0

    def ring(self) -> None:
        """Wake the task, now or as soon as it waits."""
        self._rung = True
        self._wake()

    def still(self) -> None:
        """Be silent again."""
        self._rung = False

    def close(self) -> None:
        """Take the timer back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def wait(self, seconds: float) -> bool:
        """Wait until it rings; tell whether it did within so many seconds."""
        if self._rung:
            return True
        if seconds <= 0:
            return False
        loop = asyncio.get_running_loop()
        self._until = loop.time() + seconds
        if self._timer is None or self._timer_at > self._until:
            self.close()
            self._set_timer(loop)
        self._waiter = loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        return self._rung

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer_at = self._until
        self._timer = loop.call_at(self._until, self._over, loop)

    def _over(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if loop.time() < self._until:
            self._set_timer(loop)
        else:
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
