"""Bars that are computed on reading, over a real PostgreSQL; the last tests over the real DataHub and a real socket."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import pytest
import pytest_asyncio

from datahub.ingest.delivery import Delivery
from datahub.ingest.room import Room
from datahub.ingest.writer import BarWriter
from datahub.reads.bars import BarReader
from datahub.reads.query import BarQuery
from datahub.reads.readable import Readable
from datahub.reads.resampling import BarSource
from datahub.series.series import Series, SeriesName
from datahub.store import series_table
from quasar.calendars import calendar_for
from quasar.client.channel import Channel, ClientSettings
from quasar.config import DATAHUB
from quasar.convert.columns import decode_bars
from quasar.database.pool import Database
from quasar.model.bar_aggregates import aggregate
from quasar.model.bars import BarColumns, BarOrigin, BarState
from quasar.model.instants import NS_PER_DAY, NS_PER_HOUR, NS_PER_MINUTE, TimeRange, from_ns
from quasar.model.intervals import Interval
from quasar.testing.clock import FakeClock
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import market_data_pb2 as market
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from quasar_proto.datahub.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from strategy_engine.backtests.records import ReadTerms, WantedSeries
from strategy_engine.rpc.datahub_bars import DatahubBars
from tests.integration.datahub.registry_rows import add_provider
from tests.integration.services.conftest import Bearers, as_

MINUTE, FIVE, HOUR, DAY = (Interval.parse(code) for code in ("1min", "5min", "1h", "1d"))
BEGIN = TimeRange.of(dt.datetime(2024, 7, 1, tzinfo=dt.UTC), dt.datetime(2024, 7, 6, tzinfo=dt.UTC))
"""Monday to Friday; New York closes at 17:00 UTC on Wednesday the 3rd and all of Thursday the 4th."""


class Store:
    """A database with a writer, whose clock the test sets."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = FakeClock(dt.datetime(2024, 7, 10, tzinfo=dt.UTC))
        self.writer = BarWriter(database, Room(database), self.clock)
        self.source = BarSource(database, BarReader(database))

    async def series(self, symbol: str, interval: str = "1min", calendar: str = "") -> Series:
        name = SeriesName("vendor", symbol, interval)
        async with self.database.transaction() as connection:
            return (await series_table.ensure(connection, [name], {"vendor": calendar}))[name]

    async def put(self, series: Series, columns: BarColumns, *, answered: bool = True) -> None:
        span = TimeRange(int(columns.open_time_ns[0]), int(columns.open_time_ns[-1]) + NS_PER_MINUTE)
        await self.writer.store(Delivery(series=series, columns=columns, answered=span if answered else None))

    def query(self, span: TimeRange = BEGIN, **more: Any) -> BarQuery:
        return BarQuery(known_at=self.clock.now(), span=span, **more)

    async def read(self, series: Series, target: Interval, query: BarQuery, **how: Any) -> BarColumns:
        pages = [page async for page in self.source.pages(Readable(series, target), query, **how)]
        return BarColumns.concatenate(pages[::-1] if how.get("newest_first") else pages)


@pytest_asyncio.fixture(loop_scope="session")
async def store(database: Database) -> AsyncIterator[Store]:
    yield Store(database)


def minutes(span: TimeRange, calendar: str = "24/7") -> BarColumns:
    """One bar for every minute that a market trades."""
    times = calendar_for(calendar).expected_slots(MINUTE, span.start_ns, span.end_ns)
    price = (100.0 + np.arange(len(times)) % 97).astype(np.float64)
    return BarColumns(
        times, price, price + 1, price - 1, price + 0.5, (1.0 + np.arange(len(times)) % 7).astype(np.float64)
    )


def same(one: BarColumns, other: BarColumns) -> bool:
    names = ("open_time_ns", "close_time_ns", "open", "high", "low", "close", "volume")
    return all(getattr(one, name).tolist() == getattr(other, name).tolist() for name in names)


@pytest.mark.parametrize("calendar", ["24/7", "XNYS", "XASX", "FOREX"])
@pytest.mark.parametrize("code", ["5min", "1h", "1d", "1w"])
async def test_computed_bars_are_those_of_the_whole_series(store: Store, calendar: str, code: str) -> None:
    week = TimeRange(BEGIN.start_ns - 2 * NS_PER_DAY, BEGIN.end_ns + 2 * NS_PER_DAY)
    series, fine, target = await store.series("A", calendar=calendar), minutes(week, calendar), Interval.parse(code)
    await store.put(series, fine)
    whole = aggregate(fine, MINUTE, target, calendar_for(calendar)).within(BEGIN)
    assert len(whole)
    for newest_first in (False, True):
        for rows in (700, 50_000):
            read = await store.read(series, target, store.query(), rows=rows, newest_first=newest_first)
            assert same(read, whole)


