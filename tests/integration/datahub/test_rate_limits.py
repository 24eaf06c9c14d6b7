"""What a run and a backfill say of a provider's rate limits: calls made, time waited, and that they wait."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import collection_pb2, market_data_pb2
from quasar_proto.datahub.v1 import collection_service_pb2 as pb
from quasar_proto.datahub.v1.collection_service_pb2_grpc import CollectionServiceStub
from tests.integration.datahub.registry_rows import add_provider
from tests.integration.datahub.sources import DONE, bars_of, failed, part
from tests.integration.datahub.test_collection import House, house
from tests.integration.datahub.test_collection_service import ended
from tests.integration.services.conftest import Bearers, as_

__all__ = ["house"]
METERED = b'''
from quasar.provider import Bar, Provider

MINUTE = 60_000_000_000


class Metered(Provider):
    """An hour takes a call, and two calls are allowed in six seconds."""

    name = "metered"
    intervals = ("1min",)
    calendar = "24/7"
    rate_limit = (2, 6.0)

    async def bars(self, request):
        for start in range(request.start_ns, request.end_ns, 60 * MINUTE):
            async with self.permit() as outcome:
                outcome.failed = False
            for time in range(start, min(start + 60 * MINUTE, request.end_ns), MINUTE):
                yield Bar(time, 1.0, 2.0, 0.5, 1.0, 7.0)
'''
MANIFEST = {
    "name": "metered",
    "kind": "CODE_KIND_PROVIDER",
    "class_name": "Metered",
    "capabilities": ["PROVIDER_CAPABILITY_HISTORICAL"],
    "intervals": ["1min"],
    "default_calendar": "24/7",
    "rate_limits": [{"calls": 2, "window": "6s"}],
}
START = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)


async def test_a_run_that_waits_for_the_rate_limit_says_so_and_counts_its_calls(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await add_provider(database, "metered", METERED, MANIFEST)
    key = values_pb2.SeriesKey(provider="metered", symbol="A", interval="1min")
    request = pb.BackfillRequest(series=[market_data_pb2.SeriesReference(key=key)])
    request.range.start.FromDatetime(START)
    request.range.end.FromDatetime(START + dt.timedelta(hours=4))
    async with start(DATAHUB) as hub:
        stub = hub.stub(CollectionServiceStub)
        begun = await stub.Backfill(request, **as_(bearers.operator))
        seen: list[Any] = []
        watched = pb.WatchRunsRequest(filter=f'batch_id = "{begun.operation.operation_id}"')
        async for message in stub.WatchRuns(watched, **as_(bearers.viewer)):
            seen += message.runs
            if seen and seen[-1].HasField("end_time"):
                break
        states = [run.state for run in seen]
        assert collection_pb2.RUN_STATE_THROTTLED in states
        counts = seen[-1].counts
        assert counts.vendor_calls == 4
        assert counts.rate_limit_wait.ToNanoseconds() > 4e9
        operation = await ended(hub, begun.operation.operation_id, bearers.viewer)
        result = pb.BackfillResult()
        assert operation.result.Unpack(result)
        assert result.counts.vendor_calls == 4
        assert operation.progress.counters["vendor_calls"] == 4
        waited_ns = operation.progress.rate_limit_wait.ToNanoseconds()
        assert waited_ns == pytest.approx(counts.rate_limit_wait.ToNanoseconds())


async def test_an_attempt_counts_what_it_did_itself(house: House) -> None:
    house.source.scripts["A"] = [
        lambda request: [part(bars_of(request)[:100]), failed()],
        lambda request: [part(bars_of(request)), DONE],
    ]
    await house.subscribe("A")
    await house.plan()
    await house.work("BACKING_OFF")
    await house.clock.advance(60)
    (run,) = await house.work()
    rows = await house.database.fetch("select counts from run_attempts order by attempt")
    assert run["inserted"] == 120
    assert [row["counts"]["inserted"] for row in rows] == [100, 20]
    assert [row["counts"]["slots_done"] for row in rows] == [100, 20]
