"""Strategies as the registry stores them, written into its tables."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quasar.database.pool import Database

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "strategies"


async def store_strategy(
    database: Database,
    name: str,
    source: bytes,
    *,
    parameters: Mapping[str, Any] | None = None,
    version: int = 1,
    kind: str = "strategy",
    wants_ticks: bool = False,
) -> str:
    """Store a version of a strategy, make it the active one, and return its SHA-256."""
    digest = hashlib.sha256(source)
    preferences = [{"path": path, "default_value": value} for path, value in (parameters or {}).items()]
    manifest = {
        "name": name,
        "kind": f"CODE_KIND_{kind.upper()}",
        "preferences": preferences,
        "wants_ticks": wants_ticks,
    }
    async with database.transaction() as connection:
        code_id = await connection.fetchval(
            "insert into registry.code_registry (kind, name) values ($2, $1) "
            "on conflict (kind, lower(name)) do update set revision = registry.code_registry.revision + 1 "
            "returning code_id",
            name,
            kind,
        )
        await connection.execute(
            "insert into registry.code_versions (code_id, version, sha256, file_name, source, manifest) "
            "values ($1, $2, $3, $4, $5, $6)",
            code_id,
            version,
            digest.digest(),
            f"{name}.py",
            source,
            manifest,
        )
        await connection.execute(
            "update registry.code_registry set active_version = $2, latest_version = $2 where code_id = $1",
            code_id,
            version,
        )
    return digest.hexdigest()


async def store_example(database: Database, file_name: str, name: str, parameters: Mapping[str, Any]) -> str:
    """Store one of the examples."""
    return await store_strategy(database, name, (EXAMPLES / file_name).read_bytes(), parameters=parameters)
