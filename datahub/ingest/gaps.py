"""What becomes of recorded gaps when the ledger of their series changed."""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
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
    """Match recorded gaps with what is missing now in the range that both were taken from; neither overlap themselves.

    A gap that was filled in part keeps its identity for the first of what remains.
    """
    rows = sorted(missing)
    found: list[LedgerRow] = []
    moved: list[KnownGap] = []
    repaired: list[int] = []
    at = 0
    for gap in sorted(known, key=lambda each: each.start_ns):
        while at < len(rows) and rows[at].end_ns <= gap.start_ns:
            found.append(rows[at])
            at += 1
        if at == len(rows) or not _overlap(gap, rows[at]):
            # Nothing of it is missing, or it has grown together with the gap before it, which goes on for both.
            repaired.append(gap.gap_id)
            continue
        row = rows[at]
        at += 1
        if (gap.start_ns, gap.end_ns, gap.missing_slots) != (row.start_ns, row.end_ns, row.slots):
            moved.append(KnownGap(gap.gap_id, row.start_ns, row.end_ns, row.slots))
    return GapChanges((*found, *rows[at:]), tuple(moved), tuple(repaired))


def settled(
    known: Sequence[KnownGap], missing: Sequence[LedgerRow], span: TimeRange, held_ns: Sequence[int]
) -> tuple[GapChanges, bool]:
    """Return what becomes of recorded gaps, and whether a row that was held back lies in what is missing.

    Args:
        known: The gaps that touch the range.
        missing: What is missing in the range and where that goes on beyond it, ascending and apart.
        span: The range that was classified.
        held_ns: Open times of rows that were held back.
    """
    start_ns = min([span.start_ns, *(gap.start_ns for gap in known)])
    end_ns = max([span.end_ns, *(gap.end_ns for gap in known)])
    touched = [row for row in missing if row.start_ns < end_ns and row.end_ns > start_ns]
    starts = [row.start_ns for row in touched]
    places = ((time_ns, bisect_right(starts, time_ns) - 1) for time_ns in held_ns)
    held = any(place >= 0 and time_ns < touched[place].end_ns for time_ns, place in places)
    return reconciled(known, touched), held


def next_attempt(attempts: int, now: dt.datetime) -> dt.datetime:
    """Return when a gap is asked for after so many attempts in vain."""
    if attempts >= ATTEMPTS_BEFORE_SLOW:
        return now + _SLOW
    return now + dt.timedelta(seconds=_FIRST_S[min(attempts, len(_FIRST_S) - 1)])


def _overlap(gap: KnownGap, row: LedgerRow) -> bool:
    return TimeRange(gap.start_ns, gap.end_ns).intersect(row.span) is not None
