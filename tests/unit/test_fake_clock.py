"""The clock for tests: it moves only when told, and wakes sleepers in their order."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest

from quasar.clock import Clock
from quasar.testing.clock import FakeClock

MIDNIGHT = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)


def test_it_is_a_clock_and_stands_still() -> None:
    clock: Clock = FakeClock()
    assert clock.now() == clock.now() == MIDNIGHT
    assert clock.monotonic() == 0.0


def test_it_counts_nanoseconds_without_rounding() -> None:
    start = dt.datetime(2026, 3, 29, 1, 2, 3, 456789, tzinfo=dt.UTC)
    assert FakeClock(start).time_ns() == 1_774_746_123_456_789_000
    assert FakeClock(start).now() == start


def test_a_naive_start_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        FakeClock(dt.datetime(2026, 1, 1))  # noqa: DTZ001 - the naive time is the point


async def test_time_passes_for_all_three_readings() -> None:
    clock = FakeClock()
    await clock.advance(90.5)
    assert clock.now() == MIDNIGHT + dt.timedelta(seconds=90.5)
    assert clock.time_ns() == 1_767_571_290_500_000_000
    assert clock.monotonic() == 90.5


async def test_a_sleeper_wakes_at_its_time_and_not_before() -> None:
    clock = FakeClock()
    async with asyncio.TaskGroup() as tasks:
        sleeper = tasks.create_task(clock.sleep(60))
        await clock.advance(59.999)
        assert not sleeper.done()
        await clock.advance(0.001)
        assert sleeper.done()


async def test_sleepers_wake_in_the_order_of_their_deadlines_and_see_their_own_time() -> None:
    clock = FakeClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))

    async with asyncio.TaskGroup() as tasks:
        for name, seconds in (("last", 3.0), ("first", 1.0), ("second", 2.0), ("also second", 2.0)):
            tasks.create_task(sleeper(name, seconds))
        await clock.advance(10)
    assert woken == [("first", 1.0), ("second", 2.0), ("also second", 2.0), ("last", 3.0)]


async def test_a_loop_runs_once_a_period() -> None:
    clock = FakeClock()
    ticks: list[float] = []

    async def loop() -> None:
        for _ in range(4):
            await clock.sleep(15)
            ticks.append(clock.monotonic())

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(loop())
        await clock.advance(60)
    assert ticks == [15, 30, 45, 60]


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = FakeClock()
    task = asyncio.create_task(clock.sleep(5))
    await clock.wait_for_sleepers()
    assert clock.next_wake == 5.0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert clock.sleepers == 0
    assert clock.next_wake is None


async def test_sleeping_for_nothing_only_yields() -> None:
    clock = FakeClock()
    await clock.sleep(0)
    await clock.sleep(-1)
    assert clock.monotonic() == 0.0


async def test_setting_the_wall_clock_wakes_nobody() -> None:
    clock = FakeClock()
    async with asyncio.TaskGroup() as tasks:
        sleeper = tasks.create_task(clock.sleep(60))
        await clock.wait_for_sleepers()
        clock.set_wall(MIDNIGHT + dt.timedelta(days=400))
        await clock.advance(59)
        assert not sleeper.done()
        assert clock.now() == MIDNIGHT + dt.timedelta(days=400, seconds=59)
        await clock.advance(1)
