"""What a delivery changes in the ledger of its series, computed from what is stored and what was known: no database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from datahub.ingest.delivery import Delivery
from datahub.ingest.ledger import (
    MISSING_STATES,
    LedgerChanges,
    LedgerRow,
    evidence_of,
    ledger_changes,
    ledger_rows,
    rewritten,
    without_unknown,
)
from datahub.ingest.off_session import NO_SLOTS, SlotBits, added, beyond, expected_count, expected_slots
from quasar.model.columns import Int64Array
from quasar.model.coverage import TimeRanges, classify
from quasar.model.instants import NS_PER_DAY, TimeRange

INLINE_SLOTS: Final = 2_000
"""Up to so many rows or slots are gone through where they are, a few milliseconds; more in a thread, since the event
loop has live streams to serve. What needs sessions always goes there: a market's first use loads a library, which takes
seconds."""
INLINE_HOLES: Final = 200
"""And if the bars have no more holes than that: each is a row of the ledger."""


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What a range is classified by."""

    observed: Int64Array
    """Open times of what is stored there now, or will be when the transaction ends."""
    former: Sequence[LedgerRow]
    """The rows of the ledger that touch the range, and the nearest one on each side."""
    earliest_ns: int
    """Open time of the first bar of all. What is expected before it is not there, and that is no gap."""
    off_session: Int64Array
    """Slots outside the calendar that bars were stored in, ascending, over the range and the rows that it cuts."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the ledger says of a range now."""

    changes: LedgerChanges
    missing: Sequence[LedgerRow]
    """Rows of slots that are missing, also beyond the range where they go on."""
    whole: bool
    """Whether every slot of the range is in a row."""
    off_session: Sequence[SlotBits]
    """Slots outside the calendar that have a bar now, in rows that are new or become others."""


def is_little(delivery: Delivery, span: TimeRange, known: Known) -> bool:
    """Tell whether a range is classified in a few milliseconds: few slots, rows and holes, and no sessions."""
    series = delivery.series
    slot_ns = series.interval.length_ns or NS_PER_DAY
    if not series.calendar.always_open or span.length_ns > INLINE_SLOTS * slot_ns or len(known.former) > INLINE_HOLES:
        return False
    return int(np.count_nonzero(np.diff(known.observed) != slot_ns)) <= INLINE_HOLES


def verdict(delivery: Delivery, span: TimeRange, known: Known) -> Verdict:
    """Classify a range by what the source said and what is stored.

    Args:
        delivery: What the source said.
        span: The range.
        known: What is stored, and what the ledger said so far.
    """
    series, empty, observed = delivery.series, delivery.empty, known.observed

    def count(start_ns: int, end_ns: int) -> int:
        return expected_count(series, start_ns, end_ns, known.off_session)

    expected = expected_slots(series, span, known.off_session)
    first = int(observed[0]) if len(observed) else span.end_ns
    if known.earliest_ns >= first and len(expected) and int(expected[0]) < first:
        empty = empty.union(TimeRanges.of([(span.start_ns, first)]))
    evidence = evidence_of(
        known.former,
        repairing=bool(delivery.repaired_from),
        empty=empty,
        no_trade=delivery.no_trade,
        given_up=delivery.given_up,
    )
    coverage = classify(series.interval, span, expected, observed, evidence)
    found = ledger_rows(coverage, delivery.source_series_id)
    fresh = without_unknown(found, known.former, count) if delivery.partial else found
    whole = sum(row.slots for row in fresh) == sum(row.slots for row in found)
    rows = rewritten(known.former, span, fresh, count)
    missing = [row for row in rows if row.state in MISSING_STATES]
    more = NO_SLOTS if series.calendar.always_open else beyond(observed, expected)
    remembered = added(known.off_session, more, series.interval) if len(more) else ()
    return Verdict(ledger_changes(known.former, rows), missing, whole, remembered)
