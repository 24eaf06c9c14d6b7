"""Checks all series: what runs brought soon after them, and their whole history over and over at a low pace."""

from __future__ import annotations

import datetime as dt

import asyncpg

from datahub.quality import stretches
from datahub.quality.checker import Checker
from datahub.store import quality_table, series_table
from datahub.store.statements import SQL
from quasar import logs
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import DatabaseUnavailable, DeadlineExceeded, QuasarError
from quasar.ops.hints import Hint

SOON = dt.timedelta(seconds=2)
"""What a run of more than a bar or two brought is checked so long after it."""
GATHERED = dt.timedelta(minutes=15)
"""What scheduled runs bring is gathered so long, so that minute bars are not checked every minute."""
SWEEP_AGAIN = dt.timedelta(minutes=10)
"""The history of a series is looked through again after so long at the earliest."""
LOOK_S = 5.0
_ENROL_S = 60.0
_SWEEP_REST, _WANTED_REST = 100.0, 4.0
"""Times the length of a check that is rested after it: looking through history takes 1 % of a core, not more."""
_TROUBLE = (DatabaseUnavailable, DeadlineExceeded, asyncpg.PostgresError)

_log = logs.get(__name__)


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
            began = self._clock.monotonic()
            try:
                claimed = await self.once()
            except _TROUBLE as error:
                _log.warning("quality not checked", error=type(error).__name__)
                claimed = None
            if claimed is None:
                await self.hint.after(mark, LOOK_S)
                continue
            rest = _SWEEP_REST if claimed.wanted is None else _WANTED_REST
            await self._clock.sleep(rest * (self._clock.monotonic() - began))

    async def once(self) -> quality_table.Claim | None:
        """Check what has waited longest, and return it; None: nothing is due."""
        now = self._clock.now()
        if self._clock.monotonic() - self._enrolled >= _ENROL_S:
            await self._database.execute(SQL["quality_enrol"], now)
            self._enrolled = self._clock.monotonic()
        async with self._database.transaction() as connection:
            claimed = await quality_table.claim(connection, now)
        if claimed is not None:
            try:
                await self._check(claimed)
            except QuasarError as error:
                if isinstance(error, _TROUBLE):
                    raise
                _log.error("quality of a series cannot be checked", series=claimed.series_id, problem=error.message)
        return claimed

    async def _check(self, claimed: quality_table.Claim) -> None:
        async with self._database.acquire() as connection:
            series = (await series_table.by_ids(connection, [claimed.series_id]))[claimed.series_id]
            extent = await quality_table.extent(connection, claimed.series_id)
        now = self._clock.now()
        everything = stretches.whole(extent, self._clock.time_ns()) if extent is not None else None
        if extent is None or everything is None:
            await self._done(claimed, now + SWEEP_AGAIN, claimed.swept_until)
            return
        if claimed.wanted is not None:
            spans = stretches.parts(series, claimed.wanted)
        else:
            spans = [stretches.next_stretch(series, everything, claimed.swept_until)]
        for span in spans:
            await self._checker.check(series, span, extent)
        reached = stretches.reaches_end(spans[-1], everything)
        swept_until = claimed.swept_until
        swept = claimed.wanted is None and reached
        if claimed.wanted is None:
            swept_until = None if swept else stretches.until(spans[-1])
        due = now + SWEEP_AGAIN if swept_until is None else now
        checked_from = spans[-1].start if reached else None
        await self._done(claimed, due, swept_until, swept=swept, checked_from=checked_from)

    async def _done(
        self,
        claimed: quality_table.Claim,
        due: dt.datetime,
        swept_until: dt.datetime | None,
        *,
        swept: bool = False,
        checked_from: dt.datetime | None = None,
    ) -> None:
        async with self._database.transaction() as connection:
            await quality_table.done(
                connection,
                claimed,
                due,
                self._clock.now(),
                swept_until=swept_until,
                swept=swept,
                checked_from=checked_from,
            )
