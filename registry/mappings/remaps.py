"""The operation `mappings.remap`: the automatic mappings of a scope are made anew, in one transaction."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from quasar.errors import EtagMismatch, FieldViolation, InvalidArgument
from quasar.ops.actors import Actor
from quasar.ops.operation_context import OperationContext
from quasar.ops.operations import Operation
from registry.assets.sources import Source, all_sources, find_sources
from registry.code.refs import CodeKind, CodeRef
from registry.ground import Ground, Happening
from registry.mappings.automatic import CHANGED, CREATED, REMOVED, UNCHANGED, Change, plan
from registry.mappings.generation import KIND as GENERATE
from registry.mappings.generation import REMAP, REPORTED, created
from registry.mappings.standing import Covered, read_assets, read_standing, state_of
from registry.running import Work
from registry.store import mappings as table
from registry.store.statements import SQL
from registry.store.texts import lowered

KIND: Final = REMAP
_ORDER: Final = {REMOVED: 0, CHANGED: 1, CREATED: 2, "FAILED": 3, "SKIPPED": 4, "KEPT_MANUAL": 5}


@dataclass(frozen=True, slots=True, kw_only=True)
class RemapScope:
    """Which mappings are made anew. Nothing is covered by default."""

    refs: Sequence[CodeRef] = ()
    kinds: Sequence[str] = ()
    everything: bool = False
    asset_classes: Sequence[str] = ()
    common_symbols: Sequence[str] = ()

    def document(self) -> dict[str, Any]:
        """Return the scope as an operation stores it."""
        return {
            "refs": [[str(ref.kind), ref.name] for ref in self.refs],
            "kinds": list(self.kinds),
            "everything": self.everything,
            "asset_classes": list(self.asset_classes),
            "common_symbols": list(self.common_symbols),
        }

    @classmethod
    def of(cls, document: Any) -> RemapScope:
        """Read a stored scope."""
        refs = [CodeRef(CodeKind(kind), name) for kind, name in document["refs"]]
        return cls(**{**document, "refs": refs})

    def require_explicit(self) -> None:
        """Refuse a scope that names nothing, or everything and something.

        Raises:
            InvalidArgument: It does.
        """
        if self.everything == bool(self.refs or self.kinds):
            description = "must name sources or kinds, or set everything (and then neither of them)"
            raise InvalidArgument(f"scope {description}.", violations=[FieldViolation("scope", description)])


@dataclass(frozen=True, slots=True, kw_only=True)
class RemapPlan:
    """What a re-map would do, or did."""

    scope: RemapScope
    counts: Counter[str]
    """Assets by outcome."""
    automatic: int
    sources: Sequence[CodeRef]
    indices: Sequence[tuple[str, Sequence[str]]]
    """Indices that hold a symbol whose mappings change, with the members that have none afterwards."""
    symbols_removed: Sequence[str]
    subscriptions: int
    changes: Sequence[Change]
    """All of them; reports list the first ones."""
    etag: str

    @property
    def reported(self) -> list[Change]:
        """The changes that a report lists: removed and changed ones first, unchanged ones not at all."""
        shown = [change for change in self.changes if change.outcome != UNCHANGED]
        return sorted(shown, key=lambda change: _ORDER[change.outcome])[:REPORTED]


@dataclass(frozen=True, slots=True)
class Remapped:
    """What a re-map did."""

    plan: RemapPlan
    elapsed_s: float


class Remaps:
    """Plans, begins and does re-maps."""

    def __init__(self, ground: Ground) -> None:
        """Work on `ground`."""
        self._ground = ground

    async def preview(self, scope: RemapScope) -> RemapPlan:
        """Work out what a re-map would do; nothing is stored.

        Raises:
            NotFound: A source does not exist.
            InvalidArgument: The scope names nothing.
        """
        scope.require_explicit()
        async with self._ground.database.transaction(isolation="repeatable_read", readonly=True) as connection:
            return await self._plan(connection, scope)

    async def begin(self, scope: RemapScope, etag: str, request_id: str, actor: Actor | None) -> Operation:
        """Begin a re-map.

        Raises:
            NotFound: A source does not exist.
            InvalidArgument: The scope names nothing.
            EtagMismatch: Mappings or assets of the scope changed since the plan was made.
            FailedPrecondition: Mappings are being generated or re-mapped.
        """
        if etag and not await self._ground.running.made_before(KIND, request_id):
            _require_same(await self.preview(scope), etag)
        scope.require_explicit()
        async with self._ground.database.acquire() as connection:
            sources = await _sources(connection, scope)
        subject = "all sources" if scope.everything else ", ".join(source.label for source in sources)
        work = Work(
            kind=KIND,
            subject_type="mappings",
            subject=subject[:500],
            request={"scope": scope.document(), "etag": etag},
            actor=actor,
            request_id=request_id,
            conflicts=((KIND, ""), (GENERATE, "")),
        )
        return await self._ground.running.begin(work)

    async def run(self, context: OperationContext) -> Remapped:
        """Do a re-map that was begun, all or nothing.

        Raises:
            EtagMismatch: Mappings or assets of the scope changed since the plan was made.
        """
        began = self._ground.clock.monotonic()
        scope = RemapScope.of(context.request["scope"])
        context.progress("re-mapping", unit="assets")
        async with self._ground.database.transaction() as connection:
            await connection.execute(SQL["identity_patience"])
            await table.lock(connection)
            found = await self._plan(connection, scope)
            if context.request["etag"]:
                _require_same(found, context.request["etag"])
            await self._apply(connection, found.changes, context.operation.actor)
            happenings = [_change_happening(change) for change in found.changes if _is_change(change)]
            await self._ground.record_all(connection, happenings, context.operation.actor)
            await self._ground.record(connection, _happening(context, found), context.operation.actor)
            await self._ground.tell(connection, "mappings")
        context.progress(done=len(found.changes), total=len(found.changes))
        return Remapped(found, self._ground.clock.monotonic() - began)

    async def _plan(self, connection: Any, scope: RemapScope) -> RemapPlan:
        """Work out a plan on one connection, so that it sees exactly what it would change."""
        sources = await _sources(connection, scope)
        names = frozenset(lowered(name.strip()) for name in scope.common_symbols)
        covered = Covered(sources=sources, asset_classes=scope.asset_classes, common_symbols=names)
        assets = await read_assets(connection, covered)
        standing = await read_standing(connection, assets, sources, remap=True)
        changes = await asyncio.to_thread(plan, assets, standing, remap=True)
        touched = {
            lowered(name) for change in changes if _is_change(change) for name in (change.before, change.after) if name
        }
        bare = _bare(changes, standing.holders)
        held = {lowered(row["symbol"]) for row in await connection.fetch(SQL["remap_held_symbols"], sorted(bare))}
        return RemapPlan(
            scope=scope,
            counts=Counter(change.outcome for change in changes),
            automatic=sum(1 for asset in assets if asset.origin == "AUTOMATIC"),
            sources=[source.ref for source in sources],
            indices=await _indices(connection, touched, bare),
            symbols_removed=sorted({change.before for change in changes if lowered(change.before) in bare - held}),
            subscriptions=await connection.fetchval(SQL["remap_subscriptions"], sorted(touched)),
            changes=changes,
            etag=await asyncio.to_thread(state_of, assets),
        )

    async def _apply(self, connection: Any, changes: Sequence[Change], actor: Actor | None) -> None:
        now = self._ground.clock.now()
        moved = [change for change in changes if change.outcome in (CHANGED, REMOVED)]
        former = await table.of_assets(connection, [change.asset.asset_id for change in moved])
        await table.delete(connection, [change.asset.asset_id for change in moved if change.outcome == REMOVED])
        await table.update(connection, [created(each) for each in changes if each.outcome == CHANGED], actor, now)
        await table.insert(connection, [created(each) for each in changes if each.outcome == CREATED], actor, now)
        await table.sweep(connection, {each.common_symbol_id for each in former.values()})


async def _sources(connection: Any, scope: RemapScope) -> list[Source]:
    named = await find_sources(connection, scope.refs) if scope.refs else []
    if scope.everything:
        return await all_sources(connection)
    chosen = {source.code_id for source in named}
    every = await all_sources(connection) if scope.kinds else []
    return [*named, *(each for each in every if str(each.ref.kind) in scope.kinds and each.code_id not in chosen)]


async def _indices(connection: Any, touched: set[str], bare: set[str]) -> list[tuple[str, list[str]]]:
    found: dict[str, list[str]] = defaultdict(list)
    for row in await connection.fetch(SQL["remap_indices"], sorted(touched)):
        members = found[row["index_name"]]
        if lowered(row["common_symbol"]) in bare:
            members.append(row["common_symbol"])
    return sorted(found.items())


def _bare(changes: Sequence[Change], holders: Any) -> set[str]:
    """Return the common symbols, in lower case, that have a mapping before and none afterwards."""
    before = {lowered(change.before) for change in changes if change.before}
    after = {lowered(change.after) for change in changes if change.after}
    return {name for name in before - after if not holders.get(name)}


def _is_change(change: Change) -> bool:
    return change.outcome in (CREATED, CHANGED, REMOVED)


def _require_same(found: RemapPlan, etag: str) -> None:
    if found.etag != etag:
        raise EtagMismatch(
            "Mappings or assets of the scope changed since the plan was made; preview the re-map again.",
            metadata={"etag": found.etag},
        )


def _change_happening(change: Change) -> Happening:
    kinds = {CREATED: "MappingCreated", CHANGED: "MappingUpdated", REMOVED: "MappingDeleted"}
    asset = change.asset
    label = f"{asset.source_kind}/{asset.source_name} {asset.symbol}"
    return Happening(
        kind=kinds[change.outcome],
        message=f"A re-map changed the mapping of {label}.",
        subject_type="mapping",
        subject_name=label,
        data={
            "before": {"common_symbol": change.before},
            "after": {"common_symbol": change.after},
            "reason": change.reason,
        },
    )


def _happening(context: OperationContext, found: RemapPlan) -> Happening:
    counts = {outcome.lower(): number for outcome, number in sorted(found.counts.items())}
    return Happening(
        kind="MappingsRemapped",
        message=f"A re-map made {found.counts[CREATED]} mappings, changed {found.counts[CHANGED]} and removed "
        f"{found.counts[REMOVED]}; {found.counts['KEPT_MANUAL']} made by hand were kept.",
        subject_type="mappings",
        subject_name=context.operation.subject,
        data={**counts, "common_symbols_removed": list(found.symbols_removed)[:REPORTED]},
    )
