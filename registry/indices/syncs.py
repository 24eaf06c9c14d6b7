"""The operation `index.sync`: the members of a provider index are brought up to what its provider says."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from quasar.errors import FailedPrecondition, QuasarError, Resource
from quasar.ops.actors import Actor
from quasar.ops.events import Severity
from quasar.ops.operation_context import OperationContext
from quasar.ops.operations import Operation
from registry.assets.discovery import Discovered
from registry.assets.groups import CLASSES
from registry.assets.rows import AssetRow, RowReader, SourceSymbol
from registry.assets.sources import Source, find_source
from registry.assets.upstream import Constituents, Upstream
from registry.code.refs import CodeKind, CodeRef
from registry.ground import Ground, Happening
from registry.indices.indices import Indices, diff_facts, effective, unknown
from registry.indices.membership import Member, MembershipDiff, difference, holds_back, weight_problem
from registry.indices.schedules import next_sync
from registry.running import Work
from registry.store import assets as asset_table
from registry.store import indices as table
from registry.store import mappings as mapping_table
from registry.store.assets import Merged
from registry.store.indices import Index
from registry.store.statements import SQL

KIND: Final = "index.sync"
SUCCEEDED, EMPTY_ANSWER, HELD_BACK, FAILED = "SUCCEEDED", "EMPTY_ANSWER", "HELD_BACK", "FAILED"


@dataclass(frozen=True, slots=True)
class RejectedConstituent:
    """A constituent that was not taken; where it is a member it stays with its former weight."""

    symbol: str
    position: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSynced:
    """What a sync did, or would do."""

    index: str
    state: str
    diff: MembershipDiff = field(default_factory=MembershipDiff)
    received: int = 0
    rejections: Sequence[RejectedConstituent] = ()
    assets: Merged = field(default_factory=Merged)
    unknown_classes: int = 0
    message: str = ""
    elapsed_s: float = 0.0


@dataclass(slots=True)
class _Answer:
    """A provider's answer, checked row by row."""

    rows: list[AssetRow] = field(default_factory=list)
    weights: dict[str, float | None] = field(default_factory=dict)
    rejections: list[RejectedConstituent] = field(default_factory=list)
    received: int = 0
    unknown_classes: int = 0


