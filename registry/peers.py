"""Connections to the other services of the platform."""

from __future__ import annotations

from contextlib import AsyncExitStack

from quasar.client.channel import Channel, ClientSettings
from quasar.clock import Clock
from quasar.config import Settings
from quasar.ops.bearers import ServiceBearer, ServiceBearers


async def connect(
    settings: Settings, bearers: ServiceBearers, clock: Clock, name: str, stack: AsyncExitStack
) -> Channel:
    """Return a channel to another service, on which this one shows who it is; the stack closes it.

    Args:
        settings: Of this service: where its peers are, and the files for TLS.
        bearers: Makes what this service shows.
        clock: Measures deadlines.
        name: The peer: `datahub`, `strategy`.
        stack: Closes the channel.
    """
    tls = settings.tls
    called = ClientSettings(
        target=settings.peers[name],
        service=name,
        tls=tls.enabled,
        tls_ca=tls.ca,
        tls_cert=tls.certificate if tls.client_ca else None,
        tls_key=tls.key if tls.client_ca else None,
    )
    bearer = ServiceBearer(settings.part.name, bearers, clock)
    return await stack.enter_async_context(Channel(called, clock=clock, bearer=bearer))
