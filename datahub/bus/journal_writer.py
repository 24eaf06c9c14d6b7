"""Writes the journal in a thread of its own: a disk that takes its time costs readers nothing.

What waits for the disk is bounded. When the bound is reached the oldest of it is left out, counted, and the journal
begins anew behind the hole: after the next start a cursor from before it is answered with the earliest that is left.
Readers of this process get everything, from memory.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from datahub.bus.journal import Journal, Record, record
from datahub.stream.log import Entry
from quasar import logs

QUEUE_BYTES: Final = 32 * 1024 * 1024
"""Bytes that wait for the disk at the most."""
PIECE_BYTES: Final = 1024 * 1024
"""What is written at once when much waits."""
LAST_S: Final = 5.0
"""How long the disk may take for the last of it at a stop, seconds."""

_log = logs.get(__name__)


class JournalWriter:
    """A journal that is written beside the event loop, in order."""

    def __init__(self, journal: Journal, *, max_bytes: int = QUEUE_BYTES) -> None:
        """Write to `journal`, which belongs to this writer from now on.

        Args:
            journal: Open, with nothing written by this process so far.
            max_bytes: Bytes that may wait for the disk.
        """
        self.journal = journal
        self.lost_rows = 0
        """Rows of ticks and bars that the disk was too slow for."""
        self._max_bytes = max_bytes
        self._queue: deque[Record] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._hole_grows = self._closing = False
        self._tell: Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @property
    def kept(self) -> int:
        """Position up to which everything was written or given up."""
        return self.journal.kept

    @property
    def problem(self) -> str:
        """Why nothing is kept any more; empty while it is."""
        return self.journal.problem

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait for the disk."""
        return self._bytes

    def keep(self, entries: Sequence[Entry]) -> None:
        """Take entries; they are written as soon as the disk takes them."""
        # Made here: the thread would have to fight for the interpreter's lock once more.
        one = record(entries)
        with self._changed:
            self._queue.append(one)
            self._bytes += len(one.data)
            if self._bytes > self._max_bytes:
                self._leave_out()
            self._changed.notify()

    def listen(self, heard: Callable[[], None]) -> None:
        """Call back on the running event loop when more is kept."""
        loop = asyncio.get_running_loop()

        def tell() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(heard)

        self._tell = tell

    async def close(self) -> None:
        """Write what waits and close the journal; a disk that does not take it in time is left behind."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join, LAST_S)
        if self._thread.is_alive():
            _log.error("the disk did not take the end of the live log", waiting_bytes=self._bytes)

    def _leave_out(self) -> None:
        if not self._hole_grows:
            _log.error("the disk is too slow for the live log: its journal gets a hole", waiting_bytes=self._bytes)
        self._hole_grows = True
        while self._bytes > self._max_bytes:
            one = self._queue.popleft()
            self._bytes -= len(one.data)
            self.lost_rows += one.rows

    def _run(self) -> None:
        while records := self._next():
            self.journal.write(*records)
            if self._tell is not None:
                self._tell()
        self.journal.close()

    def _next(self) -> list[Record]:
        """Wait for records; return what is written at once, or nothing when the end has come."""
        taken: list[Record] = []
        size = 0
        with self._changed:
            while not self._queue and not self._closing:
                self._changed.wait()
            while self._queue and size < PIECE_BYTES:
                taken.append(self._queue.popleft())
                size += len(taken[-1].data)
            self._bytes -= size
            if self._hole_grows:
                self._hole_grows = False
                _log.error("the hole in the journal of the live log ends", rows=self.lost_rows)
        return taken
