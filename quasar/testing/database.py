"""Fixtures for tests on a real PostgreSQL. Load them with `pytest_plugins = ("quasar.testing.database",)`.

Which server: `QUASAR_TEST_DATABASE_URL` when it is set (a role that may create databases and roles, on a server that
holds nothing you need); else TimescaleDB in a container where a Docker engine answers; else the embedded PostgreSQL.
One server and one migrated template database serve the whole run, whatever the number of workers; each test gets a copy
of the template, dropped after it.

`QUASAR_TEST_TIMESCALE_URL` names a server with TimescaleDB, which adds the tests of that storage.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import pytest_asyncio

from quasar.database.pool import Database, connect
from quasar.database.schema import prepare_schema
from quasar.secrets import SystemContext

_RUN = "QUASAR_TEST_RUN"
_START_S = 180.0
_STOP_S = 60.0
_LOOK_S = 0.05
_SECRET = b"the system context of the tests is no secret at all"


@dataclass(frozen=True, slots=True)
class TestDatabaseServer:
    """A server that tests make their databases on."""

    __test__ = False

    url: str
    """The owner's address of a database that is there already."""
    run: Path
    """Folder that belongs to this test run."""
    prefix: str
    """Begin of the names of this run's databases."""
    numbers: Iterator[int] = field(default_factory=itertools.count)
    """Tells the databases of one process apart."""

    def url_of(self, name: str) -> str:
        """Return the address of another database of the server."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    async def create(self, template: str | None = None) -> str:
        """Create a database, empty or as a copy, and return its name."""
        name = f"{self.prefix}_{os.getpid()}_{next(self.numbers)}"
        await self._run(f'create database "{name}"' + (f' template "{template}"' if template else ""))
        return name

    async def drop(self, name: str) -> None:
        """Drop a database, cutting off whoever still uses it."""
        await self._run(f'drop database if exists "{name}" with (force)')

    async def seal(self, name: str) -> None:
        """Make a database a template: nobody, not even a background process, may be connected while it is copied."""
        await self._run(f'alter database "{name}" with is_template true allow_connections false')
        connection = await connect(self.url, application_name="quasar-tests")
        try:
            await connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name)
        finally:
            await connection.close()

    async def drop_all(self) -> None:
        """Drop every database of this run."""
        connection = await connect(self.url, application_name="quasar-tests")
        try:
            for row in await connection.fetch(
                "select datname from pg_database where starts_with(datname, $1)", self.prefix
            ):
                await connection.execute(f'alter database "{row["datname"]}" with is_template false')
                await connection.execute(f'drop database if exists "{row["datname"]}" with (force)')
        finally:
            await connection.close()

    async def _run(self, statement: str) -> None:
        connection = await connect(self.url, application_name="quasar-tests")
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def pytest_configure(config: pytest.Config) -> None:
    """Name the folder that all workers of the run share. Workers are started later and inherit the variable."""
    if not hasattr(config, "workerinput"):
        os.environ[_RUN] = str(Path(tempfile.gettempdir()) / f"quasar-test-{secrets.token_hex(6)}")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take down what the run has put up."""
    if hasattr(config, "workerinput"):
        return
    named = os.environ.pop(_RUN, "")
    if not named:
        return  # taken down already: the empty path would be the working folder, and it is removed below
    run = Path(named)
    if not run.is_dir():
        return
    external = os.environ.get("QUASAR_TEST_DATABASE_URL")
    if external and (run / "template").exists():
        with contextlib.suppress(OSError, asyncpg.PostgresError):
            asyncio.run(TestDatabaseServer(external, run, _prefix(run)).drop_all())
    if (run / "starting").exists():
        (run / "stop").touch()
        deadline = time.monotonic() + _STOP_S
        while run.exists() and not (run / "error").exists() and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
    shutil.rmtree(run, ignore_errors=True)


@pytest.fixture(scope="session")
def system_context() -> SystemContext:
    """Return the system context of the tests: the passwords of the services' roles come from it."""
    return SystemContext(_SECRET)


@pytest.fixture
def system_context_file(tmp_path: Path) -> Path:
    """Return the same system context as a file, for services that run as processes."""
    path = tmp_path / "system_context"
    path.touch(mode=0o600)
    path.write_bytes(_SECRET + b"\n")
    return path


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def database_server() -> TestDatabaseServer:
    """Return the run's server, starting it when this is the first test of the run that needs it."""
    run = _run_folder()
    external = os.environ.get("QUASAR_TEST_DATABASE_URL")
    url = external if external is not None else await asyncio.to_thread(_started_server, run)
    return TestDatabaseServer(url, run, _prefix(run))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def database_template(database_server: TestDatabaseServer, system_context: SystemContext) -> str:
    """Return the name of the run's migrated template database, made by whichever worker is first."""
    marker = database_server.run / "template"
    async with _only_one(database_server.run / "template.lock"):
        if not marker.exists():
            name = await database_server.create()
            await prepare_schema(database_server.url_of(name), system_context)
            await database_server.seal(name)
            marker.write_text(name, encoding="utf-8")
    return marker.read_text(encoding="utf-8")


@pytest_asyncio.fixture(loop_scope="session")
async def database_url(database_server: TestDatabaseServer, database_template: str) -> AsyncIterator[str]:
    """Yield the owner's address of a migrated database of the test's own."""
    name = await database_server.create(template=database_template)
    yield database_server.url_of(name)
    await database_server.drop(name)


@pytest_asyncio.fixture(loop_scope="session")
async def empty_database_url(database_server: TestDatabaseServer) -> AsyncIterator[str]:
    """Yield the owner's address of an empty database of the test's own."""
    name = await database_server.create()
    yield database_server.url_of(name)
    await database_server.drop(name)


@pytest_asyncio.fixture(loop_scope="session")
async def database(database_url: str) -> AsyncIterator[Database]:
    """Yield a migrated database of the test's own, opened as its owner."""
    settings = {"search_path": "strategy, datahub, registry, ops, public"}
    async with await Database.open(database_url, application_name="quasar-tests", settings=settings) as opened:
        yield opened


def _run_folder() -> Path:
    """Return the folder of this run, made by the first test that needs it."""
    run = Path(os.environ[_RUN])
    run.mkdir(mode=0o700, exist_ok=True)
    return run


def _prefix(run: Path) -> str:
    """Return the begin of the names of this run's databases."""
    return "".join(c if c.isalnum() else "_" for c in run.name.lower())


def _started_server(run: Path) -> str:
    """Start the run's server, or wait for the worker that does, and return its address."""
    with (run / "server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (run / "starting").exists():
            (run / "starting").touch()
            _start_server(run)
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if (run / "url").exists():
            return (run / "url").read_text(encoding="utf-8")
        if (run / "error").exists():
            pytest.fail(f"the test database could not start: {(run / 'error').read_text(encoding='utf-8')}")
        time.sleep(_LOOK_S)
    pytest.fail(f"the test database did not start within {_START_S:.0f} seconds; its log is {run / 'server.log'}")


def _start_server(run: Path) -> None:
    """Start the process that holds the server; it watches the process that began the run and stops with it."""
    controller = os.getppid() if os.environ.get("PYTEST_XDIST_WORKER") else os.getpid()
    with (run / "server.log").open("ab") as log:
        arguments = [sys.executable, "-m", "quasar.testing.database_server", str(run), str(controller)]
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    # It is meant to outlive this worker, so nobody here waits for it.
    process.returncode = 0


@contextlib.asynccontextmanager
async def _only_one(path: Path) -> AsyncIterator[Any]:
    """Let one worker at a time do something."""
    with path.open("w") as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        yield lock
