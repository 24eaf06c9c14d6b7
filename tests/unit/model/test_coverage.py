from __future__ import annotations

import datetime as dt
import gzip
import itertools
import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from quasar.calendars import calendar_for
from quasar.model.coverage import CoverageRun, Evidence, SlotState, TimeRanges, classify
from quasar.model.instants import TimeRange, to_ns
from quasar.model.intervals import Interval
from quasar.model.sessions import SlotAnchor
from tests.unit.recorded import recorded

_PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda p: (p[0], p[0] + p[1])), max_size=8)
HOUR = Interval.parse("1h")


def instants(ranges: TimeRanges) -> set[int]:
    return {instant for span in ranges for instant in range(span.start_ns, span.end_ns)}


def times(*hours: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(hours, dtype=np.int64) * HOUR.length_ns


@given(_PAIRS, _PAIRS)
def test_arithmetic_on_ranges_equals_arithmetic_on_sets_of_instants(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    a, b = TimeRanges.of(first), TimeRanges.of(second)
    left = {i for start, end in first for i in range(start, end)}
    right = {i for start, end in second for i in range(start, end)}
    assert instants(a) == left
    assert instants(a.union(b)) == left | right
    assert instants(a.subtract(b)) == left - right
    assert instants(a.intersect(b)) == left & right
    assert a.total_ns == len(left)
    probes = np.arange(90, dtype=np.int64)
    assert set(probes[a.contains(probes)].tolist()) == left
    assert a.covers(TimeRange(10, 15)) == (set(range(10, 15)) <= left)


@given(_PAIRS)
def test_ranges_are_kept_apart_and_in_order(pairs: list[tuple[int, int]]) -> None:
    ranges = TimeRanges.of(pairs)
    assert np.all(ranges.start_ns < ranges.end_ns)
    assert np.all(ranges.start_ns[1:] > ranges.end_ns[:-1])
    assert TimeRanges.of(ranges) == ranges


def test_every_slot_gets_the_state_that_the_evidence_gives_it() -> None:
    span = TimeRange(0, 10 * HOUR.length_ns)
    at = HOUR.length_ns
    coverage = classify(
        HOUR,
        span,
        expected_ns=times(*range(2, 10)),
        observed_ns=times(0, 2, 3, 9),
        evidence=Evidence(
            no_trade=TimeRanges.of([(4 * at, 5 * at)]),
            empty=TimeRanges.of([(4 * at, 6 * at)]),
            unrepairable=TimeRanges.of([(5 * at, 7 * at)]),
            repaired=TimeRanges.of([(3 * at, 4 * at)]),
        ),
    )
    assert [SlotState(state).name for state in coverage.states] == [
        "OBSERVED",
        "CLOSED",
        "OBSERVED",
        "REPAIRED",
        "NO_TRADE",
        "EMPTY",
        "UNREPAIRABLE",
        "GAP",
        "GAP",
        "OBSERVED",
    ]
    assert coverage.runs()[-2] == CoverageRun(7 * at, 9 * at, SlotState.GAP, 2)
    assert coverage.ranges(SlotState.GAP) == TimeRanges.of([(7 * at, 9 * at)])
    assert coverage.completeness == 0.7


@given(st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)))
def test_runs_tile_the_range_without_holes_and_count_every_slot(expected: set[int], observed: set[int]) -> None:
    span = TimeRange(0, 41 * HOUR.length_ns)
    coverage = classify(HOUR, span, times(*sorted(expected)), times(*sorted(observed)))
    runs = coverage.runs()
    assert runs[0].start_ns == span.start_ns
    assert runs[-1].end_ns == span.end_ns
    assert all(a.end_ns == b.start_ns and a.state != b.state for a, b in itertools.pairwise(runs))
    assert sum(run.slots for run in runs) == 41
    assert coverage.count(SlotState.GAP) == len(expected - observed)


def test_an_empty_range_is_complete() -> None:
    coverage = classify(HOUR, TimeRange(0, 0), times(), times())
    assert coverage.runs() == []
    assert coverage.completeness == 1.0


def test_bars_cut_from_the_open_are_covered_when_slots_are_anchored_there() -> None:
    start, end = dt.datetime(2025, 12, 24, tzinfo=dt.UTC), dt.datetime(2025, 12, 25, tzinfo=dt.UTC)
    slots = calendar_for("XNYS").expected_slots(HOUR, start, end, SlotAnchor.SESSION)
    coverage = classify(HOUR, TimeRange.of(start, end), slots, slots)
    assert coverage.completeness == 1.0
    assert coverage.runs() == [
        CoverageRun(int(slots[0]), int(slots[-1]) + HOUR.length_ns, SlotState.OBSERVED, len(slots))
    ]


def test_ten_years_of_recorded_australian_days_have_no_gap() -> None:
    exchange = json.loads(gzip.decompress(recorded("eodhd/eod_BHP.AU.http.json.gz").read_bytes()))
    days = [dt.datetime.fromisoformat(row["date"]) for row in json.loads(exchange["response"]["body"])]
    observed = np.array([to_ns(day.replace(tzinfo=dt.UTC)) for day in days], dtype=np.int64)
    daily = Interval.parse("1d")
    span = TimeRange.of(dt.datetime(2015, 1, 1, tzinfo=dt.UTC), dt.datetime(2025, 10, 4, tzinfo=dt.UTC))
    expected = calendar_for("XASX").expected_slots(daily, span.start_ns, span.end_ns)
    coverage = classify(daily, span, expected, observed)
    assert coverage.count(SlotState.GAP) == 0
    assert coverage.count(SlotState.OBSERVED) == len(expected)
    without_a_week = observed[(observed < expected[100]) | (observed > expected[104])]
    assert classify(daily, span, expected, without_a_week).count(SlotState.GAP) == 5
