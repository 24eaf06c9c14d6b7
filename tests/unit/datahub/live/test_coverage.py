"""Stretches without a hole become runs of the ledger, each part once."""

from __future__ import annotations

from datahub.ingest.delivery import Delivery
from datahub.live.coverage import LiveCoverage, Stretch
from datahub.series.series import Series, SeriesName
from quasar.model.instants import NS_PER_MINUTE
from quasar.testing.clock import FakeClock

SERIES = Series(series_id=3, name=SeriesName("vendor", "BTC/USD", "1min"))
START = FakeClock().time_ns()


class Ledger:
    """A ledger that notes what it gets."""

    def __init__(self) -> None:
        self.now: list[Stretch] = []
        self.entered: list[tuple[int, int]] = []
        self.coverage = LiveCoverage(lambda: self.now, self.stored, self.enter, FakeClock())

    async def stored(self) -> None:
        return None

    async def enter(self, delivery: Delivery) -> None:
        span = delivery.answered
        assert span is not None
        assert [(one.start_ns, one.end_ns) for one in delivery.no_trade] == [(span.start_ns, span.end_ns)]
        self.entered.append(((span.start_ns - START) // NS_PER_MINUTE, (span.end_ns - START) // NS_PER_MINUTE))

    async def look(self, begin: float, end: float) -> None:
        self.now = [Stretch(SERIES, START + int(begin * NS_PER_MINUTE), START + int(end * NS_PER_MINUTE))]
        await self.coverage.look()


async def test_whole_slots_are_entered_once_and_what_goes_on_later() -> None:
    ledger = Ledger()
    await ledger.look(0.5, 3.9)
    await ledger.look(0.5, 3.95)
    await ledger.look(0.5, 6.1)
    assert ledger.entered == [(1, 3), (3, 6)]


async def test_what_lies_in_a_hole_is_left_to_others() -> None:
    ledger = Ledger()
    await ledger.look(0, 2)
    await ledger.look(4.2, 7)
    assert ledger.entered == [(0, 2), (5, 7)]
