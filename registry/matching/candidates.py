"""How well an identity fits an asset: exact and fuzzy candidates with confidence and reason."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from registry.assets.groups import SECURITIES
from registry.matching.trigrams import similarity

EXCHANGE_POINTS: Final = 35.0
NAME_POINTS: Final = 8.0
SYMBOL_FLOOR: Final = 0.35
"""Symbols below this similarity are not looked at."""
NAME_FLOOR: Final = 0.3
"""Names below this similarity speak against a match."""
FITTING_SYMBOL: Final = 0.6
"""Above this similarity a symbol fits, so that an unlike name is worth a question; below it the pair is dropped."""
WITHOUT_NAMES: Final = 75.0
"""A like symbol on the same exchange is no proof while a name is not known: `AAPL` and `AAPLW` are different things."""
_UNCONFIRMED: Final = 90.0
"""Confidence of an equal symbol where an exchange is not known."""
_NAME_WEIGHT: Final = 20.0
_CONTRADICTION: Final = 10.0


@dataclass(frozen=True, slots=True)
class Subject:
    """What the matcher knows of an asset."""

    asset_id: int
    group: str
    symbol: str
    """Its match key."""
    exchange: str = ""
    name: str = ""
    """Its name key."""
    currency: str = ""
    country: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """What the matcher knows of an identity in a period."""

    identity_row: int
    identity_id: str
    exchange: str = ""
    name: str = ""
    """Its name key."""
    currency: str = ""
    country: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """How the score of a fuzzy match came about."""

    symbol_points: float
    exchange_points: float
    name_points: float
    symbol_similarity: float
    name_similarity: float | None
    """None when a name is not known."""

    @property
    def total(self) -> float:
        """The sum of all points."""
        return self.symbol_points + self.exchange_points + self.name_points


@dataclass(frozen=True, slots=True)
class Candidate:
    """An identity that an asset may stand for."""

    target: Target
    method: str
    confidence: float
    """0 to 100."""
    rank: float
    """What candidates are compared by: the confidence of exact ones, the score of fuzzy ones, which may exceed 100."""
    reason: str
    contradicted: bool = False
    """Something speaks against it."""
    score: Score | None = None


def exact(subject: Subject, target: Target, *, alias: bool, contested: bool) -> Candidate | None:
    """Return an identity whose symbol or alias is the asset's as a candidate; None when the exchanges differ.

    Args:
        subject: The asset.
        target: The identity.
        alias: It is an alias that is equal.
        contested: Another identity fits as exactly, so that the names have to decide.
    """
    method = "EXACT_ALIAS" if alias else "EXACT_SYMBOL"
    what = "alias" if alias else "symbol"
    listed = subject.group == SECURITIES or bool(subject.exchange and target.exchange)
    if listed and subject.exchange and target.exchange and subject.exchange != target.exchange:
        return None
    confirmed = not listed or (bool(subject.exchange) and subject.exchange == target.exchange)
    reason = f"{what} {subject.symbol} is equal"
    if listed and confirmed:
        reason = f"{what} {subject.symbol} and exchange {subject.exchange} are equal"
    base = 100.0 if confirmed else _UNCONFIRMED
    found = Candidate(target, method, base, base, reason)
    if confirmed and not contested:
        return found
    return _weighed(found, subject, confirmed)


def _weighed(found: Candidate, subject: Subject, confirmed: bool) -> Candidate:
    """Let name, currency and country decide where symbol and exchange do not."""
    target, rank, contradictions = found.target, found.rank, []
    names = name_similarity(subject.name, target.name)
    if names is not None:
        rank -= _NAME_WEIGHT * (1 - names)
        if names < NAME_FLOOR:
            contradictions.append("name")
    for what, first, second in (
        ("currency", subject.currency, target.currency),
        ("country", subject.country, target.country),
    ):
        if not confirmed and first and second and first.upper() != second.upper():
            rank -= _CONTRADICTION
            contradictions.append(what)
    against = f"; {' and '.join(contradictions)} differ" if contradictions else ""
    unknown = "" if confirmed else ", an exchange is not known"
    return replace(
        found,
        confidence=max(rank, 0.0),
        rank=rank,
        reason=f"{found.reason}{unknown}{against}",
        contradicted=bool(contradictions),
    )


def fuzzy(subject: Subject, target: Target, symbol_similarity: float) -> Candidate | None:
    """Return an identity with a like symbol as a candidate; None when too much speaks against it."""
    same = bool(subject.exchange) and subject.exchange == target.exchange
    elsewhere = bool(subject.exchange and target.exchange) and not same
    names = name_similarity(subject.name, target.name)
    unlike = names is not None and names < NAME_FLOOR
    if (elsewhere and (unlike or names is None)) or (unlike and symbol_similarity <= FITTING_SYMBOL):
        return None
    score = Score(
        symbol_points(symbol_similarity),
        EXCHANGE_POINTS if same else 0.0,
        NAME_POINTS * (names or 0.0),
        symbol_similarity,
        names,
    )
    confidence = min(score.total, 100.0)
    if names is None:
        confidence = min(confidence, WITHOUT_NAMES)
    return Candidate(
        target,
        "FUZZY_SYMBOL",
        confidence,
        score.total,
        _fuzzy_reason(score, same, elsewhere, unlike),
        contradicted=unlike or elsewhere,
        score=score,
    )


def symbol_points(symbol_similarity: float) -> float:
    """Return the points for like symbols: 80 above 0.8, 60 above 0.6, else 50 times the similarity."""
    if symbol_similarity > 0.8:
        return 80.0
    return 60.0 if symbol_similarity > FITTING_SYMBOL else 50.0 * symbol_similarity


def name_similarity(first: str, second: str) -> float | None:
    """Return the similarity of two names; None when one is not known."""
    return similarity(first, second) if first and second else None


def _fuzzy_reason(score: Score, same: bool, elsewhere: bool, unlike: bool) -> str:
    parts = [f"symbols are alike by {score.symbol_similarity:.2f}"]
    if score.name_similarity is not None:
        parts.append(f"names by {score.name_similarity:.2f}")
    where = "exchanges are equal" if same else "exchanges differ" if elsewhere else "an exchange is not known"
    parts.append(where)
    return ", ".join(parts) + ("; the names speak against it" if unlike else "")
