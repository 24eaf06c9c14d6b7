"""What every live source does between two connections, whatever it connects with."""

from __future__ import annotations

from collections import deque
from typing import Any, Final, Protocol

from quasar.sdk.context import Context
from quasar.sdk.feed import Feed
from quasar.sdk.notices import ConnectionState

_BUDGET_WINDOW_S: Final = 600.0


class Report(Protocol):
    """Tells the platform how the connection stands."""

    def __call__(self, state: ConnectionState, **fields: Any) -> None:
        """Tell it."""
        ...


class Reconnects:
    """Waits longer after each failure, and for the operator once the feed's budget of reconnects is used up."""

    def __init__(self, context: Context, feed: Feed, report: Report) -> None:
        """Wait by the context's clock and jitter; `report` hears of each wait."""
        self._context = context
        self._feed = feed
        self._report = report
        self._attempts: deque[float] = deque()

    async def pause(self, failures: int, error: str) -> None:
        """Wait until the next attempt may begin.

        Args:
            failures: How many attempts failed in a row, 1 or more.
            error: Why the last one did, without secrets.
        """
        clock = self._context.clock
        now = clock.monotonic()
        self._attempts.append(now)
        while self._attempts[0] < now - _BUDGET_WINDOW_S:
            self._attempts.popleft()
        if len(self._attempts) > self._feed.reconnect_budget:
            self._report(ConnectionState.REFUSED, error=f"too many reconnects in ten minutes, the last: {error}")
            while not (await self._feed.changed()).reconnect:
                continue  # other changes are in `feed.symbols` already
            self._attempts.clear()
            return
        wait = self._context.jitter.wait_s(failures)
        self._report(ConnectionState.DISCONNECTED, error=error, next_attempt_ns=clock.time_ns() + int(wait * 1e9))
        await clock.sleep(wait)


def first_leaf(error: Exception) -> Exception:
    """Return the error itself, or the first one inside a group of them."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
