"""Composition root of the Registry: everything is built here, from the settings, and nothing at import."""

from __future__ import annotations

from contextlib import AsyncExitStack

from quasar.client.channel import Channel
from quasar.config import Settings
from quasar.database.listener import Listener
from quasar.ops.hints import Hint
from quasar.rpc.ops.floor import Floor, lay
from quasar.rpc.server import RpcServer
from registry import peers
from registry.assets.listing import ASSETS
from registry.code import built_ins
from registry.code import changes as code_ground
from registry.code.built_ins import BuiltIn
from registry.code.catalog import Catalog
from registry.config import RegistrySettings
from registry.requests import Requests
from registry.rpc.asset_service import AssetService
from registry.rpc.built_ins import found_built_ins
from registry.rpc.code_service import CodeService
from registry.rpc.collection_states import RemoteCollectionStates
from registry.rpc.contract import SERVICES
from registry.rpc.equipment import equipped
from registry.rpc.index_service import IndexService
from registry.rpc.mapping_service import MappingService
from registry.rpc.owners import RemoteOwners
from registry.rpc.subscription_service import SubscriptionService
from registry.subscriptions import ground as subscription_ground
from registry.subscriptions.statuses import StatusDesk
from registry.subscriptions.upkeep import CHANNEL, Upkeep, hint_for


async def build(settings: Settings, stack: AsyncExitStack) -> RpcServer:
    """Return the server, not started; what was opened is closed with the stack."""
    floor = await lay(settings, stack)
    max_series = settings.max_series if isinstance(settings, RegistrySettings) else subscription_ground.MAX_SERIES
    datahub = await peers.connect(settings, floor.bearers, floor.clock, "datahub", stack)
    strategy = await peers.connect(settings, floor.bearers, floor.clock, "strategy", stack)
    workshop = equipped(floor, datahub, strategy)
    servicers: tuple[object, ...] = (
        _code_service(floor, datahub, strategy, found_built_ins()),
        _subscription_service(floor, datahub, max_series, workshop.index_due_times.hint),
        AssetService(workshop),
        MappingService(workshop),
        IndexService(workshop),
    )
    return floor.serve(servicers, contract=SERVICES)


def _code_service(floor: Floor, datahub: Channel, strategy: Channel, built_in: list[BuiltIn]) -> CodeService:
    ground = code_ground.Ground(
        database=floor.database,
        clock=floor.clock,
        events=floor.events,
        context=floor.context,
        owners=RemoteOwners(datahub, strategy),
        requests=Requests(floor.clock, floor.context),
    )
    floor.background.start(built_ins.install_patiently(ground, built_in), "built-in code")
    return CodeService(ground, Catalog(ground, {one.ref: (one.file,) for one in built_in}))


def _subscription_service(floor: Floor, datahub: Channel, max_series: int, indices: Hint) -> SubscriptionService:
    upkeep = Upkeep(floor.database, floor.clock, lambda text, first: ASSETS.where(text, first_parameter=first))
    hint = Hint(floor.clock)
    listener = Listener(
        floor.database_url,
        {CHANNEL: hint_for(hint, indices)},
        application_name="quasar-registry-upkeep",
        clock=floor.clock,
    )
    floor.background.start(listener.run(), "registry changes")
    floor.background.start(upkeep.run(hint), "selections")
    ground = subscription_ground.Ground(
        database=floor.database,
        clock=floor.clock,
        events=floor.events,
        requests=Requests(floor.clock, floor.context),
        upkeep=upkeep,
        max_series=max_series,
    )
    desk = StatusDesk(floor.database, RemoteCollectionStates(datahub), floor.clock)
    return SubscriptionService(ground, desk, floor.server.draining)
