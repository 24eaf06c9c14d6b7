"""What becomes of recorded gaps."""

from __future__ import annotations

import datetime as dt

from datahub.ingest.gaps import ATTEMPTS_BEFORE_SLOW, GapChanges, KnownGap, next_attempt, reconciled
from datahub.ingest.ledger import LedgerRow
from quasar.model.coverage import SlotState

NOW = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)


def missing(start: int, end: int) -> LedgerRow:
    return LedgerRow(start, end, SlotState.GAP, end - start)


def test_a_hole_that_nobody_knows_is_found() -> None:
    assert reconciled([], [missing(3, 5)]) == GapChanges((missing(3, 5),), (), ())


def test_a_gap_that_did_not_change_is_left_alone() -> None:
    assert reconciled([KnownGap(1, 3, 5, 2)], [missing(3, 5)]).nothing


def test_a_gap_of_which_nothing_is_missing_is_repaired() -> None:
    assert reconciled([KnownGap(1, 3, 5, 2)], []).repaired == (1,)


def test_a_gap_that_was_filled_in_its_middle_goes_on_as_its_first_part() -> None:
    changes = reconciled([KnownGap(1, 0, 10, 10)], [missing(0, 4), missing(6, 10)])
    assert changes == GapChanges((missing(6, 10),), (KnownGap(1, 0, 4, 4),), ())


def test_two_gaps_that_grew_together_go_on_as_the_first() -> None:
    changes = reconciled([KnownGap(1, 0, 2, 2), KnownGap(2, 4, 6, 2)], [missing(0, 6)])
    assert changes == GapChanges((), (KnownGap(1, 0, 6, 6),), (2,))


def test_attempts_become_rarer_and_then_slow() -> None:
    pauses = [next_attempt(attempts, NOW) - NOW for attempts in range(ATTEMPTS_BEFORE_SLOW + 2)]
    assert pauses == sorted(pauses)
    assert pauses[0] == dt.timedelta(minutes=1)
    assert pauses[-1] == dt.timedelta(days=7)
