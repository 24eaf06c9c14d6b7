"""How the parts of a process make up its health."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from quasar.rpc.health import Health, PartState
from quasar.testing.clock import FakeClock
from quasar_proto.ops.v1 import system_pb2


def test_the_states_are_those_of_the_contract() -> None:
    names = {name.removeprefix("PART_STATE_"): number for name, number in system_pb2.PartState.items() if number}

    assert {state.name: state.value for state in PartState} == names


def test_a_process_is_as_well_as_its_worst_part() -> None:
    health = Health(FakeClock())
    assert (health.state(), health.ready) == (PartState.SERVING, True)

    database, plugins = health.part("database"), health.part("plugins")
    assert (health.state(), health.ready) == (PartState.STARTING, False)
    database.serving()
    plugins.degraded("kraken restarts")
    assert (health.state(), health.ready) == (PartState.DEGRADED, True)
    database.not_serving("no answer")
    assert (health.state(), health.ready) == (PartState.NOT_SERVING, False)
    assert [(p.name, p.detail) for p in health.parts()] == [("database", "no answer"), ("plugins", "kraken restarts")]


def test_a_part_is_made_once() -> None:
    health = Health(FakeClock())

    assert health.part("database") is health.part("database")


async def test_since_tells_when_the_state_last_changed() -> None:
    clock = FakeClock()
    part = Health(clock).part("database")
    part.not_serving("no answer")
    failed = clock.now()
    await clock.advance(60)

    part.not_serving("still no answer")
    assert (part.since, part.detail) == (failed, "still no answer")
    part.serving()
    assert (part.since, part.detail) == (clock.now(), "")


def test_there_is_no_way_back_from_draining() -> None:
    health = Health(FakeClock())
    health.drain()

    health.part("database").serving()

    assert (health.state(), health.ready) == (PartState.DRAINING, False)


async def test_a_watcher_sees_changes_of_readiness_only_and_is_waited_for() -> None:
    health = Health(FakeClock())
    part = health.part("database")
    seen: list[bool] = []

    async def watch() -> None:
        async with aclosing(health.watch()) as changes:
            async for ready in changes:
                seen.append(ready)  # noqa: PERF401  # it never ends, so there is no list to extend by

    watcher = asyncio.create_task(watch())
    try:
        for tell in (part.serving, lambda: part.degraded("slow"), lambda: part.not_serving("gone"), health.drain):
            await asyncio.sleep(0)
            tell()
            async with asyncio.timeout(60):
                await health.told()
    finally:
        watcher.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watcher

    assert seen == [False, True, False]
    async with asyncio.timeout(60):
        await health.told()
