"""Connections to PostgreSQL: the pool every service uses, with the platform's value types and errors.

Values: `json`/`jsonb` are Python objects, `numeric` is `decimal.Decimal`, `timestamptz` is an aware `datetime` in UTC.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import json
import os
import re
import socket
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, Literal, Self

import asyncpg

from quasar.errors import DatabaseUnavailable, DeadlineExceeded

Isolation = Literal["read_committed", "repeatable_read", "serializable"]

READY_TIMEOUT_S = 2.0
"""Seconds after which the readiness probe calls the database unavailable."""

# What a session keeps beyond a transaction: settings, listeners, session locks, cursors that outlive their transaction.
_SESSION_STATE = re.compile(
    r"(?:^|;)\s*(?:--[^\n]*\n\s*|/\*.*?\*/\s*)*"
    r"(?:set\s+(?!local\b|transaction\b|constraints\b)|listen\b|declare\b.*?\bwith\s+hold\b|load\b|discard\b)"
    r"|\bset_config\s*\(|\bpg_(?:try_)?advisory_lock(?:_shared)?\s*\(",
    re.IGNORECASE | re.DOTALL,
)

# What a dead, refusing or overloaded server looks like to asyncpg.
_UNAVAILABLE = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InternalClientError,
)


@lru_cache(maxsize=4096)
def changes_session(query: str) -> bool:
    """Tell whether a statement leaves something in its session that the next user of the connection would meet."""
    return _SESSION_STATE.search(query) is not None


class PooledConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg ships no types
    """A connection that is cleaned when it goes back to the pool only if there is something to clean.

    asyncpg resets every released connection with a statement of its own, which costs as much as a small query.
    Statements that change the session are recognised by their text, so the reset is sent after those and left out after
    all others. A function of the database that changes the session from within is not seen; the platform has none.
    """

    __slots__ = ("_changed",)

    def __init__(self, *args: Any, **options: Any) -> None:
        """Start with a session that nobody has changed."""
        super().__init__(*args, **options)
        self._changed = False

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """Run one statement, or several without arguments."""
        self._changed = self._changed or changes_session(query)
        status: str = await super().execute(query, *args, timeout=timeout)
        return status

    async def _get_statement(self, query: str, timeout: float | None, **options: Any) -> Any:
        """Prepare a statement; every way to run one with arguments or results comes through here."""
        if not options.get("ignore_custom_codec"):  # asyncpg's own look-ups, which tidy up after themselves
            self._changed = self._changed or changes_session(query)
        return await super()._get_statement(query, timeout, **options)

    def get_reset_query(self) -> str:
        """Return the statement that cleans the session, or nothing when it is clean."""
        if not self._changed:
            return ""
        self._changed = False
        query: str = super().get_reset_query()
        return query


class Database:
    """A pool of connections with the platform's errors. Safe to share between tasks.

    Raises from every method: `DatabaseUnavailable` when the server cannot be reached or went away, `DeadlineExceeded`
    when a statement ran into its limit; errors of SQL itself stay `asyncpg.PostgresError`.
    """

    def __init__(self, pool: Any) -> None:
        """Wrap an asyncpg pool made by `create_pool`."""
        self.pool = pool

    @classmethod
    async def open(cls, url: str, **options: Any) -> Self:
        """Open a database; the options are those of `create_pool`."""
        return cls(await create_pool(url, **options))

    async def __aenter__(self) -> Self:
        """Use the database as a context manager."""
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Close the pool."""
        await self.close()

    @property
    def most(self) -> int:
        """Connections at most."""
        return int(self.pool.get_max_size())

    @property
    def free(self) -> int:
        """Connections that can be lent before somebody has to wait."""
        return self.most - int(self.pool.get_size()) + int(self.pool.get_idle_size())

    async def close(self, timeout: float = 10.0) -> None:
        """Wait for connections in use to come back, for `timeout` seconds; then cut them off."""
        try:
            async with asyncio.timeout(timeout):
                await self.pool.close()
        except TimeoutError:
            self.pool.terminate()

    async def ready(self, timeout: float = READY_TIMEOUT_S) -> bool:
        """Tell whether the database answers within `timeout` seconds: the readiness probe of a service."""
        try:
            async with self.acquire(timeout=timeout) as connection:
                return bool(await connection.fetchval("select true", timeout=timeout))
        except (DatabaseUnavailable, DeadlineExceeded, TimeoutError, asyncpg.PostgresError):
            return False

    @asynccontextmanager
    async def acquire(self, *, timeout: float | None = 30.0) -> AsyncIterator[Any]:
        """Lend a connection.

        Do not ask for a second one while holding one: that can block for ever when the pool is used up.

        Args:
            timeout: Seconds to wait for a free connection.
        """
        async with _translated():
            try:
                connection = await self.pool.acquire(timeout=timeout)
            except TimeoutError as error:
                raise DatabaseUnavailable(f"no database connection became free within {timeout:g} seconds") from error
            except OSError as error:
                raise DatabaseUnavailable(f"the database does not answer ({_reason(error)})") from error
            try:
                yield connection
            finally:
                await self.pool.release(connection)

    @asynccontextmanager
    async def transaction(
        self, *, isolation: Isolation = "read_committed", readonly: bool = False, timeout: float | None = 30.0
    ) -> AsyncIterator[Any]:
        """Lend a connection inside a transaction, committed at the end and rolled back on any exception."""
        async with (
            self.acquire(timeout=timeout) as connection,
            connection.transaction(isolation=isolation, readonly=readonly),
        ):
            yield connection

    async def fetch(self, query: str, *args: Any, timeout: float | None = None) -> list[Any]:
        """Return all rows of one statement."""
        async with self.acquire() as connection:
            rows: list[Any] = await connection.fetch(query, *args, timeout=timeout)
            return rows

    async def fetchrow(self, query: str, *args: Any, timeout: float | None = None) -> Any:
        """Return the first row of one statement, or None."""
        async with self.acquire() as connection:
            return await connection.fetchrow(query, *args, timeout=timeout)

    async def fetchval(self, query: str, *args: Any, timeout: float | None = None) -> Any:
        """Return the first column of the first row, or None."""
        async with self.acquire() as connection:
            return await connection.fetchval(query, *args, timeout=timeout)

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """Run one statement and return its command tag, for example `UPDATE 3`."""
        async with self.acquire() as connection:
            status: str = await connection.execute(query, *args, timeout=timeout)
            return status

    async def executemany(self, query: str, rows: Sequence[Sequence[Any]], timeout: float | None = None) -> None:
        """Run one statement for every row, atomically."""
        async with self.acquire() as connection:
            await connection.executemany(query, rows, timeout=timeout)


