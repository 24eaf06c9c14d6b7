"""Upkeep of the tables of facts: the database is told what becomes of old rows, and helped where it does not do it.

What is past its retention is dropped, and partitions are made ahead, where the database does neither by itself.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from datahub.ingest.room import Room
from quasar.clock import Clock
from quasar.config import StoragePolicies
from quasar.database.storage import Storage

TICKS = "datahub.ticks"
TABLES = ("datahub.historical_data", "datahub.live_data", "datahub.bar_revisions", TICKS)
AHEAD = dt.timedelta(days=2)
"""Partitions are made so long before rows can come, so that nobody waits for one when a day or month begins."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What one look at the tables did."""

    partitions_made: int
    partitions_dropped: int


class Upkeep:
    """Keeps the tables within their retention, and partitions ahead of their rows."""

    def __init__(self, room: Room, policies: StoragePolicies, clock: Clock) -> None:
        """Keep the storage behind `room` as `policies` say."""
        self._room = room
        self._policies = policies
        self._clock = clock

    async def once(self) -> Kept:
        """Drop what is past its retention now, and make the partitions of the next days.

        Several replicas may at once: what is dropped is gone, and what is there is not made again.
        """
        storage = await self._room.storage()
        await self._set_policies(storage)
        now = self._clock.now()
        dropped = sum([await storage.apply_retention(table, now) for table in TABLES])
        made = sum([await storage.ensure(table, now, now + AHEAD) for table in TABLES])
        return Kept(made, dropped)

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
