"""The database under `quasar up`: started, brought to the schema of this build, watched, started again, stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from quasar.clock import Clock
from quasar.config import SERVICES, Home
from quasar.database.embedded import EmbeddedPostgres
from quasar.database.failures import EmbeddedPostgresError
from quasar.database.roles import service_url
from quasar.database.schema import prepare_schema
from quasar.errors import DatabaseUnavailable
from quasar.private_files import write_private
from quasar.secrets import SystemContext
from quasar.supervisor.backoff import Backoff

EXTERNAL_WAIT_S = 30.0
"""How long the start waits for a database that is not ours, which may be starting too."""


class DatabaseKeeper:
    """The platform's own PostgreSQL, or somebody else's that `QUASAR_DATABASE_URL` names."""

    def __init__(
        self,
        home: Home,
        url: str | None,
        clock: Clock,
        say: Callable[[str], None],
        *,
        binaries: Path | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep the database.

        Args:
            home: Where the embedded one is.
            url: Of the database that is used instead; None: the embedded one.
            clock: For waits.
            say: Takes a line for the log.
            binaries: Folder of PostgreSQL's programs; the best that is found when absent.
            on_change: Called when the server was started again.
        """
        self._home = home
        self._url = url
        self._clock = clock
        self._say = say
        self._on_change = on_change
        self._embedded = (
            EmbeddedPostgres(home.database, binaries=binaries, clock=clock, on_progress=say) if url is None else None
        )
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """Process id of the embedded server; None when it does not run, or is not ours."""
        return self._embedded.process_id if self._embedded else None

    async def start(self, context: SystemContext) -> str:
        """Start the database, bring its schema up, and write the services' addresses; return the owner's.

        Raises:
            EmbeddedPostgresError: The embedded one cannot start; the message says why and what to do.
            DatabaseUnavailable: The one that was named does not answer.
            MigrationError: Database and build do not fit together.
        """
        if self._embedded is None:
            url = self._url or ""
            await self._until_it_answers(url, context)
            return url
        url = await self._embedded.start()
        found = " (found running, taken over)" if self._embedded.adopted else ""
        self._say(f"ready, process {self._embedded.process_id}{found}")
        await self._prepare(url, context)
        write_private(self._home.database_url, url)
        for part in SERVICES:
            write_private(self._home.service_url(part.name), service_url(url, part.name, context))
        return url

    async def _prepare(self, url: str, context: SystemContext) -> None:
        report = await prepare_schema(
            url, context, on_progress=lambda step: self._say(f"migrating: {step}"), clock=self._clock
        )
        if report.applied:
            self._say(f"schema brought to {report.applied[-1]}")

    async def _until_it_answers(self, url: str, context: SystemContext) -> None:
        deadline = self._clock.monotonic() + EXTERNAL_WAIT_S
        while True:
            try:
                return await self._prepare(url, context)
            except DatabaseUnavailable as error:
                if self._clock.monotonic() > deadline:
                    raise DatabaseUnavailable(
                        f"The database of QUASAR_DATABASE_URL does not answer ({error.message}); start it, correct the "
                        "address, or unset the variable to use the embedded PostgreSQL."
                    ) from error
                self._say(f"not there yet ({error.message})")
            await self._clock.sleep(1.0)

    async def keep(self) -> None:
        """Start the embedded server again whenever it ends, until cancelled. Somebody else's is left to them."""
        if self._embedded is None:
            return
        backoff = Backoff()
        while True:
            began = self._clock.monotonic()
            await self._embedded.wait()
            wait = backoff.after(self._clock.monotonic() - began)
            self._say(f"ended; it is started again in {wait:g} s")
            await self._clock.sleep(wait)
            self.restarts += 1
            try:
                await self._embedded.start()
            except EmbeddedPostgresError as error:
                self._say(f"cannot start: {error.message}")
            else:
                self._say(f"ready again, process {self._embedded.process_id}")
                self._on_change()

    async def stop(self) -> None:
        """Stop the embedded server; everything is written out."""
        if self._embedded is not None:
            await self._embedded.stop()
