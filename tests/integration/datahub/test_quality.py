"""Quality checks on a real PostgreSQL: what is found, told, corrected and forgotten, and how it is reported."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from typing import Any

import pytest
import pytest_asyncio

from datahub.ingest.room import Room
from datahub.ingest.writer import BarWriter
from datahub.quality.checker import Checker
from datahub.quality.watch import QualityWatch
from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar.ops.events import Events
from quasar.testing.clock import FakeClock
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from quasar_proto.datahub.v1 import quality_pb2 as quality
from quasar_proto.datahub.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from tests.integration.datahub.registry_rows import add_provider, entry, subscribe
from tests.integration.datahub.sources import DONE, bars_of, part
from tests.integration.datahub.test_collection import NOW, START, House
from tests.integration.datahub.test_service import key, prepare, stored
from tests.integration.services.conftest import Bearers, as_


class Watched(House):
    """Collection with quality checks beside it."""

    def __init__(self, database: Database, clock: FakeClock) -> None:
        super().__init__(database, clock, BarWriter(database, Room(database), clock))
        self.watch = QualityWatch(
            database, Checker(database, self.writer, Events(database, "datahub", clock), clock), clock
        )

    async def collected(self, *symbols: str, **options: Any) -> None:
        await self.subscribe(*symbols, **options)
        await self.plan()
        await self.work()

    async def check(self, seconds: float = 5.0) -> int:
        """Let time pass and check everything that is due; return how many checks that were."""
        await self.clock.advance(seconds)
        count = 0
        while await self.watch.once() is not None:
            count += 1
        return count

    async def found(self) -> list[tuple[str, int]]:
        rows = await self.database.fetch("select kind, bars from quality_findings order by start_time, kind")
        return [(row["kind"], row["bars"]) for row in rows]

    async def events(self, kind: str) -> list[Any]:
        return await self.database.fetch("select * from ops.events where kind = $1 order by id", kind)


@pytest_asyncio.fixture(loop_scope="session")
async def house(database: Database) -> Watched:
    return Watched(database, FakeClock(NOW))


async def test_a_clean_series_is_checked_after_its_run_and_nothing_is_found(house: Watched) -> None:
    await house.collected("A")
    assert await house.check() == 1
    assert await house.found() == []
    row = await house.database.fetchrow("select * from quality_checks")
    assert (row["since"], row["checked_at"]) == (None, house.clock.now())


async def test_a_gap_is_a_finding_and_an_event_until_it_is_repaired(house: Watched) -> None:
    half: Any = [
        lambda request: [part(bars_of(request)[:60]), DONE],
        lambda request: [part(bars_of(request)), DONE],
    ]
    house.source.scripts["A"] = half
    await house.collected("A", cron="0 0 1 1 *")
    await house.check()
    assert await house.found() == [("MISSING", 60)]
    (event,) = await house.events("QualityFindingsFound")
    assert event["data"]["bars"] == {"MISSING": 60}
    await house.check(1)
    assert len(await house.events("QualityFindingsFound")) == 1
    await house.clock.advance(61)
    await house.plan()
    await house.work()
    await house.check()
    assert await house.found() == []


async def test_a_spike_is_found_once_the_price_turned_back(house: Watched) -> None:
    def spiked(request: Any) -> list[Any]:
        bars = bars_of(request)
        steady = {name: getattr(bars, name) * 0 + 100.0 for name in ("open", "high", "low", "close")}
        steady["close"][::2] += 0.01
        steady["close"][100] = steady["high"][100] = 103.0
        steady["high"] = steady["high"] + 0.02
        steady["low"] = steady["low"] - 0.02
        return [part(dataclasses.replace(bars, **steady)), DONE]

    house.source.scripts["A"] = [spiked]
    await house.collected("A")
    await house.check()
    assert await house.found() == [("SPIKE", 1)]


async def test_rows_that_are_held_back_are_findings(house: Watched) -> None:
    def bad(request: Any) -> list[Any]:
        bars = bars_of(request)
        high = bars.high.copy()
        high[5] = bars.low[5] - 1
        return [part(type(bars)(bars.open_time_ns, bars.open, high, bars.low, bars.close, bars.volume)), DONE]

    house.source.scripts["A"] = [bad]
    await house.collected("A", cron="0 0 1 1 *")
    await house.check()
    assert sorted(await house.found()) == [("MISSING", 1), ("QUARANTINED", 1)]


async def test_bars_that_are_removed_come_back_without_an_operator(house: Watched) -> None:
    await house.collected("A", cron="0 0 1 1 *")
    await house.check()
    hole = START + dt.timedelta(minutes=30)
    await house.database.execute(
        "delete from historical_data where open_time >= $1 and open_time < $2", hole, hole + dt.timedelta(minutes=40)
    )
    assert await house.bars() == 80
    await house.check(11 * 60)
    (event,) = await house.events("BarsLost")
    assert event["data"]["slots"] == 40
    assert await house.gaps() == [("OPEN", "NOT_COLLECTED", 40)]
    await house.clock.advance(61)
    await house.plan()
    await house.work()
    assert await house.bars() == 120
    assert [state for state, _, _ in await house.gaps()] == ["REPAIRED"]


async def test_a_range_that_is_gone_from_bars_and_ledger_comes_back_too(house: Watched) -> None:
    await house.collected("A", cron="0 0 1 1 *")
    await house.check()
    await house.database.execute("delete from historical_data")
    await house.database.execute("delete from coverage")
    await house.check(11 * 60)
    await house.clock.advance(61)
    await house.plan()
    await house.work()
    assert await house.bars() == 120
    assert await house.database.fetchval("select sum(slots) from coverage") == 120


async def test_what_is_lost_beside_an_old_gap_is_fetched_as_soon_as_any_other(house: Watched) -> None:
    def holed(request: Any) -> list[Any]:
        bars = bars_of(request)
        hole = int((START + dt.timedelta(minutes=30)).timestamp() * 1e9)
        return [part(bars[bars.open_time_ns != hole]), DONE]

    house.source.scripts["A"] = [holed]
    await house.collected("A", cron="0 0 1 1 *")
    for _ in range(4):
        await house.clock.advance(8 * 3600)
        await house.plan()
        await house.work()
    await house.check()
    assert await house.database.fetchval("select attempts from gaps") == 4
    await house.database.execute(
        "delete from historical_data where open_time between $1 and $2",
        START + dt.timedelta(minutes=25),
        START + dt.timedelta(minutes=40),
    )
    await house.check(11 * 60)
    assert await house.gaps() == [("OPEN", "INCOMPLETE_ANSWER", 16)]
    await house.clock.advance(61)
    await house.plan()
    await house.work()
    assert await house.bars() == 119
    assert await house.gaps() == [("OPEN", "INCOMPLETE_ANSWER", 1)]


async def test_what_was_never_there_by_the_word_of_its_source_is_not_lost(house: Watched) -> None:
    from datahub.collection.answers import Answer
    from quasar.model.bars import BarColumns
    from quasar.sdk.notices import EmptyRange

    house.source.scripts["A"] = [
        lambda request: [
            part(bars_of(request)[:60]),
            Answer(
                columns=BarColumns.empty(),
                empty=[EmptyRange(request.start_ns + 60 * 60_000_000_000, request.end_ns)],
                done=True,
            ),
        ]
    ]
    await house.collected("A", cron="0 0 1 1 *")
    await house.check()
    await house.check(11 * 60)
    assert await house.events("BarsLost") == []
    assert await house.found() == []


async def test_two_providers_of_one_instrument_that_disagree_are_found_on_both_sides(house: Watched) -> None:
    def other(request: Any) -> list[Any]:
        bars = bars_of(request)
        close = bars.close.copy()
        close[20:30] *= 1.01
        high = bars.high * 1.02
        return [part(type(bars)(bars.open_time_ns, bars.open, high, bars.low, close, bars.volume)), DONE]

    house.source.scripts["AA"] = [other]
    house.providers["other"] = entry("other")
    await house.subscribe("A", cron="0 0 1 1 *")
    second = await add_provider(house.database, "other", b"class Y: pass")
    await subscribe(house.database, second, "AA", start=START, cron="0 0 1 1 *")
    await house.subscriptions.refresh(house.providers)
    common = await house.database.fetchval(
        "insert into registry.common_symbols (symbol) values ('A') returning common_symbol_id"
    )
    await house.database.execute(
        "insert into registry.asset_mapping (asset_id, code_id, common_symbol_id, origin) "
        "select asset_id, code_id, $1, 'MANUAL' from registry.assets",
        common,
    )
    await house.plan()
    await house.work()
    await house.check()
    rows = await house.database.fetch("select * from quality_findings where kind = 'PROVIDER_DISAGREEMENT'")
    assert [row["bars"] for row in rows] == [10, 10]
    assert {row["series_id"] for row in rows} == {row["other_series_id"] for row in rows}


async def test_two_replicas_check_a_series_once(house: Watched) -> None:
    await house.collected(*(f"S{i}" for i in range(8)))
    twin = Watched(house.database, house.clock)
    await house.clock.advance(5)
    claimed = await asyncio.gather(*(watch.once() for watch in (house.watch, twin.watch) for _ in range(8)))
    taken = [claim.series_id for claim in claimed if claim is not None]
    assert len(taken) == len(set(taken)) == 8


async def test_a_check_that_was_broken_off_is_done_again(house: Watched) -> None:
    await house.collected("A")
    await house.clock.advance(5)
    async with house.database.transaction() as connection:
        from datahub.store import quality_table

        assert await quality_table.claim(connection, house.clock.now()) is not None
    assert await house.check(60) == 0
    assert await house.check(10 * 60) >= 1


async def test_the_report_and_the_list_show_what_was_found(start: Any, bearers: Bearers, database: Database) -> None:
    await prepare(database, "A", "B")
    async with start(DATAHUB) as hub:
        stub = hub.stub(MarketDataServiceStub)
        await stored(database, 1190)
        await stored(database, 1190, "B")
        series = await database.fetchval("select series_id from series where symbol = 'A'")
        first = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0) - dt.timedelta(hours=5)
        for number, kind in enumerate(("SPIKE", "SPIKE", "STALE")):
            time = first + dt.timedelta(minutes=number)
            await database.execute(
                """insert into quality_findings (series_id, kind, session_date, start_time, end_time, bars, message)
                   values ($1, $2, $3, $4, $5, $6, 'x')""",
                series,
                kind,
                time.date(),
                time,
                time + dt.timedelta(minutes=1),
                number + 1,
            )
        report = await stub.GetQualityReport(pb.GetQualityReportRequest(page_size=1), **as_(bearers.viewer))
        (worst,) = report.series
        assert (worst.series.key.symbol, worst.complete_ratio) == ("A", 1.0)
        assert [(count.check, count.count) for count in report.totals] == [
            (quality.QUALITY_CHECK_SPIKE, 3),
            (quality.QUALITY_CHECK_STALE, 3),
        ]
        assert [day.expected_slots > 0 for day in worst.days] == [True]
        assert worst.days[0].expected_slots == worst.days[0].observed_slots
        rest = await stub.GetQualityReport(
            pb.GetQualityReportRequest(page_size=1, page_token=report.next_page_token), **as_(bearers.viewer)
        )
        assert [each.series.key.symbol for each in rest.series] == ["B"]
        assert (rest.next_page_token, len(rest.totals)) == ("", 0)
        only = pb.GetQualityReportRequest(
            series=[key("A"), key("B"), key("NONE")], only_with_findings=True, checks=[quality.QUALITY_CHECK_STALE]
        )
        shown = await stub.GetQualityReport(only, **as_(bearers.viewer))
        assert [each.series.key.symbol for each in shown.series] == ["A"]
        assert [each.requested for each in shown.missing] == ["steady:NONE@1min"]
        request = pb.ListQualityFindingsRequest(filter='check = "SPIKE"', page_size=1, order_by="start_time")
        page = await stub.ListQualityFindings(request, **as_(bearers.viewer))
        assert page.findings[0].start_time.ToDatetime(dt.UTC) == first
        request.page_token = page.next_page_token
        last = await stub.ListQualityFindings(request, **as_(bearers.viewer))
        assert (len(last.findings), last.next_page_token) == (1, "")
        assert last.findings[0].check == quality.QUALITY_CHECK_SPIKE


@pytest.mark.parametrize("clean", [True, False])
async def test_days_without_a_finding_are_told_when_they_are_wanted(
    start: Any, bearers: Bearers, database: Database, clean: bool
) -> None:
    await prepare(database, "A")
    async with start(DATAHUB) as hub:
        stub = hub.stub(MarketDataServiceStub)
        await stored(database, 1190)
        request = pb.GetQualityReportRequest(series=[key("A")], include_clean_days=clean)
        (series,) = (await stub.GetQualityReport(request, **as_(bearers.viewer))).series
        assert (sum(day.observed_slots for day in series.days) >= 1190) is clean


async def test_the_service_checks_what_it_collected(start: Any, bearers: Bearers, database: Database) -> None:
    await prepare(database, "A")
    async with start(DATAHUB) as hub:
        stub = hub.stub(MarketDataServiceStub)
        request = pb.GetQualityReportRequest(series=[key("A")])
        await stored(database, 1190)
        report: Any = None
        async with asyncio.timeout(90):
            while report is None or not report.series[0].HasField("check_time"):
                await asyncio.sleep(0.2)
                report = await stub.GetQualityReport(request, **as_(bearers.viewer))
        assert report.series[0].complete_ratio == 1.0