async def create_pool(
    url: str,
    *,
    application_name: str,
    min_size: int = 1,
    max_size: int = 10,
    statement_timeout_s: float = 60.0,
    idle_in_transaction_timeout_s: float = 60.0,
    connect_timeout_s: float = 10.0,
    settings: Mapping[str, str] | None = None,
    statement_cache_size: int = 256,
) -> Any:
    """Open a pool of connections.

    Args:
        url: Address of the database, `postgresql://user:password@host:port/name`.
        application_name: What the server calls these connections (`quasar-datahub`).
        min_size: Connections that are kept open; 0 opens none before the first use.
        max_size: Connections at most.
        statement_timeout_s: Seconds a statement may run; 0 means no limit.
        idle_in_transaction_timeout_s: Seconds a transaction may idle before the server ends it and frees its locks; 0
            means no limit.
        connect_timeout_s: Seconds to wait for a connection to be made.
        settings: Further settings of the session, for example `{"work_mem": "64MB"}`.
        statement_cache_size: Prepared statements kept a connection; 0 for a transaction-pooling proxy in between.

    Returns:
        An `asyncpg.Pool`.

    Raises:
        DatabaseUnavailable: The server cannot be reached or refuses.
    """
    server_settings = {
        "application_name": application_name,
        "timezone": "UTC",
        "statement_timeout": _milliseconds(statement_timeout_s),
        "idle_in_transaction_session_timeout": _milliseconds(idle_in_transaction_timeout_s),
        **(settings or {}),
    }
    async with _translated():
        try:
            return await asyncpg.create_pool(
                url,
                min_size=min_size,
                max_size=max_size,
                timeout=connect_timeout_s,
                connection_class=PooledConnection,
                init=set_codecs,
                server_settings=server_settings,
                statement_cache_size=statement_cache_size,
            )
        except (OSError, TimeoutError) as error:
            raise DatabaseUnavailable(f"the database does not answer ({_reason(error)})") from error


async def connect(url: str, *, application_name: str, timeout: float = 10.0) -> Any:
    """Open one connection outside any pool, with the platform's codecs: for migrations, session locks and listening.

    Raises:
        DatabaseUnavailable: The server cannot be reached or refuses.
    """
    async with _translated():
        try:
            connection = await asyncpg.connect(
                url, timeout=timeout, server_settings={"application_name": application_name, "timezone": "UTC"}
            )
        except (OSError, TimeoutError) as error:
            raise DatabaseUnavailable(f"the database does not answer ({_reason(error)})") from error
        await set_codecs(connection)
    return connection


async def set_codecs(connection: Any) -> None:
    """Make `json` and `jsonb` Python objects on a connection."""
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, encoder=encode_json, decoder=json.loads, schema="pg_catalog")


def encode_json(value: object) -> str:
    """Encode a value for `json` and `jsonb`; exact decimals, dates and ids become strings.

    Raises:
        ValueError: The value holds NaN or an infinity.
        TypeError: The value holds something that has no JSON form.
    """
    return json.dumps(value, default=_json_form, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _json_form(value: object) -> str:
    """Return the JSON form of the values that the platform stores and the standard library does not know."""
    if isinstance(value, (decimal.Decimal, uuid.UUID)):
        return str(value)
    if isinstance(value, (dt.datetime, dt.date)):
        return value.isoformat()
    raise TypeError(f"a value for JSON must be text, a number, a list or a mapping, was {type(value).__name__}")


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    """Turn asyncpg's ways to say that the server is gone into the platform's errors."""
    try:
        yield
    except _UNAVAILABLE as error:
        raise DatabaseUnavailable(f"the database does not answer ({_reason(error)})") from error
    except asyncpg.DiskFullError as error:
        raise DatabaseUnavailable("the disk of the database is full; free some space, nothing is lost") from error
    except asyncpg.QueryCanceledError as error:
        raise DeadlineExceeded("the database did not finish the statement within its time limit") from error
    except asyncpg.InterfaceError as error:
        if _means_closed(str(error)):
            raise DatabaseUnavailable("the connection to the database is closed") from error
        raise


def _means_closed(message: str) -> bool:
    """Tell an interface error that comes from a lost connection from one that is a mistake of the caller."""
    return any(part in message for part in ("is closed", "was closed", "pool is closing", "released back to the pool"))


def _reason(error: BaseException) -> str:
    """Name the cause without an address or a password, which asyncio writes into the text of an error."""
    if isinstance(error, socket.gaierror) and error.strerror:
        return error.strerror
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return type(error).__name__


def _milliseconds(seconds: float) -> str:
    """Return a duration as PostgreSQL's settings want it."""
    return str(round(seconds * 1000))
