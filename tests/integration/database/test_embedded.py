"""The embedded PostgreSQL: starts, kills, take-overs, and what it says when it cannot start."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
import pytest_asyncio

import quasar
from quasar.database.binaries import find_binaries
from quasar.database.embedded import EmbeddedPostgres
from quasar.database.failures import EmbeddedPostgresError
from quasar.database.migrations import MigrationError
from quasar.database.pool import Database
from quasar.database.schema import prepare_schema
from quasar.database.storage import storage_mode
from quasar.errors import FailedPrecondition
from quasar.secrets import SystemContext

ROOT = Path(quasar.__file__).resolve().parents[1]
MAKE = "create table kept (n int); insert into kept values (1)"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def first_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home whose database was created and stopped; tests take copies, because creating one takes a second."""
    home = tmp_path_factory.mktemp("first") / "db"
    async with EmbeddedPostgres(home) as server:
        await execute(server.url, MAKE)
    return home


@pytest.fixture
def home(first_home: Path, tmp_path: Path) -> Iterator[Path]:
    """Yield a home with a database that holds one row, and leave no server behind."""
    copy = tmp_path / "db"
    subprocess.run(["cp", "-a", first_home, copy], check=True)
    yield copy
    end_servers(copy)


def end_servers(home: Path) -> None:
    """End a server that a failed test has left, so that it fails alone."""
    pid_file = home / "data" / "postmaster.pid"
    if pid_file.exists():
        pid = int(pid_file.read_text().splitlines()[0])
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGQUIT)


def files(folder: Path) -> list[str]:
    """Return the names of everything in a folder."""
    return sorted(str(path) for path in folder.rglob("*"))


