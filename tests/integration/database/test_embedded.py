"""The embedded PostgreSQL: starts, stops, kills, take-overs."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from pathlib import Path

import asyncpg
import psutil
import pytest

from quasar.database.embedded import EmbeddedPostgres
from quasar.database.failures import EmbeddedPostgresError
from quasar.database.pool import Database
from tests.integration.database.servers import MAKE, execute, rows, run_program, run_python, runs


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
