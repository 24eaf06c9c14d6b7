"""Which replica runs which feed: with a bus between replicas each provider's feed runs at one of them.

A lease is a session lock of PostgreSQL on a connection of its own: it ends with the replica, whatever ends it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import asyncpg

from datahub.store.statements import SQL
from quasar import errors, logs
from quasar.database.pool import connect

_CUT = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
_BROKEN = (errors.DatabaseUnavailable, asyncpg.PostgresError, *_CUT)
_log = logs.get(__name__)


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

    def __init__(self) -> None:
        """Begin without a database; `use` names it."""
        self._url = ""
        self._connection: Any = None
        self._held: frozenset[str] = frozenset()

    def use(self, database_url: str) -> None:
        """Lock in a database, by a direct address."""
        self._url = database_url

    async def hold(self, providers: Iterable[str]) -> frozenset[str]:
        """Return the providers whose lease is held; those that nobody holds are taken.

        While the database is away what was held is held on. Another replica may have it then for a moment: who takes a
        lease waits until nobody tells of the feed any more.
        """
        wanted = frozenset(providers)
        try:
            self._held = await self._look(wanted)
        except _BROKEN as error:
            _log.warning("leases of feeds not renewed", problem=str(error) or type(error).__name__)
            await self.close()
        return self._held & wanted

    async def close(self) -> None:
        """Give everything up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _look(self, wanted: frozenset[str]) -> frozenset[str]:
        held = self._held
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._url, application_name="quasar-datahub-leases")
            held = frozenset()
        else:
            await self._connection.fetchval(SQL["feed_leases_alive"])
        for provider in sorted(held - wanted):
            await self._connection.fetchval(SQL["feed_lease_end"], provider)
        taken = [
            provider
            for provider in sorted(wanted - held)
            if await self._connection.fetchval(SQL["feed_lease_take"], provider)
        ]
        return (held & wanted) | frozenset(taken)
