"""Time-partitioned tables, the same on plain PostgreSQL and on TimescaleDB.

Which tables there are, by what column and in what steps, is written by the migrations into `ops.storage_tables`. The
difference between the two back ends is in SQL functions (see `db/migrations`), which run with the owner's rights, so
that a service needs none over tables.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal, Protocol

from quasar.database.pool import Database
from quasar.database.statements import load_statements

Engine = Literal["postgresql", "timescaledb"]

_SQL = load_statements("quasar.database.store")
_FEATURES = {
    "timescaledb": "timescaledb",
    "pg_trgm": "pg_trgm",
    "vector": "vector",
    "pg_stat_statements": "pg_stat_statements",
}


@dataclass(frozen=True, slots=True)
class StorageMode:
    """How the database keeps time series; shown by `SystemService`."""

    engine: Engine
    """What keeps them."""
    server_version: str
    """PostgreSQL's version, for example `18.6`."""
    extension_version: str = ""
    """TimescaleDB's version; empty without it."""
    features: frozenset[str] = frozenset()
    """What it can do: `compression`, `continuous_aggregates`, `retention_policies`, and extensions by name."""

    @property
    def timescaledb(self) -> bool:
        """Whether TimescaleDB keeps the time series."""
        return self.engine == "timescaledb"


@dataclass(frozen=True, slots=True)
class Slice:
    """One partition or chunk."""

    name: str
    """Its name with schema."""
    start: dt.datetime
    """The first instant that it holds."""
    end: dt.datetime
    """The first instant after it."""
    compressed: bool
    """Whether its rows are compressed."""
    size_bytes: int
    """Its size with indexes."""


@dataclass(frozen=True, slots=True)
class Policies:
    """What becomes of the old rows of a table."""

    retention: dt.timedelta | None
    """Rows older than it are dropped; None: they are kept for ever."""
    compress_after: dt.timedelta | None
    """Rows older than it are compressed where the storage can; None: never."""


class Storage(Protocol):
    """What a service asks of the tables of facts. Tables are named with their schema, as in `datahub.ticks`."""

    @property
    def mode(self) -> StorageMode:
        """How the database keeps time series."""
        ...

    async def ensure(self, table: str, start: dt.datetime, end: dt.datetime) -> int:
        """Make sure that rows with times in [start, end) can be stored.

        Call it before the transaction that writes, and without holding a connection: it uses one of its own for a
        moment.

        Returns:
            How many partitions were made.

        Raises:
            asyncpg.InvalidParameterValueError: The range is empty or infinite.
            asyncpg.ProgramLimitExceededError: The range would need thousands of partitions.
        """
        ...

    async def slices(self, table: str) -> tuple[Slice, ...]:
        """Return the partitions or chunks of a table in order of time."""
        ...

    async def drop_older_than(self, table: str, before: dt.datetime) -> int:
        """Drop the partitions or chunks that end at or before a time and return how many there were."""
        ...

    async def policies(self, table: str) -> Policies:
        """Return what becomes of the old rows of a table."""
        ...

    async def set_retention(self, table: str, keep: dt.timedelta | None) -> None:
        """Set how long rows are kept; None: for ever."""
        ...

    async def apply_retention(self, table: str, now: dt.datetime) -> int:
        """Drop what is older than the retention and return how many partitions that were.

        Nothing happens where the database does so by itself.
        """
        ...

    async def set_compression(self, table: str, after: dt.timedelta | None) -> bool:
        """Set the age from which rows are compressed; None: never.

        Returns:
            Whether this storage compresses. Plain PostgreSQL does not and keeps the wish for the day TimescaleDB
            arrives.
        """
        ...


