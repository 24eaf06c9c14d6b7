"""The last lines of a process's log, kept in memory for whoever wants to watch them."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


class LogRecord(NamedTuple):
    """One line of the log, secrets scrubbed; the fields are those of `quasar.ops.v1.LogRecord`.

    A tuple, because one is made for each line and few are ever read.
    """

    sequence: int
    """Position in this process's log, from 1, without holes."""
    time_ns: int
    level: str
    event: str
    logger: str
    request_id: str
    fields: Mapping[str, Any]

    def matches(self, min_level: str, contains: str) -> bool:
        """Tell whether the line is at least as grave as `min_level` and contains the text, in any letter case."""
        if LEVELS.get(self.level, 0) < LEVELS.get(min_level, 0):
            return False
        if not contains:
            return True
        text = " ".join((self.event, self.logger, self.request_id, *(f"{k}={v}" for k, v in self.fields.items())))
        return contains.lower() in text.lower()


@dataclass(frozen=True, slots=True)
class LogBatch:
    """What a reader gets at once."""

    records: tuple[LogRecord, ...]
    dropped: int
    """Lines that this reader missed since the batch before because it was too slow."""


class LogRing:
    """The last `size` lines. Lines may come from any thread; readers live on one event loop."""

    def __init__(self, size: int = 5000) -> None:
        """Begin empty."""
        self._records: deque[LogRecord] = deque(maxlen=size)
        self._next = 1
        self._lock = threading.Lock()
        self._waiting: set[asyncio.Event] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def extend(self, lines: Iterable[tuple[int, str, str, str, str, Mapping[str, Any]]]) -> None:
        """Keep lines (all of a `LogRecord` but its sequence) and wake the readers."""
        with self._lock:
            for line in lines:
                self._records.append(LogRecord(self._next, *line))
                self._next += 1
        if self._waiting and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for waiting in self._waiting:
            waiting.set()

    def after(self, sequence: int) -> LogBatch:
        """Return the lines after `sequence`, and how many of those are gone."""
        with self._lock:
            first = self._next - len(self._records)
            start = max(sequence + 1, first)
            records = tuple(self._records[i] for i in range(start - first, len(self._records)))
        return LogBatch(records, start - sequence - 1)

    def tail(self, count: int, min_level: str = "debug", contains: str = "") -> tuple[LogRecord, ...]:
        """Return the last `count` lines that match, oldest first."""
        found: list[LogRecord] = []
        for record in reversed(self.after(0).records):
            if len(found) == count:
                break
            if record.matches(min_level, contains):
                found.append(record)
        return tuple(reversed(found))

    @property
    def last_sequence(self) -> int:
        """The sequence of the last line; 0 when there is none."""
        return self._next - 1

    async def watch(self, after: int, min_level: str = "debug", contains: str = "") -> AsyncGenerator[LogBatch]:
        """Yield the lines after a sequence that match, as they come, without end.

        A reader that is slower than the log loses the oldest lines and is told how many.
        """
        self._loop = asyncio.get_running_loop()
        news = asyncio.Event()
        self._waiting.add(news)
        try:
            while True:
                news.clear()
                batch = self.after(after)
                after += batch.dropped + len(batch.records)
                records = tuple(r for r in batch.records if r.matches(min_level, contains))
                if records or batch.dropped:
                    yield LogBatch(records, batch.dropped)
                else:
                    await news.wait()
        finally:
            self._waiting.discard(news)
