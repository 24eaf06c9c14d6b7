"""What becomes of an asset: identified, proposed or left alone. What is ambiguous is never taken silently."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from registry.assets.groups import SECURITIES
from registry.matching.candidates import Candidate, Subject

TAKEN: Final = "TAKEN"
PROPOSED: Final = "PROPOSED"
NONE: Final = "NONE"
GAVE_WAY: Final = "GAVE_WAY"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From when on a match is taken or proposed."""

    accept: float = 80.0
    propose: float = 50.0
    margin: float = 10.0
    """How far the best must be ahead of the runner-up."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one asset."""

    asset_id: int
    outcome: str
    """TAKEN, PROPOSED, NONE or GAVE_WAY."""
    best: Candidate | None = None
    runner_up: Candidate | None = None
    further: int = 0
    """Candidates beyond these two."""
    cause: str = ""
    """Why it is a proposal."""


@dataclass(frozen=True, slots=True)
class Claimant:
    """An asset that lays claim to an identity within its source."""

    asset_id: int
    code_id: int
    symbol: str
    """Its matcher symbol: the shorter one, then the first in the alphabet, keeps the identity."""

    @property
    def rank(self) -> tuple[int, str, int]:
        """The least one wins."""
        return (len(self.symbol), self.symbol, self.asset_id)


def decide(subject: Subject, candidates: Iterable[Candidate], thresholds: Thresholds) -> Decision:
    """Choose among the candidates of one asset.

    Args:
        subject: The asset.
        candidates: Any number, in any order; of those of one identity the best counts.
        thresholds: When to take and when to propose.
    """
    ranked = _ranked(candidates)
    if not ranked:
        return Decision(subject.asset_id, NONE)
    best = ranked[0]
    runner_up = ranked[1] if len(ranked) > 1 else None
    decision = Decision(subject.asset_id, NONE, best, runner_up, max(0, len(ranked) - 2))
    sure = best.confidence >= thresholds.accept and not best.contradicted
    ahead = runner_up is None or best.rank - runner_up.rank >= thresholds.margin
    if sure and ahead:
        return replace(decision, outcome=TAKEN)
    if best.confidence < thresholds.propose:
        return Decision(subject.asset_id, NONE)
    cause = "AMBIGUOUS" if sure else "CONTRADICTION" if best.contradicted else "LOW_CONFIDENCE"
    if not ahead and best.score is None:
        cause = "AMBIGUOUS"
    return replace(decision, outcome=PROPOSED, cause=cause)


def _ranked(candidates: Iterable[Candidate]) -> Sequence[Candidate]:
    """Return the best candidate of each identity, best first."""
    best: dict[str, Candidate] = {}
    for each in candidates:
        had = best.get(each.target.identity_id)
        if had is None or (each.rank, not each.contradicted) > (had.rank, not had.contradicted):
            best[each.target.identity_id] = each
    return sorted(best.values(), key=lambda each: (-each.rank, each.contradicted, each.target.identity_id))


def deduplicated(
    decisions: Sequence[Decision],
    claimants: Mapping[int, Claimant],
    groups: Mapping[int, str],
    holders: Mapping[tuple[int, str], Claimant],
) -> list[Decision]:
    """Let one asset of a source have a security's identity, exact matches first; crypto pairs share theirs.

    Args:
        decisions: Of all assets of a run.
        claimants: By asset.
        groups: The group of each asset.
        holders: Who has an identity already, by source and identity.
    """
    winners = dict(holders)
    claims = [each for each in decisions if each.outcome == TAKEN and each.best and groups[each.asset_id] == SECURITIES]
    for each in sorted(claims, key=lambda claim: _strength(claim, claimants)):
        assert each.best is not None
        claimant = claimants[each.asset_id]
        winners.setdefault((claimant.code_id, each.best.target.identity_id), claimant)
    return [_settled(each, claimants, groups, winners, holders) for each in decisions]


def _strength(decision: Decision, claimants: Mapping[int, Claimant]) -> tuple[bool, tuple[int, str, int]]:
    """Return what claims to an identity are ordered by; the least one wins."""
    by_likeness = decision.best is not None and decision.best.score is not None
    return (by_likeness, claimants[decision.asset_id].rank)


def _settled(
    decision: Decision,
    claimants: Mapping[int, Claimant],
    groups: Mapping[int, str],
    winners: Mapping[Any, Claimant],
    holders: Any,
) -> Decision:
    if decision.outcome != TAKEN or decision.best is None or groups[decision.asset_id] != SECURITIES:
        return decision
    claimant = claimants[decision.asset_id]
    key = (claimant.code_id, decision.best.target.identity_id)
    if winners[key].asset_id == decision.asset_id:
        return decision
    if key in holders and claimant.rank < holders[key].rank:
        return replace(decision, outcome=PROPOSED, cause="TAKEN")
    return replace(decision, outcome=GAVE_WAY)