async def test_a_half_day_of_new_york_is_a_bar_that_closes_at_noon_and_a_holiday_is_none(store: Store) -> None:
    series = await store.series("A", calendar="XNYS")
    await store.put(series, minutes(BEGIN, "XNYS"))
    days = await store.read(series, DAY, store.query())
    assert [from_ns(int(day)).day for day in days.open_time_ns] == [1, 2, 3, 5]
    assert days.close_time_ns is not None
    assert [from_ns(int(end)).hour for end in days.close_time_ns] == [20, 20, 17, 20]


async def test_a_range_cuts_between_computed_bars_and_never_through_one(store: Store) -> None:
    series, fine = await store.series("A"), minutes(BEGIN)
    await store.put(series, fine)
    ten = BEGIN.start_ns + 10 * NS_PER_HOUR
    cut = TimeRange(ten + 1, ten + NS_PER_HOUR + 7 * NS_PER_MINUTE)
    hours = await store.read(series, HOUR, store.query(cut))
    assert hours.open_time_ns.tolist() == [ten + NS_PER_HOUR]
    assert hours.volume[0] == fine.within(TimeRange(ten + NS_PER_HOUR, ten + 2 * NS_PER_HOUR)).volume.sum()


async def test_a_bar_is_forming_until_its_last_minute_is_known(store: Store) -> None:
    series, end = await store.series("A"), BEGIN.start_ns + 90 * NS_PER_MINUTE
    store.clock.set_wall(from_ns(end))
    await store.put(series, minutes(TimeRange(BEGIN.start_ns, end)), answered=False)
    for minute, states in ((90, [2, 1]), (125, [2, 1]), (26 * 60 + 1, [2, 2])):
        query = replace(store.query(), known_at=from_ns(BEGIN.start_ns + minute * NS_PER_MINUTE))
        seen = await store.read(series, HOUR, query, include_forming=True)
        assert (seen.state.tolist() if seen.state is not None else [2, 2]) == states
        closed = states.count(BarState.CLOSED)
        assert len(await store.read(series, HOUR, query)) == closed
        assert len(await store.source.newest(Readable(series, HOUR), query, 5)) == closed


async def test_a_bar_closes_when_the_ledger_knows_that_no_minute_is_missing(store: Store) -> None:
    series, hour = await store.series("A"), TimeRange(BEGIN.start_ns, BEGIN.start_ns + NS_PER_HOUR)
    store.clock.set_wall(from_ns(hour.end_ns + NS_PER_MINUTE))
    bars = minutes(hour)[:-5]
    await store.put(series, bars, answered=False)
    assert len(await store.read(series, HOUR, store.query())) == 0
    await store.writer.store(Delivery(series=series, columns=bars, answered=hour))
    assert len(await store.read(series, HOUR, store.query())) == 1


async def test_what_was_known_then_makes_the_bars_of_then(store: Store) -> None:
    series, fine = await store.series("A"), minutes(BEGIN)
    await store.put(series, fine)
    then = store.query()
    await store.clock.advance(3600)
    high = fine.high.copy()
    high[3] = 999.0
    await store.put(series, replace(fine, high=high))
    assert (await store.read(series, FIVE, then)).high[0] != 999.0
    now = await store.read(series, FIVE, store.query())
    assert (now.high[0], now.state is not None and now.state[0]) == (999.0, BarState.REVISED)


async def test_the_newest_computed_bars_are_found_from_the_end(store: Store) -> None:
    series, fine = await store.series("A", calendar="XNYS"), minutes(BEGIN, "XNYS")
    await store.put(series, fine)
    whole = aggregate(fine, MINUTE, HOUR, calendar_for("XNYS"))
    readable = Readable(series, HOUR)
    for count in (1, 5, 1000):
        newest = await store.source.newest(readable, store.query(columns=("origin",)), count)
        assert same(newest, whole[-count:])
        assert newest.origin is not None
        assert set(newest.origin.tolist()) == {BarOrigin.RESAMPLED}
        span = await store.source.span_of_newest(readable, store.query(), count)
        assert span.start_ns == int(whole.open_time_ns[-min(count, len(whole))])


