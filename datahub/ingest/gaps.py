"""What becomes of recorded gaps when the ledger of their series changed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from datahub.ingest.ledger import LedgerRow
from quasar.model.instants import TimeRange

ATTEMPTS_BEFORE_SLOW = 5
"""A gap that was asked for so often in vain is called unrepairable and asked for on a slow schedule."""
_FIRST_S = (60.0, 300.0, 1_800.0, 7_200.0, 21_600.0)
_SLOW = dt.timedelta(days=7)


@dataclass(frozen=True, slots=True)
class KnownGap:
    """A gap that is recorded and not repaired."""

    gap_id: int
    start_ns: int
    end_ns: int
    missing_slots: int


@dataclass(frozen=True, slots=True)
class GapChanges:
    """What to write."""

    found: tuple[LedgerRow, ...]
    """New gaps."""
    moved: tuple[KnownGap, ...]
    """Gaps with their range and size as they are now."""
    repaired: tuple[int, ...]
    """Gaps of which nothing is missing any more."""

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.found or self.moved or self.repaired)


def reconciled(known: Sequence[KnownGap], missing: Sequence[LedgerRow]) -> GapChanges:
    """Match recorded gaps with what is missing now in the range that both were taken from.

    A gap that was filled in part keeps its identity for the first of what remains.
    """
    left = list(missing)
    moved: list[KnownGap] = []
    repaired: list[int] = []
    for gap in sorted(known, key=lambda each: each.start_ns):
        row = next((row for row in left if _overlap(gap, row)), None)
        if row is None:
            # Nothing of it is missing, or it has grown together with the gap before it, which goes on for both.
            repaired.append(gap.gap_id)
            continue
        left.remove(row)
        if (gap.start_ns, gap.end_ns, gap.missing_slots) != (row.start_ns, row.end_ns, row.slots):
            moved.append(KnownGap(gap.gap_id, row.start_ns, row.end_ns, row.slots))
    return GapChanges(tuple(left), tuple(moved), tuple(repaired))


def next_attempt(attempts: int, now: dt.datetime) -> dt.datetime:
    """Return when a gap is asked for after so many attempts in vain."""
    if attempts >= ATTEMPTS_BEFORE_SLOW:
        return now + _SLOW
    return now + dt.timedelta(seconds=_FIRST_S[min(attempts, len(_FIRST_S) - 1)])


def _overlap(gap: KnownGap, row: LedgerRow) -> bool:
    return TimeRange(gap.start_ns, gap.end_ns).intersect(row.span) is not None
