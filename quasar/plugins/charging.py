"""Permits that a service takes for a plug-in that does not ask for its own (`PERMIT_MODE_HOST_CHARGES`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from quasar import errors
from quasar.plugins.permits import Lane, Usage
from quasar.plugins.process import PluginProcess


@asynccontextmanager
async def charged(process: PluginProcess, lane: Lane, usage: Usage | None = None) -> AsyncIterator[None]:
    """Hold a permit in the block, and hold everything back when the vendor asked to wait; nothing for code that asks.

    Args:
        process: Whose permit it is.
        lane: What the call is for.
        usage: Is kept up to date with the calls to the vendor.
    """
    if not process.host_charges:
        yield
        return
    grant = await process.desk.acquire(lane=lane, usage=usage)
    retry_after_s: float | None = None
    try:
        yield
    except errors.VendorFailed as error:
        retry_after_s = error.retry_after_s
        raise
    finally:
        process.desk.release(grant.grant_id, 1, retry_after_s)
