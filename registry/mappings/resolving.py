"""Translating symbols: from common symbols and sources' symbols to common symbols and other sources' symbols."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quasar.database.pool import Database
from registry.assets.sources import find_sources
from registry.code.refs import CodeKind, CodeRef
from registry.mappings.editing import AssetName
from registry.store import mappings as table
from registry.store.mappings import Entry
from registry.store.statements import SQL
from registry.store.texts import lowered

RESOLVED, UNKNOWN, UNMAPPED, INACTIVE, NO_TARGET = "RESOLVED", "UNKNOWN", "UNMAPPED", "INACTIVE", "NO_TARGET"


@dataclass(frozen=True, slots=True)
class SymbolQuery:
    """A symbol to translate; one of these is set."""

    common_symbol: str = ""
    asset: AssetName | None = None


@dataclass(frozen=True, slots=True)
class SymbolResolution:
    """What a symbol is elsewhere."""

    state: str
    common_symbol: str = ""
    assets: Sequence[AssetName] = ()


async def resolve_symbols(
    database: Database, queries: Sequence[SymbolQuery], targets: Sequence[CodeRef]
) -> list[SymbolResolution]:
    """Translate symbols; one that cannot be says so in its place.

    Args:
        database: Where the mappings are.
        queries: What to translate.
        targets: Only symbols of these sources; empty: of all.

    Raises:
        NotFound: A target does not exist.
    """
    async with database.transaction(isolation="repeatable_read", readonly=True) as connection:
        wanted = {source.code_id for source in await find_sources(connection, targets)} if targets else None
        asked = [query.asset for query in queries if query.asset is not None]
        entries = iter(await table.entries(connection, asked))
        known = [next(entries) if query.asset is not None else None for query in queries]
        names = [
            lowered((query.common_symbol if entry is None else entry.common_symbol or "").strip())
            for query, entry in zip(queries, known, strict=True)
        ]
        rows = await connection.fetch(SQL["resolve_common_symbols"], sorted(set(names) - {""}))
    by_name: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        by_name[row["folded"]].append(row)
    return [_resolution(entry, by_name.get(name, ()), wanted) for entry, name in zip(known, names, strict=True)]


def _resolution(entry: Entry | None, rows: Sequence[Any], wanted: set[int] | None) -> SymbolResolution:
    if entry is not None:
        if entry.asset_id is None:
            return SymbolResolution(UNKNOWN)
        if entry.mapping_id is None:
            return SymbolResolution(UNMAPPED)
        if not entry.active:
            return SymbolResolution(INACTIVE, entry.common_symbol or "")
    if not rows:
        return SymbolResolution(UNKNOWN)
    assets = tuple(
        (CodeRef(CodeKind(row["source_kind"]), row["source_name"]), row["symbol"])
        for row in rows
        if row["active"] and (wanted is None or row["code_id"] in wanted)
    )
    return SymbolResolution(RESOLVED if assets else NO_TARGET, rows[0]["common_symbol"], assets)
