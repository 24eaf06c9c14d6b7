"""Assets in the database: merging what a source sent, reading, changing by hand."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

from registry.assets.rows import AssetRow
from registry.store.statements import SQL


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A symbol that a source knows; the fields are columns of `registry.asset_details`."""

    asset_id: int
    code_id: int
    source_kind: str
    source_name: str
    symbol: str
    state: str
    external_id: str
    source_identity: str
    name: str
    name_key: str
    exchange: str
    asset_class: str
    base_currency: str
    quote_currency: str
    country: str
    matcher_symbol: str
    match_key: str
    root_symbol: str
    identity_group: str
    identity_state: str
    identity_id: str
    identity_origin: str
    match_method: str
    match_confidence: float | None
    match_reason: str
    matched_at: dt.datetime | None
    price_increment: Decimal | None
    size_increment: Decimal | None
    minimum_size: Decimal | None
    minimum_notional: Decimal | None
    multiplier: Decimal | None
    expires_at: dt.datetime | None
    manual_fields: Sequence[str]
    first_seen_at: dt.datetime
    seen_at: dt.datetime
    vanished_at: dt.datetime | None
    updated_at: dt.datetime
    revision: int
    common_symbol: str
    mapping_active: bool
    mapped: bool

    @property
    def label(self) -> str:
        """What people call it: `provider/kraken BTC/USD`."""
        return f"{self.source_kind}/{self.source_name} {self.symbol}"


_COLUMNS = tuple(each.name for each in fields(Asset))


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge did."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    returned: int = 0

    def __add__(self, other: Merged) -> Merged:
        """Add what another merge did."""
        return Merged(
            self.added + other.added,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.returned + other.returned,
        )


def asset(row: Any) -> Asset:
    """Return the asset that a row of `registry.asset_details` holds."""
    return Asset(**{name: row[name] for name in _COLUMNS})


async def lock_source(connection: Any, code_id: int) -> None:
    """Take turns with others that add or remove assets of a source."""
    await connection.execute(SQL["asset_lock_source"], code_id)


async def merge(connection: Any, code_id: int, rows: Sequence[AssetRow], now: dt.datetime) -> Merged:
    """Merge rows of a source in the caller's transaction: COPY, then, in turn with others of the source, one statement.

    Args:
        connection: Inside a transaction.
        code_id: The source.
        rows: No symbol twice.
        now: The time of the change.
    """
    if not rows:
        return Merged()
    await connection.execute(SQL["asset_unstage"])
    await connection.execute(SQL["asset_stage"])
    await connection.copy_records_to_table("staged_assets", records=rows, columns=AssetRow._fields)
    await lock_source(connection, code_id)
    await connection.execute(SQL["asset_analyze_staged"])
    if any(row.source_identity for row in rows):
        await connection.execute(SQL["asset_stage_identities"], now)
    if await connection.fetchval(SQL["asset_has_manual"], code_id):
        await connection.execute(SQL["asset_stage_manual"], code_id)
    counts = await connection.fetchrow(SQL["asset_merge"], code_id, now)
    return Merged(counts["added"], counts["updated"], counts["known"] - counts["updated"], counts["returned"])


async def vanish(connection: Any, code_id: int, seen: Collection[str], now: dt.datetime) -> int:
    """Mark the listed assets of a source that it did not mention as vanished; return how many."""
    await connection.execute(SQL["asset_stage_seen"])
    await connection.copy_records_to_table("seen_symbols", records=((symbol,) for symbol in seen))
    await connection.execute(SQL["asset_analyze_seen"])
    status: str = await connection.execute(SQL["asset_vanish"], code_id, now)
    return int(status.split()[-1])


async def find(connection: Any, kind: str, name: str, symbol: str) -> Asset | None:
    """Return an asset, or None."""
    row = await connection.fetchrow(SQL["asset_one"], kind, name, symbol)
    return None if row is None else asset(row)


async def take(connection: Any, kind: str, name: str, symbol: str) -> Asset | None:
    """Return an asset and hold it for the rest of the transaction, or None."""
    if await connection.fetchval(SQL["asset_lock"], kind, name, symbol) is None:
        return None
    return await find(connection, kind, name, symbol)


async def by_id(connection: Any, asset_id: int) -> Asset:
    """Return an asset that exists."""
    return asset(await connection.fetchrow(SQL["asset_by_id"], asset_id))


async def by_ids(connection: Any, asset_ids: Collection[int]) -> dict[int, Asset]:
    """Return assets by their numbers; those that do not exist are left out."""
    if not asset_ids:
        return {}
    rows = await connection.fetch(SQL["assets_by_ids"], list(asset_ids))
    return {row["asset_id"]: asset(row) for row in rows}


async def store(connection: Any, changed: Asset, now: dt.datetime) -> None:
    """Store an asset that was changed by hand."""
    await connection.execute(
        SQL["asset_update"],
        changed.asset_id,
        changed.name,
        changed.name_key,
        changed.exchange,
        changed.asset_class,
        changed.identity_group,
        changed.base_currency,
        changed.quote_currency,
        changed.country,
        changed.matcher_symbol,
        changed.match_key,
        changed.root_symbol,
        changed.expires_at,
        changed.price_increment,
        changed.size_increment,
        changed.minimum_size,
        changed.minimum_notional,
        changed.multiplier,
        changed.identity_id,
        changed.identity_origin,
        changed.match_method,
        changed.match_confidence,
        changed.match_reason,
        changed.matched_at,
        changed.identity_state,
        list(changed.manual_fields),
        now,
    )
