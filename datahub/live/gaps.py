"""Holes of live feeds: recorded and told at once, and again when they are filled or cannot be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from datahub.series.series import SeriesName
from datahub.store.statements import SQL
from quasar.database.pool import Database
from quasar.model.instants import from_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedGap:
    """A hole in the ticks of one series."""

    gap_id: int
    series_id: int
    name: SeriesName
    start_ns: int
    """Event time of the last tick before it."""
    end_ns: int = 0
    """Event time of the first tick after it; 0: it still grows."""
    state: str = "OPEN"
    cause: str = "FEED_INTERRUPTED"
    evidence: str = ""
    refilled: int = 0


TellGap = Callable[[FeedGap], None]
"""Publishes a gap to the readers."""


class FeedGaps:
    """Writes gaps and tells of them."""

    def __init__(self, database: Database, tell: TellGap) -> None:
        """Write to `database`; `tell` publishes."""
        self._database = database
        self._tell = tell

    async def open(self, series_id: int, name: SeriesName, start_ns: int, evidence: str) -> FeedGap:
        """Record a hole that has just begun."""
        cause = "FEED_INTERRUPTED"
        gap_id = await self._database.fetchval(SQL["feed_gap_open"], series_id, from_ns(start_ns), cause, evidence)
        gap = FeedGap(gap_id=gap_id, series_id=series_id, name=name, start_ns=start_ns, cause=cause, evidence=evidence)
        self._tell(gap)
        return gap

    async def close(self, gap: FeedGap, end_ns: int, *, repaired: bool, evidence: str, refilled: int = 0) -> FeedGap:
        """Record that a hole was filled, or that nobody can fill it."""
        state = "REPAIRED" if repaired else "UNREPAIRABLE"
        await self._database.execute(SQL["feed_gap_close"], gap.gap_id, state, from_ns(end_ns), evidence)
        ended = replace(gap, end_ns=end_ns, state=state, evidence=evidence, refilled=refilled)
        self._tell(ended)
        return ended
