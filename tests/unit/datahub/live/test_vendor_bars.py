"""Bars that vendors push: which are over, which are told, and whether ours agree."""

from __future__ import annotations

from dataclasses import replace

import pytest

from datahub.live.bars import BuiltBar
from datahub.live.vendor_bars import SETTLE_NS, Disagreement, VendorBars, agree
from datahub.series.series import Series, SeriesName
from quasar.model.bars import Bar, BarColumns, BarOrigin, BarState
from quasar.model.instants import NS_PER_MINUTE
from quasar.model.intervals import Interval
from quasar.testing.clock import FakeClock

SERIES = Series(series_id=9, name=SeriesName("vendor", "BTC/USD", "1min"))
START = FakeClock().time_ns()


def bar(minute: int, close: float = 1.0, state: BarState = BarState.FORMING, volume: float | None = 5.0) -> Bar:
    start = START + minute * NS_PER_MINUTE
    return Bar(start, 1.0, 2.0, 0.5, close, volume, close_time_ns=start + NS_PER_MINUTE, state=state)


class Side:
    """Vendor bars with what they told."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.told: list[Disagreement] = []
        self.bars = VendorBars(self.clock, self.told.append)

    def push(self, *pushed: Bar) -> list[tuple[int, float, str]]:
        """Push bars; return minute, close and state of those that are over."""
        return self.seen(self.bars.push(SERIES, BarColumns.from_bars(pushed)))

    def seen(self, built: list[BuiltBar]) -> list[tuple[int, float, str]]:
        assert all(one.origin is BarOrigin.LIVE_PROVIDER for one in built)
        return [((one.bar.open_time_ns - START) // NS_PER_MINUTE, one.bar.close, one.bar.state.name) for one in built]

    def own(self, *built: Bar) -> None:
        self.bars.own([BuiltBar(9, Interval.parse("1min"), each) for each in built])

    async def settle(self) -> None:
        await self.clock.advance(SETTLE_NS / 1e9 + 1)
        self.bars.advance(self.clock.time_ns())


def test_a_bar_is_over_when_a_later_one_comes_and_has_its_last_figures() -> None:
    side = Side()
    assert side.push(bar(0, 1.0)) == []
    assert side.push(bar(0, 1.5)) == []
    assert side.push(bar(1, 2.0)) == [(0, 1.5, "CLOSED")]


def test_minutes_that_a_vendor_leaves_out_are_not_invented() -> None:
    side = Side()
    assert side.push(bar(0), bar(1), bar(4), bar(5)) == [(0, 1.0, "CLOSED"), (1, 1.0, "CLOSED"), (4, 1.0, "CLOSED")]


def test_a_bar_that_the_vendor_calls_closed_is_over_at_once_and_a_correction_revises_it() -> None:
    side = Side()
    side.push(bar(0))
    assert side.push(bar(0, 1.2, BarState.CLOSED)) == [(0, 1.2, "CLOSED")]
    assert side.push(bar(1)) == []
    assert side.push(bar(0, 1.3)) == [(0, 1.3, "REVISED")]


def test_a_snapshot_that_repeats_what_is_known_changes_nothing() -> None:
    side = Side()
    side.push(bar(0, 1.5), bar(1))
    side.push(bar(2))
    assert side.push(bar(0, 1.5), bar(1), bar(2)) == []


async def test_a_bar_whose_time_is_over_closes_although_nothing_comes_after_it() -> None:
    side = Side()
    side.push(bar(0, 1.7))
    assert side.bars.advance(START + NS_PER_MINUTE) == []
    assert side.seen(side.bars.advance(START + NS_PER_MINUTE + SETTLE_NS)) == [(0, 1.7, "CLOSED")]
    assert side.push(bar(0, 1.7)) == []


async def test_bars_that_differ_are_told_once_they_have_settled() -> None:
    side = Side()
    side.push(bar(0, 1.5), bar(1))
    side.own(bar(0, 1.6, BarState.CLOSED))
    side.bars.advance(side.clock.time_ns())
    assert side.told == [], "late trades may still come"
    await side.settle()
    await side.settle()
    (found,) = side.told
    assert (found.own.close, found.pushed.close) == (1.6, 1.5)


async def test_bars_that_a_late_trade_made_equal_are_not_told() -> None:
    side = Side()
    side.push(bar(0, 1.5), bar(1))
    side.own(bar(0, 1.6, BarState.CLOSED))
    side.own(bar(0, 1.5, BarState.REVISED))
    await side.settle()
    assert side.told == []


@pytest.mark.parametrize(
    ("other", "equal"),
    [(bar(0), True), (bar(0, volume=None), True), (bar(0, 1.0 + 1e-12), True), (bar(0, 1.01), False)],
)
def test_rounding_and_what_is_not_told_is_no_difference(other: Bar, equal: bool) -> None:
    assert agree(bar(0), other) is equal
    assert agree(replace(other, state=BarState.CLOSED), bar(0)) is equal
