"""How many calls a server takes at once. Unary calls and streams have a bound each, so neither starves the other."""

from __future__ import annotations

import asyncio

from quasar import errors


class Bound:
    """A counter of calls in flight that refuses what exceeds its limit, at once and without a queue."""

    def __init__(self, limit: int, noun: str, retry_after_s: float) -> None:
        """Bound something.

        Args:
            limit: How many may be in flight.
            noun: What is counted, for the message ("calls", "streams").
            retry_after_s: When a refused caller should come back.
        """
        self.limit = limit
        self.in_flight = 0
        self._noun = noun
        self._retry_after_s = retry_after_s
        self._empty: asyncio.Future[None] | None = None

    def enter(self) -> None:
        """Count one more; each one must be followed by `leave`.

        Raises:
            quasar.errors.TooManyCalls: The limit is reached.
        """
        if self.in_flight >= self.limit:
            raise errors.TooManyCalls(
                f"The server takes {self.limit} {self._noun} at once and has that many; try again shortly.",
                metadata={"limit": str(self.limit), "subject": self._noun},
                retry_after_s=self._retry_after_s,
            )
        self.in_flight += 1

    def leave(self) -> None:
        """Count one less."""
        self.in_flight -= 1
        if self.in_flight == 0 and self._empty is not None:
            self._empty.set_result(None)
            self._empty = None

    async def empty(self) -> None:
        """Wait until nothing is in flight."""
        while self.in_flight:
            if self._empty is None:
                self._empty = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._empty)