class NativeStorage:
    """Range partitions of plain PostgreSQL, made ahead of the rows."""

    def __init__(self, database: Database, mode: StorageMode) -> None:
        """Work on `database`; partitions that are known to exist are remembered by this process."""
        self._database = database
        self.mode = mode
        self._covered: dict[str, list[tuple[dt.datetime, dt.datetime]]] = {}

    async def ensure(self, table: str, start: dt.datetime, end: dt.datetime) -> int:
        """Make the partitions that the range lacks."""
        if any(lower <= start and end <= upper for lower, upper in self._covered.get(table, ())):
            return 0
        made: int = await self._database.fetchval(_SQL["ensure_partitions"], table, start, end)
        self._remember(table, start, end)
        return made

    async def slices(self, table: str) -> tuple[Slice, ...]:
        """Return the partitions."""
        return await _slices(self._database, table)

    async def drop_older_than(self, table: str, before: dt.datetime) -> int:
        """Drop old partitions."""
        self._covered.pop(table, None)
        dropped: int = await self._database.fetchval(_SQL["drop_older_than"], table, before)
        return dropped

    async def policies(self, table: str) -> Policies:
        """Return what was set."""
        return await _policies(self._database, table)

    async def set_retention(self, table: str, keep: dt.timedelta | None) -> None:
        """Remember the retention for `apply_retention`."""
        await self._database.execute(_SQL["set_retention"], table, keep)

    async def apply_retention(self, table: str, now: dt.datetime) -> int:
        """Drop partitions older than the retention."""
        self._covered.pop(table, None)
        dropped: int = await self._database.fetchval(_SQL["apply_retention"], table, now)
        return dropped

    async def set_compression(self, table: str, after: dt.timedelta | None) -> bool:
        """Remember the wish."""
        compresses: bool = await self._database.fetchval(_SQL["set_compression"], table, after)
        return compresses

    def forget(self) -> None:
        """Forget which partitions exist, for when somebody else may have dropped some."""
        self._covered.clear()

    def _remember(self, table: str, start: dt.datetime, end: dt.datetime) -> None:
        """Add a range to the ones that are covered, joining what touches."""
        joined = [(start, end)]
        for lower, upper in self._covered.get(table, []):
            first, last = joined[0]
            if upper < first or last < lower:
                joined.append((lower, upper))
            else:
                joined[0] = (min(first, lower), max(last, upper))
        self._covered[table] = joined


class TimescaleStorage:
    """TimescaleDB hypertables: chunks, retention and compression are the database's own business."""

    def __init__(self, database: Database, mode: StorageMode) -> None:
        """Work on `database`."""
        self._database = database
        self.mode = mode

    async def ensure(self, table: str, start: dt.datetime, end: dt.datetime) -> int:
        """Do nothing: chunks are made as rows come."""
        return 0

    async def slices(self, table: str) -> tuple[Slice, ...]:
        """Return the chunks."""
        return await _slices(self._database, table)

    async def drop_older_than(self, table: str, before: dt.datetime) -> int:
        """Drop old chunks."""
        dropped: int = await self._database.fetchval(_SQL["drop_older_than"], table, before)
        return dropped

    async def policies(self, table: str) -> Policies:
        """Return what was set."""
        return await _policies(self._database, table)

    async def set_retention(self, table: str, keep: dt.timedelta | None) -> None:
        """Set the retention policy."""
        await self._database.execute(_SQL["set_retention"], table, keep)

    async def apply_retention(self, table: str, now: dt.datetime) -> int:
        """Do nothing: the policy works in the background."""
        return 0

    async def set_compression(self, table: str, after: dt.timedelta | None) -> bool:
        """Set the compression policy."""
        compresses: bool = await self._database.fetchval(_SQL["set_compression"], table, after)
        return compresses


async def open_storage(database: Database) -> Storage:
    """Return the storage of a migrated database, by what keeps its tables now."""
    mode = await storage_mode(database)
    return TimescaleStorage(database, mode) if mode.timescaledb else NativeStorage(database, mode)


async def storage_mode(database: Database) -> StorageMode:
    """Look at a migrated database and say how it keeps time series."""
    async with database.acquire() as connection:
        extensions = {row["name"]: row["version"] for row in await connection.fetch(_SQL["installed_extensions"])}
        engines = {row["engine"] for row in await connection.fetch(_SQL["engines"])}
        version: str = await connection.fetchval(_SQL["server_version"])
    features = {feature for name, feature in _FEATURES.items() if name in extensions}
    if engines == {"hypertable"}:
        features |= {"compression", "continuous_aggregates", "retention_policies"}
        return StorageMode("timescaledb", _bare(version), extensions.get("timescaledb", ""), frozenset(features))
    return StorageMode("postgresql", _bare(version), "", frozenset(features - {"timescaledb"}))


async def database_size(database: Database) -> int:
    """Return the size of the database in bytes."""
    size: int = await database.fetchval(_SQL["database_size"])
    return size


async def _policies(database: Database, table: str) -> Policies:
    """Read what becomes of the old rows of a table."""
    row = await database.fetchrow(_SQL["policies"], table)
    return Policies(row["retention"], row["compress_after"])


async def _slices(database: Database, table: str) -> tuple[Slice, ...]:
    """Read the partitions or chunks of a table."""
    rows = await database.fetch(_SQL["slices"], table)
    return tuple(Slice(r["slice_name"], r["slice_start"], r["slice_end"], r["compressed"], r["bytes"]) for r in rows)


def _bare(version: str) -> str:
    """Drop what distributions add to a version, as in `15.18 (Debian 15.18-0+deb12u1)`."""
    return version.split(" ", 1)[0]
