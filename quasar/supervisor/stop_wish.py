"""The wish of the operator that the platform ends: Ctrl-C, SIGTERM, a closed terminal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopAsked(Exception):
    """The operator wants the platform to end."""


class StopWish:
    """Is set by the first signal; further ones are told to `on_impatience`."""

    def __init__(self) -> None:
        """Begin unset."""
        self._asked = asyncio.Event()
        self.on_impatience: Callable[[], None] = lambda: None

    def ask(self) -> None:
        """Wish for the end; do so again to have no more patience."""
        if self._asked.is_set():
            self.on_impatience()
        self._asked.set()

    async def wait(self) -> None:
        """Wait for the wish."""
        await self._asked.wait()

    async def unless(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what the work does, or give it up when the wish comes first.

        Raises:
            StopAsked: The wish came first; the work was cancelled.
        """
        doing = asyncio.ensure_future(work)
        asked = asyncio.ensure_future(self.wait())
        try:
            await asyncio.wait((doing, asked), return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                raise StopAsked
            return await doing
        finally:
            asked.cancel()
            doing.cancel()
            await asyncio.wait((doing, asked))

    @contextmanager
    def listening(self) -> Iterator[None]:
        """React to signals while the context lasts."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self.ask)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
