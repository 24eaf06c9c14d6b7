"""The embedded PostgreSQL: what it says when it cannot start, and that it deletes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from quasar.database.binaries import find_binaries
from quasar.database.embedded import EmbeddedPostgres
from quasar.database.failures import EmbeddedPostgresError
from tests.integration.database.servers import MAKE, execute, files, run_program


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
