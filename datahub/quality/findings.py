"""Findings as values: one suspicious place in a series, and what makes it so."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Check(StrEnum):
    """What a check looks for; words of the contract's `QualityCheck`."""

    MISSING = "MISSING"
    ZERO_VOLUME = "ZERO_VOLUME"
    SPIKE = "SPIKE"
    STALE = "STALE"
    PROVIDER_DISAGREEMENT = "PROVIDER_DISAGREEMENT"
    TICK_DISAGREEMENT = "TICK_DISAGREEMENT"
    UNEXPLAINED_JUMP = "UNEXPLAINED_JUMP"
    QUARANTINED = "QUARANTINED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One suspicious place. A series has at most one of a check at a time."""

    check: Check
    date_ns: int
    """00:00 UTC of the session's date."""
    start_ns: int
    """Open time of the first bar concerned."""
    end_ns: int
    """End of the last one."""
    bars: int = 1
    """Bars (slots, rows) concerned."""
    observed: float | None = None
    """What was seen; None where one number does not say it."""
    expected: float | None = None
    """What was expected; None likewise."""
    limit: float | None = None
    """What was passed, in the unit of `observed`; None likewise."""
    other_series_id: int | None = None
    """The other series of a disagreement."""
    message: str
    """The same for people, in one sentence."""
