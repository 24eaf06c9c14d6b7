"""What live feeds bring into the ledger: over stretches without a hole, a slot without a bar had no trade.

Only series whose history nobody collects are entered: for the others the provider's history says it better.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from datahub.ingest.delivery import Delivery
from datahub.live.followed import FollowedSymbol
from datahub.series.series import Series
from quasar import errors, logs
from quasar.clock import Clock
from quasar.model.bars import BarColumns
from quasar.model.coverage import TimeRanges
from quasar.model.instants import TimeRange

LOOK_S: Final = 10.0
"""Stretches are entered so often."""
SETTLED_NS: Final = 2_000_000_000
"""A slot is entered so long after its end: its bar closes a moment after it."""

_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A range in which a feed had everything of a series of bars."""

    series: Series
    start_ns: int
    end_ns: int


class LiveCoverage:
    """Enters stretches into the ledger."""

    def __init__(
        self,
        stretches: Callable[[], Iterable[Stretch]],
        stored: Callable[[], Awaitable[None]],
        enter: Callable[[Delivery], Awaitable[object]],
        clock: Clock,
    ) -> None:
        """Say where stretches are and where they go.

        Args:
            stretches: Returns the present ones; they grow, or begin anew after a hole.
            stored: Waits until the bars of what was returned are stored.
            enter: Enters a delivery.
            clock: The time.
        """
        self._stretches = stretches
        self._stored = stored
        self._enter = enter
        self._clock = clock
        self._done: dict[int, int] = {}

    async def run(self) -> None:
        """Enter for ever."""
        while True:
            await self._clock.sleep(LOOK_S)
            try:
                await self.look()
            except (errors.DatabaseUnavailable, errors.DeadlineExceeded) as error:
                _log.warning("coverage of live series waits for the database", problem=str(error))

    async def look(self) -> None:
        """Enter what has grown.

        Raises:
            DatabaseUnavailable: The database is away; it is entered the next time.
            DeadlineExceeded: It is too slow; it is entered the next time.
        """
        found = list(self._stretches())
        await self._stored()
        for stretch in found:
            await self._put(stretch)

    async def _put(self, stretch: Stretch) -> None:
        series, interval = stretch.series, stretch.series.interval
        start = interval.ceil_ns(max(stretch.start_ns, self._done.get(series.series_id, 0)))
        end = interval.floor_ns(stretch.end_ns)
        if end <= start:
            return
        span = TimeRange(start, end)
        whole = TimeRanges.of([(start, end)])
        await self._enter(Delivery(series=series, columns=BarColumns.empty(), answered=span, no_trade=whole))
        self._done[series.series_id] = end


def stretches_of(
    symbols: Iterable[FollowedSymbol], pushed: Callable[[int], tuple[int, int] | None], now_ns: int
) -> Iterator[Stretch]:
    """Yield where the bars of time that are subscribed live, and only live, are whole.

    Args:
        symbols: What is followed.
        pushed: Returns since when and until when the vendor pushed a series without a hole.
        now_ns: The time.
    """
    for symbol in symbols:
        series = symbol.series
        for interval, bars in series.bars.items():
            if not interval.is_time or str(interval) not in series.subscribed - series.collected:
                continue
            if symbol.bars is not None and symbol.last_ns:
                if symbol.gap is None and not symbol.filling:
                    yield Stretch(bars, symbol.bars.complete_from_ns(interval), now_ns - SETTLED_NS)
            elif (stretch := pushed(bars.series_id)) is not None:
                yield Stretch(bars, *stretch)
