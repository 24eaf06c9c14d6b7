"""The operation `assets.match`: identities for assets, exact matches first, then fuzzy ones over the whole scope."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from quasar.ops.operation_context import OperationContext
from registry.assets import listing
from registry.ground import Ground, Happening
from registry.matching.candidates import Candidate, Subject, Target, exact, fuzzy
from registry.matching.decisions import (
    GAVE_WAY,
    NONE,
    PROPOSED,
    TAKEN,
    Claimant,
    Decision,
    Thresholds,
    decide,
    deduplicated,
)
from registry.matching.report import MatchReport
from registry.matching.shortlist import Listed, Shortlists
from registry.store import assets as asset_table
from registry.store import matches as table
from registry.store.statements import SQL
from registry.store.texts import filled

PREVIEW_LIFE: Final = dt.timedelta(hours=24)
_CHUNK: Final = 2000
"""Assets between two looks at whether the operation is to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which assets are matched, and how."""

    code_ids: Sequence[int] | None = None
    """None: of every source."""
    filter: str = ""
    dry_run: bool = False
    rematch: bool = False
    exact_only: bool = False
    thresholds: Thresholds = field(default_factory=Thresholds)
    as_of: dt.datetime | None = None
    """Match with the identities that were valid then; None: now."""


@dataclass(slots=True)
class _Scope:
    """The assets of a run as the matcher sees them."""

    subjects: dict[int, Subject] = field(default_factory=dict)
    claimants: dict[int, Claimant] = field(default_factory=dict)
    former: dict[int, str] = field(default_factory=dict)
    """The identity of what the matcher identified earlier, when it looks again."""
    standing: dict[int, float] = field(default_factory=dict)
    """The confidence that such an identity has now; none where it does not fit any more."""
    examined: int = 0
    identified: int = 0
    rejected: set[tuple[int, str]] = field(default_factory=set)

    @property
    def groups(self) -> dict[int, str]:
        """The group of each asset."""
        return {asset_id: subject.group for asset_id, subject in self.subjects.items()}


class Matcher:
    """Gives identities to assets."""

    def __init__(self, ground: Ground) -> None:
        """Match on `ground`."""
        self._ground = ground

    async def match(self, context: OperationContext, scope: Scope) -> MatchReport:
        """Match the assets of a scope and store what comes of it, in one transaction at the end.

        Raises:
            InvalidFilter: The filter of the scope cannot be understood.
        """
        began = self._ground.clock.monotonic()
        as_of = scope.as_of or self._ground.clock.now()
        previews = await self._previewed_ids(scope, as_of) if scope.dry_run else {}
        given = len(previews) or (0 if scope.dry_run else await self._provider_ids(scope, as_of))
        assets = await self._load(scope, previews.keys())
        context.progress("exact matches", done=0, total=len(assets.subjects), unit="assets")
        decisions = await self._exact(assets, as_of, scope.thresholds)
        left = [subject for key, subject in assets.subjects.items() if decisions[key].outcome == NONE]
        if left and not scope.exact_only:
            context.progress("fuzzy matches", done=len(assets.subjects) - len(left))
            decisions |= await self._fuzzy(context, assets, left, as_of, scope.thresholds)
        settled = await self._deduplicate(assets, self._bettered(assets, decisions))
        report = _report(assets, settled, given, scope, self._ground.clock.monotonic() - began)
        await self._store(context, assets, [*settled, *previews.values()], scope, report)
        return report

    async def _provider_ids(self, scope: Scope, as_of: dt.datetime) -> int:
        """Give the identities that sources named themselves; return how many assets got one."""
        async with self._ground.database.transaction() as connection:
            await connection.execute(SQL["identity_patience"])
            rows = await self._rows(connection, scope)
            keys = [row["asset_id"] for row in rows]
            now = self._ground.clock.now()
            return len(await connection.fetch(SQL["match_provider_ids"], keys, as_of, now))

    async def _previewed_ids(self, scope: Scope, as_of: dt.datetime) -> dict[int, Decision]:
        """Return what the identifiers that sources named themselves would give, by asset."""
        async with self._ground.database.transaction(readonly=True) as connection:
            await connection.execute(SQL["identity_patience"])
            keys = [row["asset_id"] for row in await self._rows(connection, scope)]
            rows = await connection.fetch(SQL["match_provider_ids_preview"], keys, as_of)
        return {row["asset_id"]: _told_by_source(row) for row in rows}

    async def _rows(self, connection: Any, scope: Scope) -> list[Any]:
        where = listing.ASSETS.where(scope.filter, first_parameter=2)
        statement = filled(SQL["match_assets"], filter=where.sql)
        code_ids = None if scope.code_ids is None else list(scope.code_ids)
        rows: list[Any] = await connection.fetch(statement, code_ids, *where.parameters)
        return rows

    async def _load(self, scope: Scope, settled: Collection[int]) -> _Scope:
        assets = _Scope()
        async with self._ground.database.transaction(readonly=True) as connection:
            await connection.execute(SQL["identity_patience"])
            for row in await self._rows(connection, scope):
                _add(assets, row, rematch=scope.rematch, settled=row["asset_id"] in settled)
            pairs = await connection.fetch(SQL["match_rejected_pairs"], list(assets.subjects))
        assets.rejected = {(row["asset_id"], row["identity_id"]) for row in pairs}
        return assets

    async def _exact(self, assets: _Scope, as_of: dt.datetime, thresholds: Thresholds) -> dict[int, Decision]:
        async with self._ground.database.transaction(readonly=True) as connection:
            await connection.execute(SQL["identity_patience"])
            rows = await connection.fetch(SQL["match_exact"], list(assets.subjects), as_of)
        return await asyncio.to_thread(_decide_exact, assets, rows, thresholds)

    async def _fuzzy(
        self,
        context: OperationContext,
        assets: _Scope,
        left: Sequence[Subject],
        as_of: dt.datetime,
        thresholds: Thresholds,
    ) -> dict[int, Decision]:
        decisions: dict[int, Decision] = {}
        for group in sorted({subject.group for subject in left}):
            members = [subject for subject in left if subject.group == group]
            async with self._ground.database.transaction(readonly=True) as connection:
                await connection.execute(SQL["identity_patience"])
                rows = await connection.fetch(SQL["match_symbols"], group, as_of)
            pool = await asyncio.to_thread(_pool, rows)
            for chunk in _chunks(members):
                near = await asyncio.to_thread(_near, pool, chunk, thresholds.propose)
                targets = await self._targets({row for found in near.values() for row, _ in found})
                decisions |= await asyncio.to_thread(_decide_fuzzy, assets, chunk, near, targets, thresholds)
                context.progress(done=len(assets.subjects) - len(left) + len(decisions))
        return decisions

    async def _targets(self, identity_rows: Iterable[int]) -> dict[int, Target]:
        rows = await self._ground.database.fetch(SQL["match_targets"], list(identity_rows))
        return {row["identity_row"]: _target(row) for row in rows}

    def _bettered(self, assets: _Scope, decisions: Mapping[int, Decision]) -> list[Decision]:
        """Keep what the matcher identified earlier unless something surer was found."""
        kept = []
        for each in decisions.values():
            former = assets.former.get(each.asset_id)
            if former is None or (
                each.outcome == TAKEN
                and each.best
                and each.best.target.identity_id != former
                and each.best.confidence > assets.standing.get(each.asset_id, 0.0)
            ):
                kept.append(each)
        return kept

    async def _deduplicate(self, assets: _Scope, decisions: Sequence[Decision]) -> list[Decision]:
        taken = [each for each in decisions if each.outcome == TAKEN and each.best]
        identities = sorted({each.best.target.identity_id for each in taken if each.best})
        own = [each.asset_id for each in taken]
        rows = await self._ground.database.fetch(SQL["match_holders"], identities, own) if identities else []
        holders = {
            (row["code_id"], row["identity_id"]): Claimant(row["asset_id"], row["code_id"], row["matcher_symbol"])
            for row in rows
        }
        return deduplicated(decisions, assets.claimants, assets.groups, holders)

    async def _store(
        self,
        context: OperationContext,
        assets: _Scope,
        decisions: Sequence[Decision],
        scope: Scope,
        report: MatchReport,
    ) -> None:
        context.progress("storing")
        now = self._ground.clock.now()
        async with self._ground.database.transaction() as connection:
            await connection.execute(SQL["identity_patience"])
            await connection.execute(SQL["match_forget_previews"], now - PREVIEW_LIFE)
            await table.stage(connection, [_previewed(each) for each in decisions] if scope.dry_run else decisions)
            if not scope.dry_run:
                for code_id in sorted({each.code_id for each in assets.claimants.values()}):
                    await asset_table.lock_source(connection, code_id)
                await connection.execute(SQL["match_take"], now)
                await connection.execute(SQL["match_keep_runners"])
                await connection.execute(SQL["match_forget_runners"])
                await connection.execute(SQL["match_supersede"], now)
            state = "PREVIEW" if scope.dry_run else "OPEN"
            await connection.execute(SQL["match_propose"], state, context.operation.operation_id, now)
            if not scope.dry_run:
                await connection.execute(SQL["match_mark_states"], now)
                await self._ground.tell(connection, "assets")
            await self._ground.record(connection, _happening(context, report), context.operation.actor)


def _told_by_source(row: Any) -> Decision:
    target = Target(row["identity_row"], row["identity_id"])
    reason = f"the source names {row['source_identity']}"
    return Decision(row["asset_id"], TAKEN, Candidate(target, "PROVIDER_ID", 100.0, 100.0, reason))


def _add(assets: _Scope, row: Any, *, rematch: bool, settled: bool) -> None:
    assets.examined += 1
    again = rematch and row["identity_origin"] == "MATCHER"
    if settled or row["held_by_hand"] or (row["identity_id"] and not again):
        assets.identified += 1
        return
    key = row["asset_id"]
    assets.subjects[key] = Subject(
        key,
        row["identity_group"],
        row["match_key"],
        row["exchange"],
        row["name_key"],
        row["quote_currency"],
        row["country"],
    )
    assets.claimants[key] = Claimant(key, row["code_id"], row["matcher_symbol"])
    if row["identity_id"]:
        assets.former[key] = row["identity_id"]


def _target(row: Any) -> Target:
    return Target(
        row["identity_row"], row["identity_id"], row["exchange"], row["name_key"], row["currency"], row["country"]
    )


def _decide_exact(assets: _Scope, rows: Sequence[Any], thresholds: Thresholds) -> dict[int, Decision]:
    """Decide over the exact matches of all assets; runs beside the event loop."""
    found: dict[int, list[tuple[Target, bool]]] = defaultdict(list)
    for row in rows:
        if (row["asset_id"], row["identity_id"]) not in assets.rejected:
            found[row["asset_id"]].append((_target(row), row["alias"]))
    return {
        key: decide(subject, _noted(assets, key, exact_candidates(subject, found.get(key, ()))), thresholds)
        for key, subject in assets.subjects.items()
    }


def _noted(assets: _Scope, asset_id: int, candidates: list[Candidate]) -> list[Candidate]:
    """Return candidates, having noted how well the identity that the asset has fits now."""
    former = assets.former.get(asset_id)
    if former is not None:
        now = [each.confidence for each in candidates if each.target.identity_id == former]
        assets.standing[asset_id] = max(now, default=0.0)
    return candidates


def exact_candidates(subject: Subject, targets: Sequence[tuple[Target, bool]]) -> list[Candidate]:
    """Return the candidates among identities whose symbol, or alias (true), is the asset's."""
    first = [(target, alias, exact(subject, target, alias=alias, contested=False)) for target, alias in targets]
    fitting = [(target, alias, each) for target, alias, each in first if each is not None]
    if len({target.identity_id for target, _, _ in fitting}) < 2:
        return [each for _, _, each in fitting]
    again = (exact(subject, target, alias=alias, contested=True) for target, alias, _ in fitting)
    return [each for each in again if each is not None]


