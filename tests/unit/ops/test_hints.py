"""Hints wake those who wait, and none is lost on somebody who takes the mark first."""

from __future__ import annotations

import asyncio

from quasar.ops.hints import Hint
from quasar.testing.clock import FakeClock


async def test_a_hint_between_mark_and_wait_is_not_lost() -> None:
    hint = Hint(FakeClock())
    mark = hint.mark()
    hint.give()
    assert await hint.after(mark, 3600)


async def test_a_hint_wakes_everyone_who_waits() -> None:
    hint = Hint(FakeClock())
    waiting = [asyncio.ensure_future(hint.after(hint.mark(), 3600)) for _ in range(3)]
    await asyncio.sleep(0)
    hint.give("payload")
    assert await asyncio.gather(*waiting) == [True, True, True]


async def test_without_a_hint_the_wait_ends_with_its_time() -> None:
    clock = FakeClock()
    hint = Hint(clock)
    waiting = asyncio.ensure_future(hint.after(hint.mark(), 2.0))
    await clock.advance(1.9)
    assert not waiting.done()
    await clock.advance(0.1)
    assert await waiting is False


async def test_a_hint_from_before_the_mark_does_not_count() -> None:
    clock = FakeClock()
    hint = Hint(clock)
    hint.give()
    waiting = asyncio.ensure_future(hint.after(hint.mark(), 1.0))
    await clock.advance(1.0)
    assert await waiting is False
