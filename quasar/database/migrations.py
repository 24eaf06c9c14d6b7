"""Migrations: numbered SQL files, forward only, each in a transaction, applied by one starter while the others wait.

A file is called `NNNN_name.sql`. Comment lines at its head may hold directives:

    -- requires: pg_trgm

`requires` applies the file only where the server has the capability; elsewhere it is recorded as skipped and tried
again at each start.

What was applied is kept in `ops.schema_migrations` with the SHA-256 of the file, so that a changed file is noticed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import asyncpg

import quasar
from quasar.clock import Clock, SystemClock
from quasar.database.capabilities import detect_capabilities
from quasar.database.pool import connect
from quasar.database.statements import load_statements
from quasar.errors import FailedPrecondition

SQL = load_statements("quasar.database.store")

_FILE_NAME = re.compile(r"^(\d{4})_([a-z0-9_]+)\.sql$")
_DIRECTIVE = re.compile(r"^--\s*requires:\s*(.+)$", re.IGNORECASE)


class MigrationError(FailedPrecondition):
    """The database and the migrations of this build do not fit together."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    version: int
    """Its number; the order of application."""
    name: str
    """Its name without number and suffix."""
    sql: str
    """Its text."""
    checksum: str
    """SHA-256 of the text with Unix line ends, in hexadecimal."""
    requires: frozenset[str] = frozenset()
    """Capabilities without which it is skipped."""

    @property
    def label(self) -> str:
        """The file name without suffix."""
        return f"{self.version:04d}_{self.name}"


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """How one migration stands in a database."""

    version: int
    """Its number."""
    name: str
    """Its name."""
    state: Literal["applied", "skipped", "pending"]
    """`pending`: not seen by this database yet."""
    missing: tuple[str, ...] = ()
    """The capabilities a skipped one lacks."""
    detail: str = ""
    """When it was applied, or what is wrong with it."""


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What one run of the migrations did."""

    applied: tuple[str, ...]
    """Labels of the files that were applied, in order."""
    skipped: tuple[str, ...]
    """Labels of the files that wait for a capability."""
    version: int
    """The highest version that is applied now."""


def migrations_folder() -> Path:
    """Return the folder of the migrations: `db/migrations` in a checkout, else the copy inside the installed wheel.

    Raises:
        MigrationError: Neither is there.
    """
    package = Path(quasar.__file__).parent
    for folder in (package.parent / "db" / "migrations", package / "_data" / "migrations"):
        if folder.is_dir():
            return folder
    raise MigrationError(f"the migrations must lie in {package / '_data' / 'migrations'}; install Quasar again")


def load_migrations(folder: Path | None = None) -> tuple[Migration, ...]:
    """Read the migrations, ordered by version.

    Args:
        folder: Where they lie; the platform's own when absent.

    Raises:
        MigrationError: A file name is malformed, or a number is used twice.
    """
    folder = folder or migrations_folder()
    found = [_read(path) for path in sorted(folder.glob("*.sql"))]
    versions = [migration.version for migration in found]
    if len(set(versions)) < len(versions):
        raise MigrationError(f"the migrations in {folder} must be numbered once each, was {versions}")
    return tuple(found)


async def migrate(
    url: str,
    *,
    migrations: Sequence[Migration] | None = None,
    after: Callable[[Any], Any] | None = None,
    on_progress: Callable[[str], None] | None = None,
    clock: Clock | None = None,
) -> MigrationReport:
    """Bring a database to the version of this build. Any number of processes may do so at once.

    Args:
        url: A direct address (no transaction-pooling proxy) of a role that owns the database.
        migrations: The files; those of this build when absent.
        after: Awaited with the connection while the lock is still held, for work that belongs to every migration
            (roles, storage).
        on_progress: Called with the label of each file before it is applied.
        clock: For the durations that are recorded.

    Returns:
        What was done.

    Raises:
        MigrationError: The database is newer than this build, an applied file was changed, or a file failed; nothing of
            that file stays.
        DatabaseUnavailable: The server cannot be reached.
    """
    migrations = load_migrations() if migrations is None else migrations
    async with _exclusive(url) as connection:
        await _bootstrap(connection)
        recorded = {row["version"]: row for row in await connection.fetch(SQL["recorded"])}
        _verify(migrations, recorded.values())
        capabilities = await detect_capabilities(connection)
        runner = _Runner(connection, capabilities, clock or SystemClock(), on_progress or (lambda _label: None))
        for migration in migrations:
            before = recorded.get(migration.version)
            if before is None or before["state"] == "skipped":
                await runner.run(migration)
        if after is not None:
            await after(connection)
    done = {v for v, row in recorded.items() if row["state"] == "applied"} | {m.version for m in runner.applied}
    return MigrationReport(
        tuple(m.label for m in runner.applied), tuple(m.label for m in runner.skipped), version=max(done, default=0)
    )


async def migration_status(url: str, *, migrations: Sequence[Migration] | None = None) -> tuple[MigrationStatus, ...]:
    """Report how every migration stands, without changing anything.

    Versions that this build does not know and files that were changed are reported as such, not raised.
    """
    migrations = load_migrations() if migrations is None else migrations
    connection = await connect(url, application_name="quasar-migrate")
    try:
        known = await connection.fetchval(SQL["exists"])
        recorded = {row["version"]: row for row in await connection.fetch(SQL["recorded"])} if known else {}
    finally:
        await connection.close()
    ours = {migration.version: migration for migration in migrations}
    return tuple(_status(ours.get(version), recorded.get(version)) for version in sorted(ours.keys() | recorded.keys()))


class _Runner:
    """Applies files on a connection that holds the lock."""

    def __init__(
        self, connection: Any, capabilities: frozenset[str], clock: Clock, on_progress: Callable[[str], None]
    ) -> None:
        self._connection = connection
        self._capabilities = capabilities
        self._clock = clock
        self._on_progress = on_progress
        self.applied: list[Migration] = []
        self.skipped: list[Migration] = []

    async def run(self, migration: Migration) -> None:
        """Apply one file, or record what it waits for."""
        missing = sorted(migration.requires - self._capabilities)
        if missing:
            await self._record(migration, "skipped", missing, 0.0)
            self.skipped.append(migration)
            return
        self._on_progress(migration.label)
        began = self._clock.monotonic()
        try:
            async with self._connection.transaction():
                # The simple protocol lets the server split the statements, so that function bodies need no care.
                await self._connection.execute(migration.sql)
                await self._record(migration, "applied", [], (self._clock.monotonic() - began) * 1000)
        except asyncpg.PostgresError as error:
            raise MigrationError(f"the migration {migration.label} failed and was undone: {error}") from error
        self.applied.append(migration)

    async def _record(self, migration: Migration, state: str, missing: list[str], duration_ms: float) -> None:
        arguments = (migration.version, migration.name, migration.checksum, state, missing, duration_ms)
        await self._connection.execute(SQL["record"], *arguments)


@asynccontextmanager
async def _exclusive(url: str) -> AsyncIterator[Any]:
    """Yield a connection of its own that holds the migration lock; the lock falls with the connection."""
    connection = await connect(url, application_name="quasar-migrate")
    try:
        await connection.execute(SQL["lock"])
        yield connection
        await connection.execute(SQL["unlock"])
    finally:
        await connection.close()


async def _bootstrap(connection: Any) -> None:
    """Make the runner's own table."""
    try:
        await connection.execute(SQL["bootstrap"])
    except asyncpg.InsufficientPrivilegeError as error:
        raise MigrationError(
            f"the role that migrates must own the database or the schemas that are in it already ({error}); "
            "use the owner's address"
        ) from error


