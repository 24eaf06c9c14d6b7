"""A pool that is left ends, whoever still asks it for plug-ins: a service that stops must not hang."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from quasar import errors
from quasar.plugins.pool import PluginPool
from quasar.plugins.process import ProcessSettings
from tests.integration.plugins.conftest import provider_code


async def test_a_pool_ends_although_somebody_asks_for_a_plug_in_again_and_again(tmp_path: Path) -> None:
    settings = ProcessSettings(service="tests", grace_s=1.0)
    refused = asyncio.Event()

    async def ask(pool: PluginPool) -> None:
        """Ask as a feed does that begins anew when its process is gone."""
        while True:
            try:
                await pool.provider(provider_code("pass"))
            except errors.PluginUnavailable as error:
                if "the service stops" in error.message:
                    refused.set()
            await asyncio.sleep(0.01)

    asking: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(60):
            async with PluginPool(tmp_path / "code", settings=settings) as pool:
                await pool.provider(provider_code("pass"))
                asking = asyncio.create_task(ask(pool))
            await refused.wait()
    finally:
        if asking is not None:
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking
