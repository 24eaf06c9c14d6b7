from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasar.calendars import calendar_for
from quasar.model.instants import MISSING_NS, TimeRange, day_ns
from quasar.model.intervals import Interval
from quasar.model.sessions import Sessions, SlotAnchor

MINUTE = Interval.parse("1min")


def seconds(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([value * 10**9 if value != MISSING_NS else value for value in values], dtype=np.int64)


@st.composite
def markets(draw: st.DrawFn) -> tuple[Sessions, set[int]]:
    """Some sessions, and the seconds in which they trade."""
    edges = sorted(draw(st.sets(st.integers(0, 900), min_size=2, max_size=12)))
    rows, trading = [], set()
    for start, end in zip(edges[::2], edges[1::2], strict=False):
        pause = draw(st.none() | st.tuples(st.integers(start, end), st.integers(start, end)).map(sorted))
        rows.append((start, start, end, *(pause or (MISSING_NS, MISSING_NS))))
        trading |= set(range(start, end)) - set(range(*(pause or (0, 0))))
    return Sessions(*(seconds(*column) for column in zip(*rows, strict=True))), trading


@given(markets())
def test_a_market_trades_from_open_to_close_but_in_breaks(market: tuple[Sessions, set[int]]) -> None:
    sessions, trading = market
    probes = seconds(*range(-1, 902))
    assert {int(time) // 10**9 for time in probes[sessions.contains(probes)]} == trading


@given(markets())
def test_stretches_of_trading_cover_the_same_instants_and_never_touch(market: tuple[Sessions, set[int]]) -> None:
    sessions, trading = market
    starts, ends = sessions.trading_ranges()
    covered = [second for s, e in zip(starts, ends, strict=True) for second in range(int(s) // 10**9, int(e) // 10**9)]
    assert len(covered) == len(set(covered))
    assert set(covered) == trading
    assert np.all(starts[1:] > ends[:-1])


@given(markets(), st.integers(-60, 960), st.integers(0, 960))
def test_a_slot_is_expected_exactly_when_it_overlaps_trading(
    market: tuple[Sessions, set[int]], start: int, length: int
) -> None:
    sessions, trading = market
    span = TimeRange(start * 10**9, (start + length) * 10**9)
    expected = {second // 60 * 60 for second in trading}
    slots = [slot // 10**9 for slot in sessions.slots(MINUTE, span).tolist()]
    assert slots == sorted(slot for slot in expected if start <= slot < start + length)


@given(markets())
def test_slots_from_the_open_cover_all_trading(market: tuple[Sessions, set[int]]) -> None:
    sessions, trading = market
    slots = sessions.slots(MINUTE, TimeRange(0, 10**12), SlotAnchor.SESSION)
    covered = {second for slot in slots.tolist() for second in range(slot // 10**9, slot // 10**9 + 60)}
    assert trading <= covered


@given(markets(), st.integers(0, 900), st.integers(0, 900))
def test_sessions_that_overlap_a_range_are_all_that_last_in_it(
    market: tuple[Sessions, set[int]], start: int, length: int
) -> None:
    sessions, _ = market
    found = sessions.overlapping(TimeRange(start * 10**9, (start + length) * 10**9)).open_ns.tolist()
    lasting = (sessions.open_ns < (start + length) * 10**9) & (sessions.close_ns > start * 10**9)
    assert found == (sessions.open_ns[lasting].tolist() if length else found)


@pytest.mark.parametrize("market", ["XNYS", "XTKS", "XHKG", "XASX", "CMES", "FOREX", None])
@pytest.mark.parametrize("code", ["1min", "7min", "1h", "4h", "1d", "1w", "1M"])
def test_slots_are_counted_as_they_are_listed(market: str | None, code: str) -> None:
    calendar, interval = calendar_for(market), Interval.parse(code)
    begin = day_ns(dt.date(2024, 2, 26))
    for start, end in ((0, 14 * 86_400), (5 * 3_600 + 17, 9 * 86_400 + 3_601), (47_000, 47_001), (50_000, 56_000)):
        span = begin + start * 10**9, begin + end * 10**9
        assert calendar.expected_count(interval, *span) == len(calendar.expected_slots(interval, *span))


def test_a_slot_in_which_trading_ends_and_begins_again_is_counted_once() -> None:
    minute = 60 * 10**9
    sessions = Sessions.without_breaks(
        np.array([0, 0, 0]), np.array([0, 12, 14]) * minute, np.array([11, 13, 40]) * minute
    )
    for end in range(45):
        span = TimeRange(0, end * minute)
        assert sessions.slot_count(Interval.parse("10min"), span) == len(sessions.slots(Interval.parse("10min"), span))
