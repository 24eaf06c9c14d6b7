"""Streams that end themselves when the server begins to stop: what was produced is sent, and where to go on is true."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from quasar.errors import Draining
from quasar.rpc.ops.streams import until_drained


class Numbers:
    """A source that counts without a pause, and knows the last number that it gave."""

    def __init__(self) -> None:
        self.given = 0
        self.closed = False

    async def produce(self) -> AsyncGenerator[int, None]:
        try:
            while True:
                self.given += 1
                yield self.given
        finally:
            self.closed = True


async def read(numbers: Numbers, draining: asyncio.Event, *, stop_at: int) -> tuple[list[int], Draining]:
    """Read until the stream ends, asking for the stop at a number; return what came and how it ended."""
    seen: list[int] = []
    try:
        async for number in until_drained(numbers.produce(), draining, resume=lambda: {"cursor": str(numbers.given)}):
            seen.append(number)
            if number == stop_at:
                draining.set()
    except Draining as ended:
        return seen, ended
    raise AssertionError("must end with Draining")


async def test_a_message_that_comes_with_the_stop_is_sent_before_the_stream_ends() -> None:
    numbers, draining = Numbers(), asyncio.Event()
    draining.set()

    seen, ended = await read(numbers, draining, stop_at=0)

    assert ended.metadata == {"cursor": str(seen[-1] if seen else 0)}
    assert numbers.closed


async def test_a_source_that_never_pauses_ends_soon_after_the_stop_with_nothing_lost() -> None:
    numbers = Numbers()

    seen, ended = await read(numbers, asyncio.Event(), stop_at=3)

    assert len(seen) <= 5
    assert ended.metadata == {"cursor": str(seen[-1])}


async def test_a_source_that_is_silent_ends_with_the_stop() -> None:
    draining = asyncio.Event()

    async def silent() -> AsyncGenerator[int, None]:
        await asyncio.Event().wait()
        yield 0

    watched = asyncio.ensure_future(anext(until_drained(silent(), draining)))
    await asyncio.sleep(0)
    draining.set()

    with pytest.raises(Draining):
        await watched
