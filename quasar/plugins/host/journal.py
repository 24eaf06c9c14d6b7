"""What the code logs and prints, kept in a bounded ring until the service reads it."""

from __future__ import annotations

import asyncio
import io
import logging
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from quasar.sdk.permits import WORK

_KEPT: Final = 2_000
_LONGEST: Final = 8 * 1024
_PER_SECOND: Final = 200
"""Lines that are kept of one second; what is written beyond is counted."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line."""

    sequence: int
    time_ns: int
    level: str
    logger: str
    message: str
    work_id: str = ""
    place: str = ""
    traceback: str = ""


class Journal:
    """The ring. Lines may come from any thread."""

    def __init__(self, time_ns: Callable[[], int], redact: Callable[[str], str]) -> None:
        """Begin an empty journal.

        Args:
            time_ns: Tells the time of a line.
            redact: Takes secrets out of a text.
        """
        self._time_ns = time_ns
        self._redact = redact
        self._lines: deque[Line] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()
        self._sequence = 0
        self._dropped = 0
        self._second = 0
        self._in_second = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fresh = asyncio.Event()
        self._closed = False

    def attach(self) -> None:
        """Take over standard output, standard error and the root logger; call it in the event loop's thread."""
        self._loop = asyncio.get_running_loop()
        sys.stdout = _Printed(self, "info")
        sys.stderr = _Printed(self, "warning")
        root = logging.getLogger()
        root.handlers[:] = [_Logged(self)]
        root.setLevel(logging.INFO)

    def add(self, level: str, message: str, logger: str = "", place: str = "", trace: str = "") -> None:
        """Keep one line, or count it when too many come."""
        now = self._time_ns()
        with self._lock:
            if now // 1_000_000_000 != self._second:
                self._second, self._in_second = now // 1_000_000_000, 0
            self._in_second += 1
            self._sequence += 1
            if self._in_second > _PER_SECOND:
                self._dropped += 1
                return
            if len(self._lines) == _KEPT:
                self._dropped += 1
            text = self._redact(message[:_LONGEST])
            line = Line(self._sequence, now, level, logger, text, WORK.get(), place, self._redact(trace))
            self._lines.append(line)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._fresh.set)

    def close(self) -> None:
        """Let readers come to their end; lines may still be kept, and are lost."""
        self._closed = True
        self._fresh.set()

    async def after(self, sequence: int) -> tuple[list[Line], int]:
        """Wait for lines after a sequence; return them and how many were left out since the call before.

        Without lines the journal is closed.
        """
        while True:
            self._fresh.clear()
            with self._lock:
                found = [line for line in self._lines if line.sequence > sequence]
                dropped, self._dropped = self._dropped, 0
            if found or dropped or self._closed:
                return found, dropped
            await self._fresh.wait()


class _Logged(logging.Handler):
    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        try:
            trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
            place = f"{record.filename}:{record.lineno}"
            self._journal.add(record.levelname.lower(), record.getMessage(), record.name, place, trace[-_LONGEST:])
        except Exception:
            self.handleError(record)


class _Printed(io.TextIOBase):
    """Standard output or error, cut into lines."""

    def __init__(self, journal: Journal, level: str) -> None:
        self._journal = journal
        self._level = level
        self._rest = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *whole, self._rest = (self._rest + text).split("\n")
        for line in whole:
            self._journal.add(self._level, line)
        if len(self._rest) > _LONGEST:
            self._journal.add(self._level, self._rest)
            self._rest = ""
        return len(text)
