"""Syncs of provider indices as jobs: when they fire, what becomes of their runs, and what a restart leaves undone."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import pytest_asyncio

from datahub.collection.index_sync import IndexSyncs, Synced, Syncing, SyncState
from datahub.collection.planner import Planner
from datahub.collection.steering import Steering
from datahub.collection.subscriptions import Subscriptions
from datahub.collection.worker import RunWorker
from quasar import errors
from quasar.database.pool import Database
from quasar.ops.events import Events
from quasar.testing.clock import FakeClock
from tests.integration.datahub.registry_rows import add_provider, entry

SUNDAY = dt.datetime(2026, 1, 4, 12, tzinfo=dt.UTC)
MONDAY = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)
NEXT_MONDAY = dt.datetime(2026, 1, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
DONE = Syncing(SyncState.SUCCEEDED, Synced(constituents=30, added=2, removed=1, unchanged=28))


class PlayedRegistry:
    """Does syncs as a test says; as the registry, it has one operation for each id of a request."""

    def __init__(self) -> None:
        self.away = False
        self.own = True
        """A sync that is begun is that of who asks for it; somebody else's was under way otherwise."""
        self.ends: list[Syncing] = []
        """How operations end, one after the other; beyond them they end well."""
        self.held = asyncio.Event()
        self.held.set()
        self.begun: dict[str, str] = {}
        self.operations: dict[str, Syncing] = {}
        self.cancelled: list[str] = []

    async def begin(self, index: str, request_id: str) -> tuple[str, bool]:
        self._present()
        operation = self.begun.setdefault(request_id, f"{index}-{len(self.begun) + 1}")
        self.operations.setdefault(operation, Syncing(SyncState.UNDER_WAY))
        return operation, self.own

    async def look(self, operation: str) -> Syncing:
        self._present()
        return self.operations[operation]

    async def follow(self, operation: str) -> Syncing:
        self._present()
        if self.operations[operation].state is SyncState.UNDER_WAY:
            await self.held.wait()
            self._present()
            self.operations[operation] = self.ends.pop(0) if self.ends else DONE
        return self.operations[operation]

    async def cancel(self, operation: str) -> None:
        self._present()
        self.cancelled.append(operation)
        self.operations[operation] = Syncing(SyncState.CANCELLED)

    def _present(self) -> None:
        if self.away:
            raise errors.ServiceUnavailable("registry does not answer; see `quasar status`.")


