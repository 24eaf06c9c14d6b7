"""What a service tells of its database: how it stores time series, its size, whether its schema is the one needed."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from quasar.clock import Clock
from quasar.database.migrations import load_migrations
from quasar.database.pool import Database
from quasar.database.statements import load_statements
from quasar.database.storage import StorageMode, database_size, storage_mode

REMEMBERED_S = 10.0
"""Measuring the size asks the file system about every table, so the answer is kept for a moment."""

_TOLD = 5
"""How many missing migrations are named."""
_SQL = load_statements("quasar.ops.store")


@dataclass(frozen=True, slots=True)
class StorageReport:
    """The database as a service sees it."""

    mode: StorageMode
    embedded: bool
    """The platform runs its own private PostgreSQL."""
    size_bytes: int
    migration: str
    """The last migration that was applied ("0004_strategy")."""


class SchemaReport:
    """Looks at the database of a service."""

    def __init__(self, database: Database, clock: Clock, *, embedded: bool) -> None:
        """Look at `database`."""
        self._database = database
        self._clock = clock
        self._embedded = embedded
        self._wanted = tuple(migration.version for migration in load_migrations())
        self._known: tuple[float, StorageReport] | None = None

    async def missing(self) -> str:
        """Return what the schema lacks and what helps; "" when it is that of this build.

        Raises:
            DatabaseUnavailable: The database does not answer.
        """
        exists = await self._database.fetchval(_SQL["schema_exists"])
        rows = await self._database.fetch(_SQL["migrations_recorded"]) if exists else []
        lacking = sorted(set(self._wanted) - {row["version"] for row in rows})
        if not lacking:
            return ""
        # A later build may bring a migration with a lower number than one that is applied: tell which, not up to where.
        told = ", ".join(f"{version:04d}" for version in lacking[:_TOLD]) + (" …" if len(lacking) > _TOLD else "")
        return f"the database lacks {len(lacking)} migrations ({told}): quasar db migrate"

    async def storage(self) -> StorageReport | None:
        """Return how the database keeps time series, its size and its last migration; None while it has no schema.

        Raises:
            DatabaseUnavailable: The database does not answer.
        """
        now = self._clock.monotonic()
        if self._known is not None and now - self._known[0] < REMEMBERED_S:
            return self._known[1]
        try:
            rows = await self._database.fetch(_SQL["migrations_recorded"])
            mode = await storage_mode(self._database)
        except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError, asyncpg.InsufficientPrivilegeError):
            return None  # a first start: the migrations, or the rights of the service's role, are still to come
        applied = [f"{row['version']:04d}_{row['name']}" for row in rows if row["state"] == "applied"]
        report = StorageReport(
            mode=mode,
            embedded=self._embedded,
            size_bytes=await database_size(self._database),
            migration=applied[-1] if applied else "",
        )
        self._known = (now, report)
        return report
