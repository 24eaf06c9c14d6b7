"""Proposals of the matcher: listing and deciding them."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from quasar.database.pool import Database
from quasar.errors import (
    AlreadyExists,
    EtagMismatch,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    QuasarError,
    Resource,
)
from quasar.filters import Field
from quasar.ops.actors import Actor
from registry.assets.editing import identified, require_free
from registry.assets.listing import FIELDS, folded
from registry.assets.words import METHODS, word
from registry.ground import Ground, Happening, actor_document, require_etag
from registry.matching.matcher import PREVIEW_LIFE
from registry.store import assets as asset_table
from registry.store import identities as identity_table
from registry.store import proposals as table
from registry.store.assets import Asset
from registry.store.identities import Identity
from registry.store.listing import Listing, Page, Query, known
from registry.store.ordering import OrderField
from registry.store.proposals import Proposal, StoredCandidate
from registry.store.statements import SQL
from registry.store.walks import SCATTERED, Walk

STATES: Final = ("OPEN", "ACCEPTED", "REJECTED", "SUPERSEDED", "PREVIEW")
CAUSES: Final = ("AMBIGUOUS", "LOW_CONFIDENCE", "TAKEN", "CONTRADICTION", "DRY_RUN")
OPEN_ONLY: Final = 'state = "OPEN"'
DECIDABLE: Final = ("OPEN", "PREVIEW")

PROPOSALS: Final = Listing(
    method="ListMatchProposals",
    fields={
        "state": Field("p.state", "enum", STATES, lambda text: word(text).removeprefix("MATCH_PROPOSAL_STATE_")),
        "cause": Field("p.cause", "enum", CAUSES, lambda text: word(text).removeprefix("MATCH_PROPOSAL_CAUSE_")),
        **{name: FIELDS[name] for name in ("source.kind", "source.name", "symbol", "name", "exchange", "asset_class")},
        "method": Field("p.method", "enum", METHODS, word),
        "confidence": Field("p.confidence", "number"),
        "identity_id": Field("p.identity_id", convert=str.upper),
        "operation_id": folded("p.operation_id::text"),
        "create_time": Field("p.created_at", "time"),
    },
    terms={
        "confidence": known("p.confidence", "double precision"),
        "source.name": known("d.source_name"),
        "symbol": known("d.symbol"),
        "create_time": known("p.created_at", "timestamptz"),
    },
    default_order="confidence desc, source.name, symbol",
    tie=(OrderField("p.proposal_id", "uuid"),),
    walk=Walk(
        page="proposal_walk",
        edge="proposal_edge",
        passed="proposal_passed",
        crowd="proposal_crowd",
        orders=frozenset({"confidence desc, source.name, symbol"}),
        look=SCATTERED,
        sorted=20_000,
        lookups={"symbol": ""},
        pushed={("state", "OPEN"): "p.state = 'OPEN'"},
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownProposal:
    """A proposal with all that it speaks of."""

    proposal: Proposal
    asset: Asset
    identities: Mapping[int, Identity]
    """By the number of the row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What somebody decides about a proposal."""

    proposal_id: uuid.UUID
    accept: bool
    identity_id: str = ""
    """The identity to take; empty: that of the best candidate."""
    etag: str = ""
    reason: str = ""


async def list_proposals(database: Database, query: Query, now: dt.datetime) -> tuple[list[ShownProposal], str]:
    """Return a page of proposals; the open ones when the filter is empty.

    Raises:
        InvalidFilter: The filter or the order cannot be understood.
        InvalidCursor: The page token belongs to another query.
    """
    asked = query if query.filter.strip() else replace(query, filter=OPEN_ONLY)
    async with database.acquire() as connection:
        page: Page = await PROPOSALS.page(connection, SQL["proposal_page"], asked, now - PREVIEW_LIFE)
        found = [table.proposal(row) for row in page.rows]
        return await shown(connection, found), page.next_page_token


async def shown(connection: Any, proposals: Sequence[Proposal]) -> list[ShownProposal]:
    """Return proposals with their assets and identities."""
    assets = await asset_table.by_ids(connection, [each.asset_id for each in proposals])
    candidates = [part for each in proposals for part in (each.best, each.runner_up) if part]
    identities = await identity_table.by_rows(connection, {each.identity_row for each in candidates})
    return [ShownProposal(proposal=each, asset=assets[each.asset_id], identities=identities) for each in proposals]


@dataclass(frozen=True, slots=True)
class RunnerUp:
    """The second best candidate of a match that was taken."""

    candidate: StoredCandidate
    identity: Identity | None
    """None: no manifest has it any more."""


async def runner_up(connection: Any, asset_id: int) -> RunnerUp | None:
    """Return what the matcher preferred the identity of an asset to, or None."""
    candidate = await table.runner_up(connection, asset_id)
    if candidate is None:
        return None
    identities = await identity_table.by_rows(connection, {candidate.identity_row})
    return RunnerUp(candidate, identities.get(candidate.identity_row))


async def decide_one(ground: Ground, choice: Choice, actor: Actor | None) -> ShownProposal:
    """Accept or reject a proposal.

    Raises:
        NotFound: The proposal or the identity does not exist.
        EtagMismatch: The proposal changed since it was read.
        FailedPrecondition: It is decided or superseded already.
        AlreadyExists: Another asset of the source has the identity, and it is a security.
    """
    async with ground.database.transaction() as connection:
        await _lock_sources(connection, [choice])
        await _decide(ground, connection, choice, actor)
        return await _show_one(connection, choice.proposal_id)


async def decide_all(ground: Ground, choices: Sequence[Choice], actor: Actor | None) -> list[ShownProposal]:
    """Accept and reject several proposals, all or none.

    Raises:
        QuasarError: The class of the first decision that failed; violations name each one (`decisions[3].proposal_id`).
    """
    _require_distinct(choices)
    async with ground.database.transaction() as connection:
        await _lock_sources(connection, choices)
        failures: list[tuple[int, QuasarError]] = []
        for place, choice in enumerate(choices):
            try:
                async with connection.transaction():
                    await _decide(ground, connection, choice, actor)
            except (NotFound, EtagMismatch, FailedPrecondition, AlreadyExists, InvalidArgument) as error:
                failures.append((place, error))
        if failures:
            raise _together(failures)
        return [await _show_one(connection, choice.proposal_id) for choice in choices]


async def _lock_sources(connection: Any, choices: Sequence[Choice]) -> None:
    """Take turns with all who give identities to assets of these sources: one asset of a source has a security's."""
    for row in await connection.fetch(SQL["proposal_sources"], [choice.proposal_id for choice in choices]):
        await asset_table.lock_source(connection, row["code_id"])


