"""What a PostgreSQL server can do beyond the core: the capabilities that migrations and storage ask for."""

from __future__ import annotations

from typing import Any

from quasar.database.statements import load_statements

TIMESCALEDB = "timescaledb"
"""TimescaleDB that is loaded, new enough for upgrades in place, and licensed for compression and policies."""

OLDEST_TIMESCALEDB = (2, 21)
"""`attach_chunk`, which turns a native partition into a chunk without copying it, came with this version."""

_SQL = load_statements("quasar.database.store")


async def detect_capabilities(connection: Any) -> frozenset[str]:
    """Return the names of the usable extensions, created or not.

    `timescaledb` is among them only when it is usable as the platform needs it; any other name is that of an extension.
    """
    rows = await connection.fetch(_SQL["extensions"])
    versions = {row["name"]: row["version"] for row in rows}
    names = set(versions) - {TIMESCALEDB}
    if TIMESCALEDB in versions and _new_enough(versions[TIMESCALEDB]) and await _loaded_and_licensed(connection):
        names.add(TIMESCALEDB)
    return frozenset(names)


def _new_enough(version: str) -> bool:
    """Compare a version such as `2.28.3` or `2.30.0-dev`."""
    parts = version.split("-")[0].split(".")
    return tuple(int(part) for part in parts[:2]) >= OLDEST_TIMESCALEDB


async def _loaded_and_licensed(connection: Any) -> bool:
    """Tell whether the server loaded the library and may use all of it.

    The licence is known only after the extension was created in this database; until then nothing speaks against it.
    """
    if await connection.fetchval(_SQL["timescale_loaded"]) is None:
        return False
    return await connection.fetchval(_SQL["timescale_licence"]) in {None, "timescale"}
