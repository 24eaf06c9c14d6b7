"""Holes of live feeds: told and recorded at once, and again when they are filled or cannot be.

Readers are told also while the database is away; what could not be written then is written when it is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from datahub.live.symbols import LiveSeries
from datahub.series.series import SeriesName
from datahub.store.statements import SQL
from quasar import errors, logs
from quasar.clock import Clock, SystemClock
from quasar.database.pool import Database
from quasar.model.instants import from_ns

PATIENCE_S = 1.0
"""How long telling readers may wait for the database."""
AGAIN_S = 5.0
"""Time between two attempts to write what could not be written."""

_AWAY = (errors.DatabaseUnavailable, errors.DeadlineExceeded, TimeoutError)
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedGap:
    """A hole in the ticks of one series."""

    gap_id: int
    """Its row; 0: it is not recorded so far."""
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
    attempts: int = 0
    """How often it was tried to fill it."""
    detect_ns: int = 0
    """When it was found."""
    update_ns: int = 0
    """When its state changed last."""


TellGap = Callable[[FeedGap], None]
"""Publishes a gap to the readers."""


class FeedGaps:
    """Tells of gaps and writes them down."""

    def __init__(self, database: Database, tell: TellGap, clock: Clock | None = None) -> None:
        """Write to `database`; `tell` publishes; `clock` says when gaps are found."""
        self._clock = clock or SystemClock()
        self._database = database
        self._tell = tell
        self._unwritten: list[FeedGap] = []
        self._writing = asyncio.Lock()

    async def open(
        self, series_id: int, name: SeriesName, start_ns: int, evidence: str, cause: str = "FEED_INTERRUPTED"
    ) -> FeedGap:
        """Record a hole that has just begun."""
        gap = self._found(series_id, name, start_ns, evidence, cause)
        try:
            async with asyncio.timeout(PATIENCE_S):
                gap = replace(gap, gap_id=await self._insert(gap))
        except _AWAY as error:
            _log.warning("gap not recorded so far", series=str(name), problem=str(error))
        self._tell(gap)
        return gap

    async def close(self, gap: FeedGap, end_ns: int, *, repaired: bool, evidence: str, refilled: int = 0) -> FeedGap:
        """Record that a hole was filled, or that nobody can fill it."""
        state = "REPAIRED" if repaired else "UNREPAIRABLE"
        # A vendor's clock may be ahead of ours, and a hole does not end before it began.
        ended = replace(gap, end_ns=max(end_ns, gap.start_ns), state=state, evidence=evidence, refilled=refilled)
        ended = replace(ended, attempts=gap.attempts + 1, update_ns=self._clock.time_ns())
        self._unwritten.append(ended)
        await self.write()
        self._tell(ended)
        return ended

    async def left_out(self, series: LiveSeries, start_ns: int, end_ns: int, why: str) -> None:
        """Tell readers that no stream has what lies between two event times, although it was taken in.

        It is recorded only where it is really missing: where the ticks are not stored.
        """
        name, series_id = series.ticks.name, series.ticks.series_id
        if not series.store_ticks:
            gap = await self.open(series_id, name, start_ns, why, "OVERLOAD")
            await self.close(gap, end_ns, repaired=False, evidence=f"{why}; ticks are not stored, bars are")
            return
        evidence = f"{why}; it is stored: read what lies between from the store"
        gap = self._found(series_id, name, start_ns, evidence, "OVERLOAD")
        self._tell(replace(gap, end_ns=end_ns, state="UNREPAIRABLE"))

    async def not_stored(self, series: LiveSeries, start_ns: int, end_ns: int, why: str) -> None:
        """Record that ticks between two event times are not stored. Readers of the stream had them: they are not told.

        Args:
            series: Their symbol.
            start_ns: Event time of the first of them.
            end_ns: Event time right after the last one.
            why: For people.
        """
        name, series_id = series.ticks.name, series.ticks.series_id
        gap = self._found(series_id, name, start_ns, why, "OVERLOAD")
        self._unwritten.append(replace(gap, end_ns=end_ns, state="UNREPAIRABLE"))
        await self.write()

    def _found(self, series_id: int, name: SeriesName, start_ns: int, evidence: str, cause: str) -> FeedGap:
        now_ns = self._clock.time_ns()
        return FeedGap(
            gap_id=0,
            series_id=series_id,
            name=name,
            start_ns=start_ns,
            evidence=evidence,
            cause=cause,
            detect_ns=now_ns,
            update_ns=now_ns,
        )

    async def run(self, clock: Clock) -> None:
        """Write down for ever what could not be written at once."""
        while True:
            await clock.sleep(AGAIN_S)
            await self.write()

    async def write(self) -> None:
        """Write down what could not be written before; what still cannot be stays for the next time."""
        async with self._writing:
            while self._unwritten:
                gap = self._unwritten[0]
                try:
                    async with asyncio.timeout(PATIENCE_S):
                        gap = self._unwritten[0] = replace(gap, gap_id=gap.gap_id or await self._insert(gap))
                        end = from_ns(gap.end_ns)
                        await self._database.execute(SQL["feed_gap_close"], gap.gap_id, gap.state, end, gap.evidence)
                except _AWAY as error:
                    _log.warning("gaps wait for the database", gaps=len(self._unwritten), problem=str(error))
                    return
                self._unwritten.pop(0)

    async def _insert(self, gap: FeedGap) -> int:
        found: int = await self._database.fetchval(
            SQL["feed_gap_open"], gap.series_id, from_ns(gap.start_ns), gap.cause, gap.evidence
        )
        return found
