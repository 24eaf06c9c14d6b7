"""The whole of the platform's schema in one step: migrations, storage back end, roles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quasar.clock import Clock
from quasar.database.hypertables import upgrade_storage
from quasar.database.migrations import MigrationReport, migrate
from quasar.database.roles import ensure_roles
from quasar.secrets import SystemContext


async def prepare_schema(
    owner_url: str,
    context: SystemContext,
    *,
    on_progress: Callable[[str], None] | None = None,
    clock: Clock | None = None,
) -> MigrationReport:
    """Bring a database to what this build needs.

    Applies migrations, moves to TimescaleDB where it has appeared, makes the services' roles. Safe to call at every
    start and from several processes at once.

    Args:
        owner_url: A direct address of the role that owns the database.
        context: Where the passwords of the services' roles come from.
        on_progress: Called with a few words before each longer step.
        clock: For durations and pauses.

    Returns:
        What the migrations did.

    Raises:
        MigrationError: The database and this build do not fit together.
        FailedPrecondition: The owner may not create roles.
        DatabaseUnavailable: The server cannot be reached.
    """

    async def finish(connection: Any) -> None:
        await upgrade_storage(connection, on_progress)
        await ensure_roles(connection, context, clock)

    return await migrate(owner_url, after=finish, on_progress=on_progress, clock=clock)
