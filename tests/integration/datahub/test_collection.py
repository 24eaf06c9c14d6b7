"""Collection on a real PostgreSQL: what becomes due, what faults of a source cost, and who does what once."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import numpy as np
import pytest
import pytest_asyncio

from datahub.collection.answers import BarSource
from datahub.collection.collector import BarCollector
from datahub.collection.planner import Planner
from datahub.collection.subscriptions import Subscriptions
from datahub.collection.worker import RunWorker
from datahub.ingest.room import Room
from datahub.ingest.writer import BarWriter
from datahub.providers.entry import ProviderEntry
from quasar.database.pool import Database
from quasar.model.bars import BarColumns
from quasar.ops.events import Events
from quasar.testing.clock import FakeClock
from tests.integration.datahub.registry_rows import add_provider, entry, subscribe
from tests.integration.datahub.sources import DONE, ScriptedSource, bars_of, complete, failed, part

NOW = dt.datetime(2026, 1, 5, 12, 0, 30, tzinfo=dt.UTC)
START = NOW.replace(hour=10, minute=0, second=0)


class House:
    """The collecting parts of one or more replicas over one database and one scripted source."""

    def __init__(self, database: Database, clock: FakeClock, writer: BarWriter) -> None:
        self.database = database
        self.clock = clock
        self.writer = writer
        self.source = ScriptedSource()
        self.providers: dict[str, ProviderEntry] = {"vendor": entry()}
        self.planner = Planner(database, clock)
        self.subscriptions = Subscriptions(database, clock)
        self.code_id = 0

    async def subscribe(self, *symbols: str, **options: object) -> None:
        """Store a subscription and take it over."""
        self.code_id = self.code_id or await add_provider(self.database)
        await subscribe(self.database, self.code_id, *symbols, **{"start": START, **options})  # type: ignore[arg-type]
        await self.subscriptions.refresh(self.providers)

    async def plan(self) -> int:
        """Look once for what is due, and return how many runs that made."""
        return (await self.planner.plan(self.providers)).runs

    @asynccontextmanager
    async def replica(self, name: str = "one", source: ScriptedSource | None = None) -> AsyncIterator[RunWorker]:
        """Run a worker."""

        async def sources(provider: str) -> BarSource:
            return source or await self.source_of(provider)

        collector = BarCollector(self.database, self.writer, sources, self.clock)
        worker = RunWorker(
            self.database,
            Events(self.database, "datahub", self.clock),
            self.clock,
            handlers={"BARS": collector.collect, "REPAIR": collector.collect},
            give_up=collector.give_up,
            slots=lambda: {provider: one.concurrency for provider, one in self.providers.items()},
            worker=name,
            jitter=lambda: 0.0,
        )
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def source_of(self, _provider: str) -> BarSource:
        """Return whom a replica asks."""
        return self.source

    async def settled(self, *states: str) -> list[Mapping[str, object]]:
        """Wait until every run is in one of some states (or has ended) and return the runs."""
        final = {"SUCCEEDED", "PARTIAL", "FAILED", "CANCELLED", "SKIPPED", *states}
        rows = await self.runs()
        async with asyncio.timeout(60):
            while not rows or any(row["state"] not in final for row in rows):
                await asyncio.sleep(0.01)
                rows = await self.runs()
        return rows

    async def work(self, *states: str) -> list[Mapping[str, object]]:
        """Have a replica do what there is."""
        async with self.replica():
            return await self.settled(*states)

    async def runs(self) -> list[Mapping[str, object]]:
        return [dict(row) for row in await self.database.fetch("select * from collection_runs order by run_id")]

    async def bars(self, symbol: str = "A") -> int:
        """Count the stored bars of a symbol."""
        statement = "select count(*) from historical_data join series using (series_id) where symbol = $1"
        found: int = await self.database.fetchval(statement, symbol)
        return found

    async def gaps(self) -> list[tuple[str, str, int]]:
        rows = await self.database.fetch("select state, cause, missing_slots from gaps order by start_time, gap_id")
        return [(row["state"], row["cause"], row["missing_slots"]) for row in rows]


@pytest_asyncio.fixture(loop_scope="session")
async def house(database: Database) -> House:
    clock = FakeClock(NOW)
    return House(database, clock, BarWriter(database, Room(database), clock))


async def test_a_new_subscription_is_fetched_from_its_start_at_once(house: House) -> None:
    await house.subscribe("A")
    assert await house.plan() == 1
    (run,) = await house.work()
    assert (run["trigger"], run["state"], run["inserted"]) == ("INITIAL", "SUCCEEDED", 120)
    assert (run["slots_done"], run["slots_total"]) == (120, 120)
    assert await house.bars() == 120


async def test_what_is_done_is_not_due_again(house: House) -> None:
    await house.subscribe("A")
    await house.plan()
    await house.work()
    assert await house.plan() == 0
    await house.clock.advance(20)
    assert await house.plan() == 0


async def test_a_slot_becomes_due_when_its_bar_has_closed(house: House) -> None:
    await house.subscribe("A")
    await house.plan()
    await house.work()
    await house.clock.advance(60)
    assert await house.plan() == 1
    runs = await house.work()
    assert [(run["trigger"], run["inserted"]) for run in runs] == [("INITIAL", 120), ("SCHEDULE", 1)]


async def test_what_became_due_while_nobody_ran_is_one_catch_up(house: House) -> None:
    await house.subscribe("A")
    await house.plan()
    await house.work()
    await house.clock.advance(3 * 3600)
    assert await house.plan() == 1
    runs = await house.work()
    assert (runs[-1]["trigger"], runs[-1]["inserted"]) == ("CATCH_UP", 180)
    assert await house.bars() == 300


async def test_a_delay_longer_than_the_interval_neither_skips_nor_repeats(house: House) -> None:
    house.providers = {"vendor": entry(publication_delay=dt.timedelta(hours=1))}
    await house.subscribe("A")
    await house.plan()
    assert (await house.work())[-1]["inserted"] == 60
    for _ in range(3):
        await house.clock.advance(60)
        assert await house.plan() == 1
        assert (await house.work())[-1]["inserted"] == 1


async def test_one_bad_symbol_costs_no_other_its_bars(house: House) -> None:
    house.source.scripts["B"] = [lambda _request: [failed("the vendor does not know B", final=True)]]
    await house.subscribe("A", "B", "C")
    assert await house.plan() == 3
    runs = await house.work()
    assert sorted(str(run["state"]) for run in runs) == ["FAILED", "SUCCEEDED", "SUCCEEDED"]
    assert [await house.bars(symbol) for symbol in "ABC"] == [120, 0, 120]
    assert await house.gaps() == [("OPEN", "RUN_FAILED", 120)]
    assert await house.database.fetchval("select count(*) from ops.events where kind = 'RunFailed'") == 1


async def test_an_attempt_goes_on_where_the_one_before_failed(house: House) -> None:
    house.source.scripts["A"] = [lambda request: [part(bars_of(request)[:70]), failed()], complete]
    await house.subscribe("A")
    await house.plan()
    (run,) = await house.work("BACKING_OFF")
    assert (run["state"], run["attempts"], run["inserted"]) == ("BACKING_OFF", 1, 70)
    await house.clock.advance(30)
    (run,) = await house.work()
    assert (run["state"], run["attempts"], run["inserted"], run["unchanged"]) == ("SUCCEEDED", 2, 120, 0)
    first, second = house.source.requests
    assert second.start_ns - first.start_ns == 70 * 60_000_000_000
    assert await house.gaps() == []


async def test_the_vendors_wish_to_wait_is_granted(house: House) -> None:
    house.source.scripts["A"] = [lambda _request: [failed("429", retry_after_s=300.0)], complete]
    await house.subscribe("A")
    await house.plan()
    (run,) = await house.work("BACKING_OFF")
    due = run["next_attempt_at"]
    assert isinstance(due, dt.datetime)
    assert due >= NOW + dt.timedelta(seconds=300)


async def test_half_a_page_leaves_a_gap_that_repairs_itself(house: House) -> None:
    half: list[object] = [lambda request: [part(bars_of(request)[:60]), DONE], complete]
    house.source.scripts["A"] = half  # type: ignore[assignment]
    await house.subscribe("A")
    await house.plan()
    (run,) = await house.work()
    assert (run["state"], run["slots_gap"]) == ("PARTIAL", 60)
    assert await house.gaps() == [("OPEN", "INCOMPLETE_ANSWER", 60)]
    await house.clock.advance(61)
    await house.plan()
    await house.work()
    assert await house.gaps() == [("REPAIRED", "INCOMPLETE_ANSWER", 60)]
    assert await house.bars() == 121


async def test_a_page_that_comes_twice_is_stored_once(house: House) -> None:
    house.source.scripts["A"] = [lambda request: [part(bars_of(request)), part(bars_of(request)), DONE]]
    await house.subscribe("A")
    await house.plan()
    (run,) = await house.work()
    assert (run["state"], run["inserted"], await house.bars()) == ("SUCCEEDED", 120, 120)


async def test_pages_out_of_order_leave_no_gap(house: House) -> None:
    def turned(request: object) -> list[object]:
        bars = bars_of(request)  # type: ignore[arg-type]
        return [part(bars[60:]), part(bars[:60][np.arange(59, -1, -1)]), DONE]

    house.source.scripts["A"] = [turned]  # type: ignore[list-item]
    await house.subscribe("A")
    await house.plan()
    (run,) = await house.work()
    assert (run["state"], run["inserted"]) == ("SUCCEEDED", 120)
    assert await house.gaps() == []


async def test_a_gap_that_nobody_can_fill_is_given_up_with_evidence_and_asked_for_seldom(house: House) -> None:
    house.source.scripts["A"] = [
        lambda request: [part(bars_of(request)[:60]), DONE],
        lambda _request: [part(BarColumns.empty()), DONE],
    ]
    await house.subscribe("A", cron="0 0 1 1 *")
    await house.plan()
    await house.work()
    for _ in range(5):
        await house.clock.advance(6 * 3600 + 1)
        await house.plan()
        await house.work()
    gap = await house.database.fetchrow("select * from gaps")
    assert (gap["state"], gap["attempts"], len(gap["evidence"])) == ("UNREPAIRABLE", 5, 5)
    assert gap["next_attempt_at"] > house.clock.now() + dt.timedelta(days=6)
    assert await house.database.fetchval("select sum(slots) from coverage where state = 7") == 60


async def test_a_gap_is_filled_from_another_provider_of_the_same_instrument(house: House) -> None:
    house.source.scripts["A"] = [
        lambda request: [part(bars_of(request)[:60]), DONE],
        lambda _request: [part(BarColumns.empty()), DONE],
    ]
    house.providers["other"] = entry("other")
    await house.subscribe("A", cron="0 0 1 1 *")
    other = await add_provider(house.database, "other", b"class Y: pass")
    await subscribe(house.database, other, "AA", start=START, cron="0 0 1 1 *")
    await house.subscriptions.refresh(house.providers)
    common = await house.database.fetchval("insert into registry.common_symbols (symbol) values ('A') returning 1")
    await house.database.execute(
        "insert into registry.asset_mapping (asset_id, code_id, common_symbol_id, origin) "
        "select asset_id, code_id, $1, 'MANUAL' from registry.assets",
        common,
    )
    await house.plan()
    await house.work()
    for _ in range(2):
        await house.clock.advance(601)
        await house.plan()
        await house.work()
    gap = await house.database.fetchrow("select state, repaired_from from gaps")
    assert tuple(gap) == ("REPAIRED", "other")
    borrowed = await house.database.fetch(
        "select distinct origin, source_series_id <> 0 as named from historical_data where origin = 4"
    )
    assert [tuple(row) for row in borrowed] == [(4, True)]
    assert await house.bars() == 120


async def test_a_paused_provider_waits_and_catches_up_when_it_is_resumed(house: House) -> None:
    await house.subscribe("A")
    await house.plan()
    await house.work()
    await house.database.execute("insert into provider_pauses (provider) values ('vendor')")
    await house.clock.advance(600)
    assert await house.plan() == 0
    await house.database.execute("delete from provider_pauses")
    assert await house.plan() == 1
    assert (await house.work())[-1]["inserted"] == 10


async def test_a_run_that_is_cancelled_keeps_what_it_stored(house: House) -> None:
    house.source.hold = asyncio.Event()
    await house.subscribe("A")
    await house.plan()
    async with house.replica() as worker:
        await house.source.asked.wait()
        await house.database.execute("update collection_runs set cancel_requested = true")
        worker.hint.give()
        (run,) = await house.settled()
    assert run["state"] == "CANCELLED"
    assert [state for state, _, _ in await house.gaps()] == ["OPEN"]


async def test_two_replicas_never_do_a_run_twice(house: House) -> None:
    symbols = [f"S{i}" for i in range(12)]
    await house.subscribe(*symbols)
    await asyncio.gather(house.plan(), Planner(house.database, house.clock).plan(house.providers))
    async with house.replica("one"), house.replica("two"):
        runs = await house.settled()
    assert len(runs) == len(symbols)
    assert sorted(request.symbol for request in house.source.requests) == sorted(symbols)
    assert {run["attempts"] for run in runs} == {1}


async def test_a_run_of_a_replica_that_died_is_taken_up_after_its_lease(house: House) -> None:
    stuck = ScriptedSource(hold=asyncio.Event())
    stuck.scripts["A"] = [lambda request: [part(bars_of(request)[:50]), DONE]]
    await house.subscribe("A")
    await house.plan()
    async with house.replica("dead", stuck):
        await stuck.asked.wait()
        # The replica hangs: it neither renews its lease nor ends. Another one must not wait for it for ever.
        await house.database.execute("update collection_runs set lease_until = $1", NOW - dt.timedelta(seconds=1))
        async with house.replica("alive"):
            (run,) = await house.settled()
    assert (run["state"], run["worker"], run["attempts"]) == ("SUCCEEDED", "alive", 2)
    assert await house.bars() == 120


async def test_a_restart_goes_on_with_what_was_in_hand(house: House) -> None:
    house.source.hold = asyncio.Event()
    await house.subscribe("A")
    await house.plan()
    async with house.replica():
        await house.source.asked.wait()
    assert [run["state"] for run in await house.runs()] == ["PENDING"]
    house.source.hold = None
    assert (await house.work())[0]["state"] == "SUCCEEDED"


async def test_a_removed_subscription_stops_its_job_and_keeps_the_data(house: House) -> None:
    await house.subscribe("A")
    await house.plan()
    await house.work()
    await house.database.execute("delete from registry.provider_subscription")
    refreshed = await house.subscriptions.refresh(house.providers)
    assert (refreshed.series_count, refreshed.job_count) == (0, 0)
    await house.clock.advance(3600)
    assert await house.plan() == 0
    assert await house.bars() == 120


@pytest.mark.parametrize(("weekday", "fires"), [("2026-01-04", 0), ("2026-01-05", 1)])
async def test_weekly_bars_fire_on_monday(house: House, weekday: str, fires: int) -> None:
    day = dt.datetime.fromisoformat(weekday).replace(tzinfo=dt.UTC)
    house.clock = FakeClock(day - dt.timedelta(hours=1))
    house.planner, house.subscriptions = (
        Planner(house.database, house.clock),
        Subscriptions(house.database, house.clock),
    )
    house.providers = {"vendor": entry(intervals=("1w",))}
    await house.subscribe("A", interval="1w", start=day - dt.timedelta(days=60))
    await house.plan()
    async with house.replica():
        await house.settled()
    await house.clock.advance(2 * 3600)
    assert await house.plan() == fires
