"""A running registry for each test of assets, identities, mappings and indices."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from quasar.secrets import SystemContext
from tests.integration.registry.instruments.world import World, living


@pytest_asyncio.fixture(loop_scope="session")
async def world(database_url: str, system_context: SystemContext) -> AsyncIterator[World]:
    """A registry on a database of its own, as the role of the service, with a small DataHub behind it."""
    async with living(database_url, system_context) as up:
        yield up