def key(symbol: str, interval: str) -> market.SeriesReference:
    return market.SeriesReference(key=values_pb2.SeriesKey(provider="vendor", symbol=symbol, interval=interval))


class Client:
    """Asks a DataHub."""

    def __init__(self, hub: Any, bearers: Bearers) -> None:
        self._stub = hub.stub(MarketDataServiceStub)
        self._bearer = bearers.viewer

    def call(self, method: str, request: Any) -> Any:
        return getattr(self._stub, method)(request, **as_(self._bearer))

    async def read(self, **request: Any) -> tuple[BarColumns, list[Any], list[Any], list[str]]:
        parts, infos, ended, cursors = [], [], [], []
        async for message in self.call("ReadBars", pb.ReadBarsRequest(**request)):
            parts += [decode_bars(chunk.SerializeToString()).columns for chunk in message.bars]
            infos += message.series
            ended += message.ended
            cursors.append(message.cursor)
        return BarColumns.concatenate(parts), infos, ended, cursors


async def test_an_interval_that_nobody_collects_is_read_like_one_that_is_stored(
    start: Any, bearers: Bearers, store: Store
) -> None:
    fine, series = minutes(BEGIN), await store.series("A")
    await store.put(series, fine)
    fives = aggregate(fine, MINUTE, FIVE)
    async with start(DATAHUB) as hub:
        client = Client(hub, bearers)
        read, infos, ended, _ = await client.read(series=[key("A", "5min"), key("A", "1min"), key("B", "5min")])
        five_id, one_id = infos[0].series_id, infos[1].series_id
        assert (infos[0].key.interval, infos[0].derived_from_series_id) == ("5min", series.series_id)
        assert (one_id, infos[1].derived_from_series_id) == (series.series_id, 0)
        assert [(end.series_id, end.rows) for end in ended[:2]] == [(five_id, len(fives)), (one_id, len(fine))]
        assert ended[2].error.code == grpc.StatusCode.NOT_FOUND.value[0]
        assert same(read[: len(fives)], fives)

        request = {"series": [key("A", "5min")], "batch_rows": 100}
        whole, _, _, cursors = await client.read(**request)
        rest, _, ended, _ = await client.read(**request, cursor=cursors[4])
        assert same(rest, whole[500:])
        assert ended[0].rows == len(whole)
        last, _, _, _ = await client.read(series=[key("A", "1h")], last_count=3)
        assert same(last, aggregate(fine, MINUTE, HOUR)[-3:])


async def test_the_page_of_a_market_shows_intervals_that_nobody_collects(
    start: Any, bearers: Bearers, store: Store
) -> None:
    fine, series = minutes(BEGIN), await store.series("A")
    await store.put(series, fine)
    async with start(DATAHUB) as hub:
        client = Client(hub, bearers)
        for code in ("5min", "15min", "1h", "1d"):
            whole = aggregate(fine, MINUTE, Interval.parse(code))
            page = await client.call(
                "ListBars",
                pb.ListBarsRequest(
                    series=key("A", code), page_size=1000, order_by="open_time desc", include_forming=True
                ),
            )
            assert page.series.derived_from_series_id == series.series_id
            times = [bar.open_time.ToNanoseconds() for bar in page.bars]
            assert times == whole.open_time_ns[::-1][:1000].tolist()
            assert page.bars[0].origin == market.BAR_ORIGIN_RESAMPLED
            described = await client.call("DescribeSeries", pb.DescribeSeriesRequest(series=key("A", code)))
            found = described.description
            assert (found.rows, found.first_time.ToNanoseconds()) == (len(whole), int(whole.open_time_ns[0]))
            assert (found.series.key.interval, found.complete_ratio) == (code, 1.0)
        latest = await client.call(
            "GetLatestBars", pb.GetLatestBarsRequest(series=[key("A", "1h"), key("A", "1min"), key("B", "1h")])
        )
        assert list(latest.bars.open_time_ns) == [BEGIN.end_ns - NS_PER_HOUR, BEGIN.end_ns - NS_PER_MINUTE]
        assert [info.key.interval for info in latest.series] == ["1h"]
        assert [each.message for each in latest.missing] == ["unknown series"]
        by_id = market.SeriesReference(series_id=series.series_id)
        again = await client.call(
            "GetLatestBars", pb.GetLatestBarsRequest(series=[by_id, key("A", "1min")], include_series_info=True)
        )
        assert list(again.bars.series_id) == [series.series_id] * 2
        assert list(again.bars.close) == [fine.close[-1]] * 2
        assert [info.key.symbol for info in again.series] == ["A"] * 2