class House:
    """The parts of a DataHub that sync indices, over rows of a registry and a registry that is played."""

    def __init__(self, database: Database, code_id: int) -> None:
        self.database = database
        self.code_id = code_id
        self.clock = FakeClock(SUNDAY)
        self.registry = PlayedRegistry()
        self.providers = {"vendor": entry(capabilities=("INDEX",), intervals=())}
        self.events = Events(database, "datahub", self.clock)
        self.planner = Planner(database, self.clock)
        self.subscriptions = Subscriptions(database, self.clock)
        self.steering = Steering(database, self.events, self.clock)

    async def index(self, name: str = "top", due: dt.datetime | None = MONDAY, **schedule: str) -> None:
        """Store an index of the provider and take it over."""
        await self.database.execute(
            """insert into registry.indices (name, type, code_id, provider_index, next_sync_at, created_at, updated_at,
                                             sync_frequency, sync_cron, sync_time_zone)
               values ($1, 'PROVIDER', $2, $1, $3, $4, $4, $5, $6, $7)""",
            name,
            self.code_id,
            due,
            self.clock.now(),
            schedule.get("frequency"),
            schedule.get("cron", ""),
            schedule.get("time_zone", ""),
        )
        await self.refresh()

    async def due(self, time: dt.datetime | None, name: str = "top") -> None:
        """Have the registry say that an index is due at another time."""
        await self.database.execute("update registry.indices set next_sync_at = $2 where name = $1", name, time)
        await self.refresh()

    async def refresh(self) -> None:
        await self.subscriptions.refresh(self.providers)

    async def plan_at(self, time: dt.datetime) -> int:
        """Let time pass, and look for what is due."""
        await self.clock.advance((time - self.clock.now()).total_seconds())
        return (await self.planner.plan(self.providers)).runs

    async def next_fire(self, name: str = "top") -> dt.datetime | None:
        found: dt.datetime | None = await self.database.fetchval(
            "select next_fire_at from collection_jobs where index_name = $1", name
        )
        return found

    async def runs(self) -> list[Mapping[str, Any]]:
        return [dict(row) for row in await self.database.fetch("select * from collection_runs order by run_id")]

    @asynccontextmanager
    async def replica(self, name: str = "one", lease_s: float = 30.0) -> AsyncIterator[None]:
        """Run a worker."""
        syncs = IndexSyncs(self.database, self.registry, self.clock)

        async def give_up(work: object, cause: str) -> int:
            raise AssertionError(f"a sync has no slots, {work} was given up: {cause}")

        worker = RunWorker(
            self.database,
            self.events,
            self.clock,
            handlers={"INDEX_SYNC": syncs.sync},
            cancel={"INDEX_SYNC": syncs.cancel},
            give_up=give_up,
            slots=lambda: {"vendor": 2},
            worker=name,
            lease_s=lease_s,
            jitter=lambda: 0.0,
        )
        task = asyncio.create_task(worker.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def until(self, *states: str) -> list[Mapping[str, Any]]:
        """Wait until the newest run is in one of some states, and return the runs; the clock goes on meanwhile."""
        rows = await self.runs()
        async with asyncio.timeout(60):
            while not rows or rows[-1]["state"] not in states:
                await asyncio.sleep(0.01)
                await self.clock.advance(0.5)
                rows = await self.runs()
        return rows

    async def begun(self) -> Mapping[str, Any]:
        """Wait until the run knows the operation that does its sync, and return the run."""
        (run,) = await self.runs()
        async with asyncio.timeout(60):
            while not run["checkpoint"]:
                await asyncio.sleep(0.01)
                (run,) = await self.runs()
        return run


@pytest_asyncio.fixture(loop_scope="session")
async def house(database: Database) -> House:
    return House(database, await add_provider(database))


async def test_an_index_is_a_job_that_fires_when_the_registry_says(house: House) -> None:
    await house.index()
    assert await house.plan_at(MONDAY - dt.timedelta(seconds=1)) == 0
    assert await house.plan_at(MONDAY) == 1
    async with house.replica():
        (run,) = await house.until("SUCCEEDED")
    assert (run["kind"], run["trigger"], run["index_name"]) == ("INDEX_SYNC", "SCHEDULE", "top")
    assert run["scheduled_for"] == MONDAY
    assert (run["result"]["added"], run["result"]["removed"]) == (2, 1)
    await house.due(NEXT_MONDAY)
    assert await house.next_fire() == NEXT_MONDAY
    assert await house.plan_at(NEXT_MONDAY - HOUR) == 0


async def test_syncs_that_were_missed_are_made_up_for_once(house: House) -> None:
    await house.index()
    assert await house.plan_at(MONDAY + dt.timedelta(days=24)) == 1
    assert (await house.planner.plan(house.providers)).runs == 0
    (run,) = await house.runs()
    assert (run["trigger"], run["scheduled_for"]) == ("CATCH_UP", MONDAY)


async def test_a_new_schedule_is_in_effect_at_once(house: House) -> None:
    await house.index()
    await house.database.execute("update registry.indices set sync_frequency = 'DAILY'")
    await house.due(SUNDAY + HOUR)
    job = await house.database.fetchrow("select * from collection_jobs")
    assert (job["cron"], job["next_fire_at"]) == ("0 0 * * *", SUNDAY + HOUR)
    assert await house.plan_at(SUNDAY + HOUR) == 1


async def test_an_index_without_a_schedule_waits_until_somebody_asks(house: House) -> None:
    await house.index(due=None, frequency="MANUAL")
    assert await house.plan_at(NEXT_MONDAY) == 0
    job_id = await house.database.fetchval("select job_id from collection_jobs")
    made = await house.steering.trigger([], house.providers, syncs={job_id: "vendor"})
    async with house.replica():
        (run,) = await house.until("SUCCEEDED")
    assert (run["trigger"], run["batch_id"], made.run_ids) == ("MANUAL", made.batch_id, (run["run_id"],))
    assert await house.plan_at(NEXT_MONDAY + HOUR) == 0


async def test_a_sync_at_work_belongs_to_the_batch_of_who_asks_meanwhile(house: House) -> None:
    await house.index()
    await house.plan_at(MONDAY)
    job_id = await house.database.fetchval("select job_id from collection_jobs")
    first = await house.steering.trigger([], house.providers, syncs={job_id: "vendor"}, request_id="once")
    again = await house.steering.trigger([], house.providers, syncs={job_id: "vendor"}, request_id="once")
    (run,) = await house.runs()
    assert first.run_ids == again.run_ids == (run["run_id"],)
    assert run["joined_batches"] == [first.batch_id]


async def test_the_job_of_an_index_that_is_gone_goes_and_its_run_with_it(house: House) -> None:
    await house.index()
    await house.index("other", NEXT_MONDAY)
    await house.plan_at(MONDAY)
    await house.database.execute("delete from registry.indices where name = 'top'")
    await house.refresh()
    assert await house.next_fire() is None
    assert await house.next_fire("other") == NEXT_MONDAY
    assert [run["state"] for run in await house.runs()] == ["CANCELLED"]


async def test_a_paused_provider_is_not_synced_until_it_goes_on(house: House) -> None:
    await house.index()
    await house.steering.pause("vendor", "x", None, None)
    assert await house.plan_at(MONDAY) == 0
    with pytest.raises(errors.FailedPrecondition, match="paused"):
        await house.steering.trigger([], house.providers, syncs={1: "vendor"})
    await house.steering.resume("vendor", None)
    assert await house.plan_at(MONDAY + HOUR) == 1


async def test_a_registry_that_is_away_is_asked_again_until_it_is_back(house: House) -> None:
    await house.index()
    await house.plan_at(MONDAY)
    house.registry.away = True
    async with house.replica():
        (run,) = await house.until("BACKING_OFF")
        assert run["error"]["reason"] == "SERVICE_UNAVAILABLE"
        house.registry.away = False
        (run,) = await house.until("SUCCEEDED")
    assert (run["attempts"] > 1, run["result"]["added"]) == (True, 2)
    assert len(house.registry.begun) == 1


async def test_a_registry_that_is_away_for_long_fails_the_run_and_the_next_comes_within_the_hour(house: House) -> None:
    await house.index()
    await house.plan_at(MONDAY)
    house.registry.away = True
    async with house.replica():
        (run,) = await house.until("FAILED")
        assert run["attempts"] == run["max_attempts"]
        house.registry.away = False
        assert await house.plan_at(MONDAY + HOUR) == 1
        assert [run["state"] for run in await house.until("SUCCEEDED")] == ["FAILED", "SUCCEEDED"]
    kinds = await house.database.fetch("select kind, count(*) as times from ops.events group by kind")
    assert {row["kind"]: row["times"] for row in kinds} == {"RunAttemptFailed": 4, "RunFailed": 1}


async def test_a_vendor_that_fails_is_asked_again_by_another_operation(house: House) -> None:
    await house.index()
    await house.plan_at(MONDAY)
    house.registry.ends = [Syncing(SyncState.FAILED, error=errors.VendorFailed("The vendor is away."))]
    async with house.replica():
        (run,) = await house.until("SUCCEEDED")
    assert (run["attempts"], list(house.registry.operations)) == (2, ["top-1", "top-2"])
    attempts = await house.database.fetch("select error from run_attempts order by attempt")
    assert [(row["error"] or {}).get("reason") for row in attempts] == ["VENDOR_FAILED", None]


async def test_what_another_attempt_cannot_cure_ends_at_once(house: House) -> None:
    await house.index()
    await house.plan_at(MONDAY)
    house.registry.ends = [Syncing(SyncState.FAILED, error=errors.FailedPrecondition("The provider is not active."))]
    async with house.replica():
        (run,) = await house.until("FAILED")
    assert (run["attempts"], run["error"]["message"]) == (1, "The provider is not active.")


@pytest.mark.parametrize(
    "kept",
    [
        Synced(empty_answer=True, message="The provider sent no constituents; the members were kept."),
        Synced(constituents=1, held_back=True, message="The answer would remove 11 of 12 members; they were kept."),
        Synced(constituents=2, unchanged=1, errors=("BTC: weight must be greater than 0, was 0",)),
    ],
    ids=["empty", "held back", "refused"],
)
async def test_a_sync_that_kept_members_ends_in_part_and_says_why(house: House, kept: Synced) -> None:
    await house.index()
    await house.plan_at(MONDAY)
    house.registry.ends = [Syncing(SyncState.SUCCEEDED, kept)]
    async with house.replica():
        (run,) = await house.until("PARTIAL")
    assert run["result"] == kept.stored
    (told,) = await house.database.fetch("select * from ops.events where kind = 'RunIncomplete'")
    assert (kept.message or "1 of its constituents were refused") in told["message"]


async def test_a_restart_goes_on_with_the_same_operation(house: House) -> None:
    await house.index()
    await house.plan_at(MONDAY)
    house.registry.held.clear()
    async with house.replica("first"):
        await house.begun()
    assert house.registry.cancelled == []
    house.registry.held.set()
    async with house.replica("second"):
        (run,) = await house.until("SUCCEEDED")
    assert (run["attempts"], list(house.registry.operations)) == (2, ["top-1"])


async def test_a_sync_that_ended_while_nobody_looked_is_not_done_again(house: House) -> None:
    await house.index()
    await house.plan_at(MONDAY)
    house.registry.held.clear()
    async with house.replica("first"):
        await house.begun()
    house.registry.operations["top-1"] = DONE
    async with house.replica("second"):
        (run,) = await house.until("SUCCEEDED")
    assert (run["result"]["added"], list(house.registry.operations)) == (2, ["top-1"])


async def test_a_cancelled_run_cancels_what_it_has_begun(house: House) -> None:
    await house.index()
    await house.plan_at(MONDAY)
    house.registry.held.clear()
    async with house.replica(lease_s=3.0):
        run = await house.begun()
        await house.steering.cancel(run["run_id"], "enough", None)
        (run,) = await house.until("CANCELLED")
    assert house.registry.cancelled == ["top-1"]


async def test_a_cancelled_run_leaves_alone_what_somebody_else_has_begun(house: House) -> None:
    await house.index()
    await house.plan_at(MONDAY)
    house.registry.own = False
    house.registry.held.clear()
    async with house.replica(lease_s=3.0):
        run = await house.begun()
        await house.steering.cancel(run["run_id"], "enough", None)
        await house.until("CANCELLED")
    assert house.registry.cancelled == []


@pytest.mark.parametrize("paused", [False, True])
async def test_a_run_that_waits_for_a_registry_is_cancelled_there_when_it_is_back(house: House, paused: bool) -> None:
    await house.index()
    await house.plan_at(MONDAY)
    house.registry.held.clear()
    async with house.replica():
        run = await house.begun()
        house.registry.away = True
        house.registry.held.set()
        (run,) = await house.until("BACKING_OFF")
        if paused:
            await house.steering.pause("vendor", "x", None, None)
        await house.steering.cancel(run["run_id"], "enough", None)
        assert (await house.runs())[0]["state"] != "CANCELLED"
        house.registry.away = False
        (run,) = await house.until("CANCELLED")
    assert house.registry.cancelled == ["top-1"]


async def test_a_sync_that_failed_is_tried_again_when_somebody_asks(house: House) -> None:
    await house.index()
    await house.plan_at(MONDAY)
    house.registry.ends = [Syncing(SyncState.FAILED, error=errors.FailedPrecondition("The provider is not active."))]
    async with house.replica():
        (run,) = await house.until("FAILED")
        again = await house.steering.retry(run["run_id"])
        runs = await house.until("SUCCEEDED")
    assert [(one["run_id"], one["trigger"]) for one in runs] == [(run["run_id"], "SCHEDULE"), (again, "RETRY")]
    with pytest.raises(errors.FailedPrecondition, match="was SUCCEEDED"):
        await house.steering.retry(again)
    await house.database.execute("delete from registry.indices")
    await house.refresh()
    with pytest.raises(errors.FailedPrecondition, match="gone"):
        await house.steering.retry(run["run_id"])
