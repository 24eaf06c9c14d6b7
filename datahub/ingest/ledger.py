"""The ledger of coverage as values: what is known of every slot in which a bar is expected, in runs of one state.

Slots in which the market is closed follow from the calendar and are not in it, so a run goes over nights and holidays:
a complete series is one row.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from quasar.model.coverage import NO_RANGES, Coverage, Evidence, SlotState, TimeRanges
from quasar.model.instants import TimeRange

MISSING_STATES = (SlotState.GAP, SlotState.UNREPAIRABLE)


@dataclass(frozen=True, slots=True, order=True)
class LedgerRow:
    """Neighbouring slots of one state."""

    start_ns: int
    """Open time of the first slot."""
    end_ns: int
    """End of the last slot."""
    state: SlotState
    slots: int
    source_series_id: int = 0
    """For repaired slots: the series that the bars were borrowed from; 0: its own."""

    @property
    def span(self) -> TimeRange:
        """The time that it covers."""
        return TimeRange(self.start_ns, self.end_ns)


@dataclass(frozen=True, slots=True)
class LedgerChanges:
    """How rows of the ledger become others."""

    gone: tuple[int, ...]
    """Begins of the rows that are to be removed."""
    fresh: tuple[LedgerRow, ...]
    """Rows that are new or differ from the one of the same begin."""


SlotCounter = Callable[[int, int], int]
"""Returns how many slots in [start, end) a bar is expected in."""


def ledger_rows(coverage: Coverage, source_series_id: int = 0) -> list[LedgerRow]:
    """Return the rows of a classified range; closed slots are left out."""
    kept = coverage.states != SlotState.CLOSED
    known = Coverage(coverage.interval, coverage.slots_ns[kept], coverage.states[kept])
    return [
        LedgerRow(
            run.start_ns,
            run.end_ns,
            run.state,
            run.slots,
            source_series_id if run.state is SlotState.REPAIRED else 0,
        )
        for run in known.runs()
    ]


def ranges_of(rows: Iterable[LedgerRow], *states: SlotState) -> TimeRanges:
    """Return what rows of some states cover."""
    return TimeRanges.of(row.span for row in rows if row.state in states)


def evidence_of(
    former: Sequence[LedgerRow],
    *,
    repairing: bool,
    empty: TimeRanges,
    no_trade: TimeRanges,
    given_up: TimeRanges = NO_RANGES,
) -> Evidence:
    """Return what is known beyond the bars: what the source says now, and what it said before.

    Args:
        former: The rows of the ledger so far.
        repairing: Whether bars that come now fill gaps, which is remembered of their slots.
        empty: Where the source says now that it has nothing.
        no_trade: Where it says that nothing was traded.
        given_up: Where every source was asked in vain.
    """
    repaired = ranges_of(former, SlotState.REPAIRED, *(MISSING_STATES if repairing else ()))
    return Evidence(
        no_trade=no_trade.union(ranges_of(former, SlotState.NO_TRADE)),
        empty=empty.union(ranges_of(former, SlotState.EMPTY)),
        repaired=repaired,
        unrepairable=given_up.union(ranges_of(former, SlotState.UNREPAIRABLE)),
    )


def without_unknown(fresh: Sequence[LedgerRow], former: Sequence[LedgerRow], count: SlotCounter) -> list[LedgerRow]:
    """Return the rows of a classified range without gaps in slots of which nothing was known before.

    Args:
        fresh: The rows of the range now.
        former: The rows so far, by begin.
        count: Counts expected slots, for gaps that were known in part.
    """
    rows: list[LedgerRow] = []
    ends = [before.end_ns for before in former]
    for row in fresh:
        if row.state is not SlotState.GAP:
            rows.append(row)
            continue
        for before in islice(former, bisect_right(ends, row.start_ns), None):
            if before.start_ns >= row.end_ns:
                break
            start_ns, end_ns = max(row.start_ns, before.start_ns), min(row.end_ns, before.end_ns)
            if slots := count(start_ns, end_ns):
                rows.append(replace(row, start_ns=start_ns, end_ns=end_ns, slots=slots))
    return rows


def ledger_changes(former: Sequence[LedgerRow], rows: Sequence[LedgerRow]) -> LedgerChanges:
    """Return what is to be written so that rows stand in the place of former ones."""
    known = set(former)
    kept = {row.start_ns for row in rows}
    gone = tuple(row.start_ns for row in former if row.start_ns not in kept)
    return LedgerChanges(gone, tuple(row for row in rows if row not in known))


def rewritten(
    former: Sequence[LedgerRow], span: TimeRange, fresh: Sequence[LedgerRow], count: SlotCounter
) -> list[LedgerRow]:
    """Return the rows after a range was classified anew.

    Args:
        former: The rows that touch the range, and the nearest one on each side.
        span: The range.
        fresh: Its rows now.
        count: Counts expected slots, for rows that are cut at the ends of the range and for what lies between rows.
    """
    pieces = list(fresh)
    for row in former:
        pieces += _outside(row, span, count)
    joined: list[LedgerRow] = []
    for piece in sorted(pieces):
        if joined and _continues(joined[-1], piece, count):
            joined[-1] = replace(joined[-1], end_ns=piece.end_ns, slots=joined[-1].slots + piece.slots)
        else:
            joined.append(piece)
    return joined


def _outside(row: LedgerRow, span: TimeRange, count: SlotCounter) -> list[LedgerRow]:
    if row.end_ns <= span.start_ns or row.start_ns >= span.end_ns:
        return [row]
    pieces: list[LedgerRow] = []
    if row.start_ns < span.start_ns and (slots := count(row.start_ns, span.start_ns)):
        pieces.append(replace(row, end_ns=span.start_ns, slots=slots))
    if row.end_ns > span.end_ns and (slots := count(span.end_ns, row.end_ns)):
        pieces.append(replace(row, start_ns=span.end_ns, slots=slots))
    return pieces


def _continues(row: LedgerRow, piece: LedgerRow, count: SlotCounter) -> bool:
    if (row.state, row.source_series_id) != (piece.state, piece.source_series_id):
        return False
    return row.end_ns >= piece.start_ns or count(row.end_ns, piece.start_ns) == 0