def _pool(rows: Sequence[Any]) -> Shortlists:
    return Shortlists([Listed(row["identity_row"], row["symbol"], row["exchange"]) for row in rows])


def _near(pool: Shortlists, subjects: Sequence[Subject], floor: float) -> dict[int, list[tuple[int, float]]]:
    return {subject.asset_id: pool.of(subject, floor) for subject in subjects}


def _decide_fuzzy(
    assets: _Scope,
    subjects: Sequence[Subject],
    near: Mapping[int, Sequence[tuple[int, float]]],
    targets: Mapping[int, Target],
    thresholds: Thresholds,
) -> dict[int, Decision]:
    """Decide over the like symbols of some assets; runs beside the event loop."""
    decisions = {}
    for subject in subjects:
        candidates = (
            fuzzy(subject, targets[row], alike)
            for row, alike in near[subject.asset_id]
            if (subject.asset_id, targets[row].identity_id) not in assets.rejected
        )
        fitting = [each for each in candidates if each]
        decisions[subject.asset_id] = decide(subject, _noted(assets, subject.asset_id, fitting), thresholds)
    return decisions


def _chunks(subjects: Sequence[Subject]) -> Iterable[Sequence[Subject]]:
    for start in range(0, len(subjects), _CHUNK):
        yield subjects[start : start + _CHUNK]


