"""One live symbol on its way through the ingest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import numpy as np

from datahub.live.bars import BuiltBar, SymbolBars
from datahub.live.chunks import kind_of
from datahub.live.event_bars import EventBars
from datahub.live.gaps import FeedGap
from datahub.live.seam import RecentTrades
from datahub.live.symbols import LiveSeries
from quasar.model.ticks import TickColumns, TickFlag, TickKind

_NOT_TOLD_APART: Final = "too much came since, or without ids, to be told from what is missing"


class FetchTicks(Protocol):
    """Asks a provider for ticks of the past."""

    async def __call__(self, symbol: str, start_ns: int, end_ns: int, after_trade_id: int | None) -> TickColumns:
        """Return the ticks of a symbol in [start, end).

        Raises:
            QuasarError: The provider has none, or failed.
        """
        ...


@dataclass(slots=True)
class FollowedSymbol:
    """What is known of one symbol that is taken in."""

    series: LiveSeries
    sequence: int
    last_ns: int
    """Event time of the newest trade; 0: there is none."""
    recent: RecentTrades
    broken: bool = True
    """The next tick comes after a hole, whether or not anything was missed in it."""
    waiting: list[TickColumns] = field(default_factory=list)
    filling: bool = False
    bars: SymbolBars | None = None
    events: EventBars = field(default_factory=EventBars)
    gap: FeedGap | None = None
    last_row_ns: int = 0
    known_ns: int = 0
    """Event time of the newest row of any kind that a former life of the process stored; 0: there is none."""
    doubted: tuple[int, int] | None = None
    """Event time and id of the newest trade before the first message that nobody could read or ask for since."""
    interrupted_by: str = ""
    """What interrupted the feed while a hole was being filled."""
    refill: tuple[float, FetchTicks] | None = None
    """When to fill the hole although no tick came after it, and whom to ask."""

    @property
    def has_trades(self) -> bool:
        """Whether the vendor is asked for trades: of other ticks there is no history."""
        return TickKind.TRADE in self.series.kinds

    def fresh(self, given: TickColumns) -> TickColumns:
        """Return the ticks of one kind that did not come before; those that are too late for their bar are marked."""
        ticks = self.recent.fresh(given)
        if self.bars is None or not len(ticks) or not _are_trades(ticks):
            return ticks
        late = self.bars.late(ticks)
        if late is None:
            return ticks
        marks = np.where(late, TickFlag.LATE, TickFlag.NONE).astype(np.uint8)
        return replace(ticks, flags=marks if ticks.flags is None else ticks.flags | marks)

    @property
    def newest_ns(self) -> int:
        """After which time something may be missing; 0: nothing ever came."""
        if self.doubted is not None:
            return self.doubted[0]
        if self.has_trades:
            return self.last_ns or self.last_row_ns
        return self.last_row_ns or self.last_ns or self.known_ns

    def doubt(self) -> None:
        """Note that something may be missing after the newest trade, which is asked for later."""
        if self.doubted is not None or not self.last_ns:
            return
        newest = next((ticks for ticks in reversed(self.waiting) if len(ticks) and _are_trades(ticks)), None)
        if newest is None or newest.trade_id is None:
            self.doubted = self.last_ns, self.recent.newest
        else:
            self.doubted = int(newest.event_time_ns[-1]), int(newest.trade_id[-1])

    def begin_of_hole(self, first: TickColumns | None) -> tuple[tuple[int, int], str]:
        """Return event time and id of the trade after which something may be missing, and why that is not known.

        Args:
            first: What came first after it.
        """
        newest, doubted = (self.last_ns, self.recent.newest), self.doubted
        if doubted is None or (first is not None and doubted[0] >= first.event_time_ns[0]):
            return newest, ""  # a doubt about what came later is for the next time
        self.doubted = None
        # What came since must be told from what did not.
        known = doubted == newest or self.recent.knows_since(doubted[1])
        return (doubted, "") if known else (newest, _NOT_TOLD_APART)

    def first_waiting(self) -> TickColumns | None:
        """Return the first trades that wait, if they came before another interruption."""
        for ticks in self.waiting:
            if not len(ticks):
                return None
            if _are_trades(ticks):
                return ticks
        return None


def _are_trades(ticks: TickColumns) -> bool:
    return kind_of(ticks) is TickKind.TRADE


FormingNow = Callable[[Set[int]], Mapping[int, BuiltBar]]
"""Returns the bars that are forming of some series, by their ids."""


def forming_of(
    symbols: Mapping[int, FollowedSymbol], pushed: Callable[[Set[int]], Iterable[BuiltBar]], wanted: Set[int]
) -> dict[int, BuiltBar]:
    """Return the bars that are forming of some series; those that a provider pushes go before those from ticks."""
    found: dict[int, BuiltBar] = {}
    for symbol in symbols.values():
        if not wanted.isdisjoint(symbol.series.all_ids):
            built = symbol.bars.forming_now(wanted) if symbol.bars is not None else []
            found |= {one.series_id: one for one in (*built, *symbol.events.forming_now(wanted))}
    return found | {one.series_id: one for one in pushed(wanted)}
