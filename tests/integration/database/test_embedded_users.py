"""The embedded PostgreSQL: ordinary users, other users' data, owners, versions."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from quasar.database.embedded import EmbeddedPostgres
from quasar.database.migrations import MigrationError
from quasar.database.pool import Database
from quasar.database.schema import prepare_schema
from quasar.database.storage import storage_mode
from quasar.errors import FailedPrecondition
from quasar.secrets import SystemContext
from tests.integration.database.servers import execute, run_python

ORDINARY = """
    import asyncio, json, os, sys
    from pathlib import Path
    import asyncpg
    from quasar.database.embedded import EmbeddedPostgres
    from quasar.database.failures import EmbeddedPostgresError

    async def main():
        found = {"uid": os.geteuid()}
        try:
            for n in (1, 2):
                async with EmbeddedPostgres(Path(sys.argv[1])) as server:
                    connection = await asyncpg.connect(server.url)
                    await connection.execute("create table if not exists kept (n int)")
                    await connection.execute(f"insert into kept values ({n})")
                    found["rows"] = await connection.fetchval("select count(*) from kept")
                    await connection.close()
        except EmbeddedPostgresError as error:
            found["error"] = error.sentence
        print(json.dumps(found))

    asyncio.run(main())
"""


@pytest.fixture
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Callable[[str], dict[str, Any]]]]:
    """Yield a folder of an ordinary user, and what runs the program above as that user and returns its report."""
    folder = Path(f"/tmp/quasar-ordinary-{os.getpid()}")
    folder.mkdir(mode=0o700)
    options: dict[str, Any] = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        options = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        options["python"] = python_for(options)

    def run(home: str) -> dict[str, Any]:
        with run_python(ORDINARY, home, **options) as process:
            out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        report: dict[str, Any] = json.loads(out)
        return report

    yield folder, run
    shutil.rmtree(folder)


def python_for(options: dict[str, Any]) -> str:
    """Return an interpreter of this version that another user can run; this one may lie in root's home."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/{name}", f"/usr/local/bin/{name}"):
        try:
            with run_python("import asyncpg, cryptography, psutil, quasar", python=candidate, **options) as process:
                process.communicate(timeout=120)
        except OSError:
            continue
        if process.returncode == 0:
            return candidate
    pytest.skip("no Python of this version can be run by another user here")


def test_an_ordinary_user_starts_it_twice(ordinary: tuple[Path, Callable[[str], dict[str, Any]]]) -> None:
    folder, run = ordinary
    report = run(str(folder / "db"))
    assert report["uid"] != 0
    assert report["rows"] == 2


def test_a_missing_write_permission_is_told(ordinary: tuple[Path, Callable[[str], dict[str, Any]]]) -> None:
    folder, run = ordinary
    folder.chmod(0o500)
    try:
        report = run(str(folder / "db"))
    finally:
        folder.chmod(0o700)
    assert report["error"].startswith(f"{folder / 'db'} must be writable by the user who runs Quasar")
    assert "QUASAR_HOME" in report["error"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the data of another user")
def test_the_data_of_another_user_is_refused(
    ordinary: tuple[Path, Callable[[str], dict[str, Any]]], first_home: Path
) -> None:
    folder, run = ordinary
    subprocess.run(["cp", "-a", first_home, folder / "db"], check=True)
    shutil.chown(folder / "db", "nobody")
    assert "belongs to postgres and you are nobody" in run(str(folder / "db")).get("error", "")


async def test_an_owner_who_is_no_superuser_can_have_the_schema(home: Path, system_context: SystemContext) -> None:
    async with EmbeddedPostgres(home) as server:
        await execute(server.url, "create role limited login createrole createdb password 'limited'")
        await execute(server.url, "create role weak login password 'weak'")
        limited = server.url.replace(server.url.split("//")[1].split("@")[0], "limited:limited", 1)
        await execute(limited.replace("/quasar?", "/postgres?"), "create database installation")
        url = limited.replace("/quasar?", "/installation?")
        report = await prepare_schema(url, system_context)
        assert report.version >= 6
        assert (await prepare_schema(url, system_context)).applied == ()
        async with await Database.open(url, application_name="tests") as database:
            assert (await storage_mode(database)).engine == "postgresql"
        weak = url.replace("limited:limited", "weak:weak")
        with pytest.raises(MigrationError, match=r"must own the database .* use the owner's address"):
            await prepare_schema(weak, system_context)
        await execute(server.url, "create database weak owner weak")
        with pytest.raises(FailedPrecondition, match=r"must be able to create roles.*CREATEROLE"):
            await prepare_schema(weak.replace("/installation?", "/weak?"), system_context)
        await execute(server.url, "alter role weak createrole")
        with pytest.raises(FailedPrecondition, match=r"must be able to change the roles .* WITH ADMIN OPTION"):
            await prepare_schema(weak.replace("/installation?", "/weak?"), system_context)


@pytest.mark.parametrize("major", [15, 16, 17])
async def test_the_schema_works_on_every_supported_version(
    tmp_path: Path, system_context: SystemContext, major: int
) -> None:
    folder = Path(f"/usr/lib/postgresql/{major}/bin")
    if not (folder / "postgres").exists():
        pytest.skip(f"PostgreSQL {major} is not installed")
    async with EmbeddedPostgres(tmp_path / "db", binaries=folder) as server:
        await prepare_schema(server.url, system_context)
        settings = {"search_path": "datahub, ops, public"}
        async with await Database.open(server.url, application_name="tests", settings=settings) as database:
            await database.execute("select ops.ensure_partitions('datahub.ticks', '2026-01-01', '2026-01-03')")
            assert await database.fetchval("select count(*) from ops.storage_slices('datahub.ticks')") == 2
            assert await database.fetchval("select count(*) from bars") == 0
            assert await database.fetchval("select ops.drop_older_than('datahub.ticks', '2026-01-02')") == 1
