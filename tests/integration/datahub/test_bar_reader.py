"""Reading stored bars page by page on a real PostgreSQL: history, live bars and former versions as one series."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from datahub.reads.bars import BarReader
from datahub.reads.query import BarQuery, Source
from datahub.reads.resampling import BarSource
from datahub.rpc.describe_series import SeriesPages
from datahub.rpc.series_messages import SeriesFinder
from datahub.series.series import Series, SeriesName
from datahub.store import series_table
from quasar.clock import SystemClock
from quasar.database.pool import Database
from quasar.model.bars import BarColumns
from quasar.model.instants import NS_PER_MINUTE, TimeRange, from_ns
from quasar_proto.datahub.v1 import market_data_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb

BEGIN = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)
THEN = BEGIN + dt.timedelta(days=2)
"""Every third bar of history was revised after it."""
COUNT = 300
SPAN = TimeRange.of(BEGIN, BEGIN + dt.timedelta(minutes=COUNT))

_FILL = """
with n as (select n, $2::timestamptz + n * interval '1 minute' as t from generate_series(0, $3::integer - 1) n),
history as (
    insert into historical_data (series_id, open_time, close_time, open, high, low, close, volume, known_at, revision)
    select $1, t, t + interval '1 minute', n, n, n, n, 1,
           $4::timestamptz + (case n % 3 when 0 then 1 else -1 end) * interval '1 day',
           case n % 3 when 0 then 1 else 0 end
    from n where n < 200 and n % 7 <> 0
), former as (
    insert into bar_revisions (series_id, open_time, close_time, open, high, low, close, volume, known_from,
                               known_until, revision, origin, live)
    select $1, t, t + interval '1 minute', n, n, n, n + 0.25, 1, $4::timestamptz - interval '1 day',
           $4::timestamptz + interval '1 day', 0, 1, false
    from n where n < 200 and n % 7 <> 0 and n % 3 = 0
)
insert into live_data (series_id, open_time, close_time, open, high, low, close, volume, known_at, origin)
select $1, t, t + interval '1 minute', n, n, n, n + origin / 10.0, 1, $4::timestamptz - interval '1 day', origin
from n, generate_series(2, 3) origin where n >= 50 and n % (origin + 3) <> 0
"""


async def filled(database: Database) -> Series:
    """A series of which some open times have history, some live bars of one or two origins, and some nothing."""
    async with database.transaction() as connection:
        name = SeriesName("vendor", "A", "1min")
        series = (await series_table.ensure(connection, [name]))[name]
    for table in ("historical_data", "bar_revisions", "live_data"):
        await database.execute(f"select ops.ensure_partitions('datahub.{table}', $1, $2)", SPAN.start, SPAN.end)
    await database.execute(_FILL, series.series_id, BEGIN, COUNT, THEN)
    return series


def expected(source: Source, known: dt.datetime) -> dict[int, float]:
    """The close of each bar that a read gives, by its number."""
    closes: dict[int, float] = {}
    for n in range(COUNT):
        history = n < 200 and n % 7 != 0
        live = [origin for origin in (2, 3) if n >= 50 and n % (origin + 3) != 0]
        if history and source in (Source.MERGED, Source.HISTORICAL):
            closes[n] = n + 0.25 if n % 3 == 0 and known <= THEN else n
        elif source is Source.MERGED and live:
            closes[n] = n + live[0] / 10
        elif source.value - 1 in live:
            closes[n] = n + (source.value - 1) / 10
    return closes


def numbered(bars: BarColumns) -> list[tuple[int, float]]:
    minutes = (bars.open_time_ns - SPAN.start_ns) // NS_PER_MINUTE
    return list(zip(minutes.tolist(), bars.close.tolist(), strict=True))


@pytest.mark.parametrize("source", list(Source))
@pytest.mark.parametrize("days", [2, 4])
async def test_pages_of_any_size_give_each_bar_once_from_its_best_source(
    database: Database, source: Source, days: int
) -> None:
    series, reader = await filled(database), BarReader(database)
    known = BEGIN + dt.timedelta(days=days)
    query = BarQuery(known_at=known, span=SPAN, source=source)
    truth = sorted(expected(source, known).items())
    for rows in (1_000, 7):
        for newest_first in (False, True):
            pages = [page async for page in reader.pages(series, query, rows=rows, newest_first=newest_first)]
            assert max(map(len, pages)) <= rows
            assert numbered(BarColumns.concatenate(pages[::-1] if newest_first else pages)) == truth
    first = await reader.page(series, replace(query, own_only=True), 5)
    assert numbered(first) == truth[:5]


async def test_the_newest_bars_are_counted_once_where_history_and_live_bars_meet(database: Database) -> None:
    series, reader = await filled(database), BarReader(database)
    numbers = sorted(expected(Source.MERGED, THEN))
    for count in (1, 3, 120, 10_000):
        span = await reader.start_of_last(series, SPAN, count)
        first = numbers[-min(count, len(numbers))]
        assert span == TimeRange(SPAN.start_ns + first * NS_PER_MINUTE, SPAN.end_ns)
        assert from_ns(span.end_ns) == SPAN.end


async def test_a_description_counts_each_bar_once_for_its_best_source(database: Database) -> None:
    series = await filled(database)
    finder = SeriesFinder(database)
    pages = SeriesPages(database, BarSource(database, BarReader(database)), finder, SystemClock())
    reference = market_data_pb2.SeriesReference(series_id=series.series_id)
    found = (await pages.describe(pb.DescribeSeriesRequest(series=reference))).description
    merged = expected(Source.MERGED, THEN + dt.timedelta(days=2))
    origins = [1 if n < 200 and n % 7 else 2 if n % 5 else 3 for n in merged]
    wanted = [(origin, origins.count(origin)) for origin in (1, 2, 3)]
    assert [(each.origin, each.rows) for each in found.sources] == wanted
    assert found.rows == len(merged)
    assert found.revised_bars == sum(n % 3 == 0 for n, origin in zip(merged, origins, strict=True) if origin == 1)
    assert not found.adjustable
    await database.execute("update historical_data set split_factor = 2 where open = 1")
    assert (await pages.describe(pb.DescribeSeriesRequest(series=reference))).description.adjustable
