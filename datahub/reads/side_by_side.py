"""Long ranges of plain history, read on two connections at once: each backend of PostgreSQL has one processor."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from quasar.model.bars import BarColumns
from quasar.model.instants import TimeRange

_AT_ONCE: Final = 2
_FILL: Final = 0.9
"""How full a window is meant to be: what does not fit into a page takes a statement more."""
_GROWTH: Final = 4


class Windows:
    """Cuts what is left of a range into windows of about a page of bars, by how dense the bars before them lie."""

    def __init__(self, left: TimeRange, rows: int) -> None:
        """Cut `left`; a page holds `rows`."""
        self._left = left
        self._rows = rows
        self._length_ns = left.length_ns

    def learn(self, window: TimeRange, found: int) -> None:
        """Take over how many bars a window held."""
        fitting = int(window.length_ns * self._rows * _FILL / found) if found else window.length_ns * _GROWTH
        self._length_ns = max(1, min(fitting, window.length_ns * _GROWTH))

    def next(self) -> TimeRange | None:
        """Return the next window; None: nothing is left."""
        if not self._left.length_ns:
            return None
        cut_ns = min(self._left.start_ns + self._length_ns, self._left.end_ns)
        window = TimeRange(self._left.start_ns, cut_ns)
        self._left = TimeRange(cut_ns, self._left.end_ns)
        return window


async def side_by_side(
    windows: Windows,
    read: Callable[[TimeRange], Awaitable[BarColumns]],
    rest: Callable[[TimeRange, BarColumns], AsyncGenerator[BarColumns, None]],
    spare: Callable[[], bool],
) -> AsyncGenerator[BarColumns, None]:
    """Yield the bars of windows in order of time; while one is awaited, the next one is read as well.

    Args:
        windows: What is to be read.
        read: Reads a window, a page of it at most.
        rest: Reads what of a window lies beyond its first page.
        spare: Whether a second connection may be taken, because nobody else waits for it.
    """
    reading: deque[tuple[TimeRange, asyncio.Future[BarColumns]]] = deque()
    try:
        while True:
            while len(reading) < (_AT_ONCE if reading and spare() else 1) and (window := windows.next()) is not None:
                reading.append((window, asyncio.ensure_future(read(window))))
            if not reading:
                return
            window, page = reading[0][0], await reading[0][1]
            reading.popleft()
            windows.learn(window, len(page))
            if len(page):
                yield page
                async with aclosing(rest(window, page)) as pages:
                    async for more in pages:
                        yield more
    finally:
        for _, one in reading:
            one.cancel()
        await asyncio.gather(*(one for _, one in reading), return_exceptions=True)
