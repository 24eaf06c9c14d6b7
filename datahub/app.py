"""Composition root of the DataHub: everything is built here, from the settings, and nothing at import."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

from datahub.bus.opening import open_carrier
from datahub.collection import index_jobs
from datahub.collection.backfill import Backfills
from datahub.collection.clock_steps import ClockSteps
from datahub.collection.collector import BarCollector
from datahub.collection.engine import Collection
from datahub.collection.index_sync import IndexSyncs
from datahub.collection.maintenance import Maintenance
from datahub.collection.past_runs import PastRuns
from datahub.collection.planner import Planner
from datahub.collection.repairs import GapRepairs
from datahub.collection.steering import Steering
from datahub.collection.subscriptions import Subscriptions
from datahub.collection.upkeep import Upkeep
from datahub.collection.worker import RunWorker
from datahub.ingest.room import Room
from datahub.ingest.writer import BarWriter
from datahub.live.leases import DatabaseLeases
from datahub.live.replicas import CHANNEL, Replicas
from datahub.providers.directory import ProviderDirectory
from datahub.providers.runtime import ProviderRuntime
from datahub.quality.checker import Checker
from datahub.quality.watch import QualityWatch
from datahub.reads.imports import Imports
from datahub.reads.uploads import Uploads
from datahub.rpc import peers
from datahub.rpc.collection_service import CollectionService
from datahub.rpc.contract import SERVICES
from datahub.rpc.feed_exchange import FeedExchange
from datahub.rpc.feeds import FeedPages
from datahub.rpc.imports import UploadCalls, register_imports
from datahub.rpc.live_assembly import LiveHalf
from datahub.rpc.manifests import manifest_of
from datahub.rpc.market_data_service import MarketDataService
from datahub.rpc.operations import register
from datahub.rpc.provider_messages import process_of
from datahub.rpc.provider_service import ProviderService
from datahub.rpc.remote_indices import RemoteIndices
from datahub.rpc.validation import Validations
from quasar.calendars import calendar_for
from quasar.clock import SystemClock
from quasar.config import Settings
from quasar.database.listener import Listener
from quasar.ops.plugin_processes import PluginProcess
from quasar.ops.workers import worker_identity
from quasar.plugins.incidents import Incidents
from quasar.plugins.pool import PluginPool
from quasar.plugins.process import ProcessSettings
from quasar.providers import BUILTIN
from quasar.rpc.health import Health
from quasar.rpc.ops.floor import Floor, lay
from quasar.rpc.server import RpcServer

LIVE_PART = "live data"
"""Names the part of the service that says when live data is lost."""


async def build(settings: Settings, stack: AsyncExitStack) -> RpcServer:
    """Return the server, not started; what was opened is closed with the stack."""
    carrier = await open_carrier(settings, SystemClock(), stack)
    leases = DatabaseLeases()
    stack.push_async_callback(leases.close)  # after the feeds have ended
    floor = await lay(settings, stack)
    runtime = await _runtime(floor, stack)
    room = Room(floor.database)
    writer = BarWriter(floor.database, room, floor.clock)
    registry = await peers.connect(floor, "registry", stack)
    syncs = IndexSyncs(floor.database, RemoteIndices(registry), floor.clock)
    collection = _collection(floor, runtime, writer, syncs)
    floor.background.start(_warm_calendars(), "calendars")
    maintenance = Maintenance(
        floor.database,
        Upkeep(room, settings.storage, floor.clock),
        PastRuns(floor.database, floor.clock, settings.storage.runs_kept_days),
        floor.events,
        floor.clock,
        worker=worker_identity(),
    )
    floor.background.start(maintenance.run(), "upkeep")
    floor.background.start(collection.run(), "collection")
    checker = Checker(floor.database, writer, floor.events, floor.clock)
    floor.background.start(QualityWatch(floor.database, checker, floor.clock).run(), "quality")
    replicas = Replicas(floor.database, secrets.token_hex(8))
    exchange = FeedExchange(replicas, worker_identity(), floor.clock)
    channels = {
        "registry_changed": collection.changed.give,
        "quasar_collection": collection.notified,
        CHANNEL: exchange.notified,
    }
    listener = Listener(floor.database_url, channels, application_name="quasar-datahub-hints", clock=floor.clock)
    floor.background.start(listener.run(), "hints")
    steering = Steering(floor.database, floor.events, floor.clock)
    backfills = Backfills(floor.database, floor.clock)
    register(floor.runner, backfills, GapRepairs(floor.database, steering, floor.clock), runtime.refresh)
    uploads = Uploads(floor.database, floor.clock)
    register_imports(floor.runner, Imports(floor.database, uploads, writer, runtime.refresh, floor.clock))
    leases.use(floor.database_url)
    live = LiveHalf(
        floor.database,
        room,
        runtime,
        floor.clock,
        floor.background.start,
        floor.events,
        writer,
        carrier,
        leases,
        partial(_show_live, floor.health),
        collection.changed,
    )
    live.measure(floor.metrics.gauge)
    floor.metrics.gauge("runs_in_flight", "Runs at work here.", lambda: float(collection.runs_in_flight))
    told = "Bars stored that are new or changed, over the last ten seconds."
    floor.metrics.gauge("bars_per_second", told, writer.rate.per_second)
    live.run(floor.server.draining)
    feeds = FeedPages(live.feeds, exchange, floor.clock, floor.server.draining)
    floor.background.start(feeds.run(), "feeds of replicas")
    servicers: tuple[object, ...] = (
        CollectionService(
            floor.database,
            collection,
            steering,
            writer,
            floor.operations,
            floor.clock,
            floor.server.draining,
            feeds.symbol_feeds,
        ),
        MarketDataService(
            floor.database,
            floor.clock,
            live.service,
            UploadCalls(uploads, floor.operations, runtime.refresh),
        ),
        ProviderService(
            floor.database,
            runtime,
            floor.clock,
            instance_id=worker_identity(),
            validate=Validations(floor.clock).validate,
            feeds=feeds,
            events=floor.events,
        ),
    )

    async def processes() -> Sequence[PluginProcess]:
        return [process_of(view) for view in runtime.processes()]

    features = {"nats": settings.bus_url is not None}
    return floor.serve(servicers, contract=SERVICES, plugin_processes=processes, features=features)


async def _runtime(floor: Floor, stack: AsyncExitStack) -> ProviderRuntime:
    folder = floor.settings.home.path / "code" / "datahub"
    incidents = Incidents(floor.database, floor.events, floor.clock)
    floor.background.start(incidents.run(), "incidents")
    process = ProcessSettings(service="datahub")
    pool = PluginPool(folder, settings=process, clock=floor.clock, on_containment=incidents.note)
    await stack.enter_async_context(pool)
    directory = ProviderDirectory(floor.database, floor.context, manifest_of, BUILTIN)
    return ProviderRuntime(directory, pool)


def _collection(floor: Floor, runtime: ProviderRuntime, writer: BarWriter, syncs: IndexSyncs) -> Collection:
    collector = BarCollector(floor.database, writer, runtime.source, floor.clock)
    worker = RunWorker(
        floor.database,
        floor.events,
        floor.clock,
        handlers={"BARS": collector.collect, "REPAIR": collector.collect, index_jobs.KIND: syncs.sync},
        give_up=collector.give_up,
        slots=lambda: {name: entry.concurrency for name, entry in runtime.directory.entries.items()},
        cancel={index_jobs.KIND: syncs.cancel},
    )
    return Collection(
        Subscriptions(floor.database, floor.clock),
        Planner(floor.database, floor.clock, ClockSteps(floor.database, floor.events)),
        worker,
        runtime.refresh,
        floor.clock,
    )


def _show_live(health: Health, wrong: str) -> None:
    """Show what is wrong with live data as a part of the service, from the first time that something is."""
    if wrong:
        health.part(LIVE_PART).degraded(wrong)
    elif any(part.name == LIVE_PART for part in health.parts()):
        health.part(LIVE_PART).serving()


async def _warm_calendars() -> None:
    """Load the library of calendars before somebody waits for it: that takes more than a second."""
    await asyncio.to_thread(lambda: calendar_for("XNYS").is_open(0))
