"""Proposals of the matcher in the database, with their candidates as they are stored."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from quasar.ops.actors import Actor
from registry.ground import actor_of
from registry.matching.candidates import Candidate, Score
from registry.store.statements import SQL


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCandidate:
    """A candidate as a proposal keeps it."""

    identity_row: int
    identity_id: str
    method: str
    confidence: float
    reason: str
    score: Score | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A match that waits, or waited, for a decision."""

    proposal_id: uuid.UUID
    asset_id: int
    state: str
    cause: str
    best: StoredCandidate
    runner_up: StoredCandidate | None
    further: int
    operation_id: uuid.UUID
    created_at: dt.datetime
    decided_at: dt.datetime | None
    decided_by: Actor | None
    revision: int


def document(candidate: Candidate | None) -> dict[str, Any] | None:
    """Return a candidate as it is stored."""
    if candidate is None:
        return None
    return {
        "identity_row": candidate.target.identity_row,
        "identity_id": candidate.target.identity_id,
        "method": candidate.method,
        "confidence": candidate.confidence,
        "reason": candidate.reason,
        "score": asdict(candidate.score) if candidate.score else None,
    }


def proposal(row: Any) -> Proposal:
    """Return the proposal that a row holds."""
    best = _candidate(row["best"])
    assert best is not None
    return Proposal(
        proposal_id=row["proposal_id"],
        asset_id=row["asset_id"],
        state=row["state"],
        cause=row["cause"],
        best=best,
        runner_up=_candidate(row["runner_up"]),
        further=row["further_candidates"],
        operation_id=row["operation_id"],
        created_at=row["created_at"],
        decided_at=row["decided_at"],
        decided_by=actor_of(row["decided_by"]),
        revision=row["revision"],
    )


async def supersede(connection: Any, asset_ids: Sequence[int], now: dt.datetime) -> None:
    """Close the open proposals of assets that were identified otherwise."""
    await connection.execute(SQL["proposal_supersede"], list(asset_ids), now)


async def of_asset(connection: Any, asset_id: int) -> Proposal | None:
    """Return the open proposal of an asset, or None."""
    row = await connection.fetchrow(SQL["proposal_of_asset"], asset_id)
    return None if row is None else proposal(row)


async def runner_up(connection: Any, asset_id: int) -> StoredCandidate | None:
    """Return what the matcher preferred the identity of an asset to, or None."""
    return _candidate(await connection.fetchval(SQL["match_runner"], asset_id))


def _candidate(stored: Mapping[str, Any] | None) -> StoredCandidate | None:
    if stored is None:
        return None
    score = Score(**stored["score"]) if stored["score"] else None
    return StoredCandidate(**{**stored, "score": score})