async def _show_one(connection: Any, proposal_id: uuid.UUID) -> ShownProposal:
    row = await connection.fetchrow(SQL["proposal_lock"], proposal_id)
    return (await shown(connection, [table.proposal(row)]))[0]


async def _decide(ground: Ground, connection: Any, choice: Choice, actor: Actor | None) -> None:
    row = await connection.fetchrow(SQL["proposal_lock"], choice.proposal_id)
    resource = Resource("match proposal", str(choice.proposal_id))
    proposal = None if row is None else table.proposal(row)
    if proposal is None or (proposal.state == "PREVIEW" and proposal.created_at < ground.clock.now() - PREVIEW_LIFE):
        raise NotFound(f"There is no match proposal {choice.proposal_id}.", resource=resource)
    require_etag(choice.etag, proposal.revision, resource)
    if proposal.state not in DECIDABLE:
        raise FailedPrecondition(f"The match proposal must be open, was {proposal.state.lower()}.", resource=resource)
    held = (await asset_table.by_ids(connection, [proposal.asset_id]))[proposal.asset_id]
    asset = await asset_table.take(connection, held.source_kind, held.source_name, held.symbol)
    assert asset is not None
    now = ground.clock.now()
    if choice.accept:
        await _accept(ground, connection, proposal, asset, choice, actor)
    else:
        await _reject(ground, connection, proposal, asset, choice, actor)
    state = "ACCEPTED" if choice.accept else "REJECTED"
    await connection.execute(
        SQL["proposal_decide"], proposal.proposal_id, state, now, actor_document(actor), choice.reason
    )


