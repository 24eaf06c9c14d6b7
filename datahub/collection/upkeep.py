"""Upkeep of the tables of facts: what is past its retention is dropped where the database does not do so itself."""

from __future__ import annotations

import asyncpg

from datahub.ingest.room import Room
from quasar import logs
from quasar.clock import Clock
from quasar.errors import DatabaseUnavailable, DeadlineExceeded

TABLES = ("datahub.historical_data", "datahub.live_data", "datahub.bar_revisions", "datahub.ticks")
EVERY_S = 3_600.0

_log = logs.get(__name__)


class Upkeep:
    """Keeps the tables within their retention."""

    def __init__(self, room: Room, clock: Clock) -> None:
        """Drop partitions of the storage behind `room`."""
        self._room = room
        self._clock = clock

    async def run(self) -> None:
        """Look every hour until cancelled; several replicas may, for what is dropped is gone."""
        while True:
            try:
                await self.once()
            except (DatabaseUnavailable, DeadlineExceeded, asyncpg.PostgresError) as error:
                _log.warning("retention not applied", error=type(error).__name__)
            await self._clock.sleep(EVERY_S)

    async def once(self) -> int:
        """Drop what is past its retention now, and return how many partitions that were."""
        storage = await self._room.storage()
        return sum([await storage.apply_retention(table, self._clock.now()) for table in TABLES])
