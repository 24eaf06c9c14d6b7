"""Storing deliveries on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import asyncpg
import numpy as np
import pytest
import pytest_asyncio

import datahub.ingest.verdict as verdict_module
import datahub.ingest.writer as writer_module
from datahub.ingest.delivery import Counts, Delivery
from datahub.ingest.room import Room
from datahub.ingest.writer import BarWriter
from datahub.series.series import Series, SeriesName
from datahub.store import bar_table, series_table
from quasar.database.pool import Database
from quasar.errors import DatabaseUnavailable
from quasar.model import coverage
from quasar.model.bars import BarColumns
from quasar.model.coverage import Coverage, SlotState
from quasar.model.instants import NS_PER_DAY, NS_PER_MINUTE, TimeRange, from_ns
from quasar.testing.clock import FakeClock

DAY = TimeRange.of(dt.datetime(2026, 1, 2, tzinfo=dt.UTC), dt.datetime(2026, 1, 3, tzinfo=dt.UTC))


def minutes(span: TimeRange, price: float = 100.0) -> BarColumns:
    """One bar for every minute of a range."""
    times = np.arange(span.start_ns, span.end_ns, NS_PER_MINUTE, dtype=np.int64)
    prices = (price + np.arange(len(times)) % 7).astype(np.float64)
    return BarColumns(times, prices, prices + 1, prices - 1, prices, np.full(len(times), 5.0))


class Bench:
    """A writer and one series."""

    def __init__(self, database: Database, writer: BarWriter, series: Series) -> None:
        self.database = database
        self.writer = writer
        self.series = series

    async def store(self, columns: BarColumns, answered: TimeRange | None = DAY, **options: object) -> Counts:
        delivery = Delivery(series=self.series, columns=columns, requested=answered, answered=answered)
        return await self.writer.store(replace(delivery, **options))  # type: ignore[arg-type]

    async def ledger(self) -> list[tuple[SlotState, int]]:
        rows = await self.database.fetch("select state, slots from coverage order by start_time")
        return [(SlotState(row["state"]), row["slots"]) for row in rows]

    async def gaps(self) -> list[tuple[str, str, int]]:
        rows = await self.database.fetch("select state, cause, missing_slots from gaps order by start_time")
        return [(row["state"], row["cause"], row["missing_slots"]) for row in rows]


@pytest_asyncio.fixture(loop_scope="session")
async def bench(database: Database) -> AsyncIterator[Bench]:
    clock = FakeClock(dt.datetime(2026, 1, 5, tzinfo=dt.UTC))
    writer = BarWriter(database, Room(database), clock)
    async with database.transaction() as connection:
        name = SeriesName("kraken", "BTC/USD", "1min")
        found = await series_table.ensure(connection, [name])
    yield Bench(database, writer, found[name])


async def test_a_complete_day_is_stored_and_is_one_row_of_the_ledger(bench: Bench) -> None:
    assert await bench.store(minutes(DAY)) == Counts(fetched=1440, inserted=1440)
    assert await bench.ledger() == [(SlotState.OBSERVED, 1440)]
    assert await bench.gaps() == []


async def test_the_same_delivery_twice_changes_nothing(bench: Bench) -> None:
    await bench.store(minutes(DAY))
    assert await bench.store(minutes(DAY)) == Counts(fetched=1440, unchanged=1440)
    assert await bench.database.fetchval("select count(*) from bar_revisions") == 0
    assert await bench.database.fetchval("select rows from series_progress") == 1440


async def test_a_corrected_bar_is_replaced_and_its_former_version_kept(bench: Bench) -> None:
    await bench.store(minutes(DAY))
    corrected = minutes(DAY)
    high = corrected.high.copy()
    high[10] += 3
    assert await bench.store(replace(corrected, high=high)) == Counts(fetched=1440, updated=1, unchanged=1439)
    stored = await bench.database.fetchrow("select high, revision from historical_data where revision > 0")
    former = await bench.database.fetchrow("select high, cause, known_until > known_from as was from bar_revisions")
    assert (stored["high"] - former["high"], stored["revision"]) == (3, 1)
    assert former["cause"] == "vendor correction"


async def test_a_whole_day_that_was_corrected_keeps_every_former_version(bench: Bench) -> None:
    await bench.store(minutes(DAY))
    for lift in (1.0, 2.0):
        corrected = replace(minutes(DAY), high=minutes(DAY).high + lift)
        assert await bench.store(corrected) == Counts(fetched=1440, updated=1440)
    former = await bench.database.fetch("select revision, count(*) as bars from bar_revisions group by 1 order by 1")
    assert [tuple(row) for row in former] == [(0, 1440), (1, 1440)]
    assert await bench.database.fetchval("select count(*) from historical_data where revision = 2") == 1440
    assert await bench.ledger() == [(SlotState.OBSERVED, 1440)]


async def test_a_correction_does_not_take_back_what_it_does_not_tell(bench: Bench) -> None:
    await bench.store(replace(minutes(DAY), vwap=np.full(1440, 101.0)))
    await bench.store(replace(minutes(DAY), high=minutes(DAY).high + 1))
    assert await bench.database.fetchval("select count(vwap) from historical_data where revision = 1") == 1440


async def test_one_bad_row_costs_no_other_row(bench: Bench) -> None:
    columns = minutes(DAY)
    low, close = columns.low.copy(), columns.close.copy()
    low[3], close[5] = columns.high[3] + 1, math.nan
    counts = await bench.store(replace(columns, low=low, close=close))
    assert counts == Counts(fetched=1440, inserted=1438, quarantined=2)
    held = await bench.database.fetch("select reason, payload from quarantine order by row_time")
    assert [row["reason"] for row in held] == ["PRICE_ORDER", "NOT_FINITE"]
    assert held[1]["payload"]["close"] == "nan"
    assert {cause for _, cause, _ in await bench.gaps()} == {"QUARANTINED"}


async def test_a_bad_row_that_comes_again_is_held_once(bench: Bench) -> None:
    columns = minutes(DAY)
    volume = columns.volume.copy()
    volume[0] = -1
    for _ in range(2):
        await bench.store(replace(columns, volume=volume))
    assert await bench.database.fetchval("select count(*) from quarantine") == 1


async def test_a_missing_volume_is_no_value_and_no_change(bench: Bench) -> None:
    columns = replace(minutes(DAY), volume=np.full(1440, np.nan))
    await bench.store(columns)
    assert await bench.store(columns) == Counts(fetched=1440, unchanged=1440)
    assert await bench.database.fetchval("select count(volume) from historical_data") == 0


async def test_a_hole_is_a_gap_until_it_is_filled(bench: Bench) -> None:
    columns = minutes(DAY)
    whole = np.ones(1440, dtype=np.bool_)
    whole[100:160] = False
    await bench.store(columns[whole])
    assert await bench.gaps() == [("OPEN", "INCOMPLETE_ANSWER", 60)]
    assert (SlotState.GAP, 60) in await bench.ledger()
    await bench.store(columns[120:160], TimeRange(*columns.open_time_ns[[120, 160]].tolist()), repaired_from="kraken")
    assert await bench.gaps() == [("OPEN", "INCOMPLETE_ANSWER", 20)]
    await bench.store(columns[100:120], TimeRange(*columns.open_time_ns[[100, 120]].tolist()), repaired_from="kraken")
    assert await bench.gaps() == [("REPAIRED", "INCOMPLETE_ANSWER", 20)]
    observed, repaired = SlotState.OBSERVED, SlotState.REPAIRED
    assert await bench.ledger() == [(observed, 100), (repaired, 60), (observed, 1280)]


async def test_what_lies_before_the_first_bar_of_a_source_is_empty_and_no_gap(bench: Bench) -> None:
    await bench.store(minutes(DAY)[600:])
    assert await bench.ledger() == [(SlotState.EMPTY, 600), (SlotState.OBSERVED, 840)]
    assert await bench.gaps() == []


async def test_days_that_follow_each_other_stay_one_row(bench: Bench) -> None:
    following = TimeRange(DAY.end_ns, DAY.end_ns + NS_PER_DAY)
    await bench.store(minutes(DAY))
    await bench.store(minutes(following), following)
    assert await bench.ledger() == [(SlotState.OBSERVED, 2880)]
    progress = await bench.database.fetchrow("select classified_from, classified_until from series_progress")
    assert tuple(progress) == (DAY.start, following.end)


async def test_rows_out_of_order_and_twice_are_stored_once(bench: Bench) -> None:
    columns = minutes(DAY)
    mixed = BarColumns.concatenate([columns[720:], columns[:720], columns[100:200]])
    counts = await bench.store(mixed)
    assert (counts.inserted, counts.quarantined) == (1440, 0)
    assert await bench.ledger() == [(SlotState.OBSERVED, 1440)]


async def test_the_newest_bar_is_kept_with_the_close_before_it(bench: Bench) -> None:
    columns = minutes(DAY)
    await bench.store(columns)
    last = await bench.database.fetchrow("select close, previous_close from bar_last")
    assert tuple(last) == (columns.close[-1], columns.close[-2])


YEARS = TimeRange.of(dt.datetime(2019, 1, 1, tzinfo=dt.UTC), dt.datetime(2026, 1, 1, tzinfo=dt.UTC))


async def test_seven_years_of_minutes_are_classified_while_the_event_loop_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, heard = asyncio.get_running_loop(), threading.Event()

    def classify(*arguments: Any) -> Coverage:
        loop.call_soon_threadsafe(heard.set)
        assert heard.wait(20), "the event loop stood still"
        return coverage.classify(*arguments)

    monkeypatch.setattr(verdict_module, "classify", classify)
    await bench.store(BarColumns.empty(), answered=YEARS)
    assert await bench.ledger() == [(SlotState.EMPTY, YEARS.length_ns // NS_PER_MINUTE)]


async def test_a_few_slots_are_classified_without_a_thread(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def classify(*arguments: Any) -> Coverage:
        threads.append(threading.get_ident())
        return coverage.classify(*arguments)

    monkeypatch.setattr(verdict_module, "classify", classify)
    await bench.store(minutes(DAY))
    assert threads == [threading.get_ident()]


async def test_a_large_delivery_is_stored_in_parts_and_is_classified_as_a_whole(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "PART_ROWS", 500)
    rows = minutes(DAY)
    kept = rows[np.r_[10:499, 502:1430]]
    other = replace(kept, high=kept.high + 1)
    assert await bench.store(kept) == Counts(fetched=1417, inserted=1417)
    ledger = [
        (SlotState.EMPTY, 10),
        (SlotState.OBSERVED, 489),
        (SlotState.GAP, 3),
        (SlotState.OBSERVED, 928),
        (SlotState.GAP, 10),
    ]
    assert await bench.ledger() == ledger
    assert await bench.store(other) == Counts(fetched=1417, updated=1417)
    assert await bench.ledger() == ledger
    assert await bench.store(rows) == Counts(fetched=1440, inserted=23, updated=1417)
    assert [state for state, _ in await bench.ledger()] == [SlotState.OBSERVED]
    assert len(await bench.database.fetch("select from historical_data")) == 1440


async def test_what_a_large_delivery_stored_before_it_broke_is_not_stored_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "PART_ROWS", 500)
    insert, done = bar_table.insert, []

    async def break_in_the_third(*arguments: Any, **options: Any) -> None:
        done.append(arguments)
        if len(done) == 3:
            raise DatabaseUnavailable
        await insert(*arguments, **options)

    monkeypatch.setattr(bar_table, "insert", break_in_the_third)
    with pytest.raises(DatabaseUnavailable):
        await bench.store(minutes(DAY))
    assert await bench.ledger() == [(SlotState.OBSERVED, 1000)]
    assert await bench.store(minutes(DAY)) == Counts(fetched=1440, inserted=440, unchanged=1000)
    assert await bench.ledger() == [(SlotState.OBSERVED, 1440)]


async def test_a_partial_delivery_fills_gaps_and_says_nothing_of_what_it_lacks(bench: Bench) -> None:
    rows = minutes(DAY)
    await bench.store(rows[np.r_[0:100, 110:200]], answered=TimeRange(DAY.start_ns, int(rows.open_time_ns[200])))
    assert await bench.gaps() == [("OPEN", "INCOMPLETE_ANSWER", 10)]
    span = TimeRange(int(rows.open_time_ns[105]), int(rows.open_time_ns[400]))
    await bench.store(rows[np.r_[105:110, 150:160, 300:400]], answered=span, partial=True)
    assert await bench.ledger() == [
        (SlotState.OBSERVED, 100),
        (SlotState.GAP, 5),
        (SlotState.OBSERVED, 90 + 5),
        (SlotState.OBSERVED, 100),
    ]
    assert await bench.gaps() == [("OPEN", "INCOMPLETE_ANSWER", 5)]
    progress = await bench.database.fetchrow("select classified_from, classified_until from series_progress")
    assert progress["classified_until"] == from_ns(int(rows.open_time_ns[200]))
    rest = TimeRange(int(rows.open_time_ns[200]), int(rows.open_time_ns[300]))
    await bench.store(rows[100:300], answered=TimeRange(int(rows.open_time_ns[100]), rest.end_ns), partial=True)
    assert await bench.ledger() == [(SlotState.OBSERVED, 400)]
    assert [state for state, _, _ in await bench.gaps()] == ["REPAIRED"]


async def test_rows_that_are_refused_leave_nobody_behind_who_still_classifies_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    classify = verdict_module.verdict
    begun: list[int] = []
    ended: list[int] = []

    def slow(*arguments: Any) -> Any:
        begun.append(1)
        time.sleep(0.2)
        ended.append(1)
        return classify(*arguments)

    monkeypatch.setattr(writer_module, "is_little", lambda *_: False)
    monkeypatch.setattr(writer_module, "verdict", slow)
    await bench.database.execute("alter table historical_data add constraint refused check (volume > 5)")
    with pytest.raises(asyncpg.CheckViolationError):
        await bench.store(minutes(DAY))
    assert len(begun) == len(ended) > 0
    assert await bench.ledger() == []


async def test_a_failure_to_classify_rows_stores_none_of_them(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ValueError("no verdict")

    monkeypatch.setattr(writer_module, "is_little", lambda *_: False)
    monkeypatch.setattr(writer_module, "verdict", broken)
    with pytest.raises(ValueError, match="no verdict"):
        await bench.store(minutes(DAY))
    assert await bench.database.fetchval("select count(*) from historical_data") == 0
