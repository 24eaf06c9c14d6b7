"""Slots outside the calendar as rows of bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datahub.ingest.ledger import LedgerRow
from datahub.ingest.off_session import (
    ROW_SLOTS,
    added,
    beyond,
    expected_count,
    expected_slots,
    packed,
    reach,
    rows_over,
    unpacked,
)
from datahub.series.series import Series, SeriesName
from quasar.model.coverage import SlotState
from quasar.model.instants import NS_PER_DAY, NS_PER_MINUTE, TimeRange
from quasar.model.intervals import Interval

MINUTE = Interval.parse("1min")
MONDAY = 1_767_571_200_000_000_000
"""2026-01-05 00:00 UTC."""


def minutes(*numbers: int) -> np.ndarray:
    return MONDAY + np.array(numbers, dtype=np.int64) * NS_PER_MINUTE


@pytest.mark.parametrize("code", ["1s", "1min", "1h", "1d", "1w", "1M"])
@given(data=st.data())
def test_rows_of_bits_hold_exactly_the_slots_that_were_put_in(code: str, data: st.DataObject) -> None:
    interval = Interval.parse(code)
    step = interval.length_ns or NS_PER_DAY
    places = data.draw(st.sets(st.integers(-3_000, 3_000), max_size=50))
    cut = data.draw(st.sampled_from([0, step // 2]))
    times = np.array(sorted(places), dtype=np.int64) * step + cut
    rows = packed(times, interval)
    assert unpacked(rows, interval).tolist() == times.tolist()
    assert all(len(row.bits) <= ROW_SLOTS // 8 for row in rows)


def test_slots_on_the_clock_and_between_it_are_kept_side_by_side() -> None:
    hour = Interval.parse("1h")
    times = minutes(0, 30, 60, 90, 150)
    assert unpacked(packed(times, hour), hour).tolist() == times.tolist()


def test_what_comes_to_a_row_stands_beside_what_was_in_it_and_other_rows_are_let_be() -> None:
    known, fresh = minutes(1, 2, 5_000), minutes(7)
    (row,) = added(known, fresh, MINUTE)
    assert unpacked([row], MINUTE).tolist() == minutes(1, 2, 7).tolist()


def test_every_row_that_may_have_a_slot_in_a_range_is_looked_at() -> None:
    (row,) = packed(minutes(1_000), MINUTE)
    after, before = rows_over(TimeRange(int(minutes(1_000)[0]), int(minutes(1_001)[0])), MINUTE)
    assert after < row.start_ns < before


def test_a_slot_that_once_had_a_bar_is_expected_beside_those_of_the_calendar() -> None:
    series = Series(series_id=1, name=SeriesName("vendor", "A", "1min"), exchange="XNYS")
    before_the_open = minutes(14 * 60, 14 * 60 + 29)
    span = TimeRange(int(minutes(14 * 60)[0]), int(minutes(14 * 60 + 32)[0]))
    assert expected_slots(series, span, before_the_open).tolist() == minutes(840, 869, 870, 871).tolist()
    assert expected_count(series, span.start_ns, span.end_ns, before_the_open) == 4
    assert expected_count(series, span.start_ns, span.end_ns, minutes()) == 2
    # The calendar may come to know a session where it had none: the slot is still one.
    assert expected_count(series, span.start_ns, span.end_ns, minutes(870)) == 2


def test_times_that_are_not_expected_are_found() -> None:
    assert beyond(minutes(1, 2, 3, 9), minutes(2, 3, 4)).tolist() == minutes(1, 9).tolist()
    assert not len(beyond(minutes(2, 3), minutes(1, 2, 3)))
    assert beyond(minutes(2), minutes()).tolist() == minutes(2).tolist()


def test_what_is_counted_reaches_over_the_rows_that_are_cut_and_to_the_neighbours() -> None:
    def row(start: int, end: int) -> LedgerRow:
        return LedgerRow(start, end, SlotState.OBSERVED, 1)

    assert reach(TimeRange(50, 60), [row(0, 10), row(90, 99)]) == TimeRange(10, 90)
    assert reach(TimeRange(50, 60), [row(0, 55)]) == TimeRange(0, 60)
    assert reach(TimeRange(50, 60), []) == TimeRange(50, 60)
