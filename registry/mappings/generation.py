"""The operation `mappings.generate`: mappings for assets that have an identity and none yet."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from quasar.ops.actors import Actor
from quasar.ops.operation_context import OperationContext
from quasar.ops.operations import Operation
from registry.assets.sources import Source, all_sources, find_source
from registry.assets.syncs import MappingCounts
from registry.code.refs import CodeRef
from registry.ground import Ground, Happening, Undone
from registry.mappings.automatic import CREATED, FAILED, Change, plan
from registry.mappings.editing import Mappings
from registry.mappings.standing import Covered, read_assets, read_standing
from registry.running import Work
from registry.store import mappings as table
from registry.store.mappings import Written
from registry.store.statements import SQL

KIND: Final = "mappings.generate"
REMAP: Final = "mappings.remap"
EVERYTHING: Final = "all sources"
REPORTED: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """What to map."""

    ref: CodeRef | None
    """None: all sources."""
    asset_classes: Sequence[str] = ()
    dry_run: bool = False
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """What automated mapping did, or would do."""

    counts: Counter[str] = field(default_factory=Counter)
    """Assets by outcome."""
    common_symbols_created: int = 0
    changes: Sequence[Change] = ()
    """The first ones, created and failed before the others."""
    dry_run: bool = False
    elapsed_s: float = 0.0


class Generation:
    """Begins and does automated mapping."""

    def __init__(self, ground: Ground, mappings: Mappings) -> None:
        """Make mappings through `mappings`."""
        self._ground = ground
        self._mappings = mappings

    async def begin(self, request: GenerationRequest, actor: Actor | None) -> Operation:
        """Begin automated mapping.

        Raises:
            NotFound: The source does not exist.
            FailedPrecondition: Mappings of the source are being generated or re-mapped.
        """
        source = None
        if request.ref is not None:
            async with self._ground.database.acquire() as connection:
                source = await find_source(connection, request.ref)
        subject = source.label if source else EVERYTHING
        conflicts = [(KIND, subject), (KIND, EVERYTHING), (REMAP, "")] if source else [(KIND, ""), (REMAP, "")]
        document: dict[str, Any] = {
            "code_id": source.code_id if source else None,
            "asset_classes": list(request.asset_classes),
            "dry_run": request.dry_run,
        }
        work = Work(
            kind=KIND,
            subject_type="mappings",
            subject=subject,
            request=document,
            actor=actor,
            request_id=request.request_id,
            conflicts=conflicts,
        )
        return await self._ground.running.begin(work)

    async def run(self, context: OperationContext) -> Generated:
        """Do automated mapping that was begun."""
        request = context.request
        async with self._ground.database.acquire() as connection:
            sources = await all_sources(connection)
        if request["code_id"] is not None:
            sources = [source for source in sources if source.code_id == request["code_id"]]
        covered = Covered(sources=sources, asset_classes=request["asset_classes"])
        return await self._generate(context, covered, dry_run=request["dry_run"])

    async def of_source(self, context: OperationContext, source: Source) -> MappingCounts:
        """Map the assets of one source, as a part of another operation."""
        found = await self._generate(context, Covered(sources=[source]), dry_run=False)
        return MappingCounts(found.counts[CREATED], found.counts["SKIPPED"])

    async def _generate(self, context: OperationContext, covered: Covered, *, dry_run: bool) -> Generated:
        began = self._ground.clock.monotonic()
        context.progress("mapping", unit="assets")
        found = Generated()
        with suppress(Undone):
            async with self._ground.database.transaction() as connection:
                await connection.execute(SQL["identity_patience"])
                await table.lock(connection)
                assets = await read_assets(connection, covered)
                standing = await read_standing(connection, assets, covered.sources, remap=False)
                changes = await asyncio.to_thread(plan, assets, standing, remap=False)
                added = await self._apply(connection, changes, context)
                found = Generated(
                    counts=Counter(change.outcome for change in changes),
                    common_symbols_created=added,
                    changes=first_changes(changes),
                    dry_run=dry_run,
                    elapsed_s=self._ground.clock.monotonic() - began,
                )
                await self._ground.record(connection, _happening(context, found), context.operation.actor)
                if dry_run:
                    raise Undone
        context.progress(done=found.counts.total(), total=found.counts.total())
        return found

    async def _apply(self, connection: Any, changes: Sequence[Change], context: OperationContext) -> int:
        """Store what is new; return how many common symbols came to be."""
        written = [created(change) for change in changes if change.outcome == CREATED]
        _, added = await table.ensure_symbols(
            connection, [each.common_symbol for each in written], self._ground.clock.now()
        )
        await self._mappings.write_new(connection, written, context.operation.actor)
        return len(added)


def created(change: Change) -> Written:
    """Return the mapping that a change makes."""
    return Written(
        asset_id=change.asset.asset_id,
        code_id=change.asset.code_id,
        common_symbol=change.after,
        active=change.asset.active,
        origin="AUTOMATIC",
        reason=change.reason,
    )


def first_changes(changes: Sequence[Change]) -> list[Change]:
    """Return the changes that a report lists: created and failed ones first."""
    return sorted(changes, key=lambda change: (change.outcome not in (CREATED, FAILED), change.outcome == "UNCHANGED"))[
        :REPORTED
    ]


def _happening(context: OperationContext, found: Generated) -> Happening:
    counts = {outcome.lower(): number for outcome, number in sorted(found.counts.items())}
    return Happening(
        kind="MappingsGenerated",
        message=f"Automated mapping made {found.counts[CREATED]} mappings "
        f"and {found.common_symbols_created} common symbols.",
        subject_type="mappings",
        subject_name=context.operation.subject,
        data={**counts, "common_symbols_created": found.common_symbols_created},
    )
