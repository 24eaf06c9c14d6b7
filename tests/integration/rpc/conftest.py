"""A running server for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.integration.rpc.harness import Running, running


@pytest_asyncio.fixture
async def up() -> AsyncIterator[Running]:
    """A server with the usual settings."""
    async with running() as server:
        yield server
