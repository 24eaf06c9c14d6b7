"""What the code that does an operation has in its hands: what was asked, where it stopped, how to tell its progress."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import Aborted
from quasar.ops.operations import SQL, Progress, operation

_PACE_S = 1.0
"""Time after which the pace tells something."""


class LeaseLost(Aborted):
    """Another worker has taken the operation; what this one does would be done twice."""


class OperationContext:
    """One attempt at an operation."""

    def __init__(
        self, row: Any, worker: str, database: Database, clock: Clock, on_progress: Callable[[], None]
    ) -> None:
        """Work on the operation that was claimed.

        Args:
            row: What was claimed.
            worker: Who claimed it.
            database: Where it is kept.
            clock: For the pace.
            on_progress: Called when there is progress to be flushed.
        """
        self.operation = operation(row)
        self.checkpoint: Mapping[str, Any] = row["checkpoint"]
        """What the attempt before saved last; empty at the first."""
        self.losses = int(row["detail"].get("lost", 0))
        """How often in a row the operation lost its worker without a checkpoint in between."""
        self._database = database
        self._clock = clock
        self._fence = (self.operation.operation_id, worker, self.operation.attempts)
        self._progress = self.operation.progress
        self._on_progress = on_progress
        self._pace_from: tuple[float, int] | None = None
        self._unwritten = False
        self._writing = asyncio.Lock()

    @property
    def request(self) -> Mapping[str, Any]:
        """What was asked."""
        return self.operation.request

    @property
    def fence(self) -> tuple[Any, str, int]:
        """Id, worker and attempt: a statement that names them changes nothing once another worker has taken over."""
        return self._fence

    def progress(
        self,
        phase: str | None = None,
        *,
        done: int | None = None,
        total: int | None = None,
        unit: str | None = None,
        wait_s: float | None = None,
        counters: Mapping[str, float] | None = None,
    ) -> None:
        """Tell how far the work has come; what is left out stays. Cheap: it is written by and by.

        Args:
            phase: What is being done now, in a few words.
            done: Units finished, those of attempts before included.
            total: Units in all.
            unit: What is counted ("rows").
            wait_s: Seconds waited for rate limits since it was last told; they are added up.
            counters: Further figures by name; they are merged.
        """
        former = self._progress
        done = former.done if done is None else done
        total = former.total if total is None else total
        self._progress = Progress(
            phase=former.phase if phase is None else phase,
            done=done,
            total=total,
            unit=former.unit if unit is None else unit,
            wait_s=former.wait_s + (wait_s or 0.0),
            remaining_s=self._remaining(done, total),
            counters={**former.counters, **(counters or {})},
        )
        self._unwritten = True
        self._on_progress()

    def _remaining(self, done: int, total: int | None) -> float | None:
        now = self._clock.monotonic()
        if self._pace_from is None:
            self._pace_from = (now, done)
        began, at = self._pace_from
        if total is None or done <= at or now - began < _PACE_S:
            return None
        return max(0, total - done) * (now - began) / (done - at)

    async def save(self, checkpoint: Mapping[str, Any], *, connection: Any = None) -> None:
        """Store where to resume after a restart.

        Args:
            checkpoint: As JSON; replaces the former one.
            connection: Store in this connection's transaction, so that the work and the checkpoint are there together.

        Raises:
            LeaseLost: Another worker has taken over; with a connection, its transaction must be given up.
        """
        target = self._database if connection is None else connection
        if not await target.fetchval(SQL["write_checkpoint"], *self._fence, dict(checkpoint)):
            raise LeaseLost
        self.checkpoint = dict(checkpoint)

    async def flush(self) -> None:
        """Write the progress that was told.

        Raises:
            LeaseLost: Another worker has taken over.
        """
        async with self._writing:  # an older figure must not overtake a newer one
            if self._unwritten:
                await self._write(self._progress)

    async def _write(self, now: Progress) -> None:
        detail = {"counters": dict(now.counters), "remaining_s": now.remaining_s}
        values = (now.phase, now.done, now.total, now.unit, now.wait_s, detail)
        async with self._database.transaction() as connection:
            if not await connection.fetchval(SQL["write_progress"], *self._fence, *values):
                raise LeaseLost
            await connection.execute(SQL["notify_operations"], f"change {self.operation.operation_id}")
        # Only now: a flush that was cut off is done again by the next one. What was told meanwhile is still to be
        # written.
        self._unwritten = self._progress is not now
