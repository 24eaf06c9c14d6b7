"""Keeps true when provider indices are due: the DataHub reads it from here and has them synced.

A sync that ends and a schedule that is set write the time themselves. What is left is what nobody tells an index: that
the preferences of its provider changed, or that a version of a provider answers for an index that was not there.
"""

from __future__ import annotations

from typing import Any, Final

import asyncpg

from quasar import logs
from quasar.errors import DatabaseUnavailable, DeadlineExceeded
from quasar.ops.hints import Hint
from registry.ground import Ground
from registry.indices.indices import Indices
from registry.indices.schedules import SyncSchedule, next_sync, preferred
from registry.indices.syncs import FAILED
from registry.store.statements import SQL

LOOK_S: Final = 30.0
"""Schedules are looked at this often, where no hint came."""
LEAST_S: Final = 0.5
"""Hints that come in a row are answered together, at most once in this time."""
_log = logs.get("registry.indices.due_times")


class DueTimes:
    """Keeps `registry.indices.next_sync_at`."""

    def __init__(self, ground: Ground, indices: Indices) -> None:
        """Look at the indices of `ground`."""
        self._ground = ground
        self._indices = indices
        self.hint = Hint(ground.clock)
        """Give it when the registry changed."""

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            mark = self.hint.mark()
            try:
                await self.look()
            except (DatabaseUnavailable, DeadlineExceeded, asyncpg.PostgresError) as error:
                _log.warning("schedules of indices not read", problem=type(error).__name__)
            await self._ground.clock.sleep(LEAST_S)
            await self.hint.after(mark, LOOK_S)

    async def look(self) -> int:
        """Make the indices that are missing and correct the due times that are wrong; return how many those were."""
        await self._indices.reconcile()
        corrected = 0
        for row in await self._ground.database.fetch(SQL["index_due_times"]):
            due = next_sync(
                _schedule(row), row["last_sync_at"], row["created_at"], failed=row["last_sync_state"] == FAILED
            )
            if due != row["next_sync_at"]:
                corrected += await self._correct(row, due)
        return corrected

    async def _correct(self, row: Any, due: Any) -> int:
        """Write a due time, unless the index changed since it was read: who changed it wrote the time."""
        async with self._ground.database.transaction() as connection:
            name = await connection.fetchval(SQL["index_set_next_sync"], row["index_id"], due, row["revision"])
            if name is None:
                return 0
            await self._ground.tell(connection, f"indices/{name}")
        return 1


def _schedule(row: Any) -> SyncSchedule:
    if row["sync_frequency"] is None:
        return preferred(row["preferences"])
    return SyncSchedule(row["sync_frequency"], row["sync_cron"], row["sync_time_zone"])
