"""Opens what carries the live log of a DataHub, as its settings say."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from datahub.bus.journal import Journal
from datahub.bus.journal_writer import JournalWriter
from quasar import logs
from quasar.clock import Clock
from quasar.config import Settings
from quasar.environment import BadSetting

if TYPE_CHECKING:
    from datahub.bus.jetstream import JetStreamBus

_log = logs.get(__name__)


async def open_carrier(settings: Settings, clock: Clock, stack: AsyncExitStack) -> JournalWriter | JetStreamBus | None:
    """Return the bus between replicas where one is set, else the journal of this one; both end with the stack.

    Open it before whatever publishes is started: it must end after that.

    Returns:
        None: another DataHub of this home keeps its journal there, or the disk takes none.

    Raises:
        BadSetting: A bus is set, and its library is not installed.
        FailedPrecondition: No bus answers.
    """
    if settings.bus_url is not None:
        try:
            from datahub.bus.jetstream import open_bus  # its library is optional
        except ImportError:
            rule = "needs the library nats-py: install quasar-platform with the extra `nats`"
            raise BadSetting("QUASAR_BUS_URL", rule, None) from None
        bus = await open_bus(settings.bus_url, clock, buffer_bytes=settings.bus_buffer_bytes)
        stack.push_async_callback(bus.close)
        return bus
    try:
        journal = await asyncio.to_thread(Journal, settings.home.path / "live", clock.time_ns())
    except OSError as error:
        _log.warning("the live log is not kept on disk; cursors end with this process", problem=str(error))
        return None
    writer = JournalWriter(journal)
    stack.push_async_callback(writer.close)
    return writer
