"""What an imported file lacks is unknown: it is no gap, is not asked for, and is told."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest

from datahub.ingest.delivery import Delivery
from datahub.series.series import Series, SeriesName
from datahub.store import series_table
from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar.model.bars import BarColumns, BarOrigin
from quasar.model.instants import NS_PER_MINUTE, TimeRange, to_ns
from quasar_proto.datahub.v1 import collection_service_pb2 as pb
from quasar_proto.datahub.v1 import market_data_pb2 as market
from quasar_proto.datahub.v1.collection_service_pb2_grpc import CollectionServiceStub
from tests.integration.datahub.test_collection import START
from tests.integration.datahub.test_export_import import ROWS, Files, key, minutes, provider
from tests.integration.datahub.test_quality import Watched, house
from tests.integration.services.conftest import Bearers, as_

__all__ = ["house", "provider"]


async def put(house: Watched, series: Series, first: int, last: int) -> None:
    """Import the minutes [first, last) after START, as a block of a file."""
    times = to_ns(START) + np.arange(first, last, dtype=np.int64) * NS_PER_MINUTE
    price = np.full(len(times), 5.0)
    await house.writer.store(
        Delivery(
            series=series,
            columns=BarColumns(times, *[price] * 5),
            answered=TimeRange(int(times[0]), int(times[-1]) + NS_PER_MINUTE),
            partial=True,
            origin=BarOrigin.IMPORTED,
        )
    )


async def imported(house: Watched) -> Series:
    name = SeriesName("vendor", "FILE", "1min")
    async with house.database.transaction() as connection:
        return (await series_table.ensure(connection, [name], {"vendor": "24/7"}))[name]


async def nothing_missing(house: Watched) -> bool:
    states = await house.database.fetch("select distinct state from coverage")
    return not await house.gaps() and not await house.found() and [row["state"] for row in states] == [1]


async def test_checks_leave_slots_unknown_that_no_file_had(house: Watched) -> None:
    series = await imported(house)
    for first, last in ((0, 30), (40, 60), (60, 70), (30, 35)):
        await put(house, series, first, last)
        await house.check(11 * 60)
        assert await nothing_missing(house)
    # Also within what was classified, as after a change of the market's hours.
    await put(house, series, 35, 40)
    hole = [START + dt.timedelta(minutes=minute) for minute in (10, 20)]
    await house.database.execute("delete from historical_data where open_time >= $1 and open_time < $2", *hole)
    await house.database.execute("delete from coverage")
    for _ in range(2):
        await house.check(11 * 60)
        assert await nothing_missing(house)
    assert await house.database.fetchval("select sum(slots) from coverage") == 30
    # Bars that were there and are gone are another thing.
    await house.database.execute("delete from historical_data where open_time < $1", hole[0])
    await house.check(11 * 60)
    assert await house.gaps() == [("OPEN", "NOT_COLLECTED", 10)]
    (event,) = await house.events("BarsLost")
    assert event["data"]["slots"] == 10


@pytest.mark.usefixtures("provider")
async def test_coverage_tells_how_many_slots_are_unknown(start: Any, bearers: Bearers, database: Database) -> None:
    lines = minutes().splitlines()
    async with start(DATAHUB) as hub:
        files = Files(hub, bearers)

        async def coverage() -> tuple[int, int, float]:
            request = pb.GetCoverageRequest(series=[market.SeriesReference(key=key("A"))])
            shown = await hub.stub(CollectionServiceStub).GetCoverage(request, **as_(bearers.viewer))
            (one,) = shown.series
            return one.expected_slots, one.unknown_slots, one.complete_ratio

        await files.imported("\n".join([*lines[:50], *lines[60:]]).encode(), series=key("A"))
        assert await coverage() == (ROWS - 10, 10, 1.0)
        await files.imported("\n".join([lines[0], *lines[50:60]]).encode(), series=key("A"))
        assert await coverage() == (ROWS, 0, 1.0)
