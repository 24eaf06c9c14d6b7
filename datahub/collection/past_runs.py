"""Runs that nobody asks for any more leave the table: ten thousand series of minutes make fourteen million a day."""

from __future__ import annotations

import datetime as dt
from typing import Final

from datahub.store.statements import SQL
from quasar.clock import Clock
from quasar.database.pool import Database

ROUTINE: Final = dt.timedelta(days=3)
"""Scheduled runs that succeeded are kept so long at most: the bars and the ledger tell what they did."""
_PORTION: Final = 10_000
_PORTIONS: Final = 200
"""At one time; the rest waits for the next one."""


class PastRuns:
    """Drops runs by their age."""

    def __init__(self, database: Database, clock: Clock, kept_days: int) -> None:
        """Drop runs of `database` that ended more than `kept_days` ago; 0: none."""
        self._database = database
        self._clock = clock
        self._kept = dt.timedelta(days=kept_days)

    async def drop(self) -> int:
        """Drop what is past its time now, with its attempts, and return how many runs that were.

        The first run of a series stays, since it tells how far back its history was asked for, and so does its newest.
        """
        if not self._kept:
            return 0
        now = self._clock.now()
        limits = now - self._kept, now - min(self._kept, ROUTINE)
        dropped = 0
        for _ in range(_PORTIONS):
            # Portions are short transactions: nobody waits for all of them.
            found: int = await self._database.fetchval(SQL["runs_drop"], *limits, _PORTION)
            dropped += found
            if found < _PORTION:
                break
        return dropped
