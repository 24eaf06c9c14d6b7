"""A home with a database of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from quasar.database.embedded import EmbeddedPostgres
from tests.integration.database.servers import MAKE, end_servers, execute


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def first_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home whose database was created and stopped; tests take copies, because creating one takes a second."""
    home = tmp_path_factory.mktemp("first") / "db"
    async with EmbeddedPostgres(home) as server:
        await execute(server.url, MAKE)
    return home


@pytest.fixture
def home(first_home: Path, tmp_path: Path) -> Iterator[Path]:
    """Yield a home with a database that holds one row, and leave no server behind."""
    copy = tmp_path / "db"
    subprocess.run(["cp", "-a", first_home, copy], check=True)
    yield copy
    end_servers(copy)
