"""`quasar db`: the database of the platform."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from quasar.cli import tables
from quasar.clock import SystemClock
from quasar.config import REGISTRY, Settings

if TYPE_CHECKING:
    from quasar.database.migrations import MigrationReport, MigrationStatus
    from quasar.database.storage import StorageMode


@click.group()
def db() -> None:
    """Look at the database and bring its schema up to date."""


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """What `quasar db status` tells."""

    embedded: bool
    engine: str
    """`postgresql` or `timescaledb`; "" before the first migration."""
    server_version: str
    timescaledb_version: str
    size_bytes: int
    migrations: tuple[MigrationStatus, ...]

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be applied."""
        return all(each.state != "pending" for each in self.migrations)


@db.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def show_status(as_json: bool) -> int:
    """Show the server, its size and the state of each migration. The exit code is 0 when none is pending."""
    found = asyncio.run(_read_status())
    if as_json:
        click.echo(tables.as_json(found))
        return 0 if found.complete else 1
    server = f"PostgreSQL {found.server_version}"
    if found.timescaledb_version:
        server += f" with TimescaleDB {found.timescaledb_version}"
    click.echo(f"{server}{', embedded' if found.embedded else ''}, {tables.size(found.size_bytes)}\n")
    rows = [
        (f"{each.version:04d}", each.name, each.state, each.detail or _waits_for(each)) for each in found.migrations
    ]
    click.echo(tables.table(("MIGRATION", "NAME", "STATE", ""), rows))
    return 0 if found.complete else 1


def _waits_for(migration: MigrationStatus) -> str:
    return f"waits for {', '.join(migration.missing)}" if migration.missing else ""


async def _read_status() -> DatabaseStatus:
    from quasar.database.migrations import migration_status
    from quasar.database.pool import Database
    from quasar.database.storage import database_size
    from quasar.supervisor.owner_database import owner_database

    async with owner_database(os.environ, SystemClock()) as url:
        migrations = await migration_status(url)
        async with await Database.open(url, application_name="quasar-cli", max_size=1) as database:
            version = await database.fetchval("show server_version")
            mode = await _mode(database) if any(each.state == "applied" for each in migrations) else None
            return DatabaseStatus(
                embedded=Settings.read(REGISTRY, os.environ).embedded,
                engine=mode.engine if mode else "",
                server_version=str(version).split(" ", 1)[0],
                timescaledb_version=mode.extension_version if mode else "",
                size_bytes=await database_size(database),
                migrations=migrations,
            )


async def _mode(database: object) -> StorageMode:
    from quasar.database.storage import storage_mode

    return await storage_mode(database)  # type: ignore[arg-type]  # a Database, whose module is loaded late


@db.command()
def migrate() -> None:
    """Bring the schema and the services' roles to what this version needs. Safe to repeat."""
    report = asyncio.run(_migrate())
    for label in report.applied:
        click.echo(f"applied {label}")
    for label in report.skipped:
        click.echo(f"skipped {label}: the server lacks what it needs; it is tried again next time")
    click.echo(f"The schema is at {report.version:04d}.")


async def _migrate() -> MigrationReport:
    from quasar.database.schema import prepare_schema
    from quasar.secrets import SystemContext
    from quasar.supervisor.owner_database import owner_database

    context = SystemContext.load_or_create(Settings.read(REGISTRY, os.environ).system_context)
    async with owner_database(os.environ, SystemClock()) as url:
        return await prepare_schema(url, context, clock=SystemClock())


@db.command("url")
def show_url() -> None:
    """Print the address of the database for its owner, password included: `psql "$(quasar db url)"`."""
    settings = Settings.read(REGISTRY, os.environ)
    click.echo(settings.read_database_url(settings.home.database_url))
