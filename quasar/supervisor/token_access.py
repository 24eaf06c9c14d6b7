"""Tokens for the command line: through the Registry when it is up, else on the database itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from quasar.client.channel import Channel
from quasar.client.tokens import TokenClient
from quasar.clock import Clock
from quasar.config import REGISTRY, Settings
from quasar.database.pool import Database
from quasar.environment import Environment
from quasar.errors import Unauthenticated
from quasar.ops.events import Events
from quasar.ops.tokens import Tokens
from quasar.supervisor.owner_database import owner_database
from quasar.supervisor.probes import Answer, Probe, channel_settings


@asynccontextmanager
async def through_registry(variables: Mapping[str, str]) -> AsyncIterator[TokenClient | None]:
    """Yield a client of the Registry of this machine, or None when it is not ready.

    The caller is who `QUASAR_TOKEN` (or the file `QUASAR_TOKEN_FILE`) says, else the administrator of the home.

    Raises:
        Unauthenticated: There is no token to call with.
    """
    settings = Settings.read(REGISTRY, variables)
    probe = Probe(settings)
    answer = await probe.ask()
    await probe.close()
    if answer is not Answer.READY:
        yield None
        return
    token = Environment(variables).text("QUASAR_TOKEN") or _admin_token(settings.home.admin_token)
    async with Channel(channel_settings(settings, probe.address, token)) as channel:
        yield TokenClient(channel)


def _admin_token(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise Unauthenticated(
            f"The administrator's token must be readable in {path}, was not ({error.strerror}); "
            "set QUASAR_TOKEN to a token of an administrator."
        ) from error


@asynccontextmanager
async def on_database(variables: Mapping[str, str], clock: Clock) -> AsyncIterator[Tokens]:
    """Yield the tokens of the database, which is started for the moment when it is the embedded one and does not run.

    Raises:
        QuasarError: The database cannot be used.
    """
    async with (
        owner_database(variables, clock) as url,
        await Database.open(url, application_name="quasar-cli", max_size=2) as database,
    ):
        yield Tokens(database, Events(database, "cli", clock), clock)
