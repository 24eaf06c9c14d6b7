"""Time as a dependency: everything that needs the time or needs to wait asks a `Clock`."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from typing import Protocol


class Clock(Protocol):
    """A source of time and of waiting. `quasar.testing.clock.FakeClock` is the one for tests."""

    def now(self) -> dt.datetime:
        """Return the present wall-clock time, aware, in UTC."""
        ...

    def time_ns(self) -> int:
        """Return the present wall-clock time in nanoseconds since 1970-01-01 UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go backwards; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds`; zero or less yields once to the other tasks."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> dt.datetime:
        """Return the present time, aware, in UTC."""
        return dt.datetime.now(dt.UTC)

    def time_ns(self) -> int:
        """Return nanoseconds since 1970-01-01 UTC."""
        return time.time_ns()

    def monotonic(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of real time."""
        await asyncio.sleep(max(0.0, seconds))
