"""The operation `assets.sync`: discovery of one source or of all, then the matcher and automated mapping."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from quasar.errors import QuasarError
from quasar.ops.actors import Actor
from quasar.ops.operation_context import OperationContext
from quasar.ops.operations import Operation
from registry.assets.discovery import Discovered, Discovery
from registry.assets.sources import Source, all_sources, find_source
from registry.assets.upstream import Upstream
from registry.code.refs import CodeKind, CodeRef
from registry.ground import Ground
from registry.matching.report import MatchReport
from registry.running import Work

KIND: Final = "assets.sync"
EVERYTHING: Final = "all sources"


@dataclass(frozen=True, slots=True)
class MappingCounts:
    """What automated mapping did after a sync."""

    created: int = 0
    skipped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Followers:
    """What runs after a source's assets are merged."""

    match: Callable[[OperationContext, Source], Awaitable[MatchReport]]
    generate: Callable[[OperationContext, Source], Awaitable[MappingCounts]]
    sync_indices: Callable[[OperationContext, Source], Awaitable[Discovered]]
    """Syncs an index provider that has no symbols of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """What became of one source."""

    discovered: Discovered
    match: MatchReport | None = None
    mappings: MappingCounts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRequest:
    """What to sync."""

    ref: CodeRef | None
    """None: every active source that can list symbols."""
    skip_matching: bool = False
    skip_mapping: bool = False
    request_id: str = ""


class Syncs:
    """Begins and does syncs of assets."""

    def __init__(self, ground: Ground, upstream: Upstream, followers: Followers) -> None:
        """Ask `upstream`, store on `ground`, then let `followers` run."""
        self._ground = ground
        self._upstream = upstream
        self._discovery = Discovery(ground, upstream)
        self._followers = followers

    async def begin(self, request: SyncRequest, actor: Actor | None) -> tuple[Operation, bool]:
        """Begin a sync, or return the one of the source that is running, and tell which it was.

        Raises:
            NotFound: The source does not exist.
            FailedPrecondition: It is not active or cannot list symbols.
            ServiceUnavailable: The service that runs it does not answer.
        """
        subject = EVERYTHING
        source = None
        if request.ref is not None:
            async with self._ground.database.acquire() as connection:
                source = await find_source(connection, request.ref)
            subject = source.label
        document: dict[str, Any] = {
            "source": [str(source.ref.kind), source.ref.name] if source else None,
            "skip_matching": request.skip_matching,
            "skip_mapping": request.skip_mapping,
        }
        work = Work(
            kind=KIND,
            subject_type=str(source.ref.kind) if source else "registry",
            subject=subject,
            request=document,
            actor=actor,
            request_id=request.request_id,
            conflicts=((KIND, subject), (KIND, EVERYTHING)),
        )
        # A repeated request has its answer already, whatever became of the source meanwhile.
        if not await self._ground.running.repeats(work):
            if source is not None:
                source.require_symbols()
            await self._upstream.require(source)
        return await self._ground.running.begin_or_join(work)

    async def run(self, context: OperationContext) -> list[SourceReport]:
        """Do a sync that was begun.

        Raises:
            QuasarError: The one source that was asked for could not be synced. With all sources, the others go on.
        """
        named = context.request["source"]
        async with self._ground.database.acquire() as connection:
            if named is not None:
                sources = [await find_source(connection, CodeRef(CodeKind(named[0]), named[1]))]
            else:
                sources = [each for each in await all_sources(connection) if _can_be_asked(each)]
        telling = _Telling(context, len(sources))
        reports = []
        for source in sources:
            telling.begin(source)
            try:
                reports.append(await self._one(context, source, telling))
            except QuasarError as error:
                failed = await self._discovery.failed(context, source, error)
                if named is not None:
                    raise
                reports.append(SourceReport(discovered=failed))
        return reports

    async def _one(self, context: OperationContext, source: Source, telling: _Telling) -> SourceReport:
        if source.lists_symbols:
            found = await self._discovery.discover(context, source, telling.told)
        else:
            found = await self._followers.sync_indices(context, source)
        report = SourceReport(discovered=found)
        if not context.request["skip_matching"]:
            context.progress(f"matching {source.label}")
            report = await _guarded(report, "matching", self._match, context, source)
        if not context.request["skip_mapping"]:
            context.progress(f"mapping {source.label}")
            report = await _guarded(report, "mapping", self._map, context, source)
        return report

    async def _match(self, report: SourceReport, context: OperationContext, source: Source) -> SourceReport:
        return replace(report, match=await self._followers.match(context, source))

    async def _map(self, report: SourceReport, context: OperationContext, source: Source) -> SourceReport:
        return replace(report, mappings=await self._followers.generate(context, source))


class _Telling:
    """Adds up the progress of the sources of one operation."""

    def __init__(self, context: OperationContext, sources: int) -> None:
        self._context = context
        self._sources = sources
        self._before = 0
        self._pages = 0
        self._rows = 0
        self._waited = 0.0

    def begin(self, source: Source) -> None:
        """Go on to a source."""
        self._before += self._rows
        self._rows, self._waited = 0, 0.0
        self._context.progress(f"reading {source.label}", unit="rows")

    def told(self, rows: int, total: int | None, waited: float) -> None:
        """Tell how far a source has been read."""
        self._rows = rows
        self._pages += 1
        self._context.progress(
            done=self._before + rows,
            total=total if self._sources == 1 else None,
            wait_s=waited - self._waited,
            counters={"pages": self._pages},
        )
        self._waited = waited


def _can_be_asked(source: Source) -> bool:
    return source.active and (source.lists_symbols or source.has_constituents)


_Step = Callable[[SourceReport, OperationContext, Source], Awaitable[SourceReport]]


async def _guarded(
    report: SourceReport, what: str, step: _Step, context: OperationContext, source: Source
) -> SourceReport:
    """Run a step after the merge; when it fails the assets stay and the report says so."""
    try:
        return await step(report, context, source)
    except QuasarError as error:
        warning = f"{what} failed: {error.reason}: {error.message}"
        found = replace(report.discovered, warnings=(*report.discovered.warnings, warning))
        return replace(report, discovered=found)
