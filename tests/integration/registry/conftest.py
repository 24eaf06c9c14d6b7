"""A running registry for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from quasar.secrets import SystemContext
from tests.integration.registry.stage import Stage, staged


@pytest_asyncio.fixture(loop_scope="session")
async def stage(
    database_url: str, system_context: SystemContext, system_context_file: Path, tmp_path: Path
) -> AsyncIterator[Stage]:
    """A registry on a database of its own, between a played DataHub and a played strategy engine."""
    async with staged(database_url, system_context, system_context_file, tmp_path) as up:
        yield up
