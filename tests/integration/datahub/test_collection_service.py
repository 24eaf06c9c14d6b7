"""Collection as operators steer and watch it."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import grpc
import pytest

from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import collection_pb2, gap_pb2
from quasar_proto.datahub.v1 import collection_service_pb2 as pb
from quasar_proto.datahub.v1 import provider_service_pb2 as providers
from quasar_proto.datahub.v1.collection_service_pb2_grpc import CollectionServiceStub
from quasar_proto.datahub.v1.provider_service_pb2_grpc import ProviderServiceStub
from quasar_proto.ops.v1 import operation_pb2
from quasar_proto.ops.v1 import operation_service_pb2 as ops
from quasar_proto.ops.v1.operation_service_pb2_grpc import OperationServiceStub
from tests.integration.datahub.registry_rows import subscribe
from tests.integration.datahub.test_service import START, key, prepare, stored
from tests.integration.services.conftest import Bearers, as_


async def ended(hub: Any, operation_id: str, bearer: str) -> Any:
    """Watch an operation to its end."""
    last = None
    request = ops.WatchOperationRequest(operation_id=operation_id)
    async for message in hub.stub(OperationServiceStub).WatchOperation(request, **as_(bearer)):
        last = message.operation
    return last


async def settled(stub: Any, bearer: str, batch: str) -> list[Any]:
    """Wait until the runs of a batch have ended."""
    request = pb.ListRunsRequest(filter=f'batch_id = "{batch}"')
    runs: list[Any] = []
    async with asyncio.timeout(90):
        while not runs or not all(run.HasField("end_time") for run in runs):
            await asyncio.sleep(0.05)
            runs = (await stub.ListRuns(request, **as_(bearer))).runs
    return list(runs)


async def test_runs_jobs_and_coverage_tell_what_was_collected(start: Any, bearers: Bearers, database: Database) -> None:
    await prepare(database, "A", "BAD")
    async with start(DATAHUB) as hub:
        stub = hub.stub(CollectionServiceStub)
        await stored(database, 1200)
        jobs = (await stub.ListJobs(pb.ListJobsRequest(filter='kind = "BARS"'), **as_(bearers.viewer))).jobs
        assert [(job.job_id, job.series_count) for job in jobs] == [("bars/steady/1min/* * * * *", 2)]
        request = pb.GetCoverageRequest(filter='symbol = "A"', view=pb.COVERAGE_VIEW_RANGES)
        shown = await stub.GetCoverage(request, **as_(bearers.viewer))
        (series,) = shown.series
        assert series.complete_ratio == shown.complete_ratio == 1.0
        assert [found.state for found in series.ranges] == [collection_pb2.SLOT_STATE_OBSERVED]
        runs = await stub.ListRuns(
            pb.ListRunsRequest(filter='symbol = "A" AND trigger = "INITIAL"'), **as_(bearers.viewer)
        )
        one = await stub.GetRun(pb.GetRunRequest(run_id=runs.runs[0].run_id), **as_(bearers.viewer))
        assert one.run.state == collection_pb2.RUN_STATE_SUCCEEDED
        assert one.attempts[0].counts.inserted == one.run.counts.inserted >= 1200


async def test_an_unknown_symbol_fails_with_the_vendors_words(start: Any, bearers: Bearers, database: Database) -> None:
    await prepare(database, "BAD")
    async with start(DATAHUB) as hub:
        stub = hub.stub(CollectionServiceStub)
        request = pb.WatchRunsRequest(filter='symbol = "BAD"')
        call = stub.WatchRuns(request, **as_(bearers.viewer))
        async for message in call:
            failed = [run for run in message.runs if run.state == collection_pb2.RUN_STATE_FAILED]
            if failed:
                break
        call.cancel()
        assert "nobody lists BAD" in failed[0].error.message
        states = await stub.BatchGetSubscriptionStates(
            pb.BatchGetSubscriptionStatesRequest(keys=[key("BAD").key, key("NONE").key]), **as_(bearers.viewer)
        )
        failing, unknown = states.states
        assert failing.health == collection_pb2.SUBSCRIPTION_HEALTH_FAILING
        assert unknown.health == collection_pb2.SUBSCRIPTION_HEALTH_UNSPECIFIED


async def test_a_backfill_fetches_what_is_missing_and_says_what_it_did(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await prepare(database, "A")
    async with start(DATAHUB) as hub:
        stub = hub.stub(CollectionServiceStub)
        await stored(database, 1200)
        span = values_pb2.TimeRange()
        span.start.FromDatetime(START - dt.timedelta(hours=5))
        span.end.FromDatetime(START + dt.timedelta(hours=1))
        request = pb.BackfillRequest(series=[key("A"), key("NEW")], range=span)
        request.validate_only = True
        estimate = (await stub.Backfill(request, **as_(bearers.operator))).estimate
        assert (estimate.slots, estimate.complete_slots) == (300 + 360, 60)
        request.validate_only, request.request_id = False, "once"
        first = await stub.Backfill(request, **as_(bearers.operator))
        again = await stub.Backfill(request, **as_(bearers.operator))
        assert first.operation.operation_id == again.operation.operation_id
        operation = await ended(hub, first.operation.operation_id, bearers.viewer)
        assert operation.state == operation_pb2.OPERATION_STATE_SUCCEEDED
        result = pb.BackfillResult()
        assert operation.result.Unpack(result)
        assert (result.counts.inserted, result.counts.slots_done) == (660, 660)
        assert await database.fetchval("select max(slots) from coverage") >= 1500


async def test_a_paused_provider_refuses_to_be_triggered_until_it_is_resumed(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await prepare(database, "A")
    async with start(DATAHUB) as hub:
        stub = hub.stub(CollectionServiceStub)
        await stored(database, 1200)
        paused = await stub.PauseProvider(
            pb.PauseProviderRequest(provider="steady", reason="x"), **as_(bearers.operator)
        )
        assert paused.pause.paused
        await database.execute(
            """insert into collection_runs (kind, trigger, provider, scheduled_for)
               values ('BARS', 'SCHEDULE', 'steady', now() + interval '1 hour')"""
        )
        shown = await hub.stub(ProviderServiceStub).GetProvider(
            providers.GetProviderRequest(name="steady"), **as_(bearers.viewer)
        )
        assert shown.provider.pause.waiting_runs == 1
        await database.execute("delete from collection_runs where series_id is null and kind = 'BARS'")
        request = pb.TriggerCollectionRequest(series=pb.SeriesReferences(series=[key("A")]))
        request.range.start.FromDatetime(START)
        with pytest.raises(grpc.aio.AioRpcError, match="paused"):
            await stub.TriggerCollection(request, **as_(bearers.operator))
        jobs = (await stub.ListJobs(pb.ListJobsRequest(filter='state = "PAUSED"'), **as_(bearers.viewer))).jobs
        assert len(jobs) == 1
        await stub.ResumeProvider(pb.ResumeProviderRequest(provider="steady"), **as_(bearers.operator))
        made = await stub.TriggerCollection(request, **as_(bearers.operator))
        # A minute that ended since the pause may be in the hands of a scheduled run, which then belongs to the batch.
        runs = await settled(stub, bearers.viewer, made.batch_id)
        assert {run.run_id for run in runs} == {run.run_id for run in made.runs}
        assert {run.state for run in runs} == {collection_pb2.RUN_STATE_SUCCEEDED}
        assert sum(run.counts.unchanged for run in runs) >= 1200


async def test_a_removed_range_repairs_itself_when_it_is_asked_for(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await prepare(database, "A")
    async with start(DATAHUB) as hub:
        stub = hub.stub(CollectionServiceStub)
        await stored(database, 1200)
        hole = START + dt.timedelta(hours=3)
        await database.execute(
            "delete from historical_data where open_time >= $1 and open_time < $2",
            hole,
            hole + dt.timedelta(minutes=30),
        )
        series = await database.fetchval("select series_id from series where symbol = 'A'")
        await database.execute(
            "insert into gaps (series_id, start_time, end_time, missing_slots, cause) "
            "values ($1, $2, $3, 30, 'OVERLOAD')",
            series,
            hole,
            hole + dt.timedelta(minutes=30),
        )
        begun = await stub.RepairGaps(pb.RepairGapsRequest(), **as_(bearers.operator))
        operation = await ended(hub, begun.operation.operation_id, bearers.viewer)
        result = pb.RepairGapsResult()
        assert operation.result.Unpack(result)
        assert (result.gaps, result.repaired, result.slots_repaired) == (1, 1, 30)
        listed = await stub.ListGaps(pb.ListGapsRequest(filter='state = "REPAIRED"'), **as_(bearers.viewer))
        assert [gap.state for gap in listed.gaps] == [gap_pb2.GAP_STATE_REPAIRED]
        await stored(database, 1200)


async def test_gaps_that_nobody_can_be_asked_for_are_refused(start: Any, bearers: Bearers, database: Database) -> None:
    await database.execute("insert into series (provider, symbol, interval) values ('gone', 'A', '1min')")
    gap = await database.fetchval(
        """insert into gaps (series_id, start_time, end_time, missing_slots)
           select series_id, $1, $2, 30 from series returning gap_id""",
        START,
        START + dt.timedelta(minutes=30),
    )
    async with start(DATAHUB) as hub:
        stub = hub.stub(CollectionServiceStub)
        with pytest.raises(grpc.aio.AioRpcError, match="these could: gone") as refused:
            await stub.RepairGaps(pb.RepairGapsRequest(gap_ids=[str(gap)]), **as_(bearers.operator))
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_held_rows_are_released_into_their_series_or_discarded(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await prepare(database, "A")
    async with start(DATAHUB) as hub:
        stub = hub.stub(CollectionServiceStub)
        await stored(database, 1200)
        series = await database.fetchval("select series_id from series where symbol = 'A'")
        times = (START - dt.timedelta(minutes=2), START - dt.timedelta(minutes=3))
        good = {"open": 1.0, "high": 2.0, "low": 3.0, "close": 1.5, "volume": 1.0, "trade_count": 5}
        for time, row in zip(times, (good, good | {"close": "nan"}), strict=True):
            await database.execute(
                """insert into quarantine (series_id, provider, symbol, interval, row_time, reason, payload)
                   values ($1, 'steady', 'A', '1min', $2, 'PRICE_ORDER', $3)""",
                series,
                time,
                row,
            )
        listed = await stub.ListQuarantine(pb.ListQuarantineRequest(), **as_(bearers.viewer))
        assert len(listed.rows) == 2
        for method, empty in (
            (stub.ReleaseQuarantine, pb.ReleaseQuarantineRequest()),
            (stub.DiscardQuarantine, pb.DiscardQuarantineRequest(reason="all of them?")),
        ):
            with pytest.raises(grpc.aio.AioRpcError, match="row_ids must be given, or filter must be"):
                await method(empty, **as_(bearers.operator))
        held = 'state = "HELD"'
        done = await stub.ReleaseQuarantine(pb.ReleaseQuarantineRequest(filter=held), **as_(bearers.operator))
        assert (done.released, len(done.refused)) == (1, 1)
        row = await database.fetchrow("select low, trade_count from historical_data where open_time = $1", times[0])
        assert tuple(row) == (3.0, 5)
        request = pb.DiscardQuarantineRequest(filter=held, reason="the vendor withdrew it")
        left = await stub.DiscardQuarantine(request, **as_(bearers.operator))
        assert left.discarded == 1
        told = await database.fetch("select kind, data from ops.events where kind like 'Quarantine%' order by id")
        assert [(each["kind"], each["data"]["rows"]) for each in told] == [
            ("QuarantineReleased", 1),
            ("QuarantineDiscarded", 1),
        ]
        assert told[1]["data"]["reason"] == "the vendor withdrew it"


async def test_subscriptions_are_taken_over_when_somebody_says_so(
    start: Any, bearers: Bearers, database: Database
) -> None:
    await prepare(database, "A")
    async with start(DATAHUB) as hub:
        stub = hub.stub(CollectionServiceStub)
        await stored(database, 1200)
        code_id = await database.fetchval("select code_id from registry.code_registry where name = 'steady'")
        await subscribe(database, code_id, "B", "C", start=START)
        found = await stub.RefreshSubscriptions(pb.RefreshSubscriptionsRequest(), **as_(bearers.operator))
        assert (found.series_count, found.job_count) == (3, 1)


async def test_a_schedule_can_be_tried_before_it_is_stored(start: Any, bearers: Bearers) -> None:
    async with start(DATAHUB) as hub:
        stub = hub.stub(CollectionServiceStub)
        draft = pb.ScheduleDraft(interval="1w", exchange="XNYS")
        request = pb.GetSchedulePreviewRequest(draft=draft, count=3)
        request.after.FromDatetime(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
        shown = await stub.GetSchedulePreview(request, **as_(bearers.viewer))
        days = [fire.fire_time.ToDatetime(dt.UTC) for fire in shown.fires]
        assert days == [dt.datetime(2026, 1, day, tzinfo=dt.UTC) for day in (5, 12, 19)]


@pytest.mark.parametrize("text", ["f0e1d2c3-0000-4000-8000-000000000001", "00000000-0000-8000-8000-0000000f4240"])
async def test_a_run_that_is_not_there_is_not_found(start: Any, bearers: Bearers, text: str) -> None:
    async with start(DATAHUB) as hub:
        stub = hub.stub(CollectionServiceStub)
        with pytest.raises(grpc.aio.AioRpcError, match="no run"):
            await stub.GetRun(pb.GetRunRequest(run_id=text), **as_(bearers.viewer))
