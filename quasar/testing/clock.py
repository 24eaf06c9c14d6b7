"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import datetime as dt
import heapq
import itertools
from typing import Final

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_START: Final = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)
_ROUNDS: Final = 25


class FakeClock:
    """A `quasar.clock.Clock` for tests: time passes when `advance` is awaited, and sleepers wake in their order.

    Example:
        >>> clock = FakeClock()
        >>> task = asyncio.create_task(clock.sleep(60))
        >>> await clock.advance(59)     # still asleep
        >>> await clock.advance(1)      # awake
    """

    def __init__(self, start: dt.datetime = _START) -> None:
        """Stand at `start`, an aware time (Monday, 5 January 2026, 00:00 UTC when not given)."""
        if start.tzinfo is None:
            raise ValueError("start must be an aware time, was naive")
        self._wall_ns = _nanoseconds(start)
        self._monotonic_ns = 0
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._asleep = asyncio.Condition()

    def now(self) -> dt.datetime:
        """Return the wall-clock time, aware, in UTC."""
        return _EPOCH + dt.timedelta(microseconds=self._wall_ns // 1000)

    def time_ns(self) -> int:
        """Return the wall-clock time in nanoseconds since 1970-01-01 UTC."""
        return self._wall_ns

    def monotonic(self) -> float:
        """Return the seconds that have passed since the clock was made."""
        return self._monotonic_ns / 1e9

    async def sleep(self, seconds: float) -> None:
        """Wait until `advance` has brought `seconds`; zero or less yields once to the other tasks."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wake = asyncio.get_running_loop().create_future()
        entry = (self._monotonic_ns + round(seconds * 1e9), next(self._order), wake)
        heapq.heappush(self._sleepers, entry)
        try:
            async with self._asleep:
                self._asleep.notify_all()
            await wake
        finally:
            if entry in self._sleepers:
                self._sleepers.remove(entry)
                heapq.heapify(self._sleepers)

    @property
    def sleepers(self) -> int:
        """How many tasks sleep."""
        return len(self._sleepers)

    @property
    def next_wake(self) -> float | None:
        """Seconds until the next sleeper wakes; None when nobody sleeps."""
        return (self._sleepers[0][0] - self._monotonic_ns) / 1e9 if self._sleepers else None

    async def advance(self, seconds: float) -> None:
        """Let time pass, waking each sleeper at its own time and letting it run before going on.

        Tasks that only compute and sleep are settled afterwards. Ones that wait for a socket or a thread may not be;
        then wait for what they bring about, for example with `wait_for_sleepers`.
        """
        target = self._monotonic_ns + round(seconds * 1e9)
        await settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            deadline, _, wake = heapq.heappop(self._sleepers)
            self._pass(deadline - self._monotonic_ns)
            if not wake.done():
                wake.set_result(None)
            await settle()
        self._pass(target - self._monotonic_ns)
        await settle()

    async def wait_for_sleepers(self, count: int = 1) -> None:
        """Wait, in real time, until at least `count` tasks sleep."""
        async with self._asleep:
            await self._asleep.wait_for(lambda: self.sleepers >= count)

    def set_wall(self, now: dt.datetime) -> None:
        """Set the wall clock as an operator or a time server would: nobody wakes, and `monotonic` goes on as before."""
        self._wall_ns = _nanoseconds(now)

    def _pass(self, nanoseconds: int) -> None:
        """Move both clocks."""
        if nanoseconds > 0:
            self._monotonic_ns += nanoseconds
            self._wall_ns += nanoseconds


async def settle() -> None:
    """Let every task that can run go on until it waits for something."""
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)


def _nanoseconds(instant: dt.datetime) -> int:
    """Return the nanoseconds since 1970, exactly."""
    return (instant - _EPOCH) // dt.timedelta(microseconds=1) * 1000
