"""Coverage as it is asked for: pages, totals of all of them, filters by share, and bars outside of sessions."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest_asyncio

from datahub.rpc.coverage_pages import CoveragePages
from datahub.rpc.series_messages import SeriesFinder
from quasar.database.pool import Database
from quasar.testing.clock import FakeClock
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import collection_pb2, market_data_pb2
from quasar_proto.datahub.v1 import collection_service_pb2 as pb
from tests.integration.datahub.sources import DONE, bars_of, part
from tests.integration.datahub.test_quality import Watched

EVENING = dt.datetime(2026, 1, 5, 23, 0, 30, tzinfo=dt.UTC)
MORNING = dt.datetime(2026, 1, 5, 9, 0, tzinfo=dt.UTC)
OPEN = MORNING.replace(hour=14, minute=30)
MINUTES = 14 * 60


@pytest_asyncio.fixture(loop_scope="session")
async def house(database: Database) -> Watched:
    return Watched(database, FakeClock(EVENING))


def pages(house: Watched) -> CoveragePages:
    return CoveragePages(house.database, SeriesFinder(house.database), house.clock)


def span(start: dt.datetime, end: dt.datetime) -> values_pb2.TimeRange:
    found = values_pb2.TimeRange()
    found.start.FromDatetime(start)
    found.end.FromDatetime(end)
    return found


def by_state(counts: Any) -> dict[int, int]:
    return {each.state: each.count for each in counts}


async def halved(house: Watched) -> None:
    """Three series, of which the second lacks its second half."""
    house.source.scripts["B"] = [lambda request: [part(bars_of(request)[: MINUTES // 2]), DONE]]
    await house.collected("A", "B", "C", start=MORNING, cron="0 0 1 1 *")


async def test_a_filter_by_share_finds_what_is_incomplete_and_totals_are_of_that(house: Watched) -> None:
    await halved(house)
    request = pb.GetCoverageRequest(filter='provider = "vendor" AND complete_ratio < 1')
    found = await pages(house).coverage(request)
    assert [each.series.key.symbol for each in found.series] == ["B"]
    assert by_state(found.totals) == {
        collection_pb2.SLOT_STATE_OBSERVED: MINUTES // 2,
        collection_pb2.SLOT_STATE_GAP: MINUTES // 2,
    }
    assert found.complete_ratio == 0.5


async def test_totals_of_a_range_count_the_series_of_every_page(house: Watched) -> None:
    await halved(house)
    middle = MORNING + dt.timedelta(minutes=MINUTES // 2)
    asked = span(middle - dt.timedelta(minutes=60), middle + dt.timedelta(minutes=60))
    found = await pages(house).coverage(pb.GetCoverageRequest(range=asked, page_size=1))
    assert len(found.series) == 1
    assert found.next_page_token
    assert by_state(found.totals) == {
        collection_pb2.SLOT_STATE_OBSERVED: 2 * 120 + 60,
        collection_pb2.SLOT_STATE_GAP: 60,
    }
    request = pb.GetCoverageRequest(range=asked, page_size=1, page_token=found.next_page_token)
    assert not (await pages(house).coverage(request)).totals


async def test_bars_outside_of_the_session_do_not_hide_slots_that_nobody_asked_for(house: Watched) -> None:
    await house.collected("A", start=MORNING, exchange="XNYS", cron="0 0 1 1 *")
    opened = OPEN + dt.timedelta(minutes=100)
    await house.database.execute("update coverage set start_time = $1, slots = 290 + 120", opened)
    before = span(OPEN, EVENING.replace(second=0))
    key = values_pb2.SeriesKey(provider="vendor", symbol="A", interval="1min")
    request = pb.GetCoverageRequest(series=[market_data_pb2.SeriesReference(key=key)], range=before)
    (found,) = (await pages(house).coverage(request)).series
    assert found.unknown_slots == 100
