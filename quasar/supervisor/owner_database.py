"""The database as its owner, for commands: the one that runs, else the embedded one started for the moment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from quasar.clock import Clock
from quasar.config import REGISTRY, Settings
from quasar.database.embedded import EmbeddedPostgres
from quasar.errors import StartupError
from quasar.supervisor import lock
from quasar.supervisor.lock import HomeLock
from quasar.supervisor.preparation import prepare_home


@asynccontextmanager
async def owner_database(variables: Mapping[str, str], clock: Clock) -> AsyncIterator[str]:
    """Yield the owner's address of a database that answers.

    Args:
        variables: The environment.
        clock: For waits.

    Raises:
        EmbeddedPostgresError: The embedded one cannot start.
        BadSetting: A setting cannot be used.
    """
    settings = Settings.read(REGISTRY, variables)
    home = settings.home
    if settings.database_url is not None:
        yield settings.database_url
        return
    if lock.holder(home.lock) is not None:
        if not home.database_url.exists():
            raise StartupError("`quasar up` is starting; try again when it is up.")
        yield settings.read_database_url(home.database_url)
        return
    prepare_home(home)
    with HomeLock(home.lock):
        async with EmbeddedPostgres(home.database, binaries=postgres_binaries(variables), clock=clock) as server:
            yield server.url


def postgres_binaries(variables: Mapping[str, str]) -> Path | None:
    """Return the folder of PostgreSQL's programs that `QUASAR_PG_BIN` names; None: the best that is found."""
    value = variables.get("QUASAR_PG_BIN", "").strip()
    return Path(value).expanduser() if value else None


def is_running(variables: Mapping[str, str]) -> bool:
    """Tell whether a `quasar up` runs on the home."""
    return lock.holder(Settings.read(REGISTRY, variables).home.lock) is not None
