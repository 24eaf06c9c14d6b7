"""Server streams that end themselves when the server begins to stop, and that say something while nothing happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Literal, TypeVar

from quasar.errors import Draining

T = TypeVar("T")


async def until_drained(
    messages: AsyncGenerator[T, None],
    draining: asyncio.Event,
    *,
    resume: Callable[[], Mapping[str, str]] = dict,
    heartbeat: Callable[[], T] | None = None,
    heartbeat_s: float = 10.0,
) -> AsyncGenerator[T, None]:
    """Yield messages until the server begins to stop.

    Args:
        messages: What to send; it is closed at the end.
        draining: Set when the server begins to stop.
        resume: Returns the metadata from which a client resumes.
        heartbeat: Makes a message for when there was none for `heartbeat_s`; None: silence.
        heartbeat_s: Seconds.

    Raises:
        Draining: The server stops.
    """
    drained = asyncio.ensure_future(draining.wait())
    async with aclosing(messages):
        try:
            while not drained.done():
                following = asyncio.ensure_future(anext(messages, None))
                try:
                    while not await _first(following, drained, heartbeat_s if heartbeat else None):
                        if heartbeat is not None:
                            yield heartbeat()
                    if not following.done():
                        break
                    # Sent also when the stop came at the same moment: `resume` may count it among what was sent.
                    message = following.result()
                finally:
                    await _cancelled(following)
                if message is None:
                    return
                yield message
            raise Draining(metadata=resume(), retry_after_s=1.0)
        finally:
            await _cancelled(drained)


async def _first(following: asyncio.Future[T], drained: asyncio.Task[Literal[True]], seconds: float | None) -> bool:
    """Wait for one of the two; False when neither came within the time."""
    done, _ = await asyncio.wait((following, drained), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    return bool(done)


async def _cancelled(future: asyncio.Future[T]) -> None:
    """Cancel and wait until it is over, so that nothing is left behind."""
    if not future.done():
        future.cancel()
        await asyncio.wait((future,))
