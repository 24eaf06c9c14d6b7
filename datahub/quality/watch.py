"""Checks all series: what runs brought soon after them, and their whole history over and over at a low pace."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import asyncpg

from datahub.quality import stretches
from datahub.quality.checker import Checker
from datahub.store import quality_table, series_table
from datahub.store.statements import SQL
from quasar import logs
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import DatabaseUnavailable, DeadlineExceeded, QuasarError
from quasar.model.instants import TimeRange
from quasar.ops.hints import Hint

SOON = dt.timedelta(seconds=2)
"""What a run of more than a bar or two brought is checked so long after it."""
GATHERED = dt.timedelta(minutes=15)
"""What scheduled runs bring is gathered so long, so that minute bars are not checked every minute."""
LOOK_S = 5.0
_ENROL_S = 60.0
_SWEEP_REST, _WANTED_REST = 100.0, 4.0
"""Times the length of a check that is rested after it: looking through history takes 1 % of a core, not more."""
_TROUBLE = (DatabaseUnavailable, DeadlineExceeded, asyncpg.PostgresError)

_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Looked:
    """One look at one series."""

    series_id: int
    rest_s: float
    """How long to rest after it, so that looking costs little."""


class QualityWatch:
    """Checks in this process, beside other replicas: a series is checked by whoever takes it."""

    def __init__(self, database: Database, checker: Checker, clock: Clock) -> None:
        """Check with `checker` what `database` says is due."""
        self._database = database
        self._checker = checker
        self._clock = clock
        self._enrolled = float("-inf")
        self.hint = Hint(clock)
        """Give it when something may be due."""

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            mark = self.hint.mark()
            try:
                looked = await self.once()
            except _TROUBLE as error:
                _log.warning("quality not checked", error=type(error).__name__)
                looked = None
            if looked is None:
                await self.hint.after(mark, LOOK_S)
            else:
                await self._clock.sleep(looked.rest_s)

    async def once(self) -> Looked | None:
        """Check what has waited longest, and tell what that was; None: nothing is due."""
        now = self._clock.now()
        if self._clock.monotonic() - self._enrolled >= _ENROL_S:
            await self._database.execute(SQL["quality_enrol"], now)
            self._enrolled = self._clock.monotonic()
        async with self._database.transaction() as connection:
            claimed = await quality_table.claim(connection, now)
        if claimed is None:
            return None
        try:
            return Looked(claimed.series_id, await self._check(claimed))
        except QuasarError as error:
            if isinstance(error, _TROUBLE):
                raise
            _log.error("quality of a series cannot be checked", series=claimed.series_id, problem=error.message)
            return Looked(claimed.series_id, 0.0)

    async def _check(self, claimed: quality_table.Claim) -> float:
        """Check what is to be checked of a series, and return how long to rest after it."""
        began = self._clock.monotonic()
        async with self._database.acquire() as connection:
            series = (await series_table.by_ids(connection, [claimed.series_id]))[claimed.series_id]
            extent = await quality_table.extent(connection, claimed.series_id)
        everything = stretches.whole(extent, self._clock.time_ns()) if extent is not None else None
        if extent is None or everything is None:
            await self._done(claimed, None, None)
            return 0.0
        last: TimeRange | None = None
        for span in stretches.parts(series, claimed.wanted) if claimed.wanted is not None else []:
            await self._checker.check(series, span, extent)
            last = span
        checked = self._clock.monotonic()
        if claimed.sweep:
            last = stretches.next_stretch(series, everything, claimed.swept_until)
            await self._checker.check(series, last, extent)
        await self._done(claimed, last, everything)
        swept = self._clock.monotonic()
        return _WANTED_REST * (checked - began) + _SWEEP_REST * (swept - checked)

    async def _done(self, claimed: quality_table.Claim, last: TimeRange | None, everything: TimeRange | None) -> None:
        now = self._clock.now()
        reached = last is None or everything is None or stretches.reaches_end(last, everything)
        sweep_at, swept_until = None, claimed.swept_until
        if claimed.sweep:
            swept_until = None if last is None or reached else last.end
            sweep_at = now if swept_until is not None else now + quality_table.SWEEP_AGAIN
        async with self._database.transaction() as connection:
            await quality_table.done(
                connection,
                claimed,
                now,
                sweep_at=sweep_at,
                swept_until=swept_until,
                swept=claimed.sweep and reached,
                checked_from=last.start if last is not None and reached else None,
            )
