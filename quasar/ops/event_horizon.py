"""How far the log of events is complete, so that whoever follows it by id loses nothing.

Ids are taken when a row is inserted and become visible when its transaction commits, so id 7 may appear after id 8. A
reader that goes by "greater than the last id I saw" would skip 7 for ever. Holding readers back to the oldest running
transaction of the server (`pg_snapshot_xmin`) would be safe, but then a long import or a forgotten session anywhere
silences every watcher. So holes are looked at one by one:

- A transaction that inserts holds ROW EXCLUSIVE on `ops.events` from before it takes an id until after its commit is
  visible.
- When ids up to N are visible and one below N is missing, its owner took it before N was taken. So its owner is among
  the transactions that hold that lock now; or it has ended, and a new snapshot shows its row or never will.
- Hence: go up to the first hole at once; go past it as soon as every transaction that held the lock after the hole was
  first seen has ended.

A writer that takes long holds a watcher back only when somebody else's later event waits behind its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from quasar.database.pool import Database
from quasar.database.statements import Statements

IDS_LOOKED_AT = 1000
"""Ids that are looked at in one step; an event whose transaction is overtaken by more than these before a watch begins,
and commits after it, counts as one of before."""


@dataclass(slots=True)
class _Holes:
    """Holes below an id, and the transactions that may still fill them."""

    upto: int
    writers: frozenset[str]


class EventHorizon:
    """Follows the log for one reader."""

    def __init__(self, database: Database, statements: Statements) -> None:
        """Look at the log of `database`."""
        self._database = database
        self._sql = statements
        self._holes: _Holes | None = None
        self._decided = 0

    @property
    def waiting(self) -> bool:
        """Whether events are there that wait for a writer with an earlier id."""
        return self._holes is not None

    async def present(self) -> tuple[int, frozenset[int]]:
        """Return where a reader begins who wants what becomes visible from now on.

        Returns:
            The id to begin after, and the ids beyond it that are visible already. There are such ids only where there
            are holes, for an event may still fill one.
        """
        rows = await self._database.fetch(self._sql["newest_event_ids"], IDS_LOOKED_AT)
        seen = {row["id"] for row in rows}
        begin = max(0, max(seen, default=0) - IDS_LOOKED_AT)
        while begin + 1 in seen:
            begin += 1
        return begin, frozenset(found for found in seen if found > begin)

    async def advance(self, after: int) -> int:
        """Return up to which id the log is complete, at least `after`. Read the rows after this call, not before."""
        complete = newest = max(after, self._decided)
        rows = await self._database.fetch(self._sql["event_ids_after"], complete, IDS_LOOKED_AT)
        for row in rows:
            newest = row["id"]
            if newest == complete + 1:
                complete = newest
        if complete == newest:
            self._holes = None
            return complete
        return max(complete, await self._past_holes(newest))

    async def _past_holes(self, newest: int) -> int:
        """Return how far the holes that were seen before are decided by now; 0 when they are not."""
        rows = await self._database.fetch(self._sql["event_writers"])
        writers = frozenset(row["writer"] for row in rows)
        if self._holes is None:
            self._holes = _Holes(newest, writers)
        else:
            self._holes.writers &= writers
        if self._holes.writers:
            return 0
        self._decided = self._holes.upto
        self._holes = None
        return self._decided
