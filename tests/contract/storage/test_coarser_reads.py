"""Coarser bars are the same on both back ends, whether TimescaleDB has their hours ready, stale or not at all."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from datahub.ingest.delivery import Delivery
from datahub.ingest.room import Room
from datahub.ingest.writer import BarWriter
from datahub.reads.bars import BarReader
from datahub.reads.hourly import HourlyReader
from datahub.reads.query import BarQuery
from datahub.reads.readable import Readable
from datahub.reads.resampling import BarSource
from datahub.series.series import Series, SeriesName
from datahub.store import series_table
from quasar.calendars import calendar_for
from quasar.database.pool import connect
from quasar.model.bar_aggregates import aggregate
from quasar.model.bars import BarColumns
from quasar.model.instants import NS_PER_DAY, NS_PER_HOUR, NS_PER_MINUTE, TimeRange
from quasar.model.intervals import Interval
from quasar.testing.clock import FakeClock
from tests.contract.storage.test_storage import BARS, DAY, Subject, subject

__all__ = ["subject"]

MINUTE, HOUR, DAILY = (Interval.parse(code) for code in ("1min", "1h", "1d"))
MONDAY = dt.datetime(2024, 7, 1, tzinfo=dt.UTC)
WEEK = TimeRange.of(MONDAY, MONDAY + 7 * DAY)
FIGURES = ("trade_count", "quote_volume", "vwap")


class Store:
    """A database with a writer and a reader, whose clock the test sets."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.clock = FakeClock(MONDAY + 40 * DAY)
        self.writer = BarWriter(subject.database, Room(subject.database), self.clock)
        self.reader = BarReader(subject.database)

    async def series(self, symbol: str, calendar: str) -> Series:
        name = SeriesName("vendor", symbol, "1min")
        async with self.subject.database.transaction() as connection:
            return (await series_table.ensure(connection, [name], {"vendor": calendar}))[name]

    async def put(self, series: Series, columns: BarColumns) -> None:
        span = TimeRange(int(columns.open_time_ns[0]), int(columns.open_time_ns[-1]) + NS_PER_MINUTE)
        await self.writer.store(Delivery(series=series, columns=columns, answered=span))

    async def refresh(self) -> None:
        """Do at once what TimescaleDB does in the background."""
        if not self.subject.native:
            await self.as_owner("call refresh_continuous_aggregate('datahub.hourly_bars', null, null)")

    async def as_owner(self, statement: str) -> list[Any]:
        owner = await connect(self.subject.owner_url, application_name="tests")
        try:
            found: list[Any] = await owner.fetch(statement)
            return found
        finally:
            await owner.close()

    async def read(
        self, series: Series, target: Interval, span: TimeRange = WEEK, *, as_of: dt.datetime | None = None, **how: Any
    ) -> BarColumns:
        query = BarQuery(known_at=as_of or self.clock.now(), span=span, columns=FIGURES)
        source = BarSource(self.subject.database, self.reader)
        pages = [page async for page in source.pages(Readable(series, target), query, **how)]
        return BarColumns.concatenate(pages[::-1] if how.get("newest_first") else pages)

    async def hours_used(self, series: Series, target: Interval) -> int:
        """How many hours of the week a read takes as hours."""
        query = BarQuery(known_at=self.clock.now(), span=WEEK)
        stretches = await HourlyReader(self.subject.database, self.reader)._stretches(series, target, query)
        return sum(each.span.length_ns // NS_PER_HOUR for each in stretches if each.hours)


@pytest_asyncio.fixture(loop_scope="session")
async def store(subject: Subject) -> Store:
    return Store(subject)


def minutes(span: TimeRange, calendar: str = "24/7", *, gaps: bool = True) -> BarColumns:
    """Minutes of a market with holes, and with figures that some of them lack."""
    times = calendar_for(calendar).expected_slots(MINUTE, span.start_ns, span.end_ns)
    number = np.arange(len(times))
    if gaps:
        times, number = times[number % 97 < 80], number[number % 97 < 80]
    price = 100.0 + number * 7919 % 9973 / 64
    volume = np.where(number % 11 == 0, np.nan, (number * 31 % 1009) / 8)
    return BarColumns(
        times,
        price,
        price + 1 + number % 5 / 4,
        price - 1,
        price + 0.5,
        volume,
        trade_count=np.where(number // 60 % 7 == 0, -1, number % 13).astype(np.int64),
        quote_volume=np.where(np.isnan(volume), np.nan, volume * price),
        vwap=np.where(number // 60 % 5 == 0, np.nan, price),
    )


def assert_same(read: BarColumns, wanted: BarColumns) -> None:
    """Prices and times to the last bit; sums of figures as sums of doubles are: to within their rounding."""
    for name in ("open_time_ns", "close_time_ns", "open", "high", "low", "close", "trade_count"):
        assert getattr(read, name).tolist() == getattr(wanted, name).tolist(), name
    for name in ("volume", "quote_volume", "vwap"):
        np.testing.assert_allclose(getattr(read, name), getattr(wanted, name), rtol=1e-12, err_msg=name)


TARGETS: Sequence[tuple[str, str, bool]] = (
    ("24/7", "1h", True),
    ("24/7", "4h", True),
    ("24/7", "1d", True),
    ("24/7", "1w", True),
    ("24/7", "1M", True),
    ("24/7", "15min", False),
    ("24/7", "90min", False),
    ("XNYS", "1h", True),
    ("XNYS", "4h", True),
    ("XNYS", "1d", False),  # the session begins within an hour
    ("FOREX", "1d", False),
)


@pytest.mark.parametrize(("calendar", "code", "hours"), TARGETS)
async def test_coarser_bars_are_made_of_hours_where_that_says_the_same(
    store: Store, calendar: str, code: str, hours: bool
) -> None:
    series, other = await store.series("A", calendar), await store.series("B", calendar)
    fine, target = minutes(WEEK, calendar), Interval.parse(code)
    await store.put(series, fine)
    await store.put(other, minutes(WEEK, calendar, gaps=False))
    wanted = aggregate(fine, MINUTE, target, calendar_for(calendar)).within(WEEK)
    assert_same(await store.read(series, target), wanted)  # nothing has been made so far
    await store.refresh()
    used = await store.hours_used(series, target)
    assert used > 24 if hours and not store.subject.native else used == 0
    for newest_first in (False, True):
        for rows in (700, 50_000):
            assert_same(await store.read(series, target, rows=rows, newest_first=newest_first), wanted)


async def test_a_revised_bar_is_in_its_hour_at_once_and_what_was_known_before_stays_readable(store: Store) -> None:
    series, fine = await store.series("A", "24/7"), minutes(WEEK)
    await store.put(series, fine)
    await store.refresh()
    before = store.clock.now()
    await store.clock.advance(3600)
    place = 1000
    high = fine.high.copy()
    high[place] += 500
    revised = BarColumns(
        fine.open_time_ns, fine.open, high, fine.low, fine.close, fine.volume,
        trade_count=fine.trade_count, quote_volume=fine.quote_volume, vwap=fine.vwap,
    )  # fmt: skip
    await store.put(series, revised[place : place + 1])
    for _ in range(2):
        for target in (HOUR, DAILY):
            assert_same(await store.read(series, target), aggregate(revised, MINUTE, target))
            assert_same(await store.read(series, target, as_of=before), aggregate(fine, MINUTE, target))
        if not store.subject.native:
            assert await store.hours_used(series, HOUR) > 24
        await store.refresh()


async def test_bars_that_came_after_the_last_refresh_are_there_before_and_behind_what_was_made(store: Store) -> None:
    series, fine = await store.series("A", "24/7"), minutes(WEEK)
    third = TimeRange(WEEK.start_ns + 2 * NS_PER_DAY, WEEK.start_ns + 5 * NS_PER_DAY)
    await store.put(series, fine.within(third))
    await store.refresh()
    await store.put(series, fine.within(TimeRange(third.end_ns, WEEK.end_ns)))
    assert_same(
        await store.read(series, DAILY), aggregate(fine.within(TimeRange(third.start_ns, WEEK.end_ns)), MINUTE, DAILY)
    )
    await store.put(series, fine.within(TimeRange(WEEK.start_ns, third.start_ns)))
    assert_same(await store.read(series, DAILY), aggregate(fine, MINUTE, DAILY))
    if not store.subject.native:
        assert await store.hours_used(series, DAILY) == 72  # of the days that did not change


async def test_compressed_bars_make_the_same_hours_also_when_they_are_revised(store: Store) -> None:
    series, fine = await store.series("A", "24/7"), minutes(WEEK)
    await store.put(series, fine)
    if not store.subject.native:
        await store.subject.storage.set_compression(BARS, 60 * DAY)
        await store.as_owner("select compress_chunk(c) from show_chunks('datahub.historical_data') c")
        assert all(piece.compressed for piece in await store.subject.storage.slices(BARS))
    await store.refresh()
    assert_same(await store.read(series, HOUR), aggregate(fine, MINUTE, HOUR))
    close = np.where(np.arange(len(fine)) == 4000, 101.0, fine.close)
    revised = BarColumns(
        fine.open_time_ns, fine.open, np.maximum(fine.high, close), np.minimum(fine.low, close), close, fine.volume,
        trade_count=fine.trade_count, quote_volume=fine.quote_volume, vwap=fine.vwap,
    )  # fmt: skip
    await store.put(series, revised[4000:4001])
    for _ in range(2):
        assert_same(await store.read(series, HOUR), aggregate(revised, MINUTE, HOUR))
        await store.refresh()


async def test_what_retention_dropped_is_not_answered_from_hours_that_are_left(store: Store) -> None:
    series = await store.series("A", "24/7")
    quarter = TimeRange(WEEK.start_ns - 90 * NS_PER_DAY, WEEK.start_ns + 30 * NS_PER_DAY)
    store.clock.set_wall(MONDAY + 60 * DAY)
    fine = minutes(quarter, gaps=False)[::7].sort()
    await store.put(series, fine)
    await store.refresh()
    assert await store.subject.storage.drop_older_than(BARS, MONDAY) > 0
    first = await store.subject.database.fetchval("select min(open_time) from historical_data")
    days = await store.read(series, DAILY, quarter)
    kept = aggregate(fine.within(TimeRange.of(first, MONDAY + 30 * DAY)), MINUTE, DAILY)
    assert_same(days, kept)
    assert len(kept) < 120
    assert_same(
        await store.read(series, HOUR, quarter),
        aggregate(fine.within(TimeRange.of(first, MONDAY + 30 * DAY)), MINUTE, HOUR),
    )
