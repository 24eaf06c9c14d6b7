"""Mappings and common symbols in the database."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from quasar.ops.actors import Actor
from registry.code.refs import CodeRef
from registry.ground import actor_document, actor_of
from registry.store.statements import SQL
from registry.store.texts import lowered


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """That an asset stands for a common symbol; the fields are columns of `registry.mapping_details`."""

    asset_id: int
    code_id: int
    common_symbol_id: int
    source_kind: str
    source_name: str
    symbol: str
    common_symbol: str
    active: bool
    origin: str
    reason: str
    asset_name: str
    asset_class: str
    exchange: str
    quote_currency: str
    identity_id: str
    asset_state: str
    created_at: dt.datetime
    updated_at: dt.datetime
    revision: int
    changed_by: Actor | None

    @property
    def label(self) -> str:
        """The asset as people name it."""
        return f"{self.source_kind}/{self.source_name} {self.symbol}"

    @property
    def facts(self) -> dict[str, Any]:
        """What events tell of it."""
        return {"common_symbol": self.common_symbol, "active": self.active, "origin": self.origin}


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonSymbol:
    """A common symbol with its counts; the fields are columns of `registry.common_symbol_details`."""

    common_symbol_id: int
    symbol: str
    description: str
    asset_class: str
    identity_id: str
    mapping_count: int
    provider_count: int
    broker_count: int
    index_count: int
    subscription_count: int
    explicit: bool
    created_at: dt.datetime
    updated_at: dt.datetime
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What there is about an asset that a batch names; numbers are None where there is nothing."""

    code_id: int | None
    asset_id: int | None
    mapping_id: int | None
    common_symbol_id: int | None
    common_symbol: str | None
    active: bool | None
    origin: str | None
    revision: int | None
    root_symbol: str | None
    source_name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A mapping to be written."""

    asset_id: int
    code_id: int
    common_symbol: str
    active: bool = True
    origin: str
    reason: str = ""


_MAPPING = tuple(each.name for each in fields(Mapping) if each.name != "changed_by")
_SYMBOL = tuple(each.name for each in fields(CommonSymbol))
_ENTRY = tuple(each.name for each in fields(Entry))


def mapping(row: Any) -> Mapping:
    """Return the mapping that a row of `registry.mapping_details` holds."""
    return Mapping(**{name: row[name] for name in _MAPPING}, changed_by=actor_of(row["updated_by"]))


def common_symbol(row: Any) -> CommonSymbol:
    """Return the common symbol that a row of `registry.common_symbol_details` holds."""
    return CommonSymbol(**{name: row[name] for name in _SYMBOL})


async def lock(connection: Any) -> None:
    """Take turns with everybody else who changes mappings or common symbols."""
    await connection.execute(SQL["mapping_lock"])


async def entries(connection: Any, assets: Sequence[tuple[CodeRef, str]]) -> list[Entry]:
    """Return what there is about assets, in their order."""
    rows = await connection.fetch(
        SQL["mapping_entries"],
        [str(ref.kind) for ref, _ in assets],
        [ref.name for ref, _ in assets],
        [symbol for _, symbol in assets],
    )
    return [Entry(**{name: row[name] for name in _ENTRY}) for row in rows]


async def claims(connection: Any, symbols: Collection[str]) -> dict[tuple[str, int], tuple[int, str]]:
    """Return which asset of which source stands for common symbols, by lower-case name and source."""
    rows = await connection.fetch(SQL["mapping_claims"], [lowered(symbol) for symbol in symbols])
    return {(row["folded"], row["code_id"]): (row["asset_id"], row["symbol"]) for row in rows}


async def ensure_symbols(connection: Any, symbols: Iterable[str], now: dt.datetime) -> tuple[dict[str, int], list[str]]:
    """Return the numbers of common symbols by lower-case name, and the names of those made for it."""
    rows = await connection.fetch(SQL["common_symbol_ensure"], list(symbols), now)
    return {row["folded"]: row["common_symbol_id"] for row in rows}, sorted(
        row["symbol"] for row in rows if row["added"]
    )


async def insert(connection: Any, written: Sequence[Written], actor: Actor | None, now: dt.datetime) -> list[str]:
    """Insert mappings, with the common symbols that do not exist; return the names of these."""
    if not written:
        return []
    numbers, added = await ensure_symbols(connection, [each.common_symbol for each in written], now)
    await connection.execute(
        SQL["mapping_insert"],
        [each.asset_id for each in written],
        [each.code_id for each in written],
        [numbers[lowered(each.common_symbol)] for each in written],
        [each.active for each in written],
        [each.origin for each in written],
        [each.reason for each in written],
        now,
        actor_document(actor),
    )
    return added


async def update(connection: Any, written: Sequence[Written], actor: Actor | None, now: dt.datetime) -> list[str]:
    """Change mappings, all at once; return the names of common symbols that came to be."""
    if not written:
        return []
    numbers, added = await ensure_symbols(connection, [each.common_symbol for each in written], now)
    await connection.execute(
        SQL["mapping_update"],
        [each.asset_id for each in written],
        [numbers[lowered(each.common_symbol)] for each in written],
        [each.active for each in written],
        [each.origin for each in written],
        [each.reason for each in written],
        now,
        actor_document(actor),
    )
    return added


async def delete(connection: Any, asset_ids: Collection[int]) -> None:
    """Delete the mappings of assets."""
    if asset_ids:
        await connection.execute(SQL["mapping_delete"], list(asset_ids))


async def sweep(connection: Any, common_symbol_ids: Collection[int]) -> list[str]:
    """Remove those of some common symbols that nothing holds any more; return their names."""
    if not common_symbol_ids:
        return []
    return sorted(row["symbol"] for row in await connection.fetch(SQL["common_symbol_sweep"], list(common_symbol_ids)))


async def of_assets(connection: Any, asset_ids: Collection[int]) -> dict[int, Mapping]:
    """Return the mappings of assets, by asset."""
    rows = await connection.fetch(SQL["mappings_of_assets"], list(asset_ids))
    return {row["asset_id"]: mapping(row) for row in rows}