def runs(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and that nobody has collected does not."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def rows(url: str) -> list[int]:
    connection = await asyncpg.connect(url)
    try:
        return [row["n"] for row in await connection.fetch("select n from kept order by n")]
    finally:
        await connection.close()


async def test_a_first_start_makes_a_private_durable_server(tmp_path: Path) -> None:
    told: list[str] = []
    async with EmbeddedPostgres(tmp_path / "deep" / "home", on_progress=told.append) as server:
        assert told == [f"creating the database in {(tmp_path / 'deep' / 'home').resolve()}"]
        async with await Database.open(server.url, application_name="tests") as database:
            settings = await database.fetch(
                "select name, setting from pg_settings where name in ('fsync', 'synchronous_commit', "
                "'full_page_writes', 'data_checksums', 'listen_addresses', 'TimeZone', 'server_encoding', "
                "'password_encryption')"
            )
            assert {row["name"]: row["setting"] for row in settings} == {
                "fsync": "on",
                "synchronous_commit": "on",
                "full_page_writes": "on",
                "data_checksums": "on",
                "listen_addresses": "",
                "TimeZone": "UTC",
                "server_encoding": "UTF8",
                "password_encryption": "scram-sha-256",
            }
            assert await database.fetchval("select 'ÄÖÉ' ilike 'äöé'")
            rules = "select distinct auth_method from pg_hba_file_rules"
            assert [row[0] for row in await database.fetch(rules)] == ["scram-sha-256"]
        assert stat.S_IMODE(server.cluster.home.stat().st_mode) == 0o700
        assert stat.S_IMODE(server.cluster.password_file.stat().st_mode) == 0o600
        assert not (server.cluster.home / "data.init").exists()
        assert not list(server.cluster.home.glob("data.init*"))
        without = server.url.replace(server.url.split(":")[2].split("@")[0], "guess")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(without)


async def test_no_folder_above_the_home_is_opened_for_others(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    before = closed.stat()
    async with EmbeddedPostgres(closed / "db") as server:
        await execute(server.url, MAKE)
    assert (closed.stat().st_mode, closed.stat().st_uid) == (before.st_mode, before.st_uid)


async def test_a_second_start_finds_everything(home: Path) -> None:
    for number in (2, 3):
        async with EmbeddedPostgres(home) as server:
            assert not server.adopted
            await execute(server.url, f"insert into kept values ({number})")
    async with EmbeddedPostgres(home) as server:
        assert await rows(server.url) == [1, 2, 3]


async def test_the_address_stays_the_same_over_restarts(home: Path) -> None:
    async with EmbeddedPostgres(home) as server:
        first = server.url
    async with EmbeddedPostgres(home) as server:
        assert server.url == first


async def test_starting_and_stopping_twice_does_no_harm(home: Path) -> None:
    server = EmbeddedPostgres(home)
    await server.start()
    pid = server.process_id
    assert await server.start() == server.url
    assert server.process_id == pid
    await server.stop()
    await server.stop()
    assert server.process_id is None


async def test_a_stop_ends_the_process_and_its_children(home: Path) -> None:
    async with EmbeddedPostgres(home) as server:
        assert server.process_id is not None
        family = [psutil.Process(server.process_id), *psutil.Process(server.process_id).children()]
    psutil.wait_procs(family, timeout=60)
    assert not [process for process in family if process.is_running()]
    assert not list((home / "run").iterdir())


async def test_an_open_transaction_does_not_hold_up_a_stop(home: Path) -> None:
    server = EmbeddedPostgres(home)
    await server.start()
    connection = await asyncpg.connect(server.url)
    await connection.execute("begin; insert into kept values (2)")
    async with asyncio.timeout(60):
        await server.stop()
    connection.terminate()
    async with EmbeddedPostgres(home) as server:
        assert await rows(server.url) == [1]


async def test_committed_rows_survive_a_kill_of_the_server(home: Path) -> None:
    server = EmbeddedPostgres(home)
    await server.start()
    await execute(server.url, "insert into kept values (2)")
    assert server.process_id is not None
    os.kill(server.process_id, signal.SIGKILL)
    await server.wait()
    assert server.process_id is None
    await server.start()
    assert await rows(server.url) == [1, 2]
    await server.stop()


async def test_committed_rows_survive_a_kill_of_every_process_of_the_server(home: Path) -> None:
    server = EmbeddedPostgres(home)
    await server.start()
    await execute(server.url, "insert into kept values (2)")
    assert server.process_id is not None
    postmaster = psutil.Process(server.process_id)
    for process in [postmaster, *postmaster.children()]:
        process.kill()
    await server.wait()
    await server.start()
    assert await rows(server.url) == [1, 2]
    await server.stop()


def run_python(code: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start a Python program that imports the platform."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [options.pop("python", sys.executable), "-c", textwrap.dedent(code), *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd="/", **options
    )


PARENT = """
    import asyncio, sys
    from pathlib import Path
    import asyncpg
    from quasar.database.embedded import EmbeddedPostgres

    async def main():
        server = EmbeddedPostgres(Path(sys.argv[1]))
        await server.start()
        connection = await asyncpg.connect(server.url)
        await connection.execute("insert into kept values (2)")
        print(server.process_id, flush=True)
        await asyncio.sleep(600)

    asyncio.run(main())
"""


async def test_a_server_whose_parent_was_killed_is_taken_over_and_stopped(home: Path) -> None:
    with run_python(PARENT, str(home)) as parent:
        assert parent.stdout is not None
        pid = int(await asyncio.to_thread(parent.stdout.readline))
        parent.kill()
    assert runs(pid)
    async with EmbeddedPostgres(home) as server:
        assert server.adopted
        assert server.process_id == pid
        assert await rows(server.url) == [1, 2]
    assert not runs(pid)
    async with EmbeddedPostgres(home) as server:
        assert not server.adopted


async def test_a_second_platform_on_the_same_home_is_refused(home: Path) -> None:
    async with EmbeddedPostgres(home) as server:
        with pytest.raises(EmbeddedPostgresError, match=rf"is run by process {os.getpid()} already"):
            await EmbeddedPostgres(home).start()
        assert await rows(server.url) == [1]


async def test_interrupting_the_terminal_does_not_reach_the_server(home: Path) -> None:
    async with EmbeddedPostgres(home) as server:
        assert server.process_id is not None
        assert os.getpgid(server.process_id) != os.getpgid(0)
        assert os.getsid(server.process_id) != os.getsid(0)


async def test_a_pid_file_that_names_another_process_is_not_believed(home: Path) -> None:
    (home / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n/somewhere\n1\n5432\n\n\n 1 1\nready\n")
    if os.geteuid() == 0:
        owner = (home / "data").stat()
        os.chown(home / "data" / "postmaster.pid", owner.st_uid, owner.st_gid)
    async with EmbeddedPostgres(home) as server:
        assert not server.adopted
        assert await rows(server.url) == [1]


async def test_a_long_path_works(first_home: Path, tmp_path: Path) -> None:
    deep = tmp_path / ("long" * 20) / ("name, with a comma" * 3) / "db"
    deep.parent.mkdir(parents=True)
    assert await run_program("cp", "-a", str(first_home), str(deep))
    async with EmbeddedPostgres(deep) as server:
        assert await rows(server.url) == [1]
        folder = server.cluster.socket_folder
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()


async def test_settings_of_the_caller_win(home: Path) -> None:
    async with (
        EmbeddedPostgres(home, settings={"work_mem": "7MB", "max_connections": "31"}) as server,
        await Database.open(server.url, application_name="tests") as database,
    ):
        assert await database.fetchval("show work_mem") == "7MB"
        assert await database.fetchval("show max_connections") == "31"


async def test_a_setting_that_does_not_exist_is_shown_from_the_log(home: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match="its log says why") as caught:
        await EmbeddedPostgres(home, settings={"no_such_setting": "1"}).start()
    assert "no_such_setting" in caught.value.log_tail


async def test_data_of_another_major_version_is_refused_and_left_alone(home: Path) -> None:
    (home / "data" / "PG_VERSION").write_text("14\n")
    before = files(home / "data")
    with pytest.raises(EmbeddedPostgresError, match=r"was made by PostgreSQL 14, .* QUASAR_PG_BIN"):
        await EmbeddedPostgres(home, binaries=find_binaries().folder).start()
    assert files(home / "data") == before


def _remove_control_file(data: Path) -> None:
    (data / "global" / "pg_control").unlink()


def _remove_version(data: Path) -> None:
    (data / "PG_VERSION").unlink()


def _empty_write_ahead_log(data: Path) -> None:
    for segment in (data / "pg_wal").iterdir():
        if segment.is_file():
            segment.write_bytes(bytes(segment.stat().st_size))


def _spoil_control_file(data: Path) -> None:
    with (data / "global" / "pg_control").open("r+b") as file:
        file.seek(16)  # past the versions
        file.write(b"\xff" * 200)


@pytest.mark.parametrize("damage", [_remove_control_file, _remove_version, _empty_write_ahead_log, _spoil_control_file])
async def test_a_damaged_folder_is_called_damaged_and_nothing_is_deleted(
    home: Path, damage: Callable[[Path], None]
) -> None:
    damage(home / "data")
    before = files(home / "data" / "base")
    server = EmbeddedPostgres(home)
    with pytest.raises(EmbeddedPostgresError, match=r"is damaged; restore it from a backup, or move it away") as caught:
        await server.start()
    assert caught.value.sentence.startswith(f"the database folder {server.cluster.home}")
    assert files(home / "data" / "base") == before
    assert server.process_id is None


async def test_a_first_start_that_was_cut_off_is_begun_again(tmp_path: Path) -> None:
    home = tmp_path / "db"
    (home / "data.init" / "base").mkdir(parents=True)
    (home / "data.init" / "PG_VERSION").write_text("18")
    async with EmbeddedPostgres(home) as server:
        await execute(server.url, MAKE)
    assert not (home / "data.init").exists()


async def test_a_lost_password_is_told(home: Path) -> None:
    (home / "owner.password").unlink()
    with pytest.raises(EmbeddedPostgresError, match=r"owner\.password is missing"):
        await EmbeddedPostgres(home).start()


async def test_a_wrong_password_is_told_and_the_server_does_not_stay(home: Path) -> None:
    (home / "owner.password").write_text("guess\n")
    server = EmbeddedPostgres(home)
    with pytest.raises(EmbeddedPostgresError, match=r"the password in .*owner\.password is not the one"):
        await server.start()
    assert not (home / "data" / "postmaster.pid").exists()


async def test_a_file_in_the_place_of_the_home_is_told(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("in the way")
    with pytest.raises(EmbeddedPostgresError, match="must be a folder, was something else"):
        await EmbeddedPostgres(tmp_path / "db").start()


async def run_program(*command: str) -> bool:
    """Run a program and tell whether it succeeded."""
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    return await process.wait() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
async def test_a_full_disk_is_told(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if not await run_program("mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(disk)):
        pytest.skip("this environment does not let root mount")
    try:
        with pytest.raises(EmbeddedPostgresError, match=r"the disk that holds .* is full; free some space"):
            await EmbeddedPostgres(disk / "db").start()
        assert not (disk / "db" / "data").exists()
    finally:
        assert await run_program("umount", str(disk))


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
