"""What is asked for while a part of it is being fetched: nothing of it is left out, nothing is fetched twice."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

from datahub.collection.steering import Steering
from datahub.store import series_table
from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar.model.instants import TimeRange
from quasar.ops.events import Events
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import collection_pb2
from quasar_proto.datahub.v1 import collection_service_pb2 as pb
from quasar_proto.datahub.v1.collection_service_pb2_grpc import CollectionServiceStub
from quasar_proto.ops.v1 import operation_pb2
from tests.integration.datahub.test_collection import NOW, START, House, house
from tests.integration.datahub.test_collection_service import ended, settled
from tests.integration.datahub.test_service import START as SERVICE_START
from tests.integration.datahub.test_service import key, prepare, stored
from tests.integration.services.conftest import Bearers, as_

__all__ = ["house"]

HOUR = dt.timedelta(hours=1)
MINUTE = dt.timedelta(minutes=1)


async def trigger(house: House, start: dt.datetime, end: dt.datetime, **options: Any) -> Any:
    """Ask for a range of A."""
    steering = Steering(house.database, Events(house.database, "datahub", house.clock), house.clock)
    async with house.database.acquire() as connection:
        ids = await house.database.fetch("select series_id from series where symbol = 'A'")
        series = await series_table.by_ids(connection, [row["series_id"] for row in ids])
    return await steering.trigger(list(series.values()), house.providers, span=TimeRange.of(start, end), **options)


async def ranges(house: House) -> list[tuple[Any, ...]]:
    """Return the runs by begin."""
    return sorted((run["range_start"], run["range_end"], run["trigger"]) for run in await house.runs())


async def recorded(database: Database, runs: int, such: str = "true") -> None:
    """Wait until there are so many runs that fetch bars."""
    found = 0
    async with asyncio.timeout(60):
        while found < runs:
            await asyncio.sleep(0.02)
            found = await database.fetchval(
                f"select count(*) from datahub.collection_runs where kind = 'BARS' and {such}"
            )


async def test_a_range_around_a_run_at_work_is_fetched_on_both_sides_of_it(house: House) -> None:
    await house.subscribe("A")
    await house.plan()
    made = await trigger(house, START - HOUR, NOW + HOUR)
    end = NOW.replace(second=0)
    assert await ranges(house) == [(START - HOUR, START, "MANUAL"), (START, end, "INITIAL")]
    assert len(made.run_ids) == 2
    await house.clock.advance(60)
    again = await trigger(house, START - HOUR, NOW + HOUR)
    assert (await ranges(house))[-1] == (end, end + MINUTE, "MANUAL")
    assert len(again.run_ids) == 3
    await house.work()
    spans = sorted((request.start_ns, request.end_ns) for request in house.source.requests)
    assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]
    assert await house.bars() == 181


async def test_a_series_that_is_named_twice_is_fetched_once(house: House) -> None:
    await house.subscribe("A")
    await house.plan()
    await house.work()
    steering = Steering(house.database, Events(house.database, "datahub", house.clock), house.clock)
    async with house.database.acquire() as connection:
        (one,) = (await series_table.by_ids(connection, [1])).values()
    made = await steering.trigger([one, one], house.providers, span=TimeRange.of(START, NOW))
    assert len(made.run_ids) == 1
    assert len(await house.runs()) == 2


async def test_the_same_request_id_names_the_run_that_was_joined(house: House) -> None:
    await house.subscribe("A")
    await house.plan()
    first = await trigger(house, START, NOW, request_id="once")
    await house.work()
    again = await trigger(house, START, NOW, request_id="once")
    assert first.run_ids == again.run_ids
    assert len(await house.runs()) == 1


async def test_past_a_pause_nothing_waits_for_a_run_that_waits_for_its_end(house: House) -> None:
    await house.subscribe("A")
    await house.plan()
    await house.database.execute("insert into provider_pauses (provider) values ('vendor')")
    made = await trigger(house, START, NOW, ignore_pause=True)
    async with house.replica():
        await recorded(house.database, 1, "finished_at is not null")
    states = {run["run_id"]: str(run["state"]) for run in await house.runs()}
    assert [states[run_id] for run_id in made.run_ids] == ["SUCCEEDED"]
    assert sorted(states.values()) == ["PENDING", "SUCCEEDED"]


async def test_a_backfill_fetches_all_that_a_run_at_work_does_not_and_waits_for_it(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await prepare(database, "A")
    await database.execute("insert into datahub.provider_pauses (provider) values ('steady')")
    async with start(DATAHUB) as hub:
        stub = hub.stub(CollectionServiceStub)
        await recorded(database, 1)
        span = values_pb2.TimeRange()
        span.start.FromDatetime(SERVICE_START - dt.timedelta(hours=5))
        request = pb.BackfillRequest(series=[key("A")], range=span)
        made = (await stub.Backfill(request, **as_(bearers.operator))).operation
        await recorded(database, 2)
        await stub.ResumeProvider(pb.ResumeProviderRequest(provider="steady"), **as_(bearers.operator))
        operation = await ended(hub, made.operation_id, bearers.viewer)
        assert operation.state == operation_pb2.OPERATION_STATE_SUCCEEDED
        result = pb.BackfillResult()
        assert operation.result.Unpack(result)
        assert result.counts.inserted >= 300
        assert sum(each.count for each in result.run_states) >= 2
        assert await database.fetchval("select count(*) from historical_data") >= 1500


async def test_the_batch_of_a_trigger_names_the_run_that_it_found_at_work(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await prepare(database, "A")
    await database.execute("insert into datahub.provider_pauses (provider) values ('steady')")
    async with start(DATAHUB) as hub:
        stub = hub.stub(CollectionServiceStub)
        await recorded(database, 1)
        await database.execute("delete from datahub.provider_pauses")
        request = pb.TriggerCollectionRequest(series=pb.SeriesReferences(series=[key("A")]))
        request.range.start.FromDatetime(SERVICE_START)
        request.range.end.FromDatetime(SERVICE_START + dt.timedelta(hours=1))
        made = await stub.TriggerCollection(request, **as_(bearers.operator))
        assert made.run_count == len(made.runs) == 1
        await stored(database, 1200)
        (run,) = await settled(stub, bearers.viewer, made.batch_id)
        assert run.run_id == made.runs[0].run_id
        assert run.trigger == collection_pb2.RUN_TRIGGER_INITIAL
        assert run.state == collection_pb2.RUN_STATE_SUCCEEDED
