"""The ledger of coverage as values."""

from __future__ import annotations

import pytest

from datahub.ingest.ledger import LedgerRow, rewritten, without_unknown
from quasar.model.coverage import SlotState
from quasar.model.instants import TimeRange

OBSERVED, GAP, EMPTY = SlotState.OBSERVED, SlotState.GAP, SlotState.EMPTY


def row(start: int, end: int, state: SlotState = OBSERVED) -> LedgerRow:
    return LedgerRow(start, end, state, end - start)


def count(start: int, end: int) -> int:
    """A bar is expected in every slot of length 1 but those from 20 to 30, when the market is closed."""
    return sum(not 20 <= slot < 30 for slot in range(start, end))


@pytest.mark.parametrize(
    ("former", "span", "fresh", "wanted"),
    [
        ([], (0, 10), [row(0, 10)], [row(0, 10)]),
        ([row(0, 10)], (10, 15), [row(10, 15)], [row(0, 15)]),
        ([row(0, 10)], (10, 15), [row(10, 15, GAP)], [row(0, 10), row(10, 15, GAP)]),
        ([row(0, 10)], (4, 6), [row(4, 6, GAP)], [row(0, 4), row(4, 6, GAP), row(6, 10)]),
        ([row(0, 4), row(4, 6, GAP), row(6, 10)], (4, 6), [row(4, 6)], [row(0, 10)]),
        ([row(0, 4), row(8, 10)], (4, 8), [row(4, 8)], [row(0, 10)]),
        ([row(0, 4), row(8, 10)], (0, 10), [row(0, 10, EMPTY)], [row(0, 10, EMPTY)]),
    ],
)
def test_a_range_that_is_classified_anew_takes_the_place_of_what_was_known(
    former: list[LedgerRow], span: tuple[int, int], fresh: list[LedgerRow], wanted: list[LedgerRow]
) -> None:
    assert rewritten(former, TimeRange(*span), fresh, count) == wanted


def test_rows_of_one_state_grow_together_over_a_time_when_the_market_is_closed() -> None:
    joined = rewritten([row(10, 20)], TimeRange(20, 35), [row(30, 35)], count)
    assert joined == [LedgerRow(10, 35, OBSERVED, 15)]


def test_rows_of_one_state_with_slots_between_them_stay_apart() -> None:
    assert rewritten([row(0, 5)], TimeRange(7, 9), [row(7, 9)], count) == [row(0, 5), row(7, 9)]


def test_bars_borrowed_from_different_series_stay_apart() -> None:
    mine = LedgerRow(0, 5, SlotState.REPAIRED, 5, 7)
    other = LedgerRow(5, 9, SlotState.REPAIRED, 4, 8)
    assert rewritten([mine], TimeRange(5, 9), [other], count) == [mine, other]


def test_a_gap_is_known_only_where_something_was_known_before() -> None:
    fresh = [row(0, 4), row(4, 8, GAP), row(8, 40), row(40, 44, GAP)]
    assert without_unknown(fresh, [], count) == [row(0, 4), row(8, 40)]
    known = without_unknown(fresh, [row(2, 5), row(7, 9, EMPTY)], count)
    assert known == [row(0, 4), row(4, 5, GAP), row(7, 8, GAP), row(8, 40)]
