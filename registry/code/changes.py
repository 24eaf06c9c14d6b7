"""What every change of code shares: the transaction, the etag, the event."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import EtagMismatch, FailedPrecondition
from quasar.ops.actors import Actor
from quasar.ops.events import Events
from quasar.secrets import SystemContext
from registry.code.entries import Entry
from registry.code.owners import CodeOwners
from registry.code.refs import CodeRef
from registry.requests import Requests
from registry.store import code_table


@dataclass(frozen=True, slots=True)
class Ground:
    """What the work on code stands on."""

    database: Database
    clock: Clock
    events: Events
    context: SystemContext
    owners: CodeOwners
    requests: Requests


@dataclass(frozen=True, slots=True)
class Change:
    """A transaction that changes one entry, which it holds."""

    ground: Ground
    connection: Any
    entry: Entry
    now: dt.datetime
    actor: Actor | None

    async def record(
        self,
        kind: str,
        message: str,
        *,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the event of the change and wake those who live on it."""
        data = {"before": before, "after": after}
        await record(self.ground, self.connection, kind, message, self.entry.ref, data, self.actor)

    async def present(self) -> Entry:
        """Return the entry as it is now, inside the transaction."""
        found = await code_table.entry(self.connection, self.entry.ref)
        assert found is not None
        return found


async def record(
    ground: Ground,
    connection: Any,
    kind: str,
    message: str,
    ref: CodeRef,
    data: Mapping[str, Any],
    actor: Actor | None,
) -> None:
    """Write an event about code and wake those who live on it; nulls of `data` are left out."""
    await code_table.notify(connection, f"code/{ref.kind}/{ref.name}")
    await ground.events.record(
        connection,
        kind,
        message,
        subject_type=str(ref.kind),
        subject_name=ref.name,
        data={name: value for name, value in data.items() if value is not None},
        actor=actor,
    )


@asynccontextmanager
async def changing(ground: Ground, ref: CodeRef, etag: str, actor: Actor | None) -> AsyncIterator[Change]:
    """Hold an entry for a change.

    Raises:
        NotFound: There is no such code.
        EtagMismatch: The entry changed since it was read.
    """
    async with ground.database.transaction() as connection:
        held = await code_table.lock(connection, ref)
        entry = None if held is None or held.deleted else await code_table.entry(connection, ref)
        if entry is None:
            raise ref.not_found()
        if etag and etag != entry.etag:
            raise stale(ref, etag, entry.etag)
        yield Change(ground, connection, entry, ground.clock.now(), actor)


async def read_entry(ground: Ground, ref: CodeRef) -> Entry:
    """Return an entry.

    Raises:
        NotFound: There is no such code.
    """
    async with ground.database.acquire() as connection:
        entry = await code_table.entry(connection, ref)
    if entry is None:
        raise ref.not_found()
    return entry


def stale(ref: CodeRef, was: str, now: str) -> EtagMismatch:
    """Return the error for an etag that is old."""
    return EtagMismatch(
        f"{ref} changed since it was read (etag must be {now!r}, was {was!r}); read it again and repeat the change.",
        resource=ref.resource,
        metadata={"etag": now},
    )


def require_uploaded(entry: Entry, what: str) -> None:
    """Refuse what cannot be done with built-in code.

    Raises:
        FailedPrecondition: The code is built in.
    """
    if entry.built_in:
        raise FailedPrecondition(
            f"{entry.ref} comes with the platform and cannot be {what}; its secrets and preferences can be set.",
            resource=entry.ref.resource,
        )