async def test_pages_of_computed_bars_follow_each_other_and_take_filters(
    start: Any, bearers: Bearers, store: Store
) -> None:
    fine = minutes(BEGIN)
    await store.put(await store.series("A"), fine)
    hours = aggregate(fine, MINUTE, HOUR)
    async with start(DATAHUB) as hub:
        client = Client(hub, bearers)
        for order, truth in (("open_time desc", hours.open_time_ns[::-1]), ("open_time", hours.open_time_ns)):
            times: list[int] = []
            token = ""
            while True:
                request = pb.ListBarsRequest(series=key("A", "1h"), page_size=37, page_token=token, order_by=order)
                page = await client.call("ListBars", request)
                times += [bar.open_time.ToNanoseconds() for bar in page.bars]
                token = page.next_page_token
                if not token:
                    break
            assert times == truth.tolist()
        high = float(np.quantile(hours.volume, 0.9))
        request = pb.ListBarsRequest(series=key("A", "1h"), page_size=500, filter=f"volume > {high}")
        page = await client.call("ListBars", request)
        assert [bar.volume for bar in page.bars] == hours.volume[hours.volume > high][::-1].tolist()


async def test_a_strategy_is_given_bars_of_an_interval_that_nobody_collects(
    start: Any, bearers: Bearers, store: Store
) -> None:
    fine = minutes(BEGIN)
    await store.put(await store.series("A"), fine)
    hours = aggregate(fine, MINUTE, HOUR)
    wanted = [WantedSeries(provider="vendor", symbol="A", interval="1h")]
    async with start(DATAHUB) as hub:
        target = f"127.0.0.1:{hub.server.port}"
        async with Channel(ClientSettings(target=target, service="datahub", token=bearers.viewer)) as channel:
            (loaded,) = await DatahubBars(channel).read(wanted, ReadTerms(start=BEGIN.start, end=BEGIN.end))
            (newest,) = await DatahubBars(channel).newest(wanted, 5)
    assert (loaded.facts.interval, same(loaded.bars, hours)) == ("1h", True)
    assert same(newest.bars, hours[-5:])


async def map_to_common(database: Database, symbol: str, common: str) -> None:
    """Map a symbol of the vendor to a common symbol."""
    code_id = await add_provider(database, "vendor")
    asset = await database.fetchval(
        "insert into registry.assets (code_id, symbol) values ($1, $2) returning asset_id", code_id, symbol
    )
    common_id = await database.fetchval(
        "insert into registry.common_symbols (symbol) values ($1) returning common_symbol_id", common
    )
    await database.execute(
        "insert into registry.asset_mapping (asset_id, code_id, common_symbol_id, origin) "
        "values ($1, $2, $3, 'MANUAL')",
        asset,
        code_id,
        common_id,
    )


async def test_a_common_symbol_is_read_at_intervals_that_are_stored_and_that_are_not(
    start: Any, bearers: Bearers, store: Store
) -> None:
    fine = minutes(BEGIN)
    await store.put(await store.series("A"), fine)
    await map_to_common(store.database, "A", "ALPHA")
    common = [
        market.SeriesReference(common=market.CommonSeries(common_symbol="alpha", interval=code))
        for code in ("1min", "1h")
    ]
    async with start(DATAHUB) as hub:
        client = Client(hub, bearers)
        read, infos, ended, _ = await client.read(series=common)
        assert [end.rows for end in ended] == [len(fine), len(fine) // 60]
        lent = market.SeriesReference(series_id=infos[1].series_id)
        _, _, unknown, _ = await client.read(series=[lent])
        assert unknown[0].error.code == grpc.StatusCode.NOT_FOUND.value[0]
        assert (await client.call("GetLatestBars", pb.GetLatestBarsRequest(series=[lent]))).missing
        assert [info.key.interval for info in infos] == ["1min", "1h"]
        assert same(read[len(fine) :], aggregate(fine, MINUTE, HOUR))
        latest = await client.call("GetLatestBars", pb.GetLatestBarsRequest(series=common))
        assert sorted(latest.bars.open_time_ns) == [BEGIN.end_ns - NS_PER_HOUR, BEGIN.end_ns - NS_PER_MINUTE]
        assert not latest.missing
