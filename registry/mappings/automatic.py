"""Automated mapping: which common symbol assets with an identity get. Pure: what stands goes in, changes come out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from registry.assets.groups import CRYPTO
from registry.store.texts import lowered

LONGEST: Final = 200
CREATED, CHANGED, REMOVED, UNCHANGED = "CREATED", "CHANGED", "REMOVED", "UNCHANGED"
KEPT_MANUAL, SKIPPED, FAILED = "KEPT_MANUAL", "SKIPPED", "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class MappableAsset:
    """An asset as automated mapping sees it."""

    asset_id: int
    code_id: int
    source_kind: str
    source_name: str
    symbol: str
    root: str
    group: str
    identity: str
    """Empty: it has none."""
    quote: str = ""
    common_symbol: str = ""
    """What it is mapped to; empty: nothing."""
    origin: str = ""
    active: bool = True
    listed: bool = True


@dataclass(frozen=True, slots=True)
class Holder:
    """An asset that stands for a common symbol and that the plan does not touch."""

    code_id: int
    asset_id: int
    identity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is there apart from the mappings that the plan makes anew."""

    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Common symbols of identities, one entry for each mapping."""
    holders: Mapping[str, Sequence[Holder]] = field(default_factory=dict)
    """Who stands for common symbols, by lower-case name."""
    spelling: Mapping[str, str] = field(default_factory=dict)
    """How existing common symbols are written, by lower-case name."""
    roots: Mapping[str, str] = field(default_factory=dict)
    """The shortest root of every identity over all sources, whichever were loaded first."""
    preferred: Mapping[int, str] = field(default_factory=dict)
    """Preferred quote currency by source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What becomes of one asset."""

    asset: MappableAsset
    outcome: str
    after: str = ""
    reason: str = ""

    @property
    def before(self) -> str:
        """The common symbol before; empty when it was not mapped."""
        return self.asset.common_symbol


def plan(assets: Iterable[MappableAsset], standing: Standing, *, remap: bool) -> list[Change]:
    """Work out the mappings of some assets; the order of the assets does not matter.

    Args:
        assets: Of the scope, mapped ones included.
        standing: What is there apart from them; with `remap`, apart from their automatic mappings.
        remap: Make automatic mappings anew; otherwise existing mappings stay as they are.
    """
    changes: list[Change] = []
    open_: dict[str, list[MappableAsset]] = defaultdict(list)
    for asset in sorted(assets, key=_order):
        settled = _settled(asset, remap=remap)
        if settled is not None:
            changes.append(settled)
        else:
            open_[asset.identity].append(asset)
    claims = _Claims(standing)
    for identity in sorted(open_):
        changes += _mapped(identity, open_[identity], standing, claims)
    return sorted(changes, key=lambda change: _order(change.asset))


def shortest_root(roots: Iterable[str]) -> str:
    """Return the shortest root, the first in the alphabet among equals."""
    return min(roots, key=lambda root: (len(root), root))


def _order(asset: MappableAsset) -> tuple[str, str, int, str]:
    return (asset.source_kind, asset.source_name, len(asset.symbol), asset.symbol)


def _settled(asset: MappableAsset, *, remap: bool) -> Change | None:
    """Return what becomes of an asset that is not up for mapping."""
    if asset.common_symbol and asset.origin != "AUTOMATIC":
        return Change(asset=asset, outcome=KEPT_MANUAL, after=asset.common_symbol, reason="it was mapped by hand")
    if asset.common_symbol and not remap:
        return Change(asset=asset, outcome=UNCHANGED, after=asset.common_symbol, reason="it is mapped already")
    if not asset.identity:
        outcome = REMOVED if asset.common_symbol else SKIPPED
        return Change(asset=asset, outcome=outcome, reason="it has no identity")
    return None


class _Claims:
    """Who stands for which common symbol while a plan is made."""

    def __init__(self, standing: Standing) -> None:
        self._spelling = dict(standing.spelling)
        self._identities: dict[str, set[str]] = defaultdict(set)
        self._sources: dict[str, set[int]] = defaultdict(set)
        for name, holders in standing.holders.items():
            for holder in holders:
                self._identities[name].add(holder.identity)
                self._sources[name].add(holder.code_id)

    def free_for(self, name: str, identity: str) -> bool:
        """Tell whether nobody else's identity stands for a name."""
        return self._identities[lowered(name)] <= {identity}

    def has(self, name: str, code_id: int) -> bool:
        """Tell whether a source has an asset for a name already."""
        return code_id in self._sources[lowered(name)]

    def take(self, name: str, identity: str, code_id: int) -> None:
        """Let an asset stand for a name."""
        self._spelling.setdefault(lowered(name), name)
        self._identities[lowered(name)].add(identity)
        self._sources[lowered(name)].add(code_id)

    def spelled(self, name: str) -> str:
        """Return a name as it is written where it exists."""
        return self._spelling.get(lowered(name), name)


