"""Which replica runs which feed: with a bus between replicas each provider's feed runs at one of them.

A lease is a session lock of PostgreSQL on a connection of its own: it ends with the replica, whatever ends it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Protocol

import asyncpg

from datahub.store.statements import SQL
from quasar import errors, logs
from quasar.clock import Clock
from quasar.database.pool import connect

_CUT = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
_BROKEN = (errors.DatabaseUnavailable, asyncpg.PostgresError, *_CUT)
_log = logs.get(__name__)
GRACE_S: Final = 6.0
"""A lease that another replica held is used so long after it was taken: longer than that one takes to look."""


class Leases(Protocol):
    """Says which feeds this replica runs."""

    async def hold(self, providers: Iterable[str]) -> frozenset[str]:
        """Return those of some providers whose feeds are to run here."""
        ...

    async def close(self) -> None:
        """Give everything up."""
        ...


class EveryFeed:
    """Without a bus each replica runs every feed."""

    async def hold(self, providers: Iterable[str]) -> frozenset[str]:
        """Return all of them."""
        return frozenset(providers)

    async def close(self) -> None:
        """Do nothing."""


class DatabaseLeases:
    """Leases that replicas share through their database."""

    def __init__(self, database_url: str, clock: Clock) -> None:
        """Lock in a database, by a direct address."""
        self._url = database_url
        self._clock = clock
        self._connection: Any = None
        self._held: set[str] = set()
        self._refused: set[str] = set()
        """Held by another replica at the last look."""
        self._taken_over: dict[str, float] = {}
        """When leases were taken that another replica held before."""

    async def hold(self, providers: Iterable[str]) -> frozenset[str]:
        """Return the providers whose lease is held; those that nobody holds are taken.

        A lease that another replica has given up is used a little later: that one may have lost its connection alone,
        and sees it at its next look. While the database is away what was held is held on.
        """
        wanted = set(providers)
        try:
            return frozenset(await self._look(wanted))
        except _BROKEN as error:
            _log.warning("leases of feeds not renewed", problem=str(error) or type(error).__name__)
            await self.close()
            return frozenset(self._held & wanted)

    async def close(self) -> None:
        """Give everything up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _look(self, wanted: set[str]) -> set[str]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._url, application_name="quasar-datahub-leases")
            self._taken_over.clear()
            locked: set[str] = set()
        else:
            locked = self._held | self._taken_over.keys()
            await self._connection.fetchval(SQL["feed_leases_alive"])
        for provider in sorted(locked - wanted):
            await self._connection.fetchval(SQL["feed_lease_end"], provider)
            self._taken_over.pop(provider, None)
        for provider in sorted(wanted - locked):
            if not await self._connection.fetchval(SQL["feed_lease_take"], provider):
                self._refused.add(provider)
                continue
            locked.add(provider)
            if provider in self._refused:
                self._refused.discard(provider)
                self._taken_over[provider] = self._clock.monotonic()
        now = self._clock.monotonic()
        self._taken_over = {at: since for at, since in self._taken_over.items() if now - since < GRACE_S}
        self._held = (locked & wanted) - self._taken_over.keys()
        return self._held
