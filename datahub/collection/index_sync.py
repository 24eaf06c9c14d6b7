"""Does runs that sync an index: the registry does the work as an operation, and the run follows it to its end.

What it has begun stands on the run, so that another attempt, also one after a restart of either service, goes on with
the same operation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from datahub.collection.collector import RunLost
from datahub.collection.runs import Failure, Outcome, RunState, Work, public_id
from datahub.store.statements import SQL
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, QuasarError

_HOPELESS: Final = (NotFound, InvalidArgument, AlreadyExists, FailedPrecondition)
_BEGINNING_S: Final = 3.0
"""So long a call that begins a sync may go on when the run is stopped meanwhile, so that what it begins is known."""


class SyncState(StrEnum):
    """Where the operation of a sync stands."""

    UNDER_WAY = "UNDER_WAY"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class Synced:
    """What a sync of an index came to; the fields of the contract's `IndexSyncResult`."""

    constituents: int = 0
    added: int = 0
    removed: int = 0
    reweighted: int = 0
    unchanged: int = 0
    errors: tuple[str, ...] = ()
    empty_answer: bool = False
    held_back: bool = False
    message: str = ""

    @property
    def stored(self) -> dict[str, Any]:
        """The JSON that is stored."""
        return {name: getattr(self, name) for name in self.__slots__} | {"errors": list(self.errors)}


@dataclass(frozen=True, slots=True)
class Syncing:
    """The operation of a sync, as the registry tells of it."""

    state: SyncState
    result: Synced = field(default_factory=Synced)
    error: QuasarError | None = None
    """Why it failed."""


@dataclass(frozen=True, slots=True)
class Begun:
    """The operation that does the sync of a run."""

    operation: str
    number: int
    """Of those that the run has begun, from 1."""
    own: bool
    """The run began it; somebody else's was under way otherwise."""


class IndexRegistry(Protocol):
    """Who syncs indices."""

    async def begin(self, index: str, request_id: str) -> tuple[str, bool]:
        """Begin a sync, and return its operation and whether it was begun for this request.

        Raises:
            QuasarError: It was refused, or the registry does not answer.
        """
        ...

    async def look(self, operation: str) -> Syncing:
        """Return where an operation stands; raises as `begin` does."""
        ...

    async def follow(self, operation: str) -> Syncing:
        """Wait for the end of an operation and return it; raises as `begin` does."""
        ...

    async def cancel(self, operation: str) -> None:
        """Ask an operation to stop; one that has ended stays as it is. Raises as `begin` does."""
        ...


class IndexSyncs:
    """Does the runs that sync indices."""

    def __init__(self, database: Database, registry: IndexRegistry, clock: Clock) -> None:
        """Have `registry` do the syncs; what was begun is kept in `database`."""
        self._database = database
        self._registry = registry
        self._clock = clock

    async def sync(self, work: Work) -> Outcome | Failure:
        """Do one attempt of a run: go on with the operation of the one before, unless that has failed.

        Returns:
            How the run ended, or why the attempt failed.

        Raises:
            RunLost: Somebody else does the run now.
            QuasarError: The registry does not answer.
        """
        try:
            begun = await self._begun(work)
            if begun is None:
                begun = await self._begin(work, 1)
            elif (await self._registry.look(begun.operation)).state is SyncState.FAILED:
                begun = await self._begin(work, begun.number + 1)
            found = await self._registry.follow(begun.operation)
        except _HOPELESS as error:
            return _failure(error)
        if found.error is not None:
            return _failure(found.error)
        if found.state is SyncState.CANCELLED:
            return Outcome(state=RunState.CANCELLED)
        kept = found.result.empty_answer or found.result.held_back or found.result.errors
        return Outcome(state=RunState.PARTIAL if kept else RunState.SUCCEEDED, result=found.result.stored)

    async def cancel(self, work: Work) -> None:
        """Stop what a run has begun; what somebody else began goes on.

        Raises:
            QuasarError: The registry does not answer.
        """
        begun = await self._begun(work)
        if begun is not None and begun.own:
            with suppress(NotFound):
                await self._registry.cancel(begun.operation)

    async def _begun(self, work: Work) -> Begun | None:
        stored: Mapping[str, Any] = await self._database.fetchval(SQL["index_sync_checkpoint"], work.run_id)
        return Begun(**stored) if stored else None

    async def _begin(self, work: Work, number: int) -> Begun:
        """Begin a sync and remember it, also when the run is stopped in the midst of it."""
        beginning = asyncio.ensure_future(self._begin_and_remember(work, number))
        try:
            return await asyncio.shield(beginning)
        except asyncio.CancelledError:
            await asyncio.wait((beginning,), timeout=_BEGINNING_S)
            beginning.cancel()
            await asyncio.gather(beginning, return_exceptions=True)
            raise

    async def _begin_and_remember(self, work: Work, number: int) -> Begun:
        # The same id gives the same operation: repeated because an answer was lost, it does nothing twice.
        operation, own = await self._registry.begin(work.index_name, f"run-{public_id(work.run_id)}-{number}")
        begun = Begun(operation, number, own)
        stored = {"operation": operation, "number": number, "own": own}
        if await self._database.fetchval(SQL["index_sync_begun"], *work.fence, stored, self._clock.now()) is None:
            raise RunLost
        return begun


def _failure(error: QuasarError) -> Failure:
    """Return why an attempt failed; what another attempt cannot cure is final."""
    return Failure(error.reason, error.message, error.metadata, error.retry_after_s, final=type(error) in _HOPELESS)
