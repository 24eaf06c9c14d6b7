"""Connections to the other services of the platform."""

from __future__ import annotations

from contextlib import AsyncExitStack

from quasar.client.channel import Channel, ClientSettings
from quasar.ops.bearers import ServiceBearer
from quasar.rpc.ops.floor import Floor


async def connect(floor: Floor, name: str, stack: AsyncExitStack) -> Channel:
    """Return a channel to another service, on which this one shows who it is; the stack closes it.

    Args:
        floor: What this service stands on.
        name: The peer: `registry`.
        stack: Closes the channel.
    """
    tls = floor.settings.tls
    called = ClientSettings(
        target=floor.settings.peers[name],
        service=name,
        tls=tls.enabled,
        tls_ca=tls.ca,
        tls_cert=tls.certificate if tls.client_ca else None,
        tls_key=tls.key if tls.client_ca else None,
    )
    bearer = ServiceBearer(floor.service, floor.bearers, floor.clock)
    return await stack.enter_async_context(Channel(called, clock=floor.clock, bearer=bearer))
