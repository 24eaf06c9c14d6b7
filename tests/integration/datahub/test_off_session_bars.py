"""Bars outside the hours of their market: no calendar expects them, and yet they are missed when they are gone."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest_asyncio

from datahub.ingest.delivery import Delivery
from datahub.store import series_table
from quasar.database.pool import Database
from quasar.model.instants import TimeRange
from quasar.sdk.requests import BarRequest
from quasar.testing.clock import FakeClock
from tests.integration.datahub.sources import DONE, bars_of, part
from tests.integration.datahub.test_quality import Watched

EVENING = dt.datetime(2026, 1, 5, 23, 0, 30, tzinfo=dt.UTC)
MORNING = dt.datetime(2026, 1, 5, 9, 0, tzinfo=dt.UTC)
OPEN, CLOSE = MORNING.replace(hour=14, minute=30), MORNING.replace(hour=21)
MINUTES = 14 * 60
SESSION = 390


@pytest_asyncio.fixture(loop_scope="session")
async def house(database: Database) -> Watched:
    """A day of a share in New York with what was traded before the open and after the close."""
    found = Watched(database, FakeClock(EVENING))
    await found.collected("A", start=MORNING, exchange="XNYS", cron="0 0 1 1 *")
    await found.check()
    assert await found.bars() == MINUTES
    return found


async def remove(house: Watched, start: dt.datetime, minutes: int) -> None:
    await house.database.execute(
        "delete from historical_data where open_time >= $1 and open_time < $2",
        start,
        start + dt.timedelta(minutes=minutes),
    )


async def slots(house: Watched) -> dict[int, int]:
    rows = await house.database.fetch("select state, sum(slots) as slots from coverage group by state")
    return {row["state"]: row["slots"] for row in rows}


async def repair(house: Watched) -> None:
    await house.clock.advance(61)
    await house.plan()
    await house.work()


async def test_bars_before_the_open_that_are_removed_come_back_without_an_operator(house: Watched) -> None:
    await remove(house, MORNING + dt.timedelta(minutes=30), 40)
    await house.check(11 * 60)
    (event,) = await house.events("BarsLost")
    assert event["data"]["slots"] == 40
    assert await house.gaps() == [("OPEN", "NOT_COLLECTED", 40)]
    await repair(house)
    assert await house.bars() == MINUTES
    assert [state for state, _, _ in await house.gaps()] == ["REPAIRED"]
    assert await slots(house) == {1: MINUTES - 40, 6: 40}


async def test_a_range_over_the_open_is_one_gap_and_counted_exactly(house: Watched) -> None:
    await remove(house, OPEN - dt.timedelta(minutes=10), 30)
    await house.check(11 * 60)
    assert await house.gaps() == [("OPEN", "NOT_COLLECTED", 30)]
    assert await slots(house) == {1: MINUTES - 30, 5: 30}


async def test_all_bars_of_a_closed_time_and_their_rows_of_the_ledger_come_back(house: Watched) -> None:
    await remove(house, CLOSE, 180)
    await house.database.execute("delete from coverage")
    await house.check(11 * 60)
    await repair(house)
    assert await house.bars() == MINUTES
    assert sum((await slots(house)).values()) == MINUTES


async def test_bars_that_the_source_has_no_more_are_a_gap_that_is_told_once(house: Watched) -> None:
    def in_session(request: Any) -> list[Any]:
        bars = bars_of(request)
        times = bars.open_time_ns
        inside = (times >= OPEN.timestamp() * 1e9) & (times < CLOSE.timestamp() * 1e9)
        return [part(bars[inside]), DONE]

    house.source.scripts["A"] = [in_session]
    await remove(house, MORNING + dt.timedelta(hours=1), 25)
    for _ in range(7):
        await house.check(11 * 60)
        await house.clock.advance(7 * 3600)
        await house.plan()
        await house.work()
    await house.check(11 * 60)
    assert await house.gaps() == [("UNREPAIRABLE", "NOT_COLLECTED", 25)]
    assert await slots(house) == {1: MINUTES - 25, 7: 25}
    (event,) = await house.events("BarsLost")
    assert event["data"]["slots"] == 25


async def test_a_correction_in_the_middle_keeps_the_count_of_what_it_cuts(house: Watched) -> None:
    await house.database.execute("update historical_data set close = close + 0.5 where open_time = $1", OPEN)
    async with house.database.acquire() as connection:
        (one,) = (await series_table.by_ids(connection, [1])).values()
    span = TimeRange.of(OPEN, OPEN + dt.timedelta(minutes=5))
    bars = bars_of(BarRequest("A", "1min", span.start_ns, span.end_ns))
    counts = await house.writer.store(Delivery(series=one, columns=bars, requested=span, answered=span))
    assert (counts.updated, counts.unchanged) == (1, 4)
    assert await house.database.fetch("select state, slots from coverage") == [(1, MINUTES)]


async def test_bars_that_were_stored_before_there_was_a_memory_for_them_are_remembered(house: Watched) -> None:
    kept = await house.database.fetch("select * from off_session_slots order by start_time")
    await house.database.execute("delete from off_session_slots")
    await house.check(11 * 60)
    assert await house.database.fetch("select * from off_session_slots order by start_time") == kept
    assert await house.events("BarsLost") == []
    await remove(house, MORNING, 10)
    await house.check(11 * 60)
    await repair(house)
    assert await house.bars() == MINUTES


async def test_what_is_remembered_is_small_beside_the_bars(house: Watched) -> None:
    held = await house.database.fetchval("select sum(pg_column_size(o.*)) from off_session_slots o")
    bars = await house.database.fetchval("select sum(pg_column_size(h.*)) from historical_data h")
    assert 0 < held <= bars * 0.01
