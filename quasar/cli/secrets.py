"""`quasar secrets`: the secret that all keys of the installation are derived from."""

from __future__ import annotations

import asyncio
import os

import click

from quasar.clock import SystemClock
from quasar.config import REGISTRY, Settings
from quasar.errors import FailedPrecondition


@click.group()
def secrets() -> None:
    """Look after the secret that all keys of the installation are derived from."""


@secrets.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def rotate(yes: bool) -> None:
    """Replace the system context and seal all stored secrets again.

    The platform must be down meanwhile: the services' database passwords are derived from it too. When it is cut off,
    run it again.
    """
    settings = Settings.read(REGISTRY, os.environ)
    if not yes:
        click.confirm(f"Replace the system context in {settings.system_context}?", abort=True)
    count = asyncio.run(_rotate(settings))
    click.echo(f"Replaced {settings.system_context}; {count} sealed secrets were sealed again.")


async def _rotate(settings: Settings) -> int:
    from quasar.database.pool import Database
    from quasar.database.schema import prepare_schema
    from quasar.ops.rotation import rotate_system_context
    from quasar.secrets import SystemContext
    from quasar.supervisor.owner_database import is_running, owner_database

    if is_running(os.environ):
        raise FailedPrecondition("The platform must be down while its secrets are rotated; stop it with `quasar down`.")
    clock = SystemClock()
    async with owner_database(os.environ, clock) as url:
        async with await Database.open(url, application_name="quasar-cli", max_size=2) as database:
            count = await rotate_system_context(database, settings.system_context)
        await prepare_schema(url, SystemContext.from_file(settings.system_context), clock=clock)
        return count
