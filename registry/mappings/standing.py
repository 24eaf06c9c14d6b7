"""Reading what automated mapping has to know: the assets of a scope, and what stands around them."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from registry.assets.groups import CURRENCY
from registry.assets.sources import Source
from registry.mappings.automatic import Holder, MappableAsset, Standing, shortest_root
from registry.store.statements import SQL
from registry.store.texts import lowered

_PAIR: Final = "pair "
"""Currency pairs are identified by base and quote: without a manifest's identity this and the root stand for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Covered:
    """Which assets are up for mapping."""

    sources: Sequence[Source]
    asset_classes: Sequence[str] = ()
    """Empty: all."""
    common_symbols: frozenset[str] = frozenset()
    """Only assets that have one of these now, in lower case; empty: all."""


async def read_assets(connection: Any, covered: Covered) -> list[MappableAsset]:
    """Return the assets of a scope with the mappings that they have."""
    code_ids = [source.code_id for source in covered.sources]
    rows = await connection.fetch(SQL["mapping_candidates"], code_ids, list(covered.asset_classes) or None)
    return await asyncio.to_thread(_assets, rows, covered.common_symbols)


async def read_standing(
    connection: Any, assets: Sequence[MappableAsset], sources: Sequence[Source], *, remap: bool
) -> Standing:
    """Return what stands around assets: with `remap` as if their automatic mappings were not there."""
    ignored = [asset.asset_id for asset in assets if remap and asset.origin == "AUTOMATIC"]
    wanted = {asset.identity for asset in assets if asset.identity}
    names = await _names(connection, wanted, ignored)
    identities = sorted(wanted - set(names))
    rows = await connection.fetch(SQL["mapping_identity_roots"], identities)
    roots = {row["identity_id"]: row["root"] for row in rows}
    proposals = await asyncio.to_thread(_proposals, assets, roots)
    holders, spelling = await _holders(connection, proposals, ignored)
    return Standing(
        names=names,
        holders=holders,
        spelling=spelling,
        roots=roots,
        preferred={source.code_id: source.preferred_quote for source in sources},
    )


async def _names(connection: Any, wanted: Collection[str], ignored: Sequence[int]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = defaultdict(list)
    identities = [identity for identity in wanted if not identity.startswith(_PAIR)]
    for row in await connection.fetch(SQL["mapping_identity_names"], identities, ignored):
        names[row["identity_id"]].append(row["common_symbol"])
    pairs = [identity.removeprefix(_PAIR) for identity in wanted if identity.startswith(_PAIR)]
    for row in await connection.fetch(SQL["mapping_pair_names"], pairs, ignored):
        names[f"{_PAIR}{row['root']}"].append(row["common_symbol"])
    return dict(names)


def _proposals(assets: Iterable[MappableAsset], roots: dict[str, str]) -> set[str]:
    """Return the names that a plan may give, in lower case."""
    found: dict[str, set[str]] = defaultdict(set)
    for asset in assets:
        if asset.identity:
            found[asset.identity].add(asset.root)
    proposals = set()
    for identity, own in found.items():
        root = lowered(shortest_root([*own, roots[identity]] if identity in roots else own).upper())
        proposals |= {root, f"{root}:{lowered(identity)}"}
    return proposals | {lowered(asset.common_symbol) for asset in assets if asset.common_symbol}


async def _holders(
    connection: Any, proposals: Collection[str], ignored: Sequence[int]
) -> tuple[dict[str, list[Holder]], dict[str, str]]:
    holders: dict[str, list[Holder]] = defaultdict(list)
    spelling = {}
    for row in await connection.fetch(SQL["mapping_name_holders"], list(proposals), ignored):
        spelling[row["folded"]] = row["common_symbol"]
        if row["asset_id"] is not None:
            identity = identity_of(row["identity_id"], row["identity_group"], row["root"])
            holders[row["folded"]].append(Holder(row["code_id"], row["asset_id"], identity))
    return dict(holders), spelling


def identity_of(identity_id: str, group: str, root: str) -> str:
    """Return what identifies an asset for mapping; empty when nothing does."""
    return identity_id or (f"{_PAIR}{root}" if group == CURRENCY and root else "")


def state_of(assets: Iterable[MappableAsset]) -> str:
    """Return a fingerprint of everything of some assets that a plan depends on."""
    content = [
        [asset.asset_id, asset.root, asset.identity, asset.quote, asset.common_symbol, asset.origin, asset.listed]
        for asset in sorted(assets, key=lambda asset: asset.asset_id)
    ]
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()[:32]


def _assets(rows: Iterable[Any], common_symbols: Collection[str]) -> list[MappableAsset]:
    """Return the assets of rows, those of some common symbols where any are given; runs beside the event loop."""
    assets = [_asset(row) for row in rows]
    if not common_symbols:
        return assets
    return [asset for asset in assets if lowered(asset.common_symbol) in common_symbols]


def _asset(row: Any) -> MappableAsset:
    return MappableAsset(
        asset_id=row["asset_id"],
        code_id=row["code_id"],
        source_kind=row["source_kind"],
        source_name=row["source_name"],
        symbol=row["symbol"],
        root=row["root_symbol"],
        group=row["identity_group"],
        identity=identity_of(row["identity_id"], row["identity_group"], row["root_symbol"]),
        quote=row["quote_currency"],
        common_symbol=row["common_symbol"] or "",
        origin=row["origin"] or "",
        active=True if row["active"] is None else row["active"],
        listed=row["state"] == "LISTED",
    )