def _mapped(identity: str, assets: Sequence[MappableAsset], standing: Standing, claims: _Claims) -> list[Change]:
    """Map the assets of one identity, at most one of each source."""
    name, why = _name(identity, assets, standing, claims)
    if len(name) > LONGEST:
        reason = f"common symbol must have at most {LONGEST} characters, would have {len(name)}"
        return [Change(asset=asset, outcome=FAILED, after=asset.common_symbol, reason=reason) for asset in assets]
    changes = []
    by_source: dict[int, list[MappableAsset]] = defaultdict(list)
    for asset in assets:
        by_source[asset.code_id].append(asset)
    for code_id, group in by_source.items():
        chosen = None if claims.has(name, code_id) else _preferred(group, standing.preferred.get(code_id, ""))
        for asset in group:
            if asset is chosen:
                claims.take(name, identity, code_id)
                changes.append(_made(asset, name, why))
            else:
                changes.append(_left(asset, name, chosen))
    return changes


def _name(identity: str, assets: Sequence[MappableAsset], standing: Standing, claims: _Claims) -> tuple[str, str]:
    """Return the common symbol of an identity and why it is that one."""
    had = standing.names.get(identity)
    if had:
        counted = {name: had.count(name) for name in had}
        best = min(counted, key=lambda name: (-counted[name], len(name), name))
        return best, f"{identity} has this common symbol already"
    roots = [asset.root for asset in assets]
    if identity in standing.roots:
        roots.append(standing.roots[identity])
    proposed = claims.spelled(shortest_root(roots).upper())
    if claims.free_for(proposed, identity):
        return proposed, f"it is the shortest root symbol of {identity}"
    return f"{proposed}:{identity}", f"common symbol {proposed} is claimed by another identity"


def _preferred(assets: Sequence[MappableAsset], quote: str) -> MappableAsset | None:
    """Return the one asset of a source that stands for an identity; None when none is to be preferred."""
    ranked = sorted(assets, key=lambda asset: (not asset.listed, len(asset.symbol), asset.symbol))
    if ranked[0].group != CRYPTO or len({asset.quote for asset in ranked}) == 1:
        return ranked[0]
    wanted = (
        [asset for asset in ranked if quote and asset.quote == quote],
        [asset for asset in ranked if asset.quote == "USD"],
        [asset for asset in ranked if "USD" in asset.quote],
    )
    found = next((group for group in wanted if group), None)
    return min(found, key=lambda asset: (not asset.listed, asset.symbol)) if found else None


def _made(asset: MappableAsset, name: str, why: str) -> Change:
    if not asset.common_symbol:
        return Change(asset=asset, outcome=CREATED, after=name, reason=why)
    outcome = UNCHANGED if asset.common_symbol == name else CHANGED
    return Change(asset=asset, outcome=outcome, after=name, reason=why)


def _left(asset: MappableAsset, name: str, chosen: MappableAsset | None) -> Change:
    outcome = REMOVED if asset.common_symbol else SKIPPED
    if chosen is not None:
        reason = f"{chosen.symbol} of the same source was preferred for {name}"
    elif asset.group == CRYPTO:
        reason = f"no pair of {name} is quoted in the preferred currency or in a US dollar, or another asset has it"
    else:
        reason = f"another asset of the source is mapped to {name}"
    return Change(asset=asset, outcome=outcome, reason=reason)
