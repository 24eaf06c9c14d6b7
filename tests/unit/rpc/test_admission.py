"""The bound on calls in flight."""

from __future__ import annotations

import asyncio

import pytest

from quasar import errors
from quasar.rpc.admission import Bound


def test_what_exceeds_the_bound_is_refused_until_somebody_leaves() -> None:
    bound = Bound(2, "calls", 0.25)
    bound.enter()
    bound.enter()

    with pytest.raises(errors.TooManyCalls, match="The server takes 2 calls at once") as caught:
        bound.enter()
    assert caught.value.retry_after_s == 0.25
    bound.leave()
    bound.enter()
    assert bound.in_flight == 2


async def test_everyone_who_waits_for_the_last_one_to_leave_is_told() -> None:
    bound = Bound(2, "calls", 0.25)
    await bound.empty()
    bound.enter()
    bound.enter()
    waiting = [asyncio.create_task(bound.empty()) for _ in range(2)]
    impatient = asyncio.create_task(bound.empty())
    await asyncio.sleep(0)
    impatient.cancel()

    bound.leave()
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    bound.leave()

    async with asyncio.timeout(60):
        await asyncio.gather(*waiting)