def _read(path: Path) -> Migration:
    """Read one file."""
    match = _FILE_NAME.match(path.name)
    if match is None:
        raise MigrationError(f"a migration must be called NNNN_name.sql, was {path.name!r}")
    text = path.read_bytes().decode("utf-8").replace("\r\n", "\n")
    checksum = hashlib.sha256(text.encode()).hexdigest()
    return Migration(int(match.group(1)), match.group(2), text, checksum, _requirements(text))


def _requirements(text: str) -> frozenset[str]:
    """Return the capabilities named in the comment at the head of a file."""
    names: set[str] = set()
    for line in text.splitlines():
        if line.strip() and not line.startswith("--"):
            break
        match = _DIRECTIVE.match(line)
        if match is not None:
            names.update(part.strip() for part in match.group(1).split(",") if part.strip())
    return frozenset(names)


def _verify(migrations: Sequence[Migration], recorded: Iterable[Any]) -> None:
    """Refuse a database of a newer build and files that were changed after they had been applied."""
    ours = {migration.version: migration for migration in migrations}
    for row in recorded:
        migration = ours.get(row["version"])
        if migration is None:
            raise MigrationError(
                f"the database has the migration {row['version']:04d}_{row['name']}, which this build of Quasar does "
                "not know; it was written by a newer one: install that or a later one"
            )
        if row["state"] == "applied" and row["checksum"] != migration.checksum:
            raise MigrationError(
                f"the migration {migration.label} was changed after it had been applied to this database; "
                "put the file back as it was and make the change in a new migration"
            )


def _status(migration: Migration | None, row: Any) -> MigrationStatus:
    """Compare a file with what the database remembers of it."""
    if row is None:
        assert migration is not None
        return MigrationStatus(migration.version, migration.name, "pending")
    detail = f"{row['applied_at']:%Y-%m-%d %H:%M:%S} UTC" if row["state"] == "applied" else ""
    if migration is None:
        detail = "written by a newer build of Quasar"
    elif row["state"] == "applied" and row["checksum"] != migration.checksum:
        detail = "the file was changed after it had been applied"
    return MigrationStatus(row["version"], row["name"], row["state"], tuple(row["missing"]), detail)
