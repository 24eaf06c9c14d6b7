"""What a match did, in figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchReport:
    """Counts of one run of the matcher; every examined asset is in exactly one of the others."""

    examined: int = 0
    already_identified: int = 0
    exact: int = 0
    fuzzy: int = 0
    proposed: int = 0
    unmatched: int = 0
    deduplicated: int = 0
    """Gave way to another asset of the source that has, or got, the identity."""
    dry_run: bool = False
    elapsed_s: float = 0.0

    @property
    def counts(self) -> dict[str, int | float | bool]:
        """What events and progress tell."""
        found = asdict(self)
        del found["elapsed_s"]
        return found
