"""Waking those who wait: a hint that something may have changed, with a look now and then for when a hint was lost."""

from __future__ import annotations

import asyncio

from quasar.clock import Clock


class Hint:
    """Wakes every waiter; none is lost on somebody who takes the mark before looking.

    Example:
        >>> mark = hint.mark()
        >>> ...  # look at the database
        >>> await hint.after(mark, 2.0)  # returns at once when a hint came since the mark was taken
    """

    def __init__(self, clock: Clock) -> None:
        """Begin without hints."""
        self._clock = clock
        self._next = asyncio.Event()

    def give(self, _payload: str = "") -> None:
        """Wake everyone; fits as a callback of a `Listener`."""
        event, self._next = self._next, asyncio.Event()
        event.set()

    def mark(self) -> asyncio.Event:
        """Return what `after` waits for; take it before looking."""
        return self._next

    async def after(self, mark: asyncio.Event, seconds: float) -> bool:
        """Wait for a hint given since the mark, for at most `seconds`; tell whether there was one."""
        if mark.is_set():
            return True
        hinted = asyncio.ensure_future(mark.wait())
        slept = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((hinted, slept), return_when=asyncio.FIRST_COMPLETED)
        finally:
            hinted.cancel()
            slept.cancel()
        return mark.is_set()