async def _accept(
    ground: Ground, connection: Any, proposal: Proposal, asset: Asset, choice: Choice, actor: Actor | None
) -> None:
    identity_id = choice.identity_id.strip().upper() or proposal.best.identity_id
    groups = await identity_table.groups_of(connection, identity_id)
    if asset.identity_group not in groups:
        raise NotFound(
            f"There is no identity {identity_id!r} of group {asset.identity_group!r}.",
            resource=Resource("identity", identity_id),
        )
    await require_free(connection, asset, identity_id)
    now = ground.clock.now()
    candidate = next(
        (each for each in (proposal.best, proposal.runner_up) if each and each.identity_id == identity_id), None
    )
    changed = identified(asset, identity_id, reason=candidate.reason if candidate else "")
    manual = (*asset.manual_fields, *(() if "identity_id" in asset.manual_fields else ("identity_id",)))
    await asset_table.store(connection, replace(changed, matched_at=now, manual_fields=manual), now)
    await table.supersede(connection, [asset.asset_id], now)
    await connection.execute(SQL["proposal_forget_rejection"], asset.asset_id, identity_id)
    happening = Happening(
        kind="MatchAccepted",
        message=f"{asset.label} was identified as {identity_id}.",
        subject_type="asset",
        subject_name=asset.label,
        data={
            "proposal_id": str(proposal.proposal_id),
            "before": {"identity_id": asset.identity_id},
            "after": {"identity_id": identity_id},
        },
    )
    await ground.record(connection, happening, actor)
    await ground.tell(connection, f"assets/{asset.source_kind}/{asset.source_name}")


async def _reject(
    ground: Ground, connection: Any, proposal: Proposal, asset: Asset, choice: Choice, actor: Actor | None
) -> None:
    rejected = [each.identity_id for each in (proposal.best, proposal.runner_up) if each]
    await connection.execute(SQL["proposal_reject_pair"], asset.asset_id, rejected)
    await connection.execute(SQL["proposal_unpropose"], asset.asset_id, ground.clock.now(), proposal.proposal_id)
    happening = Happening(
        kind="MatchRejected",
        message=f"{asset.label} is not {' nor '.join(rejected)}.",
        subject_type="asset",
        subject_name=asset.label,
        data={
            "proposal_id": str(proposal.proposal_id),
            "before": {"proposed": rejected},
            "after": {"rejected": rejected},
            "reason": choice.reason,
        },
    )
    await ground.record(connection, happening, actor)


def _require_distinct(choices: Sequence[Choice]) -> None:
    seen: dict[uuid.UUID, int] = {}
    violations = []
    for place, choice in enumerate(choices):
        first = seen.setdefault(choice.proposal_id, place)
        if first != place:
            rule = f"must name each proposal once, was named in decisions[{first}] too"
            violations.append(FieldViolation(f"decisions[{place}].proposal_id", rule))
    if violations:
        raise InvalidArgument(f"{violations[0].field} {violations[0].description}.", violations=violations)


def _together(failures: Sequence[tuple[int, QuasarError]]) -> QuasarError:
    """Return one error for several decisions that failed: the class of the first, a violation for each."""
    _, first = failures[0]
    violations = [FieldViolation(f"decisions[{place}].proposal_id", error.message) for place, error in failures]
    message = f"{len(failures)} decisions failed, nothing was decided; the first: {first.message}"
    return type(first)(message, resource=first.resource, violations=violations)