def _previewed(decision: Decision) -> Decision:
    """Return a decision of a dry run: what would be taken is shown as a proposal."""
    if decision.outcome != TAKEN:
        return decision
    return Decision(decision.asset_id, PROPOSED, decision.best, decision.runner_up, decision.further, cause="DRY_RUN")


def _report(assets: _Scope, decisions: Sequence[Decision], given: int, scope: Scope, elapsed_s: float) -> MatchReport:
    def count(fits: Callable[[Decision], bool]) -> int:
        return sum(1 for each in decisions if fits(each))

    taken = count(lambda each: each.outcome == TAKEN)
    by_symbol = count(lambda each: each.outcome == TAKEN and each.best is not None and each.best.score is not None)
    kept = len(assets.subjects) - len(decisions)
    return MatchReport(
        examined=assets.examined,
        already_identified=assets.identified - given + kept,
        exact=taken - by_symbol + given,
        fuzzy=by_symbol,
        proposed=count(lambda each: each.outcome == PROPOSED),
        unmatched=count(lambda each: each.outcome == NONE),
        deduplicated=count(lambda each: each.outcome == GAVE_WAY),
        dry_run=scope.dry_run,
        elapsed_s=elapsed_s,
    )


def _happening(context: OperationContext, report: MatchReport) -> Happening:
    return Happening(
        kind="AssetsMatched",
        message=f"{report.examined} assets were matched: {report.exact} exactly, {report.fuzzy} by likeness, "
        f"{report.proposed} proposed, {report.unmatched} without a match.",
        subject_type="assets",
        subject_name=context.operation.subject,
        data={**report.counts, "operation_id": str(context.operation.operation_id)},
    )
