"""`quasar.datahub.v1.CollectionService`: steering and watching collection."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from datahub.collection import backfill
from datahub.collection.backfill import Estimate
from datahub.collection.engine import Collection
from datahub.collection.repairs import KIND as REPAIR_KIND
from datahub.collection.runs import private_id
from datahub.collection.steering import Steering, refuse_unserved
from datahub.ingest.writer import BarWriter
from datahub.providers.entry import ProviderEntry
from datahub.rpc.coverage_pages import CoveragePages
from datahub.rpc.job_pages import JobPages, SymbolFeeds
from datahub.rpc.provider_messages import pause_message
from datahub.rpc.quarantine_pages import QuarantinePages
from datahub.rpc.run_messages import instant_or_none
from datahub.rpc.run_pages import RunPages
from datahub.rpc.series_messages import SeriesFinder, found_series, series_name, time_range
from datahub.series.series import Series
from datahub.store import series_table
from datahub.store.statements import SQL
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import FailedPrecondition, FieldViolation, InvalidArgument, NotFound, PluginUnavailable, Resource
from quasar.filters import Field, condition
from quasar.ops.operations import Operations
from quasar.rpc.ops.actors import calling_actor
from quasar.rpc.ops.operation_service import operation_message
from quasar.rpc.ops.streams import until_drained
from quasar.rpc.wellknown import duration
from quasar_proto.datahub.v1 import collection_service_pb2 as pb
from quasar_proto.datahub.v1 import collection_service_pb2_grpc

_SHOWN_RUNS = 100
_SERIES_FIELDS = {
    "provider": Field("f.provider"),
    "symbol": Field("f.symbol"),
    "interval": Field("f.interval"),
    "common_symbol": Field("f.common_symbol"),
    "exchange": Field("f.exchange"),
    "asset_class": Field("f.asset_class", convert=str.lower),
}


class CollectionService(collection_service_pb2_grpc.CollectionServiceServicer):
    """Serves one process's view of collection, which all replicas share."""

    def __init__(
        self,
        database: Database,
        collection: Collection,
        steering: Steering,
        writer: BarWriter,
        operations: Operations,
        clock: Clock,
        draining: Any,
        symbol_feeds: SymbolFeeds,
    ) -> None:
        """Steer `collection`; streams end when `draining` is set; `symbol_feeds` tells how live symbols are."""
        self._database = database
        self._collection = collection
        self._steering = steering
        self._operations = operations
        self._clock = clock
        self._draining = draining
        self._finder = SeriesFinder(database)
        self._runs = RunPages(database, clock, collection.due)
        self._jobs = JobPages(database, clock, self._runs, symbol_feeds)
        self._coverage = CoveragePages(database, self._finder, clock)
        self._quarantine = QuarantinePages(database, writer, steering.events, clock)

    async def GetCoverage(self, request: pb.GetCoverageRequest, context: Any) -> pb.GetCoverageResponse:
        """Return the coverage of series."""
        return await self._coverage.coverage(request)

    async def ListGaps(self, request: pb.ListGapsRequest, context: Any) -> pb.ListGapsResponse:
        """Return a page of gaps."""
        return await self._coverage.gaps(request)

    async def RepairGaps(self, request: pb.RepairGapsRequest, context: Any) -> pb.RepairGapsResponse:
        """Begin to repair gaps."""
        gap_ids = await self._coverage.gap_ids(request.gap_ids, request.filter)
        await self._refuse_hopeless(gap_ids, own_provider_only=request.own_provider_only)
        operation = await self._operations.submit(
            REPAIR_KIND,
            {"gaps": gap_ids, "own_provider_only": request.own_provider_only},
            subject_type="gaps",
            subject=f"{len(gap_ids)} gaps",
            actor=calling_actor(),
            request_id=request.request_id,
        )
        return pb.RepairGapsResponse(operation=operation_message(operation))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Any) -> pb.ListJobsResponse:
        """Return a page of jobs."""
        return await self._jobs.page(request, await self._providers())

    async def GetJob(self, request: pb.GetJobRequest, context: Any) -> pb.GetJobResponse:
        """Return one job with its series."""
        return await self._jobs.get(request, await self._providers())

    async def GetSchedulePreview(
        self, request: pb.GetSchedulePreviewRequest, context: Any
    ) -> pb.GetSchedulePreviewResponse:
        """Compute when a schedule fires."""
        return await self._jobs.preview(request, await self._providers())

    async def ListRuns(self, request: pb.ListRunsRequest, context: Any) -> pb.ListRunsResponse:
        """Return a page of runs."""
        return await self._runs.page(request)

    async def GetRun(self, request: pb.GetRunRequest, context: Any) -> pb.GetRunResponse:
        """Return one run."""
        return await self._runs.get(request.run_id)

    async def WatchRuns(self, request: pb.WatchRunsRequest, context: Any) -> AsyncGenerator[pb.WatchRunsResponse, None]:
        """Stream runs and every change of them."""
        async for message in until_drained(self._runs.watch(request), self._draining):
            yield message

    async def TriggerCollection(
        self, request: pb.TriggerCollectionRequest, context: Any
    ) -> pb.TriggerCollectionResponse:
        """Make runs now."""
        providers = await self._providers()
        series, jobs, syncs = await self._target(request, providers)
        made = await self._steering.trigger(
            series,
            providers,
            span=time_range(request.range) if request.HasField("range") else None,
            ignore_pause=request.ignore_pause,
            request_id=request.request_id,
            jobs=jobs,
            syncs=syncs,
        )
        return pb.TriggerCollectionResponse(
            batch_id=str(made.batch_id),
            run_count=len(made.run_ids),
            runs=await self._runs.some(made.run_ids[:_SHOWN_RUNS]),
            up_to_date_count=made.up_to_date,
        )

    async def CancelRun(self, request: pb.CancelRunRequest, context: Any) -> pb.CancelRunResponse:
        """Ask a run to stop."""
        run_id = private_id(request.run_id)
        await self._steering.cancel(run_id, request.reason, calling_actor())
        return pb.CancelRunResponse(run=await self._runs.one(run_id))

    async def RetryRun(self, request: pb.RetryRunRequest, context: Any) -> pb.RetryRunResponse:
        """Try a run again."""
        tried = await self._steering.retry(private_id(request.run_id), request.request_id)
        return pb.RetryRunResponse(run=await self._runs.one(tried))

    async def Backfill(self, request: pb.BackfillRequest, context: Any) -> pb.BackfillResponse:
        """Begin to fetch a range of series, or estimate what it takes."""
        providers = await self._providers()
        series = await self._backfilled(request)
        for one in series:
            refuse_unserved(one, providers)
        span = time_range(request.range)
        now = self._clock.now()
        found = await backfill.estimate(self._database, series, providers, span, now, refetch=request.refetch)
        response = pb.BackfillResponse(estimate=_estimate(found, series, providers))
        if request.validate_only:
            return response
        names = sorted({one.name.provider for one in series})
        operation = await self._operations.submit(
            backfill.KIND,
            {
                "series": [one.series_id for one in series],
                "start_ns": span.start_ns,
                "end_ns": span.end_ns,
                "refetch": request.refetch,
            },
            subject_type="provider",
            subject=", ".join(names)[:200],
            actor=calling_actor(),
            request_id=request.request_id,
        )
        response.operation.CopyFrom(operation_message(operation))
        return response

    async def PauseProvider(self, request: pb.PauseProviderRequest, context: Any) -> pb.PauseProviderResponse:
        """Stop the collection of a provider."""
        name = _known(request.provider, await self._providers())
        until = instant_or_none(request.resume_time)
        row, waiting = await self._steering.pause(name, request.reason, until, calling_actor())
        return pb.PauseProviderResponse(pause=pause_message(row, waiting=waiting))

    async def ResumeProvider(self, request: pb.ResumeProviderRequest, context: Any) -> pb.ResumeProviderResponse:
        """Let a provider go on."""
        name = _known(request.provider, await self._providers())
        row, waiting = await self._steering.resume(name, calling_actor())
        response = pb.ResumeProviderResponse()
        response.pause.provider = name
        if row is not None:
            response.pause.CopyFrom(pause_message(row, waiting=waiting, paused=False))
        return response

    async def ListQuarantine(self, request: pb.ListQuarantineRequest, context: Any) -> pb.ListQuarantineResponse:
        """Return a page of rows that are held back."""
        return await self._quarantine.page(request)

    async def ReleaseQuarantine(
        self, request: pb.ReleaseQuarantineRequest, context: Any
    ) -> pb.ReleaseQuarantineResponse:
        """Merge rows that are held back."""
        return await self._quarantine.release(request, calling_actor())

    async def DiscardQuarantine(
        self, request: pb.DiscardQuarantineRequest, context: Any
    ) -> pb.DiscardQuarantineResponse:
        """Discard rows that are held back."""
        return await self._quarantine.discard(request, calling_actor())

    async def BatchGetSubscriptionStates(
        self, request: pb.BatchGetSubscriptionStatesRequest, context: Any
    ) -> pb.BatchGetSubscriptionStatesResponse:
        """Return what is known of subscribed series."""
        names = [series_name(key) for key in request.keys]
        states = await self._jobs.states_of(names, await self._providers())
        return pb.BatchGetSubscriptionStatesResponse(states=states)

    async def RefreshSubscriptions(
        self, request: pb.RefreshSubscriptionsRequest, context: Any
    ) -> pb.RefreshSubscriptionsResponse:
        """Read the subscriptions now."""
        found = await self._collection.refresh(request.provider)
        return pb.RefreshSubscriptionsResponse(series_count=found.series_count, job_count=found.job_count)

    async def _refuse_hopeless(self, gap_ids: Sequence[int], *, own_provider_only: bool) -> None:
        """Refuse to repair gaps of which no provider can be asked.

        Raises:
            PluginUnavailable: None of those that could help is active.
        """
        rows = await self._database.fetch(SQL["helpers_of_gaps"], list(gap_ids), own_provider_only)
        helpers = {row["provider"] for row in rows}
        if helpers and helpers.isdisjoint(await self._providers()):
            names = ", ".join(sorted(helpers))
            raise PluginUnavailable(f"No provider that could help is active; these could: {names}.")

    async def _providers(self) -> Mapping[str, ProviderEntry]:
        if not self._collection.providers:
            await self._collection.refresh()
        return self._collection.providers

    async def _target(
        self, request: pb.TriggerCollectionRequest, providers: Mapping[str, ProviderEntry]
    ) -> tuple[Sequence[Series], dict[int, int], dict[int, str]]:
        """Return series, the job of each, and the index syncs among what is to be collected with their providers."""
        if request.WhichOneof("target") == "series":
            return found_series(await self._finder.find_all(request.series.series)), {}, {}
        if request.WhichOneof("target") == "job_id":
            job = await self._jobs.row(request.job_id, providers)
            if job["kind"] in ("REPAIR", "MAINTENANCE"):
                raise FailedPrecondition(f"Job {job['name']} collects nothing; RepairGaps repairs gaps at once.")
            chosen = ("", job["job_id"])
        else:
            chosen = (_known(request.provider, providers), None)
        rows = await self._database.fetch(SQL["series_of_provider"], *chosen)
        jobs = {row["series_id"]: row["job_id"] for row in rows}
        syncs = {row["job_id"]: row["provider"] for row in await self._database.fetch(SQL["index_jobs_of"], *chosen)}
        async with self._database.acquire() as connection:
            return list((await series_table.by_ids(connection, jobs)).values()), jobs, syncs

    async def _backfilled(self, request: pb.BackfillRequest) -> list[Series]:
        """Return the series that a backfill is for, creating those that nobody asked for so far."""
        if not request.series and not request.filter.strip():
            description = "must be given, or filter must be"
            raise InvalidArgument(f"series {description}.", violations=[FieldViolation("series", description)])
        if not request.series:
            where = condition(request.filter, _SERIES_FIELDS, first_parameter=1)
            rows = await self._database.fetch(SQL["backfill_series"].format(filter=where.sql), *where.parameters)
            async with self._database.acquire() as connection:
                return list((await series_table.by_ids(connection, [row["series_id"] for row in rows])).values())
        await self._create([each.key for each in request.series if each.WhichOneof("reference") == "key"])
        return found_series(await self._finder.find_all(request.series))

    async def _create(self, keys: Sequence[Any]) -> None:
        providers = await self._providers()
        names = [series_name(key) for key in keys if key.provider in providers and key.interval]
        calendars = {name: entry.manifest.default_calendar for name, entry in providers.items()}
        async with self._database.transaction() as connection:
            await series_table.ensure(connection, names, calendars)


def _known(name: str, providers: Mapping[str, ProviderEntry]) -> str:
    for known in providers:
        if known.lower() == name.lower():
            return known
    raise NotFound(f"No active provider is called {name!r}.", resource=Resource("provider", name))


def _estimate(found: Estimate, series: Sequence[Series], providers: Mapping[str, ProviderEntry]) -> pb.BackfillEstimate:
    message = pb.BackfillEstimate(
        series_count=len(series),
        slots=found.slots,
        complete_slots=found.complete_slots,
        unavailable_slots=found.unavailable_slots,
    )
    runs = Counter(run.provider for run in found.runs)
    # A run takes a call at least. Providers work beside each other: the slowest one counts.
    lasting = [
        limit.window_s / limit.calls * runs[name]
        for name in {one.name.provider for one in series}
        for limit in providers[name].manifest.rate_limits
    ]
    if lasting:
        message.rate_limited_duration.CopyFrom(duration(max(lasting)) or message.rate_limited_duration)
    return message
