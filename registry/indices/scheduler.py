"""Keeps provider indices on their schedules: a due sync becomes an operation, once, however many replicas look."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import asyncpg

from quasar import logs
from quasar.errors import DatabaseUnavailable, DeadlineExceeded, QuasarError
from registry.ground import Ground
from registry.indices.indices import Indices
from registry.indices.schedules import RETRY, next_sync
from registry.indices.syncs import FAILED, IndexSyncs
from registry.store import indices as table
from registry.store.indices import Index
from registry.store.statements import SQL

LOOK_S: Final = 30.0
_log = logs.get("registry.indices.scheduler")


class IndexScheduler:
    """Begins the syncs of provider indices when they are due."""

    def __init__(self, ground: Ground, indices: Indices, syncs: IndexSyncs) -> None:
        """Look at the indices of `ground`."""
        self._ground = ground
        self._indices = indices
        self._syncs = syncs

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await self.look()
            except (DatabaseUnavailable, DeadlineExceeded, asyncpg.PostgresError) as error:
                _log.warning("schedules of indices not read", problem=type(error).__name__)
            await self._ground.clock.sleep(LOOK_S)

    async def look(self) -> int:
        """Begin what is due; return how many syncs were begun."""
        await self._indices.reconcile()
        rows: list[Any] = await self._ground.database.fetch(SQL["index_scheduled"])
        begun = 0
        for held in map(table.index, rows):
            due = await self._due(held)
            if due is not None and due <= self._ground.clock.now():
                begun += await self._begin(held, due)
        return begun

    async def _due(self, held: Index) -> Any:
        """Return when an index is due, and correct what is stored where a preference of its provider changed."""
        assert held.schedule is not None
        failed = held.last_sync_state == FAILED
        due = next_sync(held.schedule, held.last_sync_at, held.created_at, failed=failed)
        if due != held.next_sync_at:
            await self._ground.database.execute(SQL["index_set_next_sync"], held.index_id, due)
        return due

    async def _begin(self, held: Index, due: dt.datetime) -> int:
        # One that ended without a trace, because somebody cancelled it or its provider was gone, is begun again.
        attempt = (self._ground.clock.now() - due) // RETRY
        request_id = f"scheduled-{held.index_id}-{due.isoformat()}-{attempt}"[:64]
        try:
            _, running = await self._syncs.begin(held.name, None, request_id=request_id)
        except QuasarError as error:
            _log.warning("a due sync was not begun", index=held.name, problem=error.message)
            return 0
        return 0 if running else 1
