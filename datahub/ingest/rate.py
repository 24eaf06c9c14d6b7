"""How many rows a second were stored of late."""

from __future__ import annotations

from quasar.clock import Clock

RATE_S = 10
"""Rows a second are counted over so many whole seconds."""
_SLOTS = 16


class RowRate:
    """Counts rows by the second in a ring; read from any thread."""

    def __init__(self, clock: Clock) -> None:
        """Begin with nothing."""
        self._clock = clock
        self._counts = [(-_SLOTS, 0)] * _SLOTS

    def add(self, rows: int) -> None:
        """Count rows that were stored now."""
        second = int(self._clock.monotonic())
        counted, before = self._counts[second % _SLOTS]
        self._counts[second % _SLOTS] = (second, rows + (before if counted == second else 0))

    def per_second(self) -> float:
        """Return the rows a second over the last ten whole seconds; the present one is not over."""
        now = int(self._clock.monotonic())
        return sum(rows for second, rows in self._counts if now - RATE_S <= second < now) / RATE_S
