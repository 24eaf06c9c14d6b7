"""Upkeep of the tables of facts: the database is told what becomes of old rows, and helped where it does not do it.

What is past its retention is dropped where the database has no policies of its own.
"""

from __future__ import annotations

import datetime as dt

import asyncpg

from datahub.ingest.room import Room
from quasar import logs
from quasar.clock import Clock
from quasar.config import StoragePolicies
from quasar.database.storage import Storage
from quasar.errors import DatabaseUnavailable, DeadlineExceeded

TICKS = "datahub.ticks"
TABLES = ("datahub.historical_data", "datahub.live_data", "datahub.bar_revisions", TICKS)
EVERY_S = 3_600.0

_log = logs.get(__name__)


class Upkeep:
    """Keeps the tables within their retention."""

    def __init__(self, room: Room, policies: StoragePolicies, clock: Clock) -> None:
        """Keep the storage behind `room` as `policies` say."""
        self._room = room
        self._policies = policies
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
        await self._set_policies(storage)
        return sum([await storage.apply_retention(table, self._clock.now()) for table in TABLES])

    async def _set_policies(self, storage: Storage) -> None:
        """Have the database do what the settings say; what they leave open stays as it was set before."""
        for table in TABLES:
            now = await storage.policies(table)
            kept = self._policies.ticks_kept_days if table == TICKS else self._policies.bars_kept_days
            if kept is not None and now.retention != _age(kept):
                await storage.set_retention(table, _age(kept))
            after = self._policies.compress_after_days
            if after is not None and now.compress_after != _age(after):
                await storage.set_compression(table, _age(after))


def _age(days: int) -> dt.timedelta | None:
    return dt.timedelta(days=days) if days else None
