"""Beginning matches, and doing those that were begun."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from quasar.errors import FailedPrecondition, FieldViolation, InvalidArgument
from quasar.ops.actors import Actor
from quasar.ops.operation_context import OperationContext
from quasar.ops.operations import Operation
from registry.assets import listing
from registry.assets.sources import Source, find_sources
from registry.code.refs import CodeRef
from registry.ground import Ground
from registry.matching.decisions import Thresholds
from registry.matching.matcher import Matcher, Scope
from registry.matching.report import MatchReport
from registry.running import Work
from registry.store.statements import SQL

KIND: Final = "assets.match"
EVERYTHING: Final = "all sources"


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRequest:
    """What to match."""

    refs: Sequence[CodeRef] = ()
    """Empty: every source."""
    filter: str = ""
    dry_run: bool = False
    rematch: bool = False
    exact_only: bool = False
    thresholds: Thresholds = field(default_factory=Thresholds)
    as_of: dt.datetime | None = None
    request_id: str = ""


class Matches:
    """Begins and does matches."""

    def __init__(self, ground: Ground, matcher: Matcher) -> None:
        """Let `matcher` do them."""
        self._ground = ground
        self._matcher = matcher

    async def begin(self, request: MatchRequest, actor: Actor | None) -> Operation:
        """Begin a match.

        Raises:
            NotFound: A source does not exist.
            InvalidFilter: The filter cannot be understood.
            InvalidArgument: The thresholds contradict each other.
            FailedPrecondition: No manifest was imported, or a match of the same scope is running.
        """
        if request.thresholds.propose > request.thresholds.accept:
            thresholds = request.thresholds
            description = f"must not be above accept_confidence ({thresholds.accept:g}), was {thresholds.propose:g}"
            raise InvalidArgument(
                f"propose_confidence {description}.", violations=[FieldViolation("propose_confidence", description)]
            )
        listing.ASSETS.where(request.filter, first_parameter=1)
        async with self._ground.database.acquire() as connection:
            sources = await find_sources(connection, request.refs) if request.refs else []
            if not await connection.fetchval(SQL["identity_any_manifest"]):
                raise FailedPrecondition("There are no identities to match with; import a manifest first.")
        subject = ", ".join(source.label for source in sources) or EVERYTHING
        work = Work(
            kind=KIND,
            subject_type="assets",
            subject=subject,
            request=_document(request, sources),
            actor=actor,
            request_id=request.request_id,
            conflicts=((KIND, subject), (KIND, EVERYTHING)),
        )
        return await self._ground.running.begin(work)

    async def run(self, context: OperationContext) -> MatchReport:
        """Do a match that was begun."""
        request = context.request
        return await self._matcher.match(
            context,
            Scope(
                code_ids=request["code_ids"],
                filter=request["filter"],
                dry_run=request["dry_run"],
                rematch=request["rematch"],
                exact_only=request["exact_only"],
                thresholds=Thresholds(**request["thresholds"]),
                as_of=dt.datetime.fromisoformat(request["as_of"]) if request["as_of"] else None,
            ),
        )

    async def of_source(self, context: OperationContext, source: Source) -> MatchReport:
        """Match the assets of one source, as a part of another operation; without identities there is nothing to do."""
        return await self._matcher.match(context, Scope(code_ids=[source.code_id]))

    async def of_all(self, context: OperationContext) -> MatchReport:
        """Match all assets, as a part of another operation."""
        return await self._matcher.match(context, Scope())


def _document(request: MatchRequest, sources: Sequence[Source]) -> dict[str, Any]:
    return {
        "code_ids": [source.code_id for source in sources] or None,
        "filter": request.filter,
        "dry_run": request.dry_run,
        "rematch": request.rematch,
        "exact_only": request.exact_only,
        "thresholds": asdict(request.thresholds),
        "as_of": request.as_of.isoformat() if request.as_of else "",
    }
