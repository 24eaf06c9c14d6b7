"""What a live feed brought, kept for a test that waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from quasar.provider import Bar, BarColumns, Feed, LiveItem, LiveSymbol, Provider, Tick, TickColumns, TickKind
from quasar.sdk.permits import CallOutcome

PATIENCE_S = 60.0


class Collected:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.items: list[LiveItem] = []
        self._grown = asyncio.Event()

    def put(self, item: LiveItem) -> None:
        self.items.append(item)
        self._grown.set()

    async def ready(self) -> None:
        return None

    async def until(self, done: Callable[[Collected], Any]) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(PATIENCE_S):
            while not done(self):
                self._grown.clear()
                await self._grown.wait()

    def notices(self, kind: type) -> list[Any]:
        return [item for item in self.items if isinstance(item, kind)]

    def ticks(self, kind: TickKind = TickKind.TRADE) -> list[Tick]:
        found: list[Tick] = []
        for item in self.items:
            if isinstance(item, tuple) and isinstance(item[1], Tick | TickColumns):
                found += [item[1]] if isinstance(item[1], Tick) else list(item[1].ticks())
        return [tick for tick in found if tick.kind is kind]

    def bars(self) -> list[Bar]:
        found: list[Bar] = []
        for item in self.items:
            if isinstance(item, tuple) and len(item) == 3:
                found += list(item[2].bars()) if isinstance(item[2], BarColumns) else [item[2]]
        return found


class Counting:
    """Permits without a limit that remember how calls ended."""

    def __init__(self) -> None:
        self.outcomes: list[CallOutcome] = []
        self.held = 0
        self.granted = asyncio.Event()

    @asynccontextmanager
    async def call(self, weight: int = 1) -> AsyncIterator[CallOutcome]:
        outcome = CallOutcome()
        self.held += 1
        self.granted.set()
        try:
            yield outcome
        finally:
            self.held -= 1
            self.outcomes.append(outcome)


@asynccontextmanager
async def pumping(provider: Provider, *symbols: LiveSymbol) -> AsyncIterator[tuple[Collected, Feed]]:
    """Run a live feed beside the test."""
    sink, feed = Collected(), Feed(symbols)
    task = asyncio.create_task(provider.pump(feed, sink))
    waiting = asyncio.create_task(asyncio.sleep(3600))
    try:
        yield sink, feed
    finally:
        waiting.cancel()
        done = task.done()
        task.cancel()
        result = await asyncio.gather(task, waiting, return_exceptions=True)
    if done and isinstance(result[0], Exception):
        raise result[0]
