"""Rows of the registry's tables, as the registry writes them, for tests of who reads them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from datahub.providers.entry import ProviderEntry
from quasar.database.pool import Database
from quasar.plugins.manifest import Kind, Manifest


def entry(name: str = "vendor", **manifest: object) -> ProviderEntry:
    """An active provider with history."""
    options: dict[str, object] = {"intervals": ("1min", "1h", "1d"), "capabilities": ("HISTORICAL",)}
    declared = Manifest(name=name, kind=Kind.PROVIDER, **(options | manifest))  # type: ignore[arg-type]
    return ProviderEntry(name=name, version=1, manifest=declared)


async def add_provider(
    database: Database,
    name: str = "vendor",
    source: bytes = b"class X: pass",
    manifest: Mapping[str, object] | None = None,
) -> int:
    """Store an active provider and return its id."""
    code_id: int = await database.fetchval(
        "insert into registry.code_registry (kind, name, latest_version) values ('provider', $1, 1) returning code_id",
        name,
    )
    await database.execute(
        """insert into registry.code_versions (code_id, version, sha256, file_name, source, manifest)
           values ($1, 1, sha256($2), 'vendor.py', $2, $3)""",
        code_id,
        source,
        dict(manifest or {"name": name, "kind": "CODE_KIND_PROVIDER"}),
    )
    await database.execute("update registry.code_registry set active_version = 1 where code_id = $1", code_id)
    return code_id


async def subscribe(
    database: Database,
    code_id: int,
    *symbols: str,
    interval: str = "1min",
    start: dt.datetime | None = None,
    cron: str = "",
    exchange: str = "",
) -> None:
    """Store an active subscription of single symbols."""
    subscription = await database.fetchval(
        """insert into registry.provider_subscription
               (code_id, selector, interval, backfill_start, cron, provider, selection_kind, selection_name,
                selection_names, selection_key)
           select $1, $2, $3, $4, $5, name, 'symbols', $6, $7, sha256(convert_to($6 || $3, 'UTF8'))
           from registry.code_registry where code_id = $1 returning subscription_id""",
        code_id,
        {"symbols": list(symbols)},
        interval,
        start,
        cron,
        ",".join(symbols),
        list(symbols),
    )
    for symbol in symbols:
        asset = await database.fetchval(
            """insert into registry.assets (code_id, symbol, exchange) values ($1, $2, $3)
               on conflict (code_id, symbol) do update set exchange = excluded.exchange returning asset_id""",
            code_id,
            symbol,
            exchange,
        )
        await database.execute(
            "insert into registry.subscription_symbols (subscription_id, symbol, asset_id) values ($1, $2, $3)",
            subscription,
            symbol,
            asset,
        )
