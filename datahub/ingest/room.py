"""Room for rows: the partitions of the tables of facts, made before rows come."""

from __future__ import annotations

import asyncio
import datetime as dt

from quasar.database.pool import Database
from quasar.database.storage import Storage, open_storage


class Room:
    """Makes partitions. The database may be away when this is built; it is asked at the first need."""

    def __init__(self, database: Database) -> None:
        """Make room in `database`."""
        self._database = database
        self._storage: Storage | None = None
        self._opening = asyncio.Lock()

    async def ensure(self, table: str, start: dt.datetime, end: dt.datetime) -> None:
        """Make sure that rows with times in [start, end) can be stored. Call it without holding a connection."""
        await (await self._opened()).ensure(table, start, end)

    def forget(self) -> None:
        """Look at the database anew: partitions that were there may have been dropped."""
        self._storage = None

    async def storage(self) -> Storage:
        """Return the storage behind it."""
        return await self._opened()

    async def _opened(self) -> Storage:
        async with self._opening:
            if self._storage is None:
                self._storage = await open_storage(self._database)
            return self._storage