class IndexSyncs:
    """Begins and does syncs of indices."""

    def __init__(self, ground: Ground, upstream: Upstream, indices: Indices) -> None:
        """Ask `upstream`, store on `ground`."""
        self._ground = ground
        self._upstream = upstream
        self._indices = indices

    async def begin(
        self,
        name: str,
        actor: Actor | None,
        *,
        as_of: dt.datetime | None = None,
        allow_large_removal: bool = False,
        request_id: str = "",
    ) -> tuple[Operation, bool]:
        """Begin a sync, or return the one of the index that is running, and tell which it was.

        Raises:
            NotFound: There is no such index.
            FailedPrecondition: It is a user index, or its provider is not active.
            InvalidArgument: The day is in the future or before the last change.
            ServiceUnavailable: The DataHub does not answer.
        """
        held, source = await self._askable(name)
        if not await self._ground.running.made_before(KIND, request_id):
            if as_of is not None:
                effective(held, as_of, self._ground.clock.now(), "as_of")
            await self._upstream.require(source)
        document: dict[str, Any] = {
            "index_id": held.index_id,
            "index": held.name,
            "as_of": as_of.isoformat() if as_of else "",
            "allow_large_removal": allow_large_removal,
        }
        work = Work(
            kind=KIND,
            subject_type="index",
            subject=held.name,
            request=document,
            actor=actor,
            request_id=request_id,
            conflicts=((KIND, held.name),),
        )
        return await self._ground.running.begin_or_join(work)

    async def preview(self, name: str) -> IndexSynced:
        """Return what a sync would write; nothing is written.

        Raises:
            QuasarError: What `begin` and `run` raise.
        """
        held, source = await self._askable(name)
        answer = await self._ask(held, source, None)
        async with self._ground.database.acquire() as connection:
            trial = connection.transaction()
            await trial.start()
            try:
                return await self._write(connection, held.name, source, answer, None, allow=False)
            finally:
                await trial.rollback()

    async def run(self, context: OperationContext) -> IndexSynced:
        """Do a sync that was begun.

        Raises:
            QuasarError: The provider could not be asked; the members were kept.
        """
        request = context.request
        as_of = dt.datetime.fromisoformat(request["as_of"]) if request["as_of"] else None
        return await self.sync(
            request["index"], context.operation.actor, as_of=as_of, allow=request["allow_large_removal"]
        )

    async def sync(
        self, name: str, actor: Actor | None, *, as_of: dt.datetime | None = None, allow: bool = False
    ) -> IndexSynced:
        """Sync one index and record how it went.

        Raises:
            QuasarError: The provider could not be asked; the members were kept.
        """
        began = self._ground.clock.monotonic()
        held, source = await self._askable(name)
        try:
            answer = await self._ask(held, source, as_of)
            async with self._ground.database.transaction() as connection:
                found = await self._write(connection, held.name, source, answer, as_of, allow=allow)
                found = replace(found, elapsed_s=self._ground.clock.monotonic() - began)
                await self._end(connection, held, found)
                await self._ground.record(connection, _synced(found), actor)
                await self._ground.tell(connection, f"indices/{held.name}")
                return found
        except QuasarError as error:
            await self._failed(held, error, actor)
            raise

    async def of_source(self, context: OperationContext, source: Source) -> Discovered:
        """Sync every index of a provider without symbols of its own; what it does not mention any more has vanished.

        Raises:
            QuasarError: The provider could not be asked.
        """
        await self._indices.reconcile()
        async with self._ground.database.acquire() as connection:
            rows = await connection.fetch(SQL["index_scheduled"])
        own = [table.index(row) for row in rows if row["code_id"] == source.code_id]
        received, merged, warnings, seen = 0, Merged(), [], set()
        for held in own:
            context.progress(f"reading {held.name}")
            found = await self.sync(held.name, context.operation.actor)
            received, merged = received + found.received, merged + found.assets
            warnings += [found.message] * bool(found.message)
            seen |= {*(each.symbol for each in found.rejections)}
        vanished = await self._vanish(context, source, seen) if not warnings and received else 0
        empty = bool(own) and not received
        return Discovered(
            source=source, received=received, merged=merged, vanished=vanished, empty_answer=empty, warnings=warnings
        )

    async def _vanish(self, context: OperationContext, source: Source, seen: set[str]) -> int:
        now = self._ground.clock.now()
        async with self._ground.database.transaction() as connection:
            await asset_table.lock_source(connection, source.code_id)
            rows = await connection.fetch(SQL["index_source_members"], source.code_id)
            mentioned = seen | {row["symbol"] for row in rows}
            vanished = await asset_table.vanish(connection, source.code_id, mentioned, now)
            await connection.execute(SQL["asset_synced"], source.code_id, context.operation.operation_id, now)
        return vanished

    async def _askable(self, name: str) -> tuple[Index, Source]:
        held = await self._indices.get(name)
        resource = Resource("index", held.name)
        if not held.of_provider:
            raise FailedPrecondition(f"{held.name!r} is a user index; nothing is synced to it.", resource=resource)
        if not held.provider_active:
            raise FailedPrecondition(
                f"The provider {held.provider!r} of {held.name!r} is not active; activate a version first.",
                resource=resource,
            )
        async with self._ground.database.acquire() as connection:
            return held, await find_source(connection, CodeRef(CodeKind.PROVIDER, held.provider))

    async def _ask(self, held: Index, source: Source, as_of: dt.datetime | None) -> _Answer:
        day = as_of.astimezone(dt.UTC).date() if as_of else None
        told = await self._upstream.constituents(source, held.provider_index, day)
        return _read(told)

    async def _write(
        self, connection: Any, name: str, source: Source, answer: _Answer, as_of: dt.datetime | None, *, allow: bool
    ) -> IndexSynced:
        """Write what an answer changes, in the caller's transaction."""
        await mapping_table.lock(connection)
        held = await table.take(connection, name)
        if held is None:
            raise unknown(name)
        found = IndexSynced(
            index=held.name,
            state=SUCCEEDED,
            received=answer.received,
            rejections=answer.rejections,
            unknown_classes=answer.unknown_classes,
        )
        if not answer.rows:
            kept = "the members were kept"
            why = "no constituents" if not answer.received else "no constituent that could be taken"
            return replace(found, state=EMPTY_ANSWER, message=f"The provider sent {why}; {kept}.")
        now = self._ground.clock.now()
        since = effective(held, as_of, now, "as_of")
        current = await table.members(connection, held.index_id)
        merged, wanted = await self._wanted(connection, source, answer, current)
        diff = difference(current, wanted, since)
        if not allow and holds_back(len(current), diff):
            message = (
                f"The answer would remove {diff.count('REMOVED')} of {len(current)} members; they were kept. "
                "Sync with allow_large_removal when that is right."
            )
            return replace(found, state=HELD_BACK, message=message, assets=merged)
        await table.write(connection, held, diff, since, now)
        return replace(found, diff=diff, assets=merged)

    async def _wanted(
        self, connection: Any, source: Source, answer: _Answer, current: dict[int, Member]
    ) -> tuple[Merged, dict[int, Member]]:
        """Merge the assets of an answer and return the members that it makes."""
        await asset_table.lock_source(connection, source.code_id)
        merged = await asset_table.merge(
            connection, source.code_id, await self._rows(connection, source, answer), self._ground.clock.now()
        )
        symbols = [row.symbol for row in answer.rows]
        rows = await connection.fetch(SQL["index_constituent_assets"], source.code_id, symbols)
        told = {row.symbol: row for row in answer.rows}
        wanted = {
            row["asset_id"]: Member(
                key=row["asset_id"],
                symbol=row["symbol"],
                common_symbol=row["common_symbol"],
                weight=answer.weights[row["symbol"]],
                name=told[row["symbol"]].name,
                asset_class=told[row["symbol"]].asset_class,
            )
            for row in rows
        }
        refused = {each.symbol for each in answer.rejections} - set(symbols)
        wanted |= {key: member for key, member in current.items() if member.symbol in refused}
        return merged, wanted

    async def _rows(self, connection: Any, source: Source, answer: _Answer) -> list[AssetRow]:
        """Return the rows to merge: a provider that lists its symbols itself knows them better than its indices do."""
        if not source.lists_symbols:
            return answer.rows
        symbols = [row.symbol for row in answer.rows]
        known = await connection.fetch(SQL["index_constituent_assets"], source.code_id, symbols)
        had = {row["symbol"] for row in known}
        return [row for row in answer.rows if row.symbol not in had]

    async def _end(self, connection: Any, held: Index, found: IndexSynced) -> None:
        now = self._ground.clock.now()
        due = _due(held, now, failed=False)
        await connection.execute(SQL["index_synced"], held.index_id, now, found.state, found.message, due)

    async def _failed(self, held: Index, error: QuasarError, actor: Actor | None) -> None:
        now = self._ground.clock.now()
        message = f"{error.reason}: {error.message}"
        happening = Happening(
            kind="IndexSyncFailed",
            message=f"The index {held.name} was not synced: {error.message}",
            subject_type="index",
            subject_name=held.name,
            data={"reason": error.reason},
            severity=Severity.ERROR,
        )
        async with self._ground.database.transaction() as connection:
            due = _due(held, now, failed=True)
            await connection.execute(SQL["index_synced"], held.index_id, now, FAILED, message[:2000], due)
            await self._ground.record(connection, happening, actor)
            await self._ground.tell(connection, f"indices/{held.name}")


