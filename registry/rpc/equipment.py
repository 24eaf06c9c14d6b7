"""The workshop of a running registry: what it stands on, whom it asks, which operations and timed work it does."""

from __future__ import annotations

from quasar.client.channel import Channel
from quasar.rpc.ops.floor import Floor
from registry.ground import Ground
from registry.requests import Requests
from registry.rpc.index_users import RemoteIndexUsers
from registry.rpc.operations import register_operations
from registry.rpc.upstream import RemoteUpstream
from registry.running import Running
from registry.workshop import Workshop


def equipped(floor: Floor, datahub: Channel, strategy: Channel) -> Workshop:
    """Return the workshop of a service, its operations registered; `index_due_times` takes hints."""
    ground = Ground(
        database=floor.database,
        clock=floor.clock,
        events=floor.events,
        requests=Requests(floor.clock, floor.context),
        running=Running(floor.database, floor.operations),
    )
    workshop = Workshop.equip(ground, RemoteUpstream(datahub, strategy), RemoteIndexUsers(strategy))
    register_operations(floor.runner, workshop)
    floor.background.start(workshop.index_due_times.run(), "index schedules")
    return workshop
