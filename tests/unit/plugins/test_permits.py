"""Permits: no window ever holds more than the vendor allows, and the urgent goes first."""

from __future__ import annotations

import asyncio

import pytest

from quasar import errors
from quasar.plugins.permits import Lane, PermitDesk
from quasar.sdk.declarations import RateLimit
from quasar.testing.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def grants(desk: PermitDesk, clock: FakeClock, count: int, horizon_s: int) -> list[float]:
    """Return when each of `count` calls was granted; every call ends at once."""
    times: list[float] = []

    async def one() -> None:
        grant = await desk.acquire()
        times.append(clock.monotonic())
        desk.release(grant.grant_id, 1)

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(one())
        for _ in range(horizon_s):
            await clock.advance(1.0)
    return times


async def test_no_window_holds_more_calls_than_the_limit(clock: FakeClock) -> None:
    desk = PermitDesk(clock, [RateLimit(3, 10.0)], concurrency=50)
    times = await grants(desk, clock, 9, 40)
    assert len(times) == 9
    for start in times:
        assert sum(start <= time < start + 10.0 for time in times) <= 3


async def test_several_limits_hold_at_once(clock: FakeClock) -> None:
    desk = PermitDesk(clock, [RateLimit(2, 1.0), RateLimit(4, 60.0)], concurrency=50)
    times = await grants(desk, clock, 5, 70)
    assert times[3] < 5.0
    assert times[4] >= 60.0


async def test_concurrency_holds_until_a_call_ends(clock: FakeClock) -> None:
    desk = PermitDesk(clock, concurrency=1)
    first = await desk.acquire()
    second = asyncio.create_task(desk.acquire())
    await clock.advance(5.0)
    assert not second.done()
    desk.release(first.grant_id, 1)
    await clock.advance(0.0)
    assert (await second).calls == 1


async def test_a_live_call_goes_before_a_backfill_that_waits_longer(clock: FakeClock) -> None:
    desk = PermitDesk(clock, concurrency=1)
    held = await desk.acquire()
    order: list[str] = []

    async def ask(name: str, lane: Lane) -> None:
        grant = await desk.acquire(lane=lane)
        order.append(name)
        desk.release(grant.grant_id, 1)

    async with asyncio.TaskGroup() as group:
        group.create_task(ask("bulk", Lane.BULK))
        await clock.advance(1.0)
        group.create_task(ask("live", Lane.LIVE))
        await clock.advance(1.0)
        desk.release(held.grant_id, 1)
        await clock.advance(1.0)
    assert order == ["live", "bulk"]


async def test_a_vendor_that_asks_to_wait_holds_back_everything(clock: FakeClock) -> None:
    desk = PermitDesk(clock)
    grant = await desk.acquire()
    assert desk.release(grant.grant_id, 1, retry_after_s=20.0) == 20.0
    waiting = asyncio.create_task(desk.acquire())
    await clock.advance(19.0)
    assert not waiting.done()
    await clock.advance(1.0)
    assert (await waiting).waited_s == 20.0
    assert desk.budget().throttle_count == 1


async def test_who_cannot_wait_so_long_is_told_when_it_would_do(clock: FakeClock) -> None:
    desk = PermitDesk(clock, [RateLimit(1, 30.0)])
    await desk.acquire()
    with pytest.raises(errors.QuotaExceeded) as raised:
        await desk.acquire(max_wait_s=5.0)
    assert raised.value.retry_after_s == 30.0


async def test_giving_up_frees_the_place_in_the_queue(clock: FakeClock) -> None:
    desk = PermitDesk(clock, concurrency=1)
    held = await desk.acquire()
    gone = asyncio.create_task(desk.acquire(lane=Lane.TRADING))
    await clock.advance(0.0)
    gone.cancel()
    await asyncio.wait([gone])
    desk.release(held.grant_id, 1)
    assert (await desk.acquire()).calls == 1
    assert desk.budget().waiting == 0


async def test_what_was_spent_stays_spent_when_a_new_version_declares_the_same_limit(clock: FakeClock) -> None:
    desk = PermitDesk(clock, [RateLimit(2, 60.0)])
    await desk.acquire(2)
    desk.declare([RateLimit(2, 60.0), RateLimit(100, 1.0)], 5)
    assert [left for _, left in desk.budget().remaining] == [0, 100]


async def test_permits_that_are_not_used_go_back_to_the_budget(clock: FakeClock) -> None:
    desk = PermitDesk(clock, [RateLimit(3, 60.0)], concurrency=5)
    grant = await desk.acquire(3)
    desk.release(grant.grant_id, 1, unused=2)
    assert (desk.budget().remaining[0][1], desk.budget().in_flight) == (2, 0)
    desk.release(grant.grant_id, 0, unused=2)  # a second time changes nothing
    assert desk.budget().remaining[0][1] == 2


async def test_what_a_vendor_says_is_left_lowers_the_count_of_the_limit_that_it_fits_and_never_raises_it(
    clock: FakeClock,
) -> None:
    desk = PermitDesk(clock, [RateLimit(10, 1.0), RateLimit(1000, 3600.0)], concurrency=5)
    desk.release((await desk.acquire()).grant_id, 1, vendor_remaining=400)
    assert [left for _, left in desk.budget().remaining] == [9, 400]
    desk.release((await desk.acquire()).grant_id, 1, vendor_remaining=900)
    assert [left for _, left in desk.budget().remaining] == [8, 399]
    desk.release((await desk.acquire()).grant_id, 1, vendor_remaining=2)
    assert [left for _, left in desk.budget().remaining] == [2, 398]


async def test_a_budget_tells_when_it_is_whole_again_and_counts_those_who_wait(clock: FakeClock) -> None:
    desk = PermitDesk(clock, [RateLimit(2, 10.0)], concurrency=5)
    assert desk.budget().reset_s == (0.0,)
    await desk.acquire()
    await clock.advance(4.0)
    await desk.acquire()
    assert desk.budget().reset_s == (10.0,)
    third = asyncio.create_task(desk.acquire())
    await clock.advance(0.0)
    assert desk.budget().expected_wait_s == 10.0  # the place that is free in six seconds is taken already
    third.cancel()