def _due(held: Index, now: dt.datetime, *, failed: bool) -> dt.datetime | None:
    assert held.schedule is not None
    return next_sync(held.schedule, now, held.created_at, failed=failed)


def _read(told: Constituents) -> _Answer:
    """Check the constituents of an answer one by one."""
    answer, reader = _Answer(), RowReader()
    for constituent in told.members:
        answer.received += 1
        asset = constituent.asset
        if asset.asset_class not in CLASSES:
            asset = asset._replace(asset_class="")
            answer.unknown_classes += 1
        problem = weight_problem(constituent.weight)
        if problem is not None:
            answer.rejections.append(_refused(asset, answer.received, f"weight {problem}"))
            continue
        rows = reader.read([asset])
        if not rows:
            answer.rejections.append(_refused(asset, answer.received, reader.rejections[-1].message))
            continue
        answer.rows += rows
        answer.weights[rows[0].symbol] = constituent.weight
    for message in told.errors:
        answer.received += 1
        answer.rejections.append(RejectedConstituent("", answer.received, message))
    return answer


def _refused(asset: SourceSymbol, position: int, message: str) -> RejectedConstituent:
    return RejectedConstituent(asset.symbol.strip()[:200], position, message)


def _synced(found: IndexSynced) -> Happening:
    return Happening(
        kind="IndexSynced",
        message=found.message or f"The index {found.index} was synced: {len(found.diff.changes)} changes.",
        subject_type="index",
        subject_name=found.index,
        data={"state": found.state, "received": found.received, **diff_facts(found.diff)},
        severity=Severity.INFO if found.state == SUCCEEDED else Severity.WARNING,
    )
